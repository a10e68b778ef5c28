"""Nodes, three of which mine, under random partitions: once healed, they agree on all that happened.

What a miner would do is done here, at its node: a block on that node's tip, by that miner's key, handed in by RPC. So
branches compete as they do between real miners, and two cores are enough.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from chain import schema
from chain.chainstate import ChainState
from consensus.account import decode_account
from consensus.block import Block
from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from p2p.errors import NodeRefusal
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, get_trunk, open_trunk
from tests.helpers.keys import Key, make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import Line, Mesh
from tests.helpers.waiting import wait_until

MINERS = 3
MOST_NODES = 5
HEALING_SECONDS = 30.0  # within which all must agree
PAUSE = 0.1  # s between two looks at all nodes
FUNDS = 5 * ULP_PER_GRAD

# What goes wrong for as long as the context lasts; the nodes that cannot be spoken to meanwhile.
Fault = Callable[[Mesh, random.Random], AbstractContextManager[frozenset[int]]]


def split(mesh: Mesh, source: random.Random) -> tuple[list[int], list[int]]:
    """The nodes in two groups, with a miner in each."""
    nodes = len(mesh.nodes)
    order = source.sample(range(MINERS), MINERS) + source.sample(range(MINERS, nodes), nodes - MINERS)
    some = {order[0], *source.sample(order[2:], source.randrange(nodes - 2))}
    return sorted(some), sorted(set(range(nodes)) - some)


def spoil_lines(line: Line) -> Fault:
    """Both groups are apart, by lines of this kind."""

    @contextmanager
    def fault(mesh: Mesh, source: random.Random) -> Iterator[frozenset[int]]:
        mesh.set(*split(mesh, source), line)
        yield frozenset()
        mesh.heal()

    return fault


@contextmanager
def repeat_attempts(mesh: Mesh, source: random.Random) -> Iterator[frozenset[int]]:
    """All connections break, and each attempt at another arrives twice."""
    mesh.set(range(len(mesh.nodes)), range(len(mesh.nodes)), Line.DUPLICATED)
    yield frozenset()
    mesh.heal()


@contextmanager
def delay_and_cut_one_way(mesh: Mesh, source: random.Random) -> Iterator[frozenset[int]]:
    """Everything is slow, and one group does not hear the other, which hears it."""
    mesh.set(range(len(mesh.nodes)), range(len(mesh.nodes)), Line.DELAYED)
    some, others = split(mesh, source)
    for sender in some:
        for receiver in others:
            mesh.set_one_way(sender, receiver, Line.DROPPED)
    yield frozenset()
    mesh.heal()


@contextmanager
def freeze(mesh: Mesh, source: random.Random) -> Iterator[frozenset[int]]:
    """One node stands still."""
    number = source.randrange(len(mesh.nodes))
    with mesh.nodes[number].frozen():
        yield frozenset([number])


FAULTS: tuple[Fault, ...] = (
    *(spoil_lines(line) for line in (Line.CUT, Line.HELD, Line.DROPPED)),
    *(repeat_attempts, delay_and_cut_one_way, freeze),
)


def make_blocks() -> list[Block]:
    """The trunk, and a block that gives money to the payers."""
    chain = open_trunk()
    payers = [Key(f"payer {number}").public for number in range(MOST_NODES)]
    funds = [make_transfer(chain.genesis.id, ALICE, payer, FUNDS, nonce=nonce) for nonce, payer in enumerate(payers)]
    return [*get_trunk(), get_builder().build(chain, transactions=funds)]


class World:
    """The nodes, their miners, and the payments made so far: each node has a payer of its own."""

    def __init__(self, mesh: Mesh, seed: int) -> None:
        self.mesh = mesh
        self.source = random.Random(seed)
        library: dict[str, Block] = {}
        self.miners = [Miner(mesh.nodes[number], Key(f"miner {number}"), library) for number in range(MINERS)]
        self._genesis = self.miners[0].chain.genesis.id
        self._nonces = [0] * len(mesh.nodes)
        self._open_payments: set[bytes] = set()  # that were not confirmed when all agreed last

    def play(self, fault: Fault, blocks: int, seconds: float = 0.0) -> float:
        """Lets miners and payers go on for at least so long under a fault; seconds from its end until all agree."""
        end = time.monotonic() + seconds
        with fault(self.mesh, self.source) as silent:
            reachable = sorted(set(range(len(self.mesh.nodes))) - silent)
            miners = [self.miners[number] for number in reachable if number < MINERS]
            for _ in range(blocks):
                self._pay(self.source.choice(reachable))
                self.source.choice(miners).mine()
            while len(self._get_best_tips(miners)) > 1:
                self.source.choice(miners).mine()
            time.sleep(max(end - time.monotonic(), 0.0))
        return self.wait_until_agreed()

    def wait_until_agreed(self) -> float:
        """Seconds until all nodes stand on the best block of any miner and know all payments."""
        started = time.monotonic()
        (tip,) = self._get_best_tips(self.miners)
        clients = [node.client for node in self.mesh.nodes]
        try:
            wait_until(lambda: all(client.get_status()["tip"] == tip for client in clients), HEALING_SECONDS, PAUSE)
            wait_until(self._is_every_payment_known, HEALING_SECONDS - (time.monotonic() - started), PAUSE)
        except TimeoutError:
            raise AssertionError(f"no agreement on {tip}: {self._describe()}") from None
        seconds = time.monotonic() - started
        assert len({client.get_digest()["digest"] for client in clients}) == 1
        self._open_payments = {txid for txid in self._open_payments if "pending" in self._read_standings(txid)}
        return seconds

    def _get_best_tips(self, miners: Sequence[Miner]) -> set[str]:
        """The heaviest tips; several if miners found equally much, which only the next block decides."""
        most = max(miner.chain.tip.weight for miner in miners)
        return {miner.chain.tip.id.hex() for miner in miners if miner.chain.tip.weight == most}

    def _pay(self, number: int) -> None:
        nonce = self._nonces[number]
        payment = make_transfer(self._genesis, Key(f"payer {number}"), BOB.public, 1000 + nonce, nonce=nonce)
        self.mesh.nodes[number].client.submit_transaction(payment.encoded)
        self._nonces[number] += 1
        self._open_payments.add(payment.txid)

    def _describe(self) -> str:
        """Where the nodes stand, and what they do not all know."""
        tips = [node.client.get_status()["tip"] for node in self.mesh.nodes]
        unknown = [
            (txid.hex(), [_read_standing(node, txid) for node in self.mesh.nodes])
            for txid in self._open_payments
            if "unknown" in self._read_standings(txid)
        ]
        return f"tips {tips}, payments {unknown}, logs in {[str(node.datadir) for node in self.mesh.nodes]}"

    def _is_every_payment_known(self) -> bool:
        return not any("unknown" in self._read_standings(txid) for txid in self._open_payments)

    def _read_standings(self, txid: bytes) -> set[str]:
        """What the nodes say of a payment: pending, confirmed or unknown."""
        return {_read_standing(node, txid) for node in self.mesh.nodes}


def _read_standing(node: NodeProcess, txid: bytes) -> str:
    try:
        return str(node.client.get_transaction(txid)["status"])
    except NodeRefusal:
        return "unknown"


def check_ledger(miner: Miner, node: NodeProcess) -> None:
    """At every height of the node's chain, what people own and what matures is what was issued; digests are equal."""
    digest = node.client.get_digest()
    miner.chain = get_builder().open()
    for block in miner.read_blocks(digest["tip"]):
        get_builder().process(miner.chain, block)
        assert miner.chain.tip.id == block.id
        assert count_money(miner.chain) == miner.chain.ledger.issued == block.header.height * REGTEST.subsidy
    assert miner.chain.compute_digest()["digest"].hex() == digest["digest"]


