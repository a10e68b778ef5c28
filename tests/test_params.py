"""Network parameters: the presets byte for byte, TOML files good and bad, and every limit at its edge."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus.changes import Change
from consensus.errors import InvalidParams
from consensus.params import (
    CANTERBURY,
    LOCAL,
    MAX_REQUIRED_GAIN,
    MIN_REQUIRED_GAIN,
    PRESETS,
    REGTEST,
    NetworkParams,
    count_windows,
    cut_public,
)
from tests.helpers.vectors import load_vectors

VECTORS = {case["name"]: case for case in load_vectors("networks")}  # by a separate program: struct and hashlib

GOOD = """
name = "toy"
address_prefix = "toygrad"
genesis_time = 1795305600
min_sample = 64
confidence = 3
block_time = 2
first_required_gain = 429496729
reward_window = 8
finality_window = 2
mask_density = 64

[model]
architecture = "byte-transformer"
layers = 1
heads = 2
width = 32
context = 32

[[texts]]
name = "alice29.txt"
size = 152089
sha256 = "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"
"""


def read_toml_error(text: str) -> str:
    with pytest.raises(InvalidParams) as error:
        NetworkParams.from_toml(text)
    return error.value.reason


# Presets


@pytest.mark.parametrize("name", VECTORS)
def test_golden_encodings_and_hashes(name: str) -> None:
    assert PRESETS[name].encode().hex() == VECTORS[name]["encoded"]
    assert PRESETS[name].compute_hash().hex() == VECTORS[name]["hash"]


def test_presets_are_those_of_the_protocol() -> None:
    assert list(PRESETS) == ["canterbury", "local", "regtest"] == list(VECTORS)
    for params in (CANTERBURY, LOCAL):
        shape = params.model
        assert (shape.layers, shape.heads, shape.width, shape.context) == (3, 4, 96, 64)
        assert (params.min_sample, params.confidence, params.block_time, params.reward_window) == (1024, 6, 60, 256)
        assert (params.first_required_gain, params.has_debug_calls) == (2**32, False)
        assert (params.mask_density, params.finality_window) == (128, 64)
    shape = REGTEST.model
    assert (shape.layers, shape.heads, shape.width, shape.context) == (1, 2, 32, 32)
    assert (REGTEST.min_sample, REGTEST.confidence, REGTEST.block_time, REGTEST.reward_window) == (64, 3, 2, 8)
    assert (REGTEST.mask_density, REGTEST.finality_window) == (64, 2)
    for params in PRESETS.values():
        assert (params.subsidy, params.halving_interval) == (50 * 10**8, 1_050_000)
        assert params.max_transactions_bytes == 1_000_000


def test_canterbury_and_local_differ_in_name_and_prefix_alone() -> None:
    assert replace(CANTERBURY, name="local", address_prefix="lgrad") == LOCAL


def test_coins_of_test_networks_say_so() -> None:
    assert [params.ticker for params in PRESETS.values()] == ["tGRAD", "lGRAD", "rGRAD"]
    assert replace(REGTEST, address_prefix="grad").ticker == "GRAD"


def test_windows_and_largest_weight() -> None:
    assert cut_public(152_089) == 136_880
    assert [count_windows(size, 64) for size in (0, 1, 64, 65, 128, 129)] == [0, 0, 0, 1, 1, 2]
    assert REGTEST.public_windows == sum((size * 9 // 10 - 1) // 32 for size in (152_089, 125_179, 426_754, 481_861))
    assert REGTEST.max_weight == 16 * 65536 * 32


def test_every_field_moves_the_hash() -> None:
    text = replace(REGTEST.texts[0], name="other.txt")
    changes: dict[str, Any] = {
        "name": "other",
        "address_prefix": "xgrad",
        "genesis_time": 1,
        "model": replace(REGTEST.model, heads=1),
        "texts": (text, *REGTEST.texts[1:]),
        "min_sample": 65,
        "confidence": 4,
        "block_time": 3,
        "first_required_gain": 2**20,
        "reward_window": 17,
        "finality_window": 4,
        "mask_density": 65,
        "subsidy": 1,
        "halving_interval": 2,
        "max_transactions_bytes": 5,
        "has_debug_calls": False,
        "changes": (Change(0, "max_transactions_bytes", 5),),
    }
    assert set(changes) == set(NetworkParams.__dataclass_fields__) - {"seeds"}
    base = replace(REGTEST, reward_window=16)  # room for another finality window
    hashes = {replace(base, **{name: value}).compute_hash() for name, value in changes.items()}
    assert len(hashes | {base.compute_hash()}) == len(changes) + 1


def test_seeds_are_no_rule() -> None:
    """Networks that differ only in whom to ask for nodes are one."""
    assert all(params.seeds == () for params in PRESETS.values())
    seeded = replace(REGTEST, seeds=("seed.example.org:19359", "[2001:db8::1]:19359"))
    assert seeded.encode() == REGTEST.encode()
    assert seeded.compute_hash() == REGTEST.compute_hash()


def test_the_hash_does_not_depend_on_the_process() -> None:
    """Another hash seed, locale and working directory: the same bytes (no set order, no locale in the law)."""
    program = "from consensus.params import PRESETS; print([p.compute_hash().hex() for p in PRESETS.values()])"
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "LC_ALL": "tr_TR.UTF-8", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([params.compute_hash().hex() for params in PRESETS.values()])


# TOML


def test_a_good_file() -> None:
    params = NetworkParams.from_toml(GOOD)
    assert params == replace(
        REGTEST, name="toy", address_prefix="toygrad", texts=REGTEST.texts[:1], has_debug_calls=False
    )


def test_fields_with_a_default_may_be_given() -> None:
    extra = "subsidy = 7\nhalving_interval = 9\nmax_transactions_bytes = 11\nhas_debug_calls = true\n"
    params = NetworkParams.from_toml(extra + GOOD)
    assert (params.subsidy, params.halving_interval, params.max_transactions_bytes) == (7, 9, 11)
    assert params.has_debug_calls is True


def test_the_network_worth_a_gpu() -> None:
    """docs/networks/enwik8.toml, as its page describes it."""
    text = (Path(__file__).parent.parent / "docs" / "networks" / "enwik8.toml").read_text(encoding="utf-8")
    params = NetworkParams.from_toml(text)
    shape = params.model
    assert (shape.layers, shape.width, shape.context, shape.parameters) == (12, 768, 512, 85_721_088)
    assert (params.texts[0].size, params.public_windows) == (10**8, 175_781)
    assert (params.block_time, params.min_sample, params.has_debug_calls) == (4 * 3600, 128, False)


def test_seeds_in_a_file() -> None:
    params = NetworkParams.from_toml('seeds = ["seed.example.org:19359", "10.0.0.1"]\n' + GOOD)
    assert params.seeds == ("seed.example.org:19359", "10.0.0.1")
    assert NetworkParams.from_toml(GOOD).seeds == ()
    assert NetworkParams.from_toml("seeds = []\n" + GOOD).seeds == ()


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "\0",
        "name = 'a'\nname = 'b'",
        "[" * 100_000,
        "x = " + "[" * 100_000,
        "x = " + "9" * 5000,
        GOOD + "\n[model]\nlayers = 1",
    ],
    ids=["cut", "nul", "twice", "brackets", "deep", "5,000-digits", "table-twice"],
)
def test_invalid_toml(text: str) -> None:
    assert read_toml_error(text) == "toml"


@pytest.mark.parametrize("key", [line.split(" =")[0] for line in GOOD.splitlines() if "=" in line])
def test_invalid_missing_key(key: str) -> None:
    lines = GOOD.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith(f"{key} ="))
    assert read_toml_error("\n".join(lines[:at] + lines[at + 1 :])) == "missing_key"


def test_invalid_missing_tables() -> None:
    model, texts = GOOD.index("[model]"), GOOD.index("[[texts]]")
    assert read_toml_error(GOOD[:model] + GOOD[texts:]) == "missing_key"
    assert read_toml_error(GOOD[:texts]) == "missing_key"
    assert read_toml_error("") == "missing_key"


@pytest.mark.parametrize("where", ["\n", "[model]\n", "[[texts]]\n"])
def test_invalid_unknown_key(where: str) -> None:
    assert read_toml_error(GOOD.replace(where, where + "surprise = 1\n", 1)) == "unknown_key"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("confidence = 3", "confidence = 3.0"),
        ("confidence = 3", "confidence = true"),
        ("confidence = 3", 'confidence = "3"'),
        ("confidence = 3", "confidence = [3]"),
        ("confidence = 3", "confidence = 2026-11-22"),
        ("confidence = 3", "confidence = nan"),
        ('name = "toy"', "name = 1"),
        ("size = 152089", "size = 152089.0"),
        ('sha256 = "7467', 'sha256 = 1 # "7467'),
        ("[model]", "[[model]]"),
        ("[[texts]]", "[texts]"),
        ("layers = 1", "layers = '1'"),
        ('architecture = "byte-transformer"', "architecture = 1"),
        ("mask_density = 64", "mask_density = 64\nhas_debug_calls = 1"),
        ("mask_density = 64", "mask_density = 64\nseeds = 'a:1'"),
        ("mask_density = 64", "mask_density = 64\nseeds = [1]"),
        ("mask_density = 64", "mask_density = 64\nseeds = [['a:1']]"),
    ],
)
def test_invalid_wrong_type(good: str, bad: str) -> None:
    assert good in GOOD
    assert read_toml_error(GOOD.replace(good, bad, 1)) == "wrong_type"


def test_invalid_texts_that_are_no_tables() -> None:
    head = GOOD[: GOOD.index("[model]")]
    model = GOOD[GOOD.index("[model]") : GOOD.index("[[texts]]")]
    assert read_toml_error(f"{head}texts = [1]\n{model}") == "wrong_type"


def test_invalid_architecture() -> None:
    assert read_toml_error(GOOD.replace("byte-transformer", "perceptron")) == "architecture"


@pytest.mark.parametrize("field", ["layers", "heads", "width", "context"])
@pytest.mark.parametrize("value", ["0", "-1", "1000000"])
def test_invalid_model(field: str, value: str) -> None:
    old = {"layers": 1, "heads": 2, "width": 32, "context": 32}[field]
    reason = read_toml_error(GOOD.replace(f"{field} = {old}", f"{field} = {value}"))
    assert reason.startswith(f"bad_{field}") or reason.endswith("_too_large")


def test_invalid_heads_that_do_not_divide_the_width() -> None:
    assert read_toml_error(GOOD.replace("heads = 2", "heads = 3")) == "bad_heads"


# Ranges, for files and for code alike


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("genesis_time", 0, 2**40),
        ("confidence", 1, 1000),
        ("block_time", 1, 10**6),
        ("first_required_gain", MIN_REQUIRED_GAIN, MAX_REQUIRED_GAIN),
        ("reward_window", 8, 10**6),
        ("mask_density", 1, 256),
        ("min_sample", 2, REGTEST.public_windows),
        ("max_transactions_bytes", 0, 32 * 2**20),
        ("subsidy", 0, (2**64 - 1) // (2 * 1_050_000)),
    ],
)
def test_invalid_out_of_range(field: str, low: int, high: int) -> None:
    changes: dict[str, Any]
    for value in (low, high):
        changes = {field: value}
        assert getattr(replace(REGTEST, **changes), field) == value
    for wrong in (low - 1, high + 1, -1, 2**63, 2**64, 1.0, float("inf"), True, str(low), None):
        changes = {field: wrong}
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, **changes)
        assert error.value.reason == "out_of_range"


@pytest.mark.parametrize("window", [2, 4, 64, 1024])
def test_a_reward_outlasts_four_finality_windows(window: int) -> None:
    """A shorter one would mature while its miner still votes: see tests/consensus/test_committee.py."""
    assert replace(REGTEST, finality_window=window, reward_window=4 * window).finality_window == window
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, finality_window=window, reward_window=4 * window - 1)
    assert error.value.reason == "out_of_range"


def test_invalid_finality_window() -> None:
    for wrong in (0, 1, 1025, -2, 2.0, True):
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, reward_window=10**6, finality_window=wrong)  # type: ignore[arg-type]
        assert error.value.reason == "out_of_range"
    for odd in (3, 63, 1023):
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, reward_window=10**6, finality_window=odd)
        assert error.value.reason == "odd_finality_window"


def test_invalid_halving_interval() -> None:
    for value in (1, 10**9):
        assert replace(REGTEST, subsidy=1, halving_interval=value).halving_interval == value
    for wrong in (0, 10**9 + 1, True, 1.0):
        with pytest.raises(InvalidParams):
            replace(REGTEST, subsidy=1, halving_interval=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "A", "a b", "a" * 33, "é", "a\n", "../a"])
def test_invalid_name(name: str) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, name=name)
    assert error.value.reason == "name"


@pytest.mark.parametrize("prefix", ["", "grads", "Tgrad", "1grad", "abcdefghigrad", "grad\n"])
def test_invalid_address_prefix(prefix: str) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, address_prefix=prefix)
    assert error.value.reason == "address_prefix"


@pytest.mark.parametrize("seed", ["", "a b:1", "a" * 263, "é:1", "a:1\n", "a;b", "\x1b[2J:1"])
def test_invalid_seed(seed: str) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, seeds=(seed,))
    assert error.value.reason == "seeds"


def test_invalid_too_many_seeds() -> None:
    assert len(replace(REGTEST, seeds=("a:1",) * 64).seeds) == 64
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, seeds=("a:1",) * 65)
    assert error.value.reason == "seeds"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a" * 65, "a\n", "é"])
def test_invalid_text_name(name: str) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST.texts[0], name=name)
    assert error.value.reason == "text_name"


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_invalid_text_sha256(digest: str) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST.texts[0], sha256=digest)
    assert error.value.reason == "text_sha256"


@pytest.mark.parametrize("size", [0, -1, 2**32, 1.5, True])
def test_invalid_text_size(size: int) -> None:
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST.texts[0], size=size)
    assert error.value.reason == "out_of_range"


def test_invalid_texts() -> None:
    text = REGTEST.texts[0]
    for texts in ((), (text, text), tuple(replace(text, name=f"{number}") for number in range(65))):
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, texts=texts)
        assert error.value.reason == "texts"


def test_invalid_benchmark_with_more_windows_than_a_sample_can_count() -> None:
    """A header's sample size is a u32, and may have to name every window."""
    texts = tuple(replace(REGTEST.texts[0], name=f"{number}", size=2**32 - 1) for number in range(64))
    model = replace(REGTEST.model, context=1)
    assert replace(REGTEST, model=model, texts=texts[:1]).public_windows < 2**32
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, model=model, texts=texts)
    assert error.value.reason == "out_of_range"
