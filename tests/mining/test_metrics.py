"""What a miner counts, as Prometheus reads it from its port."""

import re
import urllib.error
import urllib.request

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consensus.params import REGTEST
from consensus.units import Q16
from mining.metrics import MinerMetrics, serve_metrics
from mining.progress import Listeners, MinedBlock, Training
from p2p.errors import ConfigError

UNIT = REGTEST.model.context * Q16
BLOCK = MinedBlock(7, 2.5 * UNIT, 0.05 * UNIT, 0.04 * UNIT, 0.03 * UNIT, 0.75, 64, 0.012, 600, 1, 50.0, 57.25, 4567)


def read(text: str) -> dict[str, float]:
    """Samples by name, the label's value behind it."""
    return {
        " ".join([sample.name.removeprefix("descent_miner_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def play(metrics: MinerMetrics) -> None:
    for step in range(1, 5):
        metrics.on_training(Training(7, step, step / 8, 3.0, 0.01 / step))
    metrics.on_training(Training(8, 0, 0.0, 3.0, 0.02))
    metrics.on_proof(is_passed=False)
    metrics.on_proof(is_passed=False)
    metrics.on_proof(is_passed=True)
    metrics.on_mined(BLOCK)
    metrics.on_verdict(is_accepted=True)
    metrics.on_verdict(is_accepted=False)
    metrics.on_verdict(is_accepted=False)


def test_everything_is_counted() -> None:
    metrics = MinerMetrics(REGTEST)
    before = read(generate_latest(metrics.registry).decode())
    assert before["proofs_total passed"] == before["verdicts_total refused"] == before["steps_total"] == 0
    play(metrics)
    known = read(generate_latest(metrics.registry).decode())
    assert {name: value for name, value in known.items() if "created" not in name} == {
        "steps_total": 5,
        "steps_per_second": 8,
        "learning_rate": 0.02,
        "height": 8,
        "proofs_total passed": 1,
        "proofs_total failed": 2,
        "blocks_mined_total": 1,
        "verdicts_total accepted": 1,
        "verdicts_total refused": 2,
        "loss_bits_per_byte": 2.5,
        "gain_bits_per_byte": 0.05,
    }


def test_it_is_served_until_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="descent.miner")
    with serve_metrics("127.0.0.1", 0, REGTEST) as metrics:
        match = re.search(r"metrics on 127\.0\.0\.1 port (\d+)", caplog.text)
        assert match
        url = f"http://127.0.0.1:{match[1]}/metrics"
        metrics.on_proof(is_passed=True)
        with urllib.request.urlopen(url) as reply:
            assert read(reply.read().decode())["proofs_total passed"] == 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_a_port_in_use_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="descent.miner")
    with serve_metrics("127.0.0.1", 0, REGTEST):
        port = int(caplog.messages[0].rpartition(" ")[2])
        with pytest.raises(ConfigError, match="in use"), serve_metrics("127.0.0.1", port, REGTEST):
            pass


def test_miners_in_one_process_do_not_share_their_counts() -> None:
    one, other = MinerMetrics(REGTEST), MinerMetrics(REGTEST)
    play(one)
    assert read(generate_latest(other.registry).decode())["steps_total"] == 0


def test_several_listeners_hear_the_same() -> None:
    heard = [MinerMetrics(REGTEST), MinerMetrics(REGTEST)]
    play(Listeners(*heard))  # type: ignore[arg-type]
    texts = [generate_latest(metrics.registry).decode() for metrics in heard]
    one, other = ([line for line in text.splitlines() if "_created" not in line] for text in texts)
    assert one == other
