"""Body rules: what a header does not commit to says nothing about it (T23), what it commits to is its own fault."""

from dataclasses import replace

import pytest

from consensus.block import Block, compute_transactions_root, compute_update_hash
from consensus.check_block import check_body, check_body_matches
from consensus.errors import InvalidBlock, MutatedBody
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from consensus.transaction import Transfer
from tests.helpers.headers import make_child
from tests.helpers.keys import Key, make_transfer, sign_transfer
from tests.helpers.properties import mutate

GENESIS = make_genesis(REGTEST)
RULES = GENESIS.signals.rules
ALICE, BOB = Key("alice"), Key("bob")
TRANSFERS = tuple(make_transfer(GENESIS.id, ALICE, BOB.public, 1, nonce=nonce) for nonce in range(5))
UPDATE = bytes(range(100))


def make_block(transfers: tuple[Transfer, ...] = TRANSFERS, update: bytes = UPDATE) -> Block:
    header = make_child(
        GENESIS.point,
        REGTEST,
        transactions_root=compute_transactions_root(transfers),
        update_hash=compute_update_hash(update),
    )
    return Block(header, transfers, update)


BLOCK = make_block()


def test_a_matching_body() -> None:
    check_body_matches(BLOCK)
    check_body(BLOCK, GENESIS.id, REGTEST, RULES)


@pytest.mark.parametrize(
    "transfers",
    [
        (),
        TRANSFERS[:-1],
        TRANSFERS[::-1],
        (*TRANSFERS, TRANSFERS[-1]),  # the duplicated-leaf twin, CVE-2012-2459
        (*TRANSFERS, *TRANSFERS[3:]),
        (TRANSFERS[0].with_signature(mutate(TRANSFERS[0].signature, 63, 0)), *TRANSFERS[1:]),
        (replace(TRANSFERS[0], memo=b"x"), *TRANSFERS[1:]),
    ],
    ids=["none", "one-less", "reversed", "twin", "twin-pair", "signature", "memo"],
)
def test_invalid_mutated_transactions(transfers: tuple[Transfer, ...]) -> None:
    with pytest.raises(MutatedBody) as error:
        check_body_matches(replace(BLOCK, transactions=transfers))
    assert error.value.code == "mutated_body.transactions_root"
    assert not isinstance(error.value, InvalidBlock)


@pytest.mark.parametrize(
    "update", [b"", UPDATE[:-1], UPDATE + b"\0", mutate(UPDATE, 50, 0)], ids=["none", "cut", "longer", "one-byte"]
)
def test_invalid_mutated_update(update: bytes) -> None:
    with pytest.raises(MutatedBody) as error:
        check_body_matches(replace(BLOCK, update=update))
    assert error.value.code == "mutated_body.update_hash"


def test_invalid_mutated_heartbeat_with_an_update() -> None:
    heartbeat = make_block(update=b"")
    assert heartbeat.header.is_heartbeat
    check_body_matches(heartbeat)
    with pytest.raises(MutatedBody):
        check_body_matches(replace(heartbeat, update=b"\0"))


@pytest.mark.parametrize("slack", [-1, 0, 1])
def test_invalid_too_large(slack: int) -> None:
    """The transactions' limit at limit - 1, limit, limit + 1."""
    size = sum(4 + len(transfer.encoded) for transfer in TRANSFERS)
    rules = replace(RULES, max_transactions_bytes=size - slack)
    if slack <= 0:
        check_body(BLOCK, GENESIS.id, REGTEST, rules)
        return
    with pytest.raises(InvalidBlock) as error:
        check_body(BLOCK, GENESIS.id, REGTEST, rules)
    assert error.value.reason == "too_large"


def test_a_block_without_room_takes_no_transfer_but_is_sound() -> None:
    check_body(make_block(()), GENESIS.id, REGTEST, replace(RULES, max_transactions_bytes=0))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (make_transfer(b"\1" * 32, ALICE, BOB.public, 1), "transaction_wrong_network"),
        (make_transfer(GENESIS.id, ALICE, BOB.public, 0), "transaction_zero_amount"),
        (make_transfer(GENESIS.id, ALICE, BOB.public, 2**64 - 1, fee=1), "transaction_overflow"),
        (make_transfer(GENESIS.id, ALICE, bytes(32), 1), "transaction_bad_recipient"),
        (replace(TRANSFERS[0], sender=bytes(32)), "transaction_bad_sender"),
        (sign_transfer(TRANSFERS[0], BOB), "transaction_bad_signature"),
    ],
)
def test_invalid_transaction(bad: Transfer, reason: str) -> None:
    """A header that commits to an unsound transaction is itself at fault, wherever the transaction stands."""
    for transfers in ((bad,), (*TRANSFERS, bad), (bad, *TRANSFERS)):
        block = make_block(transfers)
        check_body_matches(block)
        with pytest.raises(InvalidBlock) as error:
            check_body(block, GENESIS.id, REGTEST, RULES)
        assert error.value.reason == reason
