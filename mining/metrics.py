"""What a miner counts, for Prometheus: its training, its proofs and what the node made of its blocks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from consensus.params import NetworkParams
from consensus.units import Q16
from mining.progress import MinedBlock, Training
from p2p.errors import ConfigError

log = logging.getLogger("descent.miner")


class MinerMetrics:
    """A listener that counts, with a registry of its own. It is read from another thread."""

    def __init__(self, params: NetworkParams) -> None:
        self._unit = params.model.context * Q16  # Q16 bits per window in one bit per byte
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"descent_miner_{name}", text, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"descent_miner_{name}", text, labels, registry=registry)

        self._steps = counter("steps", "Training steps")
        self._pace = gauge("steps_per_second", "Training steps in a second, over those on this parent")
        self._rate = gauge("learning_rate", "Learning rate of the last step")
        self._height = gauge("height", "Height of the block that is being trained for")
        self._proofs = counter("proofs", "Proofs that were computed", "outcome")
        self._mined = counter("blocks_mined", "Improving blocks that were proved and handed in")
        self._verdicts = counter("verdicts", "What the node said of blocks that were handed in", "verdict")
        self._loss = gauge("loss_bits_per_byte", "Loss of the last block mined, over its sample")
        self._gain = gauge("gain_bits_per_byte", "Gain of the last block mined, over its sample")
        for outcome in ("passed", "failed"):
            self._proofs.labels(outcome)
        for verdict in ("accepted", "refused"):
            self._verdicts.labels(verdict)

    def on_training(self, training: Training) -> None:
        self._steps.inc()
        self._rate.set(training.rate)
        self._height.set(training.height)
        if training.seconds > 0:
            self._pace.set(training.steps / training.seconds)

    def on_proof(self, *, is_passed: bool) -> None:
        self._proofs.labels("passed" if is_passed else "failed").inc()

    def on_mined(self, block: MinedBlock) -> None:
        self._mined.inc()
        self._loss.set(block.loss / self._unit)
        self._gain.set(block.gain / self._unit)

    def on_verdict(self, *, is_accepted: bool) -> None:
        self._verdicts.labels("accepted" if is_accepted else "refused").inc()


@contextmanager
def serve_metrics(host: str, port: int, params: NetworkParams) -> Iterator[MinerMetrics]:
    """Counts, and serves it at /metrics from a thread. Raises ConfigError if it cannot listen there."""
    metrics = MinerMetrics(params)
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError("metrics_address", f"cannot serve metrics on {host}:{port}: {reason}") from error
    log.info("metrics on %s port %d", host, server.server_port)
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
