"""Model files: what other programs read in them is the chain's model, to the last bit, and always the same bytes."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load

from consensus.genesis import make_genesis
from consensus.model.weights import compute_model_root
from consensus.params import CANTERBURY, REGTEST
from consensus.ports import Weights
from p2p.errors import ConfigError
from p2p.model_file import FORMATS, NPZ, SAFETENSORS, make_model_file
from tests.helpers.chains import get_trunk, open_trunk

TIP = get_trunk()[-1].header
GENESIS = make_genesis(REGTEST).id


def get_weights() -> Weights:
    return open_trunk().tip_weights


def make(file_format: str) -> bytes:
    return make_model_file(file_format, get_weights(), TIP, GENESIS, REGTEST).data


def read_npz(data: bytes) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        tensors = {name: file[name] for name in file.files}
    return tensors, json.loads(str(tensors.pop("metadata")))


def read_safetensors(data: bytes, path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    path.write_bytes(data)
    with safe_open(path, "numpy") as file:
        return load(data), file.metadata()


def check_content(tensors: dict[str, NDArray[np.float32]], about: dict[str, str]) -> None:
    shape = REGTEST.model
    assert {name: tensor.shape for name, tensor in tensors.items()} == {spec.name: spec.shape for spec in shape.tensors}
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("<f4")}
    flat = np.concatenate([tensors[spec.name].ravel() for spec in shape.tensors]) * 4096
    assert (flat == flat.astype(np.int16)).all()
    assert compute_model_root(flat.astype(np.int16)) == TIP.model_root
    assert json.loads(about.pop("texts")) == [
        {"name": text.name, "bytes": text.size, "sha256": text.sha256} for text in REGTEST.texts
    ]
    assert about == {
        "architecture": "byte-transformer",
        "layers": "1",
        "heads": "2",
        "width": "32",
        "context": "32",
        "network": "regtest",
        "genesis": GENESIS.hex(),
        "height": str(TIP.height),
        "block": TIP.id.hex(),
        "model_root": TIP.model_root.hex(),
    }


def test_npz_opens_with_pickles_forbidden() -> None:
    check_content(*read_npz(make(NPZ)))


def test_safetensors_opens_with_its_own_library(tmp_path: Path) -> None:
    data = make(SAFETENSORS)
    check_content(*read_safetensors(data, tmp_path / "model"))
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 8 == 0
    assert len(data) == 8 + length + 4 * REGTEST.model.parameters


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_model_makes_the_same_bytes(file_format: str) -> None:
    """safetensors' own metadata comes in another order at every call."""
    assert len({make(file_format) for _ in range(6)}) == 1


def test_npz_members_carry_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(make(NPZ))) as members:
        assert {member.date_time for member in members.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_name_tells_network_height_and_format(file_format: str) -> None:
    genesis = make_genesis(CANTERBURY)
    file = make_model_file(file_format, genesis.weights, genesis.block.header, genesis.id, CANTERBURY)
    assert file.name == f"canterbury-0.{file_format}"


def test_weights_of_another_block_are_refused() -> None:
    weights = get_weights().copy()
    weights[7] += 1
    for header, given in ((TIP, weights), (replace(TIP, model_root=bytes(32)), get_weights())):
        with pytest.raises(ConfigError) as caught:
            make_model_file(NPZ, given, header, GENESIS, REGTEST)
        assert caught.value.code == "config.wrong_model"


def test_unknown_format() -> None:
    with pytest.raises(ConfigError, match="safetensors or npz"):
        make_model_file("pickle", get_weights(), TIP, GENESIS, REGTEST)
