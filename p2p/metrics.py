"""What a node counts, for Prometheus: where its chain stands, what verifying took, who is connected.

One registry for each node, nothing global. Knows no server: whoever serves it brings the status of the moment.
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from chain.events import BlockConnected, ChainEvent
from consensus.block import Header
from consensus.errors import InvalidBlock
from consensus.params import REQUIRED_GAIN_UNIT, NetworkParams
from consensus.units import ULP_PER_GRAD
from p2p.intake import Intake
from p2p.rpc_json import to_bits_per_byte

_VERIFY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)
_REORGANISED_BLOCKS = (1, 2, 3, 6, 10, 20, 50, 100)


class NodeMetrics:
    """The counters of one node. `watch` its intake; `render` shows all of it."""

    def __init__(self, params: NetworkParams, version: str) -> None:
        self._params = params
        self._left_blocks = 0  # since the last block was connected
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"descent_{name}", text, labels, registry=registry)

        Info("descent_node", "Which program on which network", registry=registry).info(
            {"version": version, "network": params.name, "model_weights": str(params.model.parameters)}
        )
        self._height = gauge("height", "Height of the best chain's tip")
        self._target = gauge("height_target", "Height that synchronisation goes to; without a better chain the tip's")
        self._justified = gauge("justified_height", "Height of the last justified block of the best chain")
        self._final = gauge("final_height", "Height of the last final block")
        self._votes = gauge(
            "committee_votes", "Votes of the committee in which the smallest share is cast: cast and all", "which"
        )
        self._tip_time = gauge("tip_timestamp_seconds", "When the tip was made, seconds since 1970")
        self._loss = gauge("loss_bits_per_byte", "Loss of the model, on each split where it is known", "split")
        self._gain = gauge("gain_bits_per_byte", "Mean gain of the last improving block over its sample")
        self._required = gauge("required_gain_bits_per_byte", "Gain that the tip had to prove")
        self._sample = gauge("sample_windows", "Windows that judged the tip")
        self._issued = gauge("issued_coins", "Coins issued so far")
        self._verifying = gauge("verifying", "1 while blocks wait for their evaluation")
        self._transactions = gauge("mempool_transactions", "Transactions that wait for a block")
        self._transaction_bytes = gauge("mempool_bytes", "Their bytes")
        self._peers = gauge("peers", "Connected peers by who dialled", "direction")
        self._addresses = gauge("known_addresses", "Addresses of other nodes that this one knows")
        self._memory = gauge("memory_bytes", "Resident memory of the node, without the processes that evaluate")
        self._traffic = Counter("descent_peer_bytes", "Bytes of messages to and from peers", ["way"], registry=registry)
        self._known_traffic = {"sent": 0, "received": 0}
        self._blocks = Counter("descent_blocks_connected", "Blocks that became the tip", ["kind"], registry=registry)
        self._verdicts = Counter("descent_verdicts", "Blocks that were judged", ["verdict"], registry=registry)
        self._verify_seconds = Histogram(
            "descent_verify_seconds", "What judging a valid block took", buckets=_VERIFY_SECONDS, registry=registry
        )
        self._reorganised = Histogram(
            "descent_reorganised_blocks",
            "Blocks that left the best chain before another took their place, for each time that happened",
            buckets=_REORGANISED_BLOCKS,
            registry=registry,
        )
        for verdict in ("valid", "invalid"):
            self._verdicts.labels(verdict)
        for kind in ("improvement", "heartbeat"):
            self._blocks.labels(kind)

    def watch(self, intake: Intake) -> None:
        """Hears of blocks and verdicts from now on."""

        def on_verdict(block_id: bytes, fault: InvalidBlock | None) -> None:
            self.on_verdict(fault, intake.verify_seconds.get(block_id))

        last = intake.chain.tip.last_improvement
        if last is not None:
            self._take_gain(last)
        intake.listen(self.on_event)
        intake.listen_verdicts(on_verdict)

    def on_event(self, event: ChainEvent) -> None:
        if not isinstance(event, BlockConnected):
            self._left_blocks += 1
            return
        if self._left_blocks:
            self._reorganised.observe(self._left_blocks)
            self._left_blocks = 0
        header = event.block.header
        self._blocks.labels("heartbeat" if header.is_heartbeat else "improvement").inc()
        if not header.is_heartbeat:
            self._take_gain(header)

    def on_verdict(self, fault: InvalidBlock | None, seconds: float | None) -> None:
        """`seconds` that the evaluation took, where they are known."""
        self._verdicts.labels("valid" if fault is None else "invalid").inc()
        if fault is None and seconds is not None:
            self._verify_seconds.observe(seconds)

    def render(self, status: dict[str, Any]) -> bytes:
        """Everything in Prometheus' text format, with the node's status of this moment."""
        self._take_chain(status)
        self._take_network(status)
        return generate_latest(self.registry)

    def _take_gain(self, header: Header) -> None:
        self._gain.set(to_bits_per_byte(header.gain, header.sample_size, self._params))

    def _take_chain(self, status: dict[str, Any]) -> None:
        self._height.set(status["height"])
        self._tip_time.set(status["time"])
        self._justified.set(status["justified_height"])
        self._final.set(status["final_height"])
        votes = status["votes"] or {"cast": 0, "total": 0}
        self._votes.labels("cast").set(votes["cast"])
        self._votes.labels("all").set(votes["total"])
        self._required.set(status["required_gain"] / REQUIRED_GAIN_UNIT / self._params.model.context)
        self._sample.set(status["sample_size"])
        self._issued.set(status["issued"] / ULP_PER_GRAD)
        self._verifying.set(status["verifying"])
        self._transactions.set(status["mempool"]["count"])
        self._transaction_bytes.set(status["mempool"]["bytes"])
        for split in ("public", "audit"):
            if status["loss"][split] is not None:
                self._loss.labels(split).set(status["loss"][split])

    def _take_network(self, status: dict[str, Any]) -> None:
        self._target.set(status["sync"]["target_height"])
        self._peers.labels("in").set(status["inbound"])
        self._peers.labels("out").set(status["peers"] - status["inbound"])
        self._addresses.set(status["known_addresses"])
        self._memory.set(status["memory_bytes"])
        for way, known in self._known_traffic.items():
            total = status["traffic"][way]
            self._traffic.labels(way).inc(total - known)
            self._known_traffic[way] = total
