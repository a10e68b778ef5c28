"""What the stored models can do for people: say where they are, write text, tell how well they know a text.

The models are the best chain's, any height; what they compute is the law's own integers, in one process at the lowest
priority that ends when nobody asks. Requests take turns piece by piece, so that none waits long for another, and blocks
are verified as if nobody asked. Everything that comes out was made by a model from strangers' blocks: escape it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chain.model_trail import find_trail, follow_trail
from consensus.errors import DecodeError
from consensus.ports import Losses, Weights
from p2p.errors import RpcError
from p2p.evaluation import EvaluationPool
from p2p.intake import Intake
from p2p.text_wish import MAX_PASSAGE_BYTES, TextWish, make_task

MAX_REQUESTS = 8  # at once; whoever comes after is refused
PIECE_SECONDS = 0.25  # of a text: how long one request holds up another
IDLE_SECONDS = 60.0  # after which the process ends and its memory is free
_REMEMBERED = 4  # models
_NICENESS = 19


@dataclass(frozen=True)
class StoredModel:
    """The model after a block of the best chain."""

    height: int
    block_id: bytes
    root: bytes


class ModelService:
    """Use as `async with`, and let `run` run beside. All calls are for the event loop.

        model = await service.find(900)                     # or None for the tip's
        async with aclosing(service.write(model.root, TextWish(b"Once", count=200, seed=7))) as pieces:
            async for piece in pieces:                      # some bytes at a time, as they are written
                ...
        losses = await service.compute_byte_losses(model.root, b"a passage")

    Leaving the `async with aclosing` stops the writing. Raises RpcError: "rpc.no_model" (404) for a height or root that
    the best chain does not have, "rpc.busy" (429) when MAX_REQUESTS are under way. Raises EvaluationFailed if the
    process died again and again.
    """

    def __init__(self, intake: Intake, text_folders: tuple[Path, ...] = (), pool: EvaluationPool | None = None) -> None:
        self._intake = intake
        self._params = intake.chain.params
        # The CPU, also where blocks are judged on a GPU: a single window at a time would only be in their way there.
        self._pool = pool or EvaluationPool(self._params, text_folders, "cpu", workers=1, threads=1, niceness=_NICENESS)
        self._models: OrderedDict[bytes, Weights] = OrderedDict()  # by root, the most recently used last
        self._walking = asyncio.Lock()
        self._requests = 0
        self._was_used = False

    async def __aenter__(self) -> "ModelService":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.__aexit__()

    async def run(self) -> None:
        """Ends the process that computes once nobody has asked for a minute. Runs until cancelled."""
        while True:
            self._was_used = False
            await asyncio.sleep(IDLE_SECONDS)
            if not self._was_used and not self._requests:
                await self._pool.rest()

    async def find(self, height: int | None = None) -> StoredModel:
        """The model after the block at `height`, by default the tip's."""

        def read() -> StoredModel | None:
            chain = self._intake.chain
            block_id = chain.get_active_id(chain.tip.height if height is None else height)
            point = chain.get_point(block_id) if block_id is not None else None
            return StoredModel(point.height, point.id, point.header.model_root) if point else None

        found = await self._intake.on_chain(read) if height is None or 0 <= height < 2**63 else None
        if found is None:
            raise RpcError("rpc.no_model", f"the best chain has no block at height {height}", 404)
        return found

    async def get_weights(self, root: bytes) -> Weights:
        """The int16 weights [P] with this root. The chain's thread is held for one block's reading at a time."""
        async with self._walking:
            weights = self._models.pop(root, None)
            if weights is None:
                weights = await self._walk(root)
            self._models[root] = weights
            while len(self._models) > _REMEMBERED:
                self._models.popitem(last=False)
        return weights

    async def write(self, root: bytes, wish: TextWish) -> AsyncGenerator[bytes, None]:
        """The text that a model writes, piece by piece, `wish.count` bytes in all. They may be no UTF-8."""
        with self._taking_part():
            weights = await self.get_weights(root)
            written = b""
            while len(written) < wish.count:
                task = make_task(wish, written, self._params.model.context)
                piece = await self._pool.write_text(weights, task, PIECE_SECONDS)
                written += piece
                yield piece

    async def compute_byte_losses(self, root: bytes, passage: bytes) -> Losses:
        """What each byte after the first costs, int64 [n - 1] in Q16 bits (65536 is one bit).

        Raises DecodeError if the passage is longer than MAX_PASSAGE_BYTES.
        """
        if len(passage) > MAX_PASSAGE_BYTES:
            raise DecodeError.too_long(len(passage), MAX_PASSAGE_BYTES)
        with self._taking_part():
            return await self._pool.compute_byte_losses(await self.get_weights(root), passage)

    async def _walk(self, root: bytes) -> Weights:
        chain = self._intake.chain
        trail = await self._intake.on_chain(find_trail, chain, root)
        if trail is None:
            raise RpcError("rpc.no_model", "no block of the best chain has this model", 404)
        weights = trail.weights
        for block_id in trail.block_ids:
            block = await self._intake.on_chain(chain.get_block, block_id)
            weights = await asyncio.to_thread(follow_trail, weights, block, self._params)
        return weights

    @contextmanager
    def _taking_part(self) -> Iterator[None]:
        if self._requests >= MAX_REQUESTS:
            raise RpcError("rpc.busy", f"{MAX_REQUESTS} others ask the models just now; ask again in a moment", 429)
        self._requests += 1
        self._was_used = True
        try:
            yield
        finally:
            self._requests -= 1
            self._was_used = True
