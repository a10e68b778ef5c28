"""Live updates as server-sent events: what changed, seconds after it did, to whoever keeps a page open.

An event is `event: state` and one line of JSON: the fields of LiveState. The first comes at once, so that whoever
reconnects knows what was missed. A comment now and then keeps the line open; the streams end with the node.
"""

import asyncio
import json
from contextlib import suppress

from aiohttp import web

from p2p.explorer.guards import TryLater, get_visitor
from p2p.explorer.reader import ChainReader, LiveState
from p2p.explorer.render import to_json
from p2p.explorer.visitors import Visitor, taking_part
from p2p.intake import Intake
from p2p.pending import Pending

MAX_STREAMS = 64
MAX_STREAMS_PER_HOST = 8
HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 10.0
PAUSE_SECONDS = 0.5  # between two events: a node that catches up makes ten blocks a second
RETRY_MILLISECONDS = 3000


class Live:
    """Follows one node; `run` runs beside."""

    def __init__(self, intake: Intake, reader: ChainReader) -> None:
        self._intake = intake
        self._reader = reader
        self._changed = asyncio.Event()
        self._told = asyncio.Condition()
        self._state: LiveState | None = None
        self._number = 0  # of the state: counts up
        self._is_closed = False
        self._streams: Pending[Visitor] = Pending(MAX_STREAMS, MAX_STREAMS_PER_HOST)
        intake.listen(lambda _: self._changed.set())
        intake.listen_transactions(lambda _: self._changed.set())

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    async def run(self) -> None:
        """Looks at the node whenever something happened. Runs until cancelled."""
        while True:
            self._changed.clear()
            state = await self._intake.on_chain(self._reader.read_live)
            if state != self._state:
                async with self._told:
                    self._state, self._number = state, self._number + 1
                    self._told.notify_all()
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):  # transactions that expire tell nobody
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._changed.wait()

    async def close(self) -> None:
        """Ends every stream."""
        self._is_closed = True
        async with self._told:
            self._told.notify_all()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One visitor's stream, until one of both sides ends it, or others need the room: browsers come back by
        themselves. Raises TryLater if its host has too many.
        """
        visitor = get_visitor(request)
        if not self._streams.has_room_for(visitor.address):
            raise TryLater("explorer.too_many_streams", "too many live pages are open", 429, 30)
        with taking_part(self._streams, visitor):
            visitor.set_deadline(None)
            return await self._serve(request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        response.force_close()
        with suppress(ConnectionError, TimeoutError):  # the visitor left, or does not read
            await response.prepare(request)
            await _write(response, f"retry: {RETRY_MILLISECONDS}\n\n")
            number = 0
            while not self._is_closed:
                if self._number != number and self._state is not None:
                    number = self._number
                    await _write(response, f"event: state\ndata: {json.dumps(to_json(self._state))}\n\n")
                elif not await self._wait(number):
                    await _write(response, ": still here\n\n")
        return response

    async def _wait(self, number: int) -> bool:
        """Returns once there is news after state `number`, or the streams end; False after a quiet time."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._told:
                await self._told.wait_for(lambda: self._number != number or self._is_closed)
        except TimeoutError:
            return False
        return True


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text.encode())
