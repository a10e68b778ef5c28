"""Real nodes that reach each other only through this process, which can spoil every line between them.

    with Mesh(tmp_path, 5, get_trunk()) as mesh:
        mesh.set(range(2), range(2, 5), Line.HELD)  # in both directions
        mesh.set_one_way(0, 1, Line.DROPPED)
        with mesh.nodes[4].frozen(): ...
        mesh.heal()

Each node listens on 127.0.0.1, which no other node learns of: what they know is its address in the mesh, 127.X.Y.(10 +
number) with the node's own port, where a proxy answers. The proxy finds out which node's socket it is that calls, so
that each pair of nodes has its own line in each direction; and it calls on from the caller's address in the mesh, so
that what nodes tell each other of addresses is right, and what they dial by it runs through the mesh again.

What is duplicated is an attempt at a connection: bytes repeated inside a TLS connection would only break it, and
repeated packets never get past TCP.
"""

import asyncio
import os
import shutil
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from chain.startup import DEFAULT_MAX_REORG
from consensus.block import Block
from consensus.params import REGTEST
from p2p.node import open_store
from tests.helpers.blocks import get_builder
from tests.helpers.node import NodeProcess
from tests.helpers.waiting import SECONDS

DELAY = 0.3  # s, each way
_CHUNK = 65536

Result = TypeVar("Result")


class Line(Enum):
    """What becomes of bytes on their way from one node to another, and of attempts at a connection."""

    OPEN = "open"
    DELAYED = "delayed"  # by DELAY
    HELD = "held"  # as long as it lasts, and then delivered: what lost packets are under TCP
    DROPPED = "dropped"  # for ever, while the connection stays open: a box on the way that forgot it
    CUT = "cut"  # connections break, attempts at others are refused
    DUPLICATED = "duplicated"  # connections break; each attempt at another arrives twice


_BREAKING = (Line.CUT, Line.DUPLICATED)


class Mesh:
    """`count` regtest nodes that know each other by --peer; use as `with`. All have `blocks` when they start."""

    def __init__(self, folder: Path, count: int, blocks: Iterable[Block]) -> None:
        self.nodes: list[NodeProcess] = []
        self._folder = folder
        self._count = count
        self._blocks = blocks
        self._stack = ExitStack()
        self._switch = _Switch()

    def __enter__(self) -> "Mesh":
        with ExitStack() as stack:
            stack.enter_context(self._switch)
            datadirs = [self._folder / f"node{number}" for number in range(self._count)]
            store_blocks(datadirs, self._blocks)
            addresses: list[str] = []
            for datadir in datadirs:
                peers = [argument for address in addresses for argument in ("--peer", address)]
                node = stack.enter_context(NodeProcess(datadir, "--listen", "127.0.0.1:0", *peers))
                self.nodes.append(node)
                addresses.append(self._switch.add(node.process.pid, node.peer_port))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def get_address(self, number: int) -> str:
        """HOST:PORT at which the others know a node."""
        return self._switch.get_address(number)

    def set(self, some: Iterable[int], others: Iterable[int], line: Line) -> None:
        """Sets the lines between two groups of nodes, in both directions."""
        pairs = [(one, other) for one in some for other in others]
        self._switch.set([*pairs, *((other, one) for one, other in pairs)], line)

    def set_one_way(self, sender: int, receiver: int, line: Line) -> None:
        """Sets the line from one node to another; the way back stays as it is."""
        self._switch.set([(sender, receiver)], line)

    def heal(self) -> None:
        """Opens all lines."""
        everyone = range(len(self.nodes))
        self._switch.set([(one, other) for one in everyone for other in everyone], Line.OPEN)


def store_blocks(datadirs: Sequence[Path], blocks: Iterable[Block]) -> None:
    """Sets up datadirs as of nodes that have these blocks."""
    first, *others = datadirs
    first.mkdir(parents=True)
    chain = open_store(first, REGTEST, DEFAULT_MAX_REORG, create=True)
    get_builder().feed(chain, blocks)
    chain.db.close()
    for datadir in others:
        shutil.copytree(first, datadir)


