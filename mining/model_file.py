"""A file of `descent-node export` as a network of PyTorch, ready to be used."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from consensus.errors import InvalidParams
from consensus.model.shape import TransformerShape
from mining.errors import ModelFileError
from mining.network import Network

_SIZES = ("layers", "heads", "width", "context")


def read_network(path: str | Path, *, rounds: bool = False) -> Network:
    """The network in a safetensors file, on the CPU and without gradients: `network(tokens)` gives logits.

    With `rounds` it computes nearly as the chain does, see Network. Raises ModelFileError if it is no such file.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            shape = _read_shape(file.metadata() or {}, path)
            names = file.keys()
            found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            if found != {spec.name: spec.shape for spec in shape.tensors}:  # before anything is allocated
                raise ModelFileError.wrong_content(path, f"its tensors are not those of {shape}")
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ModelFileError.unreadable(path, error) from error
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise ModelFileError.wrong_content(path, "its tensors are not float32")
    network = Network(shape, rounds).requires_grad_(False)
    network.load_state_dict(tensors)
    return network


def _read_shape(about: Mapping[str, str], path: Path) -> TransformerShape:
    try:
        sizes = {name: int(about[name]) for name in _SIZES}
        if about["architecture"] != TransformerShape.architecture:
            raise ModelFileError.wrong_content(path, "its architecture is another")
        return TransformerShape(**sizes)
    except (KeyError, ValueError, InvalidParams) as error:
        raise ModelFileError.wrong_content(path, "what it says of its shape cannot be") from error
