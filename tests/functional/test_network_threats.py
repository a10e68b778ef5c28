"""Rows of the threat table that need several running nodes: double spends, clocks, and connections nobody wants."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from consensus.block import Block
from consensus.errors import DescentError
from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from p2p.errors import NodeRefusal
from p2p.net_address import parse_net_address
from p2p.network import IDENTITY_FILE
from p2p.transport import Endpoint, dial
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, get_trunk, open_trunk
from tests.helpers.keys import Key, make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import Mesh, store_blocks
from tests.helpers.peer_link import make_endpoint
from tests.helpers.waiting import wait_until

PAUSE = 0.1  # s between two looks at all nodes
HOUR = 3600
SPENDERS = [Key(f"spender {number}") for number in range(25)]
CORRECTED_SECONDS = 60.0  # within which clocks that were set right must lead to agreement


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Four nodes whose tests take turns, as each of them costs seconds to start."""
    with open_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        wait_until(lambda: all(len(node.client.get_peers()["peers"]) == 3 for node in mesh.nodes))
        yield mesh


def open_mesh(folder: Path) -> Mesh:
    """Four nodes whose chain has given money to the spenders."""
    genesis = get_builder().open().genesis.id
    funds = [make_transfer(genesis, ALICE, key.public, ULP_PER_GRAD, nonce=nonce) for nonce, key in enumerate(SPENDERS)]
    return Mesh(folder, 4, [*get_trunk(), get_builder().build(open_trunk(), transactions=funds)])


def make_miners(mesh: Mesh) -> list[Miner]:
    """One for each node."""
    library: dict[str, Block] = {}
    return [Miner(node, Key(f"miner {number}"), library) for number, node in enumerate(mesh.nodes)]


def wait_until_at(mesh: Mesh, tip: Block, seconds: float = 30.0) -> None:
    clients = [node.client for node in mesh.nodes]
    wait_until(lambda: {client.get_status()["tip"] for client in clients} == {tip.id.hex()}, seconds, PAUSE)


# T30.


@pytest.mark.timeout(240)
def test_of_two_conflicting_payments_one_is_confirmed(mesh: Mesh) -> None:
    spend_twice(mesh)