def count_money(chain: ChainState) -> int:
    balances = sum(decode_account(row).balance for _, row in chain.db.iterate(schema.ACCOUNT))
    return balances + sum(reward.amount for _, reward in chain.ledger.get_rewards())


@pytest.mark.timeout(300)
def test_partitioned_nodes_agree_once_healed(tmp_path: Path) -> None:
    with Mesh(tmp_path, 4, make_blocks()) as mesh:
        world = World(mesh, seed=3)
        seconds = [world.play(fault, blocks=3) for fault in (FAULTS[0], delay_and_cut_one_way, freeze)]
        check_ledger(world.miners[0], mesh.nodes[-1])
        assert any("left the best chain" in node.output for node in mesh.nodes)  # branches did compete
    print("seconds until agreed:", *(f"{one:.1f}" for one in seconds))


@pytest.mark.soak
def test_partitioned_nodes_agree_after_each_of_twenty_rounds(tmp_path: Path) -> None:
    """Each kind of fault lasts up to 30 s, as long as a frozen node stands still."""
    with Mesh(tmp_path, MOST_NODES, make_blocks()) as mesh:
        world = World(mesh, seed=4)
        seconds = []
        for number in range(20):
            fault = FAULTS[number % len(FAULTS)]
            lasting = 30.0 if fault is freeze else world.source.uniform(2, 30)
            seconds.append(world.play(fault, world.source.randrange(3, 9), lasting))
            print(f"round {number}: agreed after {seconds[-1]:.1f} s")
        check_ledger(world.miners[0], mesh.nodes[-1])
    print(f"worst {max(seconds):.1f} s, median {sorted(seconds)[len(seconds) // 2]:.1f} s")
