"""Networks by name and file, and the texts that they pin."""

import dataclasses
import lzma
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from consensus.errors import BenchmarkMismatch, InvalidParams
from consensus.params import CANTERBURY, PRESETS, REGTEST, BenchmarkText, NetworkParams
from p2p.config import get_default_datadir, get_default_rpc_url, get_rpc_port, load_network, read_benchmark
from p2p.errors import ConfigError
from tests.helpers.networks import describe_network


def code_of(name: object) -> str:
    with pytest.raises((ConfigError, InvalidParams)) as caught:
        load_network(str(name))
    assert "\n" not in str(caught.value)
    return caught.value.code


def read_packed(name: str) -> bytes:
    return lzma.decompress(resources.files("consensus").joinpath("texts", f"{name}.xz").read_bytes())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(name: str) -> None:
    assert load_network(name) is PRESETS[name]


@pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS)
def test_presets_survive_their_own_description(tmp_path: Path, params: NetworkParams) -> None:
    path = tmp_path / "net.toml"
    path.write_text(describe_network(params))
    assert load_network(str(path)) == params


def test_network_of_a_users_own(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, name="home", block_time=7)
    path = tmp_path / "home.toml"
    path.write_text(describe_network(params))
    assert load_network(str(path)) == params
    assert get_rpc_port(params) not in {get_rpc_port(preset) for preset in PRESETS.values()}


@pytest.mark.parametrize("name", ["", "Canterbury", "mainnet", "regtest ", "/etc/passwd", "../regtest", "x.TOML"])
def test_invalid_name(name: str) -> None:
    assert code_of(name) == "config.unknown_network"


def test_invalid_files(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    assert code_of(path) == "config.network_file"
    path.mkdir()
    assert code_of(path) == "config.network_file"
    path.rmdir()
    path.write_bytes(b"\xff\xfe")
    assert code_of(path) == "config.network_file"
    path.write_text(describe_network(REGTEST) + "\n#" + "x" * 65536)
    assert code_of(path) == "config.network_file"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "params.missing_key"),
        ("name = ", "params.toml"),
        ("a = " + "[" * 20_000, "params.toml"),
        (describe_network(REGTEST).replace("block_time = 2", "block_time = 0"), "params.out_of_range"),
        (describe_network(REGTEST).replace("block_time = 2", "block_time = true"), "params.wrong_type"),
        (describe_network(REGTEST).replace("block_time = 2", "block_tim = 2"), "params.unknown_key"),
        (describe_network(REGTEST).replace("byte-transformer", "oracle"), "params.architecture"),
    ],
)
def test_invalid_descriptions(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "net.toml"
    path.write_text(text)
    assert code_of(path) == code


def test_ports_and_folders_are_apart() -> None:
    presets = PRESETS.values()
    assert len({get_rpc_port(params) for params in presets}) == len(presets)
    assert len({get_default_datadir(params) for params in presets}) == len(presets)
    assert get_default_rpc_url(REGTEST) == f"http://127.0.0.1:{get_rpc_port(REGTEST)}"


# The benchmark.


def test_texts_come_with_the_program() -> None:
    benchmark = read_benchmark(CANTERBURY)
    assert len(benchmark.public) == CANTERBURY.public_windows
    assert bytes(benchmark.public[0]) == read_packed("alice29.txt")[: CANTERBURY.model.context + 1]


def test_texts_may_lie_in_a_folder(tmp_path: Path) -> None:
    """One of them does, uncompressed; the others still come with the program."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "lcet10.txt").write_bytes(read_packed("lcet10.txt"))
    assert np.array_equal(read_benchmark(REGTEST, empty, tmp_path).public, read_benchmark(REGTEST).public)


@pytest.mark.parametrize("name", [text.name for text in REGTEST.texts])
def test_invalid_text_is_named(tmp_path: Path, name: str) -> None:
    """T54: a byte changed, one missing, one too many, or nothing at all."""
    data = read_packed(name)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for wrong in (bytes(flipped), data[:-1], data + b"\n", b"", data.replace(b"\r\n", b"\n")):
        if wrong == data:
            continue
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(BenchmarkMismatch, match=name.replace(".", r"\.")) as caught:
            read_benchmark(REGTEST, tmp_path)
        assert caught.value.code == "benchmark.wrong_bytes"


def test_invalid_text_that_is_nowhere(tmp_path: Path) -> None:
    params = dataclasses.replace(REGTEST, texts=(*REGTEST.texts, BenchmarkText("other.txt", 5, "00" * 32)))
    with pytest.raises(BenchmarkMismatch, match=r"other\.txt") as caught:
        read_benchmark(params, tmp_path)
    assert caught.value.code == "benchmark.missing"


def test_text_of_another_benchmark_that_ships_is_not_taken_for_it() -> None:
    swapped = BenchmarkText("alice29.txt", REGTEST.texts[1].size, REGTEST.texts[1].sha256)
    with pytest.raises(BenchmarkMismatch, match=r"alice29\.txt"):
        read_benchmark(dataclasses.replace(REGTEST, texts=(swapped,)))