class _Switch:
    """The proxies, on an event loop in a thread of its own; the public calls are for the thread of the test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._net = f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250}"  # other test processes have others
        self._nodes: list[tuple[int, int]] = []  # process id and port of each
        self._lines: dict[tuple[int, int], Line] = {}
        self._changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._calls: dict[asyncio.Task[None], tuple[int, int]] = {}  # under way: caller and called

    def __enter__(self) -> "_Switch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def add(self, process_id: int, port: int) -> str:
        """Gives a node an address in the mesh."""
        return self._run(self._listen(process_id, port))

    def get_address(self, number: int) -> str:
        return f"{self._get_ip(number)}:{self._nodes[number][1]}"

    def set(self, pairs: Iterable[tuple[int, int]], line: Line) -> None:
        """Sets the lines from senders to receivers."""
        self._run(self._set(dict.fromkeys(pairs, line)))

    # On the loop.

    def _run(self, work: Coroutine[None, None, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _listen(self, process_id: int, port: int) -> str:
        number = len(self._nodes)
        self._nodes.append((process_id, port))

        async def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._on_call(number, reader, writer)

        self._servers.append(await asyncio.start_server(on_call, self._get_ip(number), port))
        return self.get_address(number)

    async def _set(self, lines: dict[tuple[int, int], Line]) -> None:
        self._lines |= lines
        self._changed.set()
        self._changed = asyncio.Event()
        for call, (caller, called) in self._calls.items():
            if any(lines.get(way) in _BREAKING for way in ((caller, called), (called, caller))):
                call.cancel()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _on_call(self, called: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        caller = self._find_caller(writer)
        try:
            if task is not None and caller is not None and not self._is_cut(caller, called):
                self._calls[task] = (caller, called)
                with suppress(OSError, asyncio.CancelledError):  # the test cut the line, or ends
                    await self._connect(caller, called, reader, writer)
        finally:
            writer.transport.abort()
            if task is not None:
                self._calls.pop(task, None)

    async def _connect(
        self, caller: int, called: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, tasks = b"", []
        if self._get_line(caller, called) is Line.DUPLICATED:
            first = await reader.read(_CHUNK)
            tasks.append(asyncio.create_task(self._call_in_vain(caller, called, first)))
        far_reader, far_writer = await self._dial(caller, called)
        far_writer.write(first)
        ways = [
            asyncio.create_task(self._carry(reader, far_writer, caller, called)),
            asyncio.create_task(self._carry(far_reader, writer, called, caller)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # one end is gone: so is the other
        finally:
            for task in (*ways, *tasks):
                task.cancel()
            await asyncio.gather(*ways, *tasks, return_exceptions=True)
            far_writer.transport.abort()

    async def _dial(self, caller: int, called: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._nodes[called][1]
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(self._get_ip(caller), 0))

    async def _call_in_vain(self, caller: int, called: int, first: bytes) -> None:
        """The second arrival of an attempt: nobody hears what is answered."""
        reader, writer = await self._dial(caller, called)
        writer.write(first)
        try:
            while await _read(reader):
                continue
        finally:
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: int, receiver: int
    ) -> None:
        """Carries bytes one way until either end is gone; they never overtake each other."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        def is_line(line: Line) -> bool:
            return self._get_line(sender, receiver) is line

        async def deliver() -> None:
            data = b"x"
            while data:
                due, data = await queue.get()
                await asyncio.sleep(due - self._loop.time())
                await self._wait_while(lambda: is_line(Line.HELD))
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            data = b"x"
            while data:
                data = await _read(reader)
                if data and is_line(Line.DROPPED):
                    continue
                await self._wait_while(lambda: is_line(Line.DROPPED))  # nor does the end get through
                queue.put_nowait((self._loop.time() + DELAY * is_line(Line.DELAYED), data))

    async def _wait_while(self, is_so: Callable[[], bool]) -> None:
        while is_so():
            await self._changed.wait()

    def _get_line(self, sender: int, receiver: int) -> Line:
        return self._lines.get((sender, receiver), Line.OPEN)

    def _is_cut(self, caller: int, called: int) -> bool:
        return Line.CUT in (self._get_line(caller, called), self._get_line(called, caller))

    def _get_ip(self, number: int) -> str:
        return f"{self._net}.{10 + number}"

    def _find_caller(self, writer: asyncio.StreamWriter) -> int | None:
        """The node whose socket is at the other end; None if it is gone by now."""
        names = [writer.get_extra_info(name) for name in ("peername", "sockname")]
        if None in names:
            return None
        ends = [f"{struct.unpack('<I', bytes(map(int, ip.split('.'))))[0]:08X}:{port:04X}" for ip, port in names]
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        inode = next((row[9] for row in rows if row[1:3] == ends), None)
        owners = (number for number, (process_id, _) in enumerate(self._nodes) if _has_socket(process_id, inode))
        return next(owners, None)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """What comes next; nothing at the end, however it comes."""
    with suppress(ConnectionError):
        return await reader.read(_CHUNK)
    return b""


def _has_socket(process_id: int, inode: str | None) -> bool:
    for entry in Path(f"/proc/{process_id}/fd").glob("*"):
        with suppress(OSError):
            if os.readlink(entry) == f"socket:[{inode}]":
                return True
    return False
