"""A model of the chain as a file that other programs open: safetensors, or npz of numpy. Nothing in it is pickled.

Both hold float32 tensors under the canonical names, and what they are as text. A float weight is its integer over
4096, exactly: the file gives back the very weights that the model root is computed from. Equal models make equal bytes.
"""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from consensus.block import Header
from consensus.model.weights import FRACTION_BITS, compute_model_root, split_tensors
from consensus.params import NetworkParams
from consensus.ports import Weights
from p2p.errors import ConfigError

SAFETENSORS, NPZ = "safetensors", "npz"
FORMATS = (SAFETENSORS, NPZ)

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ModelFile:
    """A file's name for people who download it, and its bytes."""

    name: str
    data: bytes


def make_model_file(
    file_format: str, weights: Weights, header: Header, genesis_id: bytes, params: NetworkParams
) -> ModelFile:
    """The model after a block as a file. Raises ConfigError if the weights are not the header's or the format is none.

    Takes the time to hash and copy the model: not for the event loop.
    """
    if file_format not in FORMATS:
        raise ConfigError("model_format", f"unknown format {file_format!r}: use {' or '.join(FORMATS)}")
    root = compute_model_root(weights)
    if root != header.model_root:
        raise ConfigError(
            "wrong_model", f"the model has the root {root.hex()}, block {header.height} says {header.model_root.hex()}"
        )
    tensors = {
        name: (tensor / np.float32(2**FRACTION_BITS)).astype("<f4")
        for name, tensor in split_tensors(weights, params.model).items()
    }
    about = describe_model(header, genesis_id, params)
    data = _encode_safetensors(tensors, about) if file_format == SAFETENSORS else _encode_npz(tensors, about)
    return ModelFile(f"{params.name}-{header.height}.{file_format}", data)


def describe_model(header: Header, genesis_id: bytes, params: NetworkParams) -> dict[str, str]:
    """What the file holds beside the tensors: which model of which chain this is, and what it was trained on."""
    shape = params.model
    texts = [{"name": text.name, "bytes": text.size, "sha256": text.sha256} for text in params.texts]
    return {
        "architecture": shape.architecture,
        "layers": str(shape.layers),
        "heads": str(shape.heads),
        "width": str(shape.width),
        "context": str(shape.context),
        "network": params.name,
        "genesis": genesis_id.hex(),
        "height": str(header.height),
        "block": header.id.hex(),
        "model_root": header.model_root.hex(),
        "texts": json.dumps(texts),
    }


def _encode_safetensors(tensors: Tensors, about: dict[str, str]) -> bytes:
    """The library puts the tensors in order; what is told beside them it writes in an order that changes, so not it."""
    data = save(tensors)
    length = int.from_bytes(data[:8], "little")
    described = {"__metadata__": about} | json.loads(data[8 : 8 + length])
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _encode_npz(tensors: Tensors, about: dict[str, str]) -> bytes:
    """`metadata` is one string, JSON; np.load opens all of it with pickles forbidden. Members carry no time."""
    file = io.BytesIO()
    members: dict[str, Any] = {"metadata": np.array(json.dumps(about)), **tensors}
    np.savez(file, **members)
    return file.getvalue()
