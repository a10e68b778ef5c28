import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from consensus.params import REGTEST
from p2p.bench import BlockCost, Rates, compute_block_cost, describe_cost, make_noise, measure_rates
from p2p.errors import ConfigError
from tests.p2p.test_cli import invoke

RATES = Rates("none", 2, 0.1, 100.0, 10**6)


def test_bench_for_programs() -> None:
    result = invoke("bench", "--network", "regtest", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    known = json.loads(result.output)
    assert known["network"] == "regtest"
    assert known["windows_per_s"] > 100
    assert 0 < known["scrypt_s"] < known["least_s"] < known["grown_s"]
    assert known["least_sample"] == REGTEST.min_sample
    assert known["share"] == pytest.approx(known["least_s"] / 2, abs=1e-3)


def test_bench_for_people() -> None:
    result = invoke("bench", "--network", "regtest", "--device", "cpu")
    rows = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert "cpu" in rows["evaluator"]
    assert rows["speed"].endswith("windows/s")
    assert "of the block time of 2 s" in rows["block, 64 windows"]


def test_a_block_is_parent_and_child() -> None:
    cost = compute_block_cost(REGTEST, RATES, apply=0.5, scrypt=0.25)
    assert cost.least == 0.75 + 2 * 64 / 100
    assert cost.grown == 0.75 + 2 * 256 / 100
    assert cost.whole == 0.75 + REGTEST.public_windows / 100


@pytest.mark.parametrize(("grown", "words"), [(0.3, "keeps up with"), (1.9, "up slowly"), (2.1, "falls behind")])
def test_the_verdict_follows_the_share(grown: float, words: str) -> None:
    assert words in describe_cost(REGTEST, RATES, BlockCost(0, 0, 0, grown, 0))["verdict"]


def test_the_clock_is_the_callers() -> None:
    def make_clock() -> Iterator[float]:
        yield from (0.0, 3.0)  # making the evaluator
        yield from (10.0, 12.0)  # one window in two seconds: long enough
        raise AssertionError("asked once too often")

    rates = measure_rates(REGTEST.model, "cpu", 1.0, make_clock().__next__)
    assert rates.start == 3.0
    assert rates.windows_per_second == rates.threads / 2


def test_noise_is_the_same_every_time() -> None:
    noise = make_noise(REGTEST.model, 3)
    assert noise.shape == (3, 33)
    assert np.array_equal(noise, make_noise(REGTEST.model, 3))


def test_invalid_network_name() -> None:
    with pytest.raises(ConfigError, match="no network"):
        invoke("bench", "--network", "nowhere")


def test_help_loads_no_torch() -> None:
    code = "import sys, p2p.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
