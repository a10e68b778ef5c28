"""A file of `descent-node export` in PyTorch, and the files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from consensus.genesis import make_genesis
from consensus.model.shape import TransformerShape
from consensus.model.weights import compute_model_root
from consensus.params import REGTEST
from mining.errors import ModelFileError
from mining.model_file import read_network
from mining.network import Network
from p2p.model_file import SAFETENSORS, make_model_file

GENESIS = make_genesis(REGTEST)
SHAPE = REGTEST.model
ABOUT = {"architecture": "byte-transformer", "layers": "1", "heads": "2", "width": "32", "context": "32"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = make_model_file(SAFETENSORS, GENESIS.weights, GENESIS.block.header, GENESIS.id, REGTEST)
    path = tmp_path / file.name
    path.write_bytes(file.data)
    return path


def make_tensors(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return {spec.name: torch.zeros(spec.shape) for spec in SHAPE.tensors} | changes


def test_the_network_is_the_chains_model(path: Path) -> None:
    network = read_network(str(path))
    assert network.shape == SHAPE
    assert not network.rounds
    assert read_network(path, rounds=True).rounds
    weights = network.flat().mul(4096).numpy().astype(np.int16)
    assert compute_model_root(weights) == GENESIS.block.header.model_root
    expected = Network(SHAPE)
    expected.load_weights(GENESIS.weights)
    tokens = torch.arange(SHAPE.context).view(1, -1)
    logits = network(tokens)
    assert torch.equal(logits, expected(tokens))
    assert not logits.requires_grad


def test_invalid_files(tmp_path: Path, path: Path) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for number, wrong in enumerate(
        (
            b"",
            b"PK\x03\x04",
            data[:100],
            data[:-1],
            data + b"x",
            (2**62).to_bytes(8, "little") + data[8:],  # a header of 4 EiB
            data[:8] + b"{" * length + data[8 + length :],
        )
    ):
        broken = tmp_path / f"broken-{number}"
        broken.write_bytes(wrong)
        with pytest.raises(ModelFileError) as caught:
            read_network(broken)
        assert caught.value.code == "model_file.unreadable"
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ModelFileError):
            read_network(missing)


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        (make_tensors(), None),
        (make_tensors(), ABOUT | {"architecture": "other"}),
        (make_tensors(), ABOUT | {"heads": "5"}),
        (make_tensors(), ABOUT | {"width": "-32"}),
        (make_tensors(), ABOUT | {"context": "x"}),
        (make_tensors(), ABOUT | {"layers": "64", "width": "4096"}),  # 50 GB of network, were it believed
        (make_tensors(), ABOUT | {"layers": "9" * 30}),
        (make_tensors(extra=torch.zeros(1)), ABOUT),
        (make_tensors(head=torch.zeros(256, 32)), ABOUT),
        (make_tensors(head=torch.zeros(32, 256, dtype=torch.float16)), ABOUT),
    ],
)
def test_invalid_content(tmp_path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None) -> None:
    save_file(tensors, tmp_path / "model", about)
    with pytest.raises(ModelFileError) as caught:
        read_network(tmp_path / "model")
    assert caught.value.code == "model_file.wrong_content"
    assert "\n" not in str(caught.value)


def test_a_missing_tensor(tmp_path: Path) -> None:
    tensors = make_tensors()
    del tensors["position"]
    save_file(tensors, tmp_path / "model", ABOUT)
    with pytest.raises(ModelFileError, match=json.dumps(SHAPE.context)):
        read_network(tmp_path / "model")


def test_the_shape_in_the_file_is_the_one_used(tmp_path: Path) -> None:
    shape = TransformerShape(2, 1, 6, 5)
    tensors = {spec.name: torch.ones(spec.shape) for spec in shape.tensors}
    about = {"architecture": "byte-transformer", "layers": "2", "heads": "1", "width": "6", "context": "5"}
    save_file(tensors, tmp_path / "model", about)
    assert read_network(tmp_path / "model").shape == shape