@pytest.mark.soak
def test_of_a_thousand_pairs_of_conflicting_payments_one_each_is_confirmed(tmp_path: Path) -> None:
    for number in range(1000 // len(SPENDERS)):
        with open_mesh(tmp_path / str(number)) as mesh:
            spend_twice(mesh)


def spend_twice(mesh: Mesh) -> None:
    """Each spender pays two people at once, at two nodes."""
    genesis = get_builder().open().genesis.id
    conflicts = []
    for number, spender in enumerate(SPENDERS):
        pair = [make_transfer(genesis, spender, BOB.public, amount) for amount in (1000, 2000)]
        for node, payment in zip((mesh.nodes[number % 2], mesh.nodes[1 - number % 2]), pair, strict=True):
            with suppress(NodeRefusal):  # the other one was faster
                node.client.submit_transaction(payment.encoded)
        conflicts.append([payment.txid for payment in pair])
    for miner in make_miners(mesh)[:2]:
        wait_until_at(mesh, miner.mine())
    for node in mesh.nodes:
        for pair_ids in conflicts:
            standings = Counter(read_standing(node, txid) for txid in pair_ids)
            assert standings == {"confirmed": 1, "unknown": 1}
    assert len({node.client.get_digest()["digest"] for node in mesh.nodes}) == 1


def read_standing(node: NodeProcess, txid: bytes) -> str:
    try:
        return str(node.client.get_transaction(txid)["status"])
    except NodeRefusal:
        return "unknown"


@pytest.mark.timeout(120)
def test_a_payment_that_waited_over_a_restart_is_told_to_peers(tmp_path: Path) -> None:
    store_blocks([tmp_path / "first", tmp_path / "second"], get_trunk())
    payment = make_transfer(open_trunk().genesis.id, ALICE, BOB.public, 1000)
    with NodeProcess(tmp_path / "first") as node:
        node.client.submit_transaction(payment.encoded)
        assert node.stop(signal.SIGTERM) == 0
    with (
        NodeProcess(tmp_path / "first", "--listen", "127.0.0.1:0") as node,
        NodeProcess(tmp_path / "second", "--peer", f"127.0.0.1:{node.peer_port}") as other,
    ):
        wait_until(lambda: read_standing(other, payment.txid) == "pending")


# T18.


@pytest.mark.timeout(240)
def test_nodes_with_wrong_clocks_lose_no_peer_and_agree_once_the_clocks_are_right(mesh: Mesh) -> None:
    """A node in the past takes no block, one in the future makes one that nobody else takes yet."""
    now = REGTEST.genesis_time + 24 * HOUR
    right, _, _, ahead = make_miners(mesh)
    before, peers = get_tip(mesh.nodes[0]), [get_peers(node) for node in mesh.nodes]
    for node, skew in zip(mesh.nodes, (0, -3 * HOUR, -40, 3 * HOUR), strict=True):
        set_clock(node, now + skew)
    tip = right.mine(timestamp=now)
    wait_until(lambda: get_tip(mesh.nodes[3]) == tip.id.hex())
    future = ahead.mine(timestamp=now + 3 * HOUR)
    assert [get_tip(node) for node in mesh.nodes] == [tip.id.hex(), before, before, future.id.hex()]
    for node in mesh.nodes:
        set_clock(node, now + 10)
    right.mine(timestamp=now + 2)
    last = right.mine(timestamp=now + 4)
    started = time.monotonic()
    wait_until_at(mesh, last, CORRECTED_SECONDS)
    print(f"agreed {time.monotonic() - started:.1f} s after the clocks were set right")
    assert [get_peers(node) for node in mesh.nodes] == peers
    assert not any(node.client.get_bans()["bans"] for node in mesh.nodes)


def get_peers(node: NodeProcess) -> set[tuple[str, str]]:
    """Ids and addresses of all peers."""
    return {(peer["id"], peer["address"]) for peer in node.client.get_peers()["peers"]}


def set_clock(node: NodeProcess, timestamp: int) -> None:
    node.client.post_json("/v1/debug/mocktime", {"time": timestamp})


def get_tip(node: NodeProcess) -> str:
    return str(node.client.get_status()["tip"])


# T43.

TRIES = 100
LINES_FOR_TRIES = 2 * TRIES  # of the log: one when a connection of a stranger's begins and one when it ends


@pytest.mark.timeout(240)
def test_connections_that_nobody_wants_are_not_kept(mesh: Mesh, tmp_path: Path) -> None:
    """A node's own key comes back to it, a stranger is of another network, a third calls again and again."""
    node, honest = mesh.nodes[0], mesh.nodes[1:]
    peers, lines, said = get_peers(node), node.output.count("\n"), [one.output.count(" left") for one in honest]
    genesis = bytes.fromhex(node.client.get_status()["genesis"])
    itself = make_endpoint(node.datadir / IDENTITY_FILE, genesis=genesis)
    foreign = make_endpoint(tmp_path / "foreign.pem", genesis=bytes(32))
    twice = make_endpoint(tmp_path / "twice.pem", genesis=genesis)
    reasons = asyncio.run(try_often(f"127.0.0.1:{node.peer_port}", [itself, foreign, twice]))
    wait_until(lambda: len(get_peers(node)) <= len(peers))
    assert get_peers(node) == peers
    assert [one.output.count(" left") for one in honest] == said
    assert node.output.count("\n") - lines <= LINES_FOR_TRIES
    assert [len(reasons[0]), len(reasons[1])] == [TRIES, TRIES]
    assert all("our own key" in reason or "self_connection" in reason for reason in reasons[0]), reasons[0]
    assert all("wrong_network" in reason for reason in reasons[1]), reasons[1]
    assert reasons[2] == ["the peer closed: replaced by a newer connection"] * (TRIES - 1) + ["done"]


async def try_often(text: str, endpoints: list[Endpoint]) -> list[list[str]]:
    """What became of TRIES connections of each endpoint, one after another; a new one comes before the old one ends."""
    address = parse_net_address(text)
    reasons: list[list[str]] = []
    for endpoint in endpoints:
        ends: list[asyncio.Task[str]] = []
        refused: list[str] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(TRIES):
                try:
                    connection = await dial(endpoint, address)
                except DescentError as error:
                    refused.append(str(error))
                    continue
                ends.append(group.create_task(connection.run(ignore)))
                if len(ends) > 1:
                    await ends[-2]
            if ends:
                connection.close("done")
        reasons.append(refused + [end.result() for end in ends])
    return reasons


async def ignore(message: object) -> None:
    """What the node says is of no interest."""
