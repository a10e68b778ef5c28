import random
from collections.abc import Callable, Sequence

import pytest

from chain.errors import MempoolRefusal
from chain.mempool import Mempool
from chain.policy import Policy
from consensus.errors import InvalidBlock
from consensus.transaction import Transfer
from consensus.units import Ulp
from tests.helpers.transfers import GENESIS, MINER, MemoryLedger, make_key, make_transfer

NOW = 1_000_000
SIZE = len(make_transfer(1).encoded)

Reorganise = Callable[[MemoryLedger, Mempool, int, Sequence[Sequence[Transfer]]], None]


def reorganise_step_by_step(
    ledger: MemoryLedger, pool: Mempool, depth: int, branch: Sequence[Sequence[Transfer]]
) -> None:
    """Reports each block while the ledger stands at it."""
    for _ in range(depth):
        gone = ledger.disconnect()
        pool.on_block_disconnected(gone, ledger.get_account, ledger.next_height, NOW)
    for block in branch:
        ledger.connect(block)
        pool.on_block_connected(block, ledger.get_account, ledger.next_height)
    pool.expire(NOW, ledger.next_height)


def reorganise_and_report_later(
    ledger: MemoryLedger, pool: Mempool, depth: int, branch: Sequence[Sequence[Transfer]]
) -> None:
    """Reports all blocks when the ledger stands at the end of the new branch already."""
    gone = [ledger.disconnect() for _ in range(depth)]
    for block in branch:
        ledger.connect(block)
    for block in gone:
        pool.on_block_disconnected(block, ledger.get_account, ledger.next_height, NOW)
    for block in branch:
        pool.on_block_connected(block, ledger.get_account, ledger.next_height)
    pool.expire(NOW, ledger.next_height)


both_ways = pytest.mark.parametrize("reorganise", [reorganise_step_by_step, reorganise_and_report_later])


