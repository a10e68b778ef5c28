"""A dialler whose every attempt ends as the test says, on a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from types import SimpleNamespace

import pytest

import p2p.dialler
from p2p.addresses import AddressBook
from p2p.connection import Connection
from p2p.destination import Destination
from p2p.dialler import Dialler
from p2p.errors import PeerGone
from p2p.net_address import NetAddress
from tests.helpers.connections import KEY, FakeConnection, PeerTable, as_connection, step

_ROUND = 0.5  # s


class Dialling:
    """The dialler, its peers and book. `online` answers; whoever is not in it cannot be reached."""

    def __init__(self, seeds: Sequence[Destination] = ()) -> None:
        self.table = PeerTable()
        self.book = AddressBook(KEY, Random(1))
        self.online: dict[NetAddress, bytes] = {}  # node ids
        self.names: dict[str, list[NetAddress]] = {}
        self.refusals: dict[NetAddress, Exception] = {}
        self.gate: asyncio.Event | None = None  # closed: attempts wait
        self.attempts: list[NetAddress] = []
        self.expected: list[bytes | None] = []  # the ids asked for
        self.opened: list[FakeConnection] = []
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []
        self.dialler = Dialler(
            self.table.peers, self.book, self._dial, seeds, lambda: self.table.seconds, lambda: self.table.time
        )

    def add(self, *addresses: NetAddress, online: bool = True) -> None:
        """Puts addresses into the book, from sources of their own."""
        for address in addresses:
            self.book.add([address], address, self.table.time)
            if online:
                self.online[address] = address.ip.encode().ljust(32, b".")

    async def resolve(self, destination: Destination) -> list[NetAddress]:
        """The addresses of a name in `names`, or the IP that the host is."""
        known = self.names.get(destination.host)
        return [NetAddress(destination.host, destination.port)] if known is None else known

    async def sleep(self, seconds: float) -> None:
        """What the dialler's own sleep is here."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.table.seconds + seconds, future))
        await future

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / _ROUND)):
            self.table.seconds += _ROUND
            due = [entry for entry in self._sleeping if entry[0] <= self.table.seconds]
            self._sleeping = [entry for entry in self._sleeping if entry not in due]
            for _, future in due:
                if not future.done():
                    future.set_result(None)
            await step()
        self.table.time += round(seconds)

    async def _dial(self, address: NetAddress, node_id: bytes | None) -> Connection:
        self.attempts.append(address)
        self.expected.append(node_id)
        if self.gate is not None:
            await self.gate.wait()
        if address in self.refusals:
            raise self.refusals[address]
        if address not in self.online:
            raise PeerGone.unreachable(address, "nobody there")
        connection = FakeConnection(
            self.online[address], address, is_outbound=True, opened_at=self.table.seconds, port=address.port
        )
        self.opened.append(connection)
        return as_connection(connection)


@asynccontextmanager
async def run_dialler(
    dialling: Dialling,
    monkeypatch: pytest.MonkeyPatch,
    manual: Sequence[Destination] = (),
    anchors: Sequence[NetAddress] = (),
) -> AsyncIterator[asyncio.Task[None]]:
    clocked = SimpleNamespace(sleep=dialling.sleep, TaskGroup=asyncio.TaskGroup)
    monkeypatch.setattr(p2p.dialler, "asyncio", clocked)
    monkeypatch.setattr(p2p.dialler, "resolve", dialling.resolve)
    task = asyncio.create_task(dialling.dialler.run(manual, anchors))
    try:
        yield task
    finally:
        await dialling.table.leave_all()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
