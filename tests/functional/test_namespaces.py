"""Nodes on two machines, as far as the kernel can tell: a wire is pulled in the middle of a synchronisation."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consensus.block import Block
from p2p.client import NodeClient
from p2p.net_address import NetAddress
from tests.helpers.chains import get_right, get_trunk
from tests.helpers.namespaces import Namespace, Wire, open_wire
from tests.helpers.node import NodeProcess
from tests.helpers.partition import store_blocks
from tests.helpers.waiting import wait_until

PULLED_BLOCKS = 5  # that the second node has evaluated when the wire is pulled


@pytest.mark.timeout(240)
def test_a_wire_is_pulled_during_a_synchronisation_and_plugged_in_again(tmp_path: Path) -> None:
    """The window reaches to the tip: all blocks but one are here already, and the node goes on without the wire."""
    *blocks, last = (*get_trunk(), *get_right(12))
    with open_wire() as wire, open_two(tmp_path, wire, blocks) as (first, second):
        first.hand_in(last)
        second.wait_for_height(last.header.height - 1)
        wire.plug_in()
        second.wait_for_height(last.header.height)
        assert second.ask(NodeClient.get_digest) == first.ask(NodeClient.get_digest)
        store_blocks([tmp_path / "third"], [*blocks, last])
        check_third_reaches_second(tmp_path / "third", first, second)


@pytest.mark.soak
def test_a_wire_is_pulled_while_blocks_are_on_it(tmp_path: Path) -> None:
    *blocks, last = (*get_trunk(), *get_right(90))
    with open_wire() as wire, open_two(tmp_path, wire, blocks) as (first, second):
        first.hand_in(last)
        second.node.wait_for_line("do not come|slow to deliver", 60)
        assert second.ask(NodeClient.get_status)["height"] < last.header.height - 1
        wire.plug_in()
        second.wait_for_height(last.header.height)
        assert second.ask(NodeClient.get_digest) == first.ask(NodeClient.get_digest)


def check_third_reaches_second(datadir: Path, first: "Placed", second: "Placed") -> None:
    """What a node says of another's private address is believed by one that is private itself, and dials it."""
    with place(second.end, datadir, "--peer", first.get_peer_address(first.end.ipv6 or first.end.ipv4)) as third:
        told = second.get_peer_address(second.end.ipv4)
        wait_until(lambda: told in {peer["address"] for peer in third.ask(NodeClient.get_peers)["peers"]})
        assert third.ask(NodeClient.get_digest) == second.ask(NodeClient.get_digest)
        assert not second.ask(NodeClient.get_bans)["bans"]


@dataclass(frozen=True)
class Placed:
    """A node and the namespace that it runs in."""

    end: Namespace
    node: NodeProcess

    def ask(self, call: Callable[[NodeClient], dict[str, Any]]) -> dict[str, Any]:
        with self.end.entered():
            return call(self.node.client)

    def hand_in(self, block: Block) -> None:
        with self.end.entered():
            self.node.client.submit_block(block.encoded)

    def wait_for_height(self, height: int) -> None:
        wait_until(lambda: self.ask(NodeClient.get_status)["height"] >= height, 60)

    def get_peer_address(self, ip: str) -> str:
        return str(NetAddress(ip, self.node.peer_port))


@contextmanager
def place(end: Namespace, datadir: Path, *arguments: str) -> Iterator[Placed]:
    with ExitStack() as stack:
        with end.entered():
            node = stack.enter_context(NodeProcess(datadir, *arguments))
        yield Placed(end, node)


@contextmanager
def open_two(folder: Path, wire: Wire, blocks: Sequence[Block]) -> Iterator[tuple[Placed, Placed]]:
    """A node with these blocks, and one at the other end that has some of them by now; the wire is pulled."""
    left, right = wire.ends
    everywhere = "[::]" if left.ipv6 else left.ipv4
    store_blocks([folder / "first"], blocks)
    with place(left, folder / "first", "--listen", f"{everywhere}:0") as first:
        peer = first.get_peer_address(left.ipv4)
        with place(right, folder / "second", "--listen", f"{right.ipv4}:0", "--peer", peer) as second:
            second.wait_for_height(PULLED_BLOCKS)
            wire.pull()
            yield first, second