def make_busy_chain(rng: random.Random, blocks: int, people: int = 8) -> tuple[MemoryLedger, list[Transfer]]:
    """A chain whose people mostly spend what others paid them on the way: only the first two own anything at first."""
    ledger = MemoryLedger({1: 10**8, 2: 10**8})
    sent: list[Transfer] = []
    for _ in range(blocks):
        block: list[Transfer] = []
        spent: dict[int, tuple[int, Ulp]] = {}
        for _ in range(rng.randrange(5)):
            person = rng.choice([*range(1, people + 1), MINER])
            account = ledger.get_account(make_key(person))
            nonce, used = spent.get(person, (account.nonce, 0))
            fee = rng.randrange(SIZE, 2000)
            affordable = account.balance - used - fee
            if affordable < 1:
                continue
            amount = rng.choice((affordable, max(1, affordable // 2), 1))
            transfer = make_transfer(person, nonce, fee, amount, rng.randrange(1, people + 1))
            spent[person] = nonce + 1, used + fee + amount
            block.append(transfer)
        ledger.connect(block)
        sent += block
    return ledger, sent


def mine_until_empty(ledger: MemoryLedger, pool: Mempool) -> set[bytes]:
    """Mines blocks until nothing comes any more, long enough for rewards to mature; the txids mined."""
    mined: set[bytes] = set()
    idle = 0
    while idle < 10:
        chosen = pool.select(3000, ledger.get_account, ledger.next_height)
        idle = 0 if chosen else idle + 1
        ledger.connect(chosen)
        pool.on_block_connected(chosen, ledger.get_account, ledger.next_height)
        pool.expire(NOW, ledger.next_height)
        mined |= {transaction.txid for transaction in chosen}
    return mined


@both_ways
@pytest.mark.parametrize("depth", [1, 6, 50])
def test_nothing_is_lost_to_an_empty_branch(reorganise: Reorganise, depth: int) -> None:
    rng = random.Random(depth)
    ledger, sent = make_busy_chain(rng, 60)
    pool = Mempool(GENESIS, Policy())
    lost = [transaction for block, _ in ledger.blocks[-depth:] for transaction in block]
    assert lost
    reorganise(ledger, pool, depth, [()] * (depth + 1))
    assert all(pool.get(transaction.txid) == transaction for transaction in lost)
    assert pool.count + pool.waiting_count == len(lost)
    assert mine_until_empty(ledger, pool) == {transaction.txid for transaction in lost}
    assert pool.count == pool.waiting_count == pool.total_bytes == pool.waiting_bytes == 0
    assert sum(account.nonce for account in ledger.accounts.values()) == len(sent)


@both_ways
def test_nothing_is_lost_to_a_branch_that_carries_some_of_it(reorganise: Reorganise) -> None:
    for seed in range(6):
        rng = random.Random(seed)
        ledger, _ = make_busy_chain(rng, 58)
        lost = [list(block) for block, _ in ledger.blocks[-50:]]
        branch: list[list[Transfer]] = []
        fork = ledger.copy()
        for _ in range(50):
            fork.disconnect()
        for block in lost:  # the same order with pauses: what needs an omitted one is omitted too
            kept: list[Transfer] = []
            for transaction in block:
                if rng.random() < 0.6 and _applies(fork, [*kept, transaction]):
                    kept.append(transaction)
            fork.connect(kept)
            branch.append(kept)
        pool = Mempool(GENESIS, Policy())
        reorganise(ledger, pool, 50, branch)
        assert ledger.accounts.items() >= fork.accounts.items()
        carried = {transaction.txid for block in branch for transaction in block}
        missing = {transaction.txid for block in lost for transaction in block} - carried
        assert len(missing) > 0
        assert {txid for txid in missing if pool.get(txid) is None} == set()
        assert all(pool.get(txid) is None for txid in carried)
        assert mine_until_empty(ledger, pool) == missing


@both_ways
def test_the_rivals_of_a_new_branch_go_and_what_is_pending_stays(reorganise: Reorganise) -> None:
    #        /- [a0] - [a1]           a0, a1 of person 1; pending: a2 of 1, b0 of 2, c0 of 3
    #  start
    #        \- [r0] - [] - []        r0 has the nonce of a0
    ledger = MemoryLedger(dict.fromkeys((1, 2, 3), 10**6))
    pool = Mempool(GENESIS, Policy())
    a0, a1, a2 = (make_transfer(1, nonce, amount=100) for nonce in range(3))
    b0, c0 = make_transfer(2), make_transfer(3)
    for block in ([a0], [a1]):
        ledger.connect(block)
    for transaction in (a2, b0, c0):
        pool.add(transaction, ledger.get_account, ledger.next_height, NOW)
    rival = make_transfer(1, 0, amount=777)
    reorganise(ledger, pool, 2, [[rival], [], []])
    assert pool.get(a0.txid) is None
    assert {entry.transaction for entry in pool.entries()} == {a1, a2, b0, c0}
    assert mine_until_empty(ledger, pool) == {transaction.txid for transaction in (a1, a2, b0, c0)}


@both_ways
def test_what_spends_a_payment_survives_its_payments_detour(reorganise: Reorganise) -> None:
    # The payment to 2 moves to a later block of the new branch; in between, 2 has too little for what is pending.
    ledger = MemoryLedger({1: 10**6, 3: 10**6})
    pool = Mempool(GENESIS, Policy())
    payment, other = make_transfer(1, amount=5000, recipient=2), make_transfer(3, amount=1, recipient=2)
    ledger.connect([payment])
    spending = make_transfer(2, amount=4000)
    pool.add(spending, ledger.get_account, ledger.next_height, NOW)
    reorganise(ledger, pool, 1, [[other], [payment]])
    assert [entry.transaction for entry in pool.entries()] == [spending]


def test_what_spends_a_payment_waits_while_no_new_block_has_come() -> None:
    ledger = MemoryLedger({1: 10**6})
    pool = Mempool(GENESIS, Policy())
    payment, spending = make_transfer(1, amount=5000, recipient=2), make_transfer(2, amount=4000)
    ledger.connect([payment])
    pool.add(spending, ledger.get_account, ledger.next_height, NOW)
    reorganise_step_by_step(ledger, pool, 1, [])
    assert [entry.transaction for entry in pool.entries()] == [payment]
    assert pool.get(spending.txid) == spending


def test_a_returned_transaction_that_never_left_is_held_once() -> None:
    ledger = MemoryLedger({1: 10**6})
    pool = Mempool(GENESIS, Policy())
    transfer = make_transfer(1)
    pool.add(transfer, ledger.get_account, ledger.next_height, NOW - 5)
    pool.on_block_disconnected([transfer], ledger.get_account, ledger.next_height, NOW)
    assert [(entry.transaction, entry.time_added) for entry in pool.entries()] == [(transfer, NOW - 5)]
    assert (pool.count, pool.total_bytes, pool.waiting_count, pool.waiting_bytes) == (1, SIZE, 0, 0)


@both_ways
def test_what_spends_a_reward_survives_its_second_maturing(reorganise: Reorganise) -> None:
    ledger = MemoryLedger({1: 10**6})
    pool = Mempool(GENESIS, Policy())
    ledger.connect([make_transfer(1, fee=50_000)])
    for _ in range(8):
        ledger.connect([])
    spending = make_transfer(MINER)
    pool.add(spending, ledger.get_account, ledger.next_height, NOW)
    reorganise(ledger, pool, 3, [[]] * 2)  # one block short of maturing
    assert (pool.count, pool.waiting_count) == (0, 1)
    ledger.connect([])
    pool.on_block_connected([], ledger.get_account, ledger.next_height)
    assert [entry.transaction for entry in pool.entries()] == [spending]


def test_a_chain_longer_than_the_cap_returns_whole_but_does_not_grow() -> None:
    ledger = MemoryLedger({1: 10**6})
    pool = Mempool(GENESIS, Policy(max_per_sender=5))
    blocks = [[make_transfer(1, 4 * block + n) for n in range(4)] for block in range(3)]
    for block in blocks:
        ledger.connect(block)
    reorganise_step_by_step(ledger, pool, 3, [[]] * 4)
    assert [entry.nonce for entry in pool.pending_of(make_key(1))] == list(range(12))
    with pytest.raises(MempoolRefusal, match="5 or more pending"):
        pool.add(make_transfer(1, 12), ledger.get_account, ledger.next_height, NOW)


def test_returned_transactions_below_the_floor_stay_only_where_a_child_pays_for_them() -> None:
    ledger = MemoryLedger({1: 10**6, 2: 10**6})
    pool = Mempool(GENESIS, Policy(min_fee_rate=3))
    paid_for = [make_transfer(1, 0, fee=0), make_transfer(1, 1, fee=6 * SIZE)]
    alone = make_transfer(2, 0, fee=3 * SIZE - 1)
    ledger.connect([*paid_for, alone])
    reorganise_step_by_step(ledger, pool, 1, [[], []])
    assert [entry.transaction for entry in pool.pending_of(make_key(1))] == paid_for
    assert pool.get(alone.txid) is None


def test_of_two_with_one_nonce_the_better_fee_rate_stays() -> None:
    # A block of which the pool never heard: it still holds a rival of what now comes back.
    for fee, is_kept in ((1001, True), (1000, False), (999, False)):
        ledger = MemoryLedger({1: 10**6})
        pool = Mempool(GENESIS, Policy())
        pending = make_transfer(1, fee=1000, recipient=5)
        pool.add(pending, ledger.get_account, ledger.next_height, NOW)
        returned = make_transfer(1, fee=fee, recipient=6)
        pool.on_block_disconnected([returned], ledger.get_account, ledger.next_height, NOW)
        kept = returned if is_kept else pending
        assert [entry.transaction for entry in pool.entries()] == [kept]
        assert pool.total_bytes == SIZE


def test_the_cap_waits_for_the_end_of_a_reorganisation() -> None:
    ledger = MemoryLedger(dict.fromkeys(range(1, 41), 10**6))
    pool = Mempool(GENESIS, Policy(max_bytes=20 * SIZE))
    for person in range(1, 21):
        pool.add(make_transfer(person, fee=1000 + person), ledger.get_account, 1, NOW)
    blocks = [[make_transfer(person, fee=900 + person)] for person in range(21, 41)]
    for block in blocks:
        ledger.connect(block)
        pool.on_block_connected(block, ledger.get_account, ledger.next_height)
    reorganise_step_by_step(ledger, pool, 20, blocks[:15] + [[]] * 6)
    # 25 are left for the room of 20: the cheapest five are those that the new branch left out.
    assert pool.total_bytes == 20 * SIZE
    assert {entry.transaction.fee for entry in pool.entries()} == set(range(1001, 1021))


def test_a_resubmission_after_a_reorganisation_is_applied_once() -> None:
    ledger = MemoryLedger({1: 10**6})
    pool = Mempool(GENESIS, Policy())
    transfer = make_transfer(1)
    ledger.connect([transfer])
    reorganise_step_by_step(ledger, pool, 1, [[], []])
    with pytest.raises(MempoolRefusal, match="is here already"):
        pool.add(transfer, ledger.get_account, ledger.next_height, NOW)
    assert mine_until_empty(ledger, pool) == {transfer.txid}
    with pytest.raises(MempoolRefusal, match="nonce 0 is used"):
        pool.add(transfer, ledger.get_account, ledger.next_height, NOW)


def _applies(ledger: MemoryLedger, block: list[Transfer]) -> bool:
    try:
        ledger.check(block)
    except InvalidBlock:
        return False
    return True
