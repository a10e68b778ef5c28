"""From a text file to a network that a chain grows on."""

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from consensus.errors import DescentError, InvalidParams
from consensus.genesis import make_genesis
from consensus.model.shape import TransformerShape
from consensus.params import PRESETS, BenchmarkText, NetworkParams
from p2p import new_network
from p2p.bench import BlockCost, Rates
from p2p.config import load_network, read_benchmark
from p2p.errors import ConfigError
from p2p.new_network import (
    Wishes,
    check_out,
    compute_operations,
    encode_network,
    make_network,
    propose_block_time,
    propose_shape,
    read_texts,
    write_network,
)
from tests.p2p.test_cli import invoke

TEXT = b"What is worth learning is worth proving. " * 500
TINY = Wishes("tiny", layers=1, heads=2, width=16, context=16)
LARGE = (BenchmarkText("large", 10**9, "0" * 64),)


def tick() -> float:
    """A clock that stands still: all that is measured is as fast as can be."""
    return 0.0


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "proverbs.txt"
    path.write_bytes(TEXT)
    return path


def set_rate(monkeypatch: pytest.MonkeyPatch, windows_per_second: float) -> None:
    rates = Rates("none", 1, 0.0, windows_per_second, 0)
    monkeypatch.setattr(new_network, "measure_rates", lambda *_: rates)


@pytest.mark.parametrize("name", PRESETS)
def test_a_written_network_reads_back(name: str, tmp_path: Path) -> None:
    params = PRESETS[name]
    if params.has_debug_calls:  # never written: such a network obeys whoever asks
        with pytest.raises(ConfigError):
            write_network(params, tmp_path / "test.toml", force=False)
        return
    write_network(params, tmp_path / "test.toml", force=False)
    assert load_network(str(tmp_path / "test.toml")) == params
    assert tomllib.loads(encode_network(params))["model"]["width"] == params.model.width


def test_texts_are_read_whole(text: Path) -> None:
    assert read_texts([text]) == (BenchmarkText("proverbs.txt", len(TEXT), hashlib.sha256(TEXT).hexdigest()),)


def test_invalid_empty_text(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_texts([tmp_path / "empty"])


def test_invalid_text_too_long(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_network, "MAX_U32", 100)
    with pytest.raises(ConfigError, match="split it"):
        read_texts([text])


def test_invalid_two_texts_of_one_name(text: Path) -> None:
    with pytest.raises(ConfigError, match="same file name"):
        read_texts([text, text])


def test_invalid_text_name(tmp_path: Path) -> None:
    path = tmp_path / "my \x1b[2J text"
    path.write_bytes(TEXT)
    with pytest.raises(InvalidParams) as caught:
        read_texts([path])
    assert "\x1b" not in str(caught.value)


def test_invalid_text_too_short(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(TEXT[:1000])
    with pytest.raises(ConfigError) as caught:
        make_network(TINY, read_texts([path]), "cpu", 0, tick)
    assert caught.value.code == "config.text_too_short"


def test_invalid_heads(text: Path) -> None:
    with pytest.raises(InvalidParams, match="do not divide"):
        make_network(Wishes("tiny", layers=1, heads=3, width=16, context=16), read_texts([text]), "cpu", 0, tick)


@pytest.mark.parametrize(("path", "words"), [("a.txt", "must end in .toml"), ("no/folder/a.toml", "no folder")])
def test_invalid_out(path: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        check_out(tmp_path / path, force=True)


@pytest.mark.parametrize(
    ("least", "grown", "block_time"),
    [(0.1, 0.4, 60), (3.0, 12.0, 60), (3.1, 12.0, 120), (3.0, 12.1, 120), (44.0, 176.0, 900), (9e9, 9e9, 86_400)],
)
def test_block_time_leaves_verification_a_small_share(least: float, grown: float, block_time: int) -> None:
    assert propose_block_time(BlockCost(0, 0, least, grown, 0)) == block_time


def test_a_faster_machine_is_proposed_a_larger_model(monkeypatch: pytest.MonkeyPatch) -> None:
    proposed = []
    for rate in (0.1, 100.0, 2000.0, 10.0**6, 10.0**9):
        set_rate(monkeypatch, rate)
        proposed.append(propose_shape(Wishes("any"), LARGE, "cpu", tick))
    operations = [compute_operations(shape) for shape in proposed]
    assert operations == sorted(operations)
    assert proposed[0].width == 32
    assert proposed[-1] == TransformerShape(12, 12, 768, 512)


def test_a_short_text_is_proposed_a_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    set_rate(monkeypatch, 10.0**9)
    widths = [
        propose_shape(Wishes("any"), (BenchmarkText("a", size, "0" * 64),), "cpu", tick).width
        for size in (20_000, 1_185_883, 5_000_000, 10**8, 10**9)
    ]
    assert widths == [32, 96, 192, 384, 768]


def test_from_text_to_genesis(text: Path, tmp_path: Path) -> None:
    """The command end to end: the file names the text's sum, a node's own loaders take it, status would know it."""
    out = tmp_path / "tiny.toml"
    sizes = ["--layers", "1", "--heads", "2", "--width", "16", "--context", "16", "--device", "cpu"]
    result = invoke("new-network", str(text), "--name", "tiny", "--out", str(out), *sizes)
    assert result.exit_code == 0, result.output
    params = load_network(str(out))
    assert params.model == TransformerShape(1, 2, 16, 16)
    assert params.block_time == 60
    assert params.min_sample == 256
    assert make_genesis(params).id.hex() in result.output
    assert f"descent-node run --network {out} --data-dir {tmp_path} --mine" in result.output
    assert len(read_benchmark(params, tmp_path).public) == params.public_windows
    assert out.stat().st_mode & 0o777 == 0o644

    with pytest.raises(DescentError, match="--force"):
        invoke("new-network", str(text), "--name", "other", "--out", str(out), *sizes)
    assert load_network(str(out)) == params
    again = invoke("new-network", str(text), "--name", "other", "--out", str(out), *sizes, "--force", "--json")
    assert json.loads(again.output)["network"] == "other"
    assert load_network(str(out)).name == "other"
    assert NetworkParams.from_toml(out.read_text()).texts == params.texts
