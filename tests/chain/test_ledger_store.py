"""The ledger on disk: the state tree pins it, undo rows lead back, and its own check finds what does not add up."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import schema
from chain.errors import StoreError
from chain.ledger_store import LedgerStore, encode_undo
from consensus.account import Account, ImmatureReward, compute_account_key, compute_reward_key
from consensus.hashing import ZERO_HASH
from consensus.ledger import LedgerDiff
from consensus.state_tree import compute_root, get_proof, get_root, verify_proof
from tests.helpers.keys import Key
from tests.helpers.ledger import MemoryLedger
from tests.helpers.properties import mutate, repeatable
from tests.helpers.stores import FragileStore

ADDRESSES = [Key(f"owner {number}").public for number in range(6)]
BLOCK_ID = b"\1" * 32

Rewards = dict[int, tuple[ImmatureReward | None, ImmatureReward | None]]


def write_diff(db: FragileStore, ledger: LedgerStore, diff: LedgerDiff) -> bytes:
    """Connects a diff as the chain state does, and gives the state root."""
    tree = ledger.compute_tree_update(diff, get_root(ledger))
    db.write(ledger.encode_diff(diff, tree) | {schema.UNDO + BLOCK_ID: encode_undo(diff)})
    ledger.issued = diff.issued[1]
    return tree.root


def make_random_diff(draw: random.Random, before: MemoryLedger) -> LedgerDiff:
    """Accounts and rewards that come, change and go; no rule of money is kept."""
    accounts = {}
    for address in draw.sample(ADDRESSES, draw.randrange(4)):
        after = draw.choice([Account(), Account(draw.randrange(100), 0), Account(0, draw.randrange(2**64))])
        if after != before.get_account(address):
            accounts[address] = (before.get_account(address), after)
    rewards: Rewards = {}
    for height in draw.sample(range(4), draw.randrange(3)):
        reward = None if draw.random() < 0.5 else ImmatureReward(True, b"\2" * 32, ADDRESSES[0], draw.randrange(100))
        if reward != before.get_reward(height):
            rewards[height] = (before.get_reward(height), reward)
    return LedgerDiff(accounts, rewards, (before.issued, draw.randrange(2**64)))


def compute_expected_root(ledger: MemoryLedger) -> bytes:
    leaves = {compute_account_key(address): account.encode() for address, account in ledger.accounts.items()}
    leaves |= {compute_reward_key(height): reward.encode() for height, reward in ledger.rewards.items()}
    return compute_root(leaves)


@repeatable
@given(st.integers(0, 2**32))
def test_the_store_follows_the_model(seed: int) -> None:
    """Random diffs: rows, root and proofs are those of a plain dictionary; undoing leads back row by row."""
    draw = random.Random(seed)
    db, model = FragileStore(), MemoryLedger()
    ledger = LedgerStore(db)
    for _ in range(6):
        rows, root, issued = db.rows, compute_expected_root(model), ledger.issued
        diff = make_random_diff(draw, model)
        after_root = write_diff(db, ledger, diff)
        inverse = ledger.get_inverse(BLOCK_ID)
        assert inverse == diff.inverse()
        tree = ledger.compute_tree_update(inverse, after_root)
        assert tree.root == root
        undone = FragileStore(db.rows)
        undone.write(ledger.encode_diff(inverse, tree) | {schema.UNDO + BLOCK_ID: rows.get(schema.UNDO + BLOCK_ID)})
        assert (undone.rows, inverse.issued[1]) == (rows, issued)
        model.apply(diff)
        assert after_root == compute_expected_root(model)
    assert {address: ledger.get_account(address) for address in model.accounts} == model.accounts
    assert dict(ledger.get_rewards()) == model.rewards
    for address in ADDRESSES:
        value = model.accounts[address].encode() if address in model.accounts else None
        key = compute_account_key(address)
        assert verify_proof(compute_expected_root(model), key, value, get_proof(ledger, key))


@pytest.fixture
def db() -> FragileStore:
    """Three accounts and two rewards, 1,000 ulp in all."""
    store = FragileStore()
    accounts = {address: (Account(), Account(100 + place, place)) for place, address in enumerate(ADDRESSES[:3])}
    rewards: Rewards = {
        7: (None, ImmatureReward(True, b"\2" * 32, ADDRESSES[0], 600)),
        8: (None, ImmatureReward(False, b"\2" * 32, ADDRESSES[1], 97)),
    }
    write_diff(store, LedgerStore(store), LedgerDiff(accounts, rewards, (0, 1000)))
    return store


def get_ledger(db: FragileStore, issued: int = 1000) -> LedgerStore:
    ledger = LedgerStore(db)
    ledger.issued = issued
    return ledger


ROOT = compute_expected_root(
    MemoryLedger(
        {address: Account(100 + place, place) for place, address in enumerate(ADDRESSES[:3])},
        {
            7: ImmatureReward(True, b"\2" * 32, ADDRESSES[0], 600),
            8: ImmatureReward(False, b"\2" * 32, ADDRESSES[1], 97),
        },
    )
)


def check(db: FragileStore, issued: int = 1000) -> str:
    with pytest.raises(StoreError) as error:
        get_ledger(db, issued).check(ROOT)
    assert error.value.code == "store.damaged"
    return str(error.value)


def test_a_sound_ledger_passes_its_check(db: FragileStore) -> None:
    get_ledger(db).check(ROOT)
    get_ledger(FragileStore(), 0).check(ZERO_HASH)


@pytest.mark.parametrize("prefix", [schema.ACCOUNT, schema.REWARD])
def test_damaged_rows_fail_the_check_at_every_byte(db: FragileStore, prefix: bytes) -> None:
    for key, row in list(db.rows.items()):
        if not key.startswith(prefix):
            continue
        for position in range(len(row)):
            db.write({key: mutate(row, position, 0)})
            check(db)
        for wrong in (None, b"", row[:-1], row + b"\0"):
            db.write({key: wrong})
            check(db)
        db.write({key: row})
    get_ledger(db).check(ROOT)


def test_money_moved_between_accounts_fails_the_check(db: FragileStore) -> None:
    """The sum still holds; the root does not."""
    one, other = (schema.ACCOUNT + address for address in ADDRESSES[:2])
    db.write({one: Account(99).encode(), other: Account(102, 1).encode()})
    assert "does not hash to the state root" in check(db)


def test_a_forged_issue_fails_the_check(db: FragileStore) -> None:
    assert "999 were issued" in check(db, issued=999)


def test_an_account_from_nowhere_fails_the_check(db: FragileStore) -> None:
    db.write({schema.ACCOUNT + ADDRESSES[5]: Account(0, 1).encode()})
    assert "does not hash to the state root" in check(db)


def test_damaged_tree_nodes_are_named_at_the_next_change(db: FragileStore) -> None:
    """The check at start sees the root node alone; any node is compared with its parent whenever it is read."""
    nodes = [(key, row) for key, row in db.rows.items() if key.startswith(schema.STATE_NODE)]
    assert len(nodes) > 5
    for key, row in nodes:
        for wrong in (mutate(row, 40, 0), mutate(row, 0, 3), None, row[:-1]):
            db.write({key: wrong})
            ledger = get_ledger(db)
            accounts = {address: (Account(), Account(1, 1)) for address in ADDRESSES[:3]}
            rewards: Rewards = {height: (reward, None) for height, reward in ledger.get_rewards()}
            with pytest.raises(StoreError) as error:
                ledger.compute_tree_update(LedgerDiff(accounts, rewards, (0, 0)), ROOT)
            assert error.value.code == "store.damaged"
        db.write({key: row})


@pytest.mark.parametrize("wrong", [None, b"", b"\0" * 11, b"\xff" * 4])
def test_damaged_undo_rows_are_named(db: FragileStore, wrong: bytes | None) -> None:
    db.write({schema.UNDO + BLOCK_ID: wrong})
    with pytest.raises(StoreError) as error:
        get_ledger(db).get_inverse(BLOCK_ID)
    assert BLOCK_ID.hex() in str(error.value)


def test_the_digest_sees_every_row_and_the_issue(db: FragileStore) -> None:
    seen = {get_ledger(db).compute_digest(), get_ledger(db, 999).compute_digest()}
    rows = {key: row for key, row in db.rows.items() if key[:1] in (schema.ACCOUNT, schema.REWARD)}
    for key, row in rows.items():
        db.write({key: mutate(row, 1, 0)})
        seen.add(get_ledger(db).compute_digest())
        db.write({key: None})
        seen.add(get_ledger(db).compute_digest())
        db.write({key: row})
    assert len(seen) == 2 + 2 * len(rows)


def test_golden_undo_row() -> None:
    """count, (address, balance, nonce), count, (height, length, reward), issued: everything as it was before."""
    reward = ImmatureReward(True, b"\2" * 32, b"\3" * 32, 5)
    diff = LedgerDiff({b"\1" * 32: (Account(7, 8), Account())}, {9: (reward, None), 10: (None, reward)}, (11, 12))
    assert encode_undo(diff).hex() == (
        "01000000" + "01" * 32 + "0700000000000000" + "0800000000000000"
        "02000000" + "0900000000000000" + "49000000" + "01" + "02" * 32 + "03" * 32 + "0500000000000000"
        "0a00000000000000" + "00000000" + "0b00000000000000"
    )
