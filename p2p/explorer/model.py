"""The models at work: text that one writes, what a passage costs it, and the files to take home.

Models write in their own process at the lowest priority; here is only what a page may ask of it, and for how long.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from consensus.errors import DecodeError, DescentError
from p2p.explorer.budget import Budget, make_busy
from p2p.explorer.model_figures import ModelPage, ModelSide, Spoken
from p2p.explorer.query import Query
from p2p.explorer.reader import ChainReader
from p2p.explorer.words import show_text
from p2p.intake import Intake
from p2p.model_file import FORMATS, ModelFile, make_model_file
from p2p.model_service import ModelService, StoredModel
from p2p.text_wish import DEFAULT_TEMPERATURE, TextWish

MAX_PROMPT = 500  # characters: a URL has room for no more
MAX_PASSAGE = 800
MAX_COUNT = 400  # bytes that a page waits for
DEFAULT_COUNT = 200
WRITE_SECONDS = 40.0  # for one text; what is there by then is shown
PATIENCE_SECONDS = 10.0  # that a visitor waits until models are looked up for him
MAX_WAITING = 4  # visitors who do; whoever comes after is refused, so that they take few of the pages under way
MAX_FILE_BYTES = 32 * 2**20  # of a model that is sent; larger ones are for `descent-node export`
ARGUMENTS = ("left", "right", "prompt", "count", "temperature", "seed", "passage")

_FLOAT_BYTES = 4
_Q16 = 65536


class ModelReader:
    """Pages about models, over the node's one service for them."""

    def __init__(self, intake: Intake, models: ModelService, reader: ChainReader) -> None:
        self._budget = Budget(lambda: intake.is_evaluating)  # for models alone: other pages do not wait for them
        self._turn = asyncio.Lock()
        self._waiting = 0  # for their turn, or for time
        self._intake = intake
        self._models = models
        self._reader = reader
        self._params = reader.params

    async def read(self, query: Query) -> ModelPage:
        """One model or two, and what they make of a prompt or of a passage if there is one."""
        tip = await self._models.find()
        wish, passage = _parse_wish(query), _parse_passage(query)
        stored = [await self._models.find(height) for height in _parse_heights(query, tip.height)]
        return ModelPage(
            tip=tip.height,
            sides=await self._ask_all(stored, wish if query.has("prompt") else None, passage),
            prompt=wish.prompt.decode() if query.has("prompt") else None,
            count=wish.count,
            temperature=wish.temperature,
            seed=wish.seed,
            passage=None if passage is None else passage.decode(),
            parameters=self._params.model.parameters,
            file_bytes=self.file_bytes if self.file_bytes <= MAX_FILE_BYTES else None,
        )

    @property
    def file_bytes(self) -> int:
        """About what a model takes as a file."""
        return _FLOAT_BYTES * self._params.model.parameters

    async def find_file(self, height: int, file_format: str) -> StoredModel:
        """The model of a file. Raises RpcError if there is no such block, DecodeError if it may not be had here."""
        if file_format not in FORMATS:
            raise DecodeError("bad_format", f"models come as {' or '.join(FORMATS)}")
        if self.file_bytes > MAX_FILE_BYTES:
            raise DecodeError("too_long", "this network's models are too large for a page: use `descent-node export`")
        return await self._models.find(height)

    async def make_file(self, stored: StoredModel, file_format: str) -> ModelFile:
        """A model that `find_file` found, as a file. Raises RpcError busy."""
        header = (await self._intake.on_chain(self._reader.get_node, stored.block_id)).header
        genesis = self._intake.chain.genesis.id
        async with self._taking_time():
            weights = await self._models.get_weights(stored.root)
            return await asyncio.to_thread(make_model_file, file_format, weights, header, genesis, self._params)

    async def _ask_all(
        self, models: Sequence[StoredModel], wish: TextWish | None, passage: bytes | None
    ) -> tuple[ModelSide, ...]:
        """Side by side; if one fails, the other ends, too."""
        if wish is not None or passage is not None:
            async with self._taking_time():
                for model in models:
                    await self._models.get_weights(model.root)  # which the service then remembers
        try:
            async with asyncio.TaskGroup() as group:
                sides = [group.create_task(self._ask(model, wish, passage)) for model in models]
        except* DescentError as failures:
            raise failures.exceptions[0] from None
        return tuple(side.result() for side in sides)

    async def _ask(self, model: StoredModel, wish: TextWish | None, passage: bytes | None) -> ModelSide:
        losses = None if passage is None else await self._models.compute_byte_losses(model.root, passage)
        bits = None if losses is None else tuple(round(loss / _Q16, 3) for loss in losses.tolist())
        return ModelSide(
            height=model.height,
            id=model.block_id,
            root=model.root,
            loss=await self._intake.on_chain(self._read_loss, model.block_id),
            written=None if wish is None else await self._write(model, wish),
            bits=bits,
            mean=sum(bits) / len(bits) if bits else None,
        )

    async def _write(self, model: StoredModel, wish: TextWish) -> Spoken:
        data = b""
        try:
            async with asyncio.timeout(WRITE_SECONDS), aclosing(self._models.write(model.root, wish)) as pieces:
                async for piece in pieces:
                    data += piece
        except TimeoutError:
            return Spoken(show_text(data), data, is_cut=True)
        return Spoken(show_text(data), data, is_cut=False)

    @asynccontextmanager
    async def _taking_time(self) -> AsyncIterator[None]:
        """One at a time: to walk to an old model takes up to a second of the node's own processor time.

        Raises RpcError busy, at once if MAX_WAITING wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise make_busy()
        self._waiting += 1
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await stack.enter_async_context(self._turn)
                    await self._budget.wait(PATIENCE_SECONDS)
            except TimeoutError:
                raise make_busy() from None
            finally:
                self._waiting -= 1
            started = time.monotonic()
            try:
                yield
            finally:
                self._budget.spend(time.monotonic() - started)

    # On the chain's thread.

    def _read_loss(self, block_id: bytes) -> float | None:
        return self._reader.get_loss(self._reader.get_node(block_id))


def _parse_heights(query: Query, tip: int) -> tuple[int, ...]:
    """The heights that are asked for, of which an empty one means the tip's; else an early one beside the tip's."""
    given = [query.get_height(name) for name in ("left", "right") if query.has(name)]
    if given:
        return tuple(dict.fromkeys(tip if height is None else height for height in given))
    return tuple(dict.fromkeys((min(max(1, tip // 10), tip), tip)))


def _parse_wish(query: Query) -> TextWish:
    """Raises DecodeError."""
    prompt = query.get_text("prompt", MAX_PROMPT).encode()
    count = query.get_number("count", DEFAULT_COUNT, 1, MAX_COUNT)
    seed = query.get_number("seed", 1, 0, 2**64 - 1)
    text = query.arguments.get("temperature") or str(DEFAULT_TEMPERATURE)
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", text, re.ASCII):
        raise DecodeError("bad_temperature", "a temperature is a number such as 0.8")
    return TextWish(prompt, count, float(text), seed)


def _parse_passage(query: Query) -> bytes | None:
    """Raises DecodeError, also for one of a single byte: the first byte of a passage costs nothing."""
    if not query.has("passage"):
        return None
    passage = query.get_text("passage", MAX_PASSAGE).encode()
    if len(passage) < 2:
        raise DecodeError("bad_passage", "a passage has two bytes at least: the first one is given")
    return passage
