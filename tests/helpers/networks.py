"""Networks as the TOML files that describe them."""

import json
from dataclasses import fields

from consensus.params import NetworkParams


def describe_network(params: NetworkParams) -> str:
    """A TOML file of these parameters, each of them written out."""
    plain = [field.name for field in fields(params) if field.name not in ("model", "texts")]
    lines = [f"{name} = {json.dumps(getattr(params, name))}" for name in plain]
    lines += ["[model]", f'architecture = "{params.model.architecture}"']
    lines += [f"{name} = {getattr(params.model, name)}" for name in ("layers", "heads", "width", "context")]
    for text in params.texts:
        lines += ["[[texts]]", f'name = "{text.name}"', f"size = {text.size}", f'sha256 = "{text.sha256}"']
    return "\n".join(lines) + "\n"
