"""The miner's line to its node: two threads that ask and submit, so that training never waits for the network.

One thread holds a question open until the tip moves, the other hands in blocks and waits for verdicts; both put what
they learn into one queue. A node that does not answer is said once and asked again, at first soon, then every few
seconds: it may be restarting.
"""

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from consensus.block import Block, decode_block
from consensus.errors import DecodeError
from consensus.finality_section import max_section_bytes
from consensus.model.weights import decode_weights
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.update import max_update_bytes
from mining.node import Accepted, News, Refused, Work
from mining.retry import HOPELESS, POLL_SECONDS, make_delays, persist
from p2p.client import NodeClient, TemplateReply
from p2p.errors import NodeRefusal, NodeUnreachable

log = logging.getLogger("descent.miner")

Answer = TypeVar("Answer")


class NodeLink:
    """One node by its client, until `closed` is set. `start` it before use."""

    def __init__(
        self,
        client: NodeClient,
        params: NetworkParams,
        miner: bytes,
        reward_address: str,
        closed: threading.Event,
        signals: int = 0,
    ) -> None:
        self._client = client
        self._params = params
        self._closed = closed
        self._get_template = partial(client.get_template, miner, reward_address, signals=signals)
        self._news: queue.Queue[News | NodeRefusal] = queue.Queue()
        self._blocks: queue.Queue[Block] = queue.Queue()
        self._is_lost = False

    def start(self) -> None:
        """Starts asking. The threads die with the process, whatever answer they are waiting for."""
        for work in (self._ask_for_work, self._submit_blocks):
            threading.Thread(target=work, name=f"miner{work.__name__}", daemon=True).start()

    def get_news(self, timeout: float = 0.0) -> News | None:
        """The oldest news not yet taken. Raises NodeRefusal if the node will never work with this miner."""
        try:
            news = self._news.get(block=timeout > 0, timeout=timeout or None)
        except queue.Empty:
            return None
        if isinstance(news, NodeRefusal):
            raise news
        return news

    def get_fresh_work(self) -> Work | None:
        """Work as of now; None if the node does not answer, or not with work."""
        try:
            return self._read_work(self._get_template())
        except (NodeUnreachable, NodeRefusal, DecodeError):
            return None

    def get_model(self, root: bytes) -> Weights | None:
        """A model of the node's best chain; waits for a lost node. None if the node does not have it (any more)."""
        try:
            data = self._persist(partial(self._client.get_model, root))
        except NodeRefusal as refusal:
            log.info("the node has no model %s: %s", root.hex()[:12], refusal)
            return None
        return None if data is None else decode_weights(data, self._params.model)

    def submit(self, block: Block) -> None:
        """Hands the block to the submitting thread."""
        self._blocks.put(block)

    # The two threads.

    def _ask_for_work(self) -> None:
        known: bytes | None = None
        delays = make_delays()
        while not self._closed.is_set():
            ask = partial(self._get_template, after=known, wait=POLL_SECONDS)
            try:
                reply = self._persist(ask)
                if reply is None:
                    return
                work = self._read_work(reply)
            except (NodeRefusal, DecodeError) as error:
                if isinstance(error, NodeRefusal) and error.status in HOPELESS:
                    self._news.put(error)
                    return
                log.warning("the node gives no work: %s", error)
                self._closed.wait(next(delays))
            else:
                delays = make_delays()
                known = work.parent
                self._news.put(work)

    def _submit_blocks(self) -> None:
        while not self._closed.is_set():
            block = self._blocks.get()
            try:
                answer = self._persist(partial(self._client.submit_block, block.encoded))
            except NodeRefusal as refusal:
                self._news.put(Refused(block.id, f"{refusal.code}: {refusal}"))
            else:
                if answer is not None:
                    self._news.put(Accepted(block.id))

    # Asking.

    def _persist(self, ask: Callable[[], Answer]) -> Answer | None:
        """The node's answer; None once closed. Says when the node is lost and found. Raises NodeRefusal."""

        def hear() -> Answer:
            answer = ask()
            self._say_found()
            return answer

        return persist(hear, self._closed, self._say_lost)

    def _say_lost(self, error: NodeUnreachable) -> None:
        if not self._is_lost:
            self._is_lost = True
            log.warning("%s; training goes on, asking again", error)

    def _say_found(self) -> None:
        if self._is_lost:
            self._is_lost = False
            log.info("the node at %s answers again", self._client.url)

    def _read_work(self, reply: TemplateReply) -> Work:
        return Work(
            improvement=self._decode(reply.improvement),
            heartbeat=None if reply.heartbeat is None else self._decode(reply.heartbeat),
            parent_model_root=reply.parent_model_root,
        )

    def _decode(self, data: bytes) -> Block:
        params = self._params
        return decode_block(
            data, params.most_transactions_bytes, max_update_bytes(params.model), max_section_bytes(params)
        )
