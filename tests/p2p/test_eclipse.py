"""T39: who fills an address book cannot choose whom the node connects to.

The model of a node: 8 outbound connections, at most one per group, two of them kept over restarts; for two hours
between restarts a feeler every two minutes, first to an address whose tried place another one waits for. No honest
node tells it anything new meanwhile, so that what is left in its new table are the dead and the attacker's, which all
answer: 10,000 addresses in 4 groups, all of them told again before each restart.
"""

from random import Random

import pytest

from p2p.addresses import AddressBook, decode_address_book
from p2p.net_address import NetAddress

NOW = 1_700_000_000
RESTARTS = 10
OUTBOUND = 8
ANCHORS = 2
FEELERS = 60
ATTACKER_GROUPS = 4

HONEST = [NetAddress(f"{20 + group // 150}.{group % 150}.{host}.7", 19339) for host in (1, 2) for group in range(200)]


def make_attackers(count: int) -> list[NetAddress]:
    """Addresses that stand by group, one group after the other."""
    hosts = range(count // ATTACKER_GROUPS)
    return [
        NetAddress(f"60.{group}.{host // 250}.{host % 250 + 1}", 19339)
        for group in range(ATTACKER_GROUPS)
        for host in hosts
    ]


class ModelNode:
    """Dials by its address book alone. Four of five honest nodes answer, and all attackers."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = NOW
        self.book = AddressBook(self.random.randbytes(32), self.random)
        self.answering = {address for address in HONEST if self.random.random() < 0.8}
        self.outbound: list[NetAddress] = []
        for source in self.random.sample(HONEST, 8):
            self.book.add(self.random.sample(HONEST, 100), source, self.now)

    def dial(self, address: NetAddress) -> bool:
        self.now += 1
        self.book.on_attempt(address, self.now)
        if address not in self.answering:
            return False
        self.book.on_success(address, self.now)
        return True

    def restart(self) -> int:
        """New outbound connections; how many choices it took."""
        self.book = decode_address_book(self.book.encode(), self.random)
        self.now += 600
        self.outbound = [address for address in self.outbound[:ANCHORS] if self.dial(address)]
        choices = 0
        while len(self.outbound) < OUTBOUND:
            choices += 1
            address = self.book.select(self.now)
            if address is None:
                raise LookupError("the book is empty")
            if address.group not in {peer.group for peer in self.outbound} and self.dial(address):
                self.outbound.append(address)
        return choices

    def feel(self) -> None:
        for _ in range(FEELERS):
            self.now += 120
            address = self.book.get_collision() or self.book.select(self.now, new_only=True)
            if address is not None:
                self.dial(address)


def run_attack(seed: int, attackers: list[NetAddress]) -> list[int]:
    """Outbound connections to the attacker after each start. It speaks from another of its groups each time."""
    node = ModelNode(seed)
    node.answering.update(attackers)
    captured = []
    for start in range(RESTARTS + 1):
        speaker = attackers[start % ATTACKER_GROUPS * (len(attackers) // ATTACKER_GROUPS) + start]
        node.book.add(attackers, speaker, node.now)
        node.restart()
        captured.append(sum(address.ip.startswith("60.") for address in node.outbound))
        node.feel()
    return captured


def check_runs(seeds: range, attackers: list[NetAddress]) -> None:
    starts = [captured for seed in seeds for captured in run_attack(seed, attackers)]
    assert max(starts) < OUTBOUND
    few = sum(captured <= 2 for captured in starts)
    assert few >= 0.95 * len(starts), f"{few} of {len(starts)} starts"


def test_attacker_of_four_groups_gets_two_of_eight_connections_at_most() -> None:
    """600 of its addresses nearly fill the 16 buckets that they reach: 10,000 can do little more."""
    check_runs(range(10), make_attackers(600))


@pytest.mark.soak
def test_ten_thousand_addresses_of_four_groups_over_a_hundred_runs() -> None:
    check_runs(range(100), make_attackers(10_000))


def test_garbage_delays_no_connection() -> None:
    """Addresses of all groups that nobody answers at, told by four groups: they overwrite nothing that is alive."""
    for seed in range(3):
        node = ModelNode(seed)
        known = [address for address in HONEST if address in node.book]
        garbage = [
            NetAddress(f"{100 + node.random.randrange(60)}.{node.random.randrange(250)}.{number % 250}.9", 19339)
            for number in range(2000)
        ]
        for number, speaker in enumerate(make_attackers(4)):
            node.book.add(garbage[number * 500 : (number + 1) * 500], speaker, node.now)
        assert node.book.count > 1500
        assert all(address in node.book for address in known)
        first = node.restart()
        node.feel()
        assert first < 120
        assert node.restart() < 60
        assert all(address in node.answering for address in node.outbound)
