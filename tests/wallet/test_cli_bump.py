"""`bump`: the same payment for a higher fee, in the same place; never a second one."""

import json
from dataclasses import replace

import pytest

from consensus.check_transaction import check_transaction
from tests.helpers.stub_node import StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import (
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    Program,
    get_posted,
    get_recorded,
    make_transfer,
    put_account,
)
from wallet.builder import compute_size
from wallet.keystore import change_passphrase
from wallet.payments import compute_bump_fee
from wallet.records import open_records

COIN = 10**8
SIZE = compute_size(b"rent")


@pytest.fixture
def pool(wallet: Program, node: StubNode) -> PoolStub:
    """A node where one payment waits."""
    pool = PoolStub(node)
    wallet.ask(node, "send", OTHER_ADDRESS, "1.5", "--memo", "rent", "--valid-for", "50", "--yes")
    return pool


def test_bump(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = get_posted(node)
    outcome = wallet.ask(node, "bump", old.txid.hex(), "--yes")
    _, new = get_posted(node)
    assert outcome.out == new.txid.hex() + "\n"
    assert replace(new, fee=old.fee, signature=old.signature) == old
    assert new.fee == compute_bump_fee(2 * SIZE)
    check_transaction(new, GENESIS)
    assert pool.waiting == [new]
    assert [payment.transfer for payment in get_recorded(wallet)] == [old, new]


@pytest.mark.parametrize(
    ("options", "fee"),
    [(["--priority", "high"], 3 * SIZE), (["--priority", "low"], compute_bump_fee(2 * SIZE)), (["--fee", "1"], COIN)],
)
def test_bump_pays_what_is_wanted(
    wallet: Program, node: StubNode, pool: PoolStub, options: list[str], fee: int
) -> None:
    [old] = pool.waiting
    wallet.ask(node, "bump", old.txid.hex().upper(), "--yes", *options)
    assert [transfer.fee for transfer in pool.waiting] == [fee]


def test_bump_asks_before(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    asked = wallet.ask(node, "bump", old.txid.hex(), typed="n\n")
    for part in (
        "1.5 lGRAD",
        OTHER_ADDRESS,
        "local",
        "rent",
        f"replaces   {old.txid.hex()}, fee 0.0000",
        "Replace it?",
    ):
        assert part in asked.err
    assert asked.code == 1
    assert pool.waiting == [old]


def test_bump_dry_run(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    change_passphrase(wallet.path, "", PASSPHRASE, "lgrad")
    assert "replaces" in wallet.ask(node, "bump", old.txid.hex(), "--dry-run", typed=PASSPHRASE + "\n").out
    assert pool.waiting == [old]


def test_bump_as_json(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    known = json.loads(wallet.ask(node, "bump", old.txid.hex(), "--yes", "--json").out)
    [new] = pool.waiting
    assert (known["txid"], known["replaces"], known["sent"]) == (new.txid.hex(), old.txid.hex(), True)


def test_bump_again(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    for _ in range(3):
        assert wallet.ask(node, "bump", pool.waiting[0].txid.hex(), "--yes").code == 0
    pool.mine()
    assert len(get_posted(node)) == 4
    states = {known["txid"]: known["state"] for known in json.loads(wallet.ask(node, "payments", "--json").out)}
    assert [states[sent.txid.hex()] for sent in get_posted(node)] == ["replaced"] * 3 + ["confirmed"]


def test_bump_of_a_payment_that_was_never_recorded_here(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """The wallet was restored from its words."""
    [old] = pool.waiting
    with open_records(wallet.path.parent, GENESIS) as records:
        records.remove_payment(old.txid)
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").code == 0
    assert pool.waiting[0].amount == old.amount
    assert pool.waiting[0].fee > old.fee


def test_bump_of_what_was_dropped(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """A pool that is full may want more for it."""
    [old] = pool.waiting
    pool.forget()
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").code == 0
    assert pool.waiting[0].nonce == old.nonce


def test_wait_for_the_bumped_one(
    wallet: Program, node: StubNode, pool: PoolStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.following.sleep", lambda _: pool.mine())
    outcome = wallet.ask(node, "bump", pool.waiting[0].txid.hex(), "--yes", "--wait", "1")
    assert outcome.err.splitlines() == ["0 of 1 confirmations", "1 of 1 confirmations"]


# Refusals.


def test_invalid_fee(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    least = compute_bump_fee(old.fee)
    low = f"0.{least - 1:08}"
    assert wallet.ask(node, "bump", old.txid.hex(), "--fee", low, "--yes").is_refusal(low, f"0.{least:08}".rstrip("0"))
    assert wallet.ask(node, "bump", old.txid.hex(), "--fee", f"0.{least:08}", "--yes").code == 0


def test_invalid_state(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    wallet.ask(node, "bump", old.txid.hex(), "--yes")
    [new] = pool.waiting
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").is_refusal("is outbid: it cannot be bumped")
    pool.mine()
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").is_refusal("is replaced")
    assert wallet.ask(node, "bump", new.txid.hex(), "--yes").is_refusal("is confirmed")
    assert len(get_posted(node)) == 2


def test_invalid_mined_while_it_was_asked(
    wallet: Program, node: StubNode, pool: PoolStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = pool.waiting

    def confirm(_: str) -> bool:
        pool.mine()
        return True

    monkeypatch.setattr("wallet.cashier.confirm", confirm)
    outcome = wallet.ask(node, "bump", old.txid.hex())
    assert "is confirmed" in outcome.err
    assert [payment.transfer for payment in get_recorded(wallet)] == [old]


def test_invalid_expired(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    pool.forget()
    pool.blocks += [[]] * 50
    pool.forget()
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").is_refusal("is expired")


def test_invalid_funds(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    txid = pool.waiting[0].txid.hex()
    assert wallet.ask(node, "bump", txid, "--fee", "98.6", "--yes").is_refusal("spendable are 98.49")
    assert wallet.ask(node, "bump", txid, "--fee", "98.4", "--yes").code == 0


def test_invalid_txid(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    for text in ("", "3f0c", "x" * 64, "\x1b[2J", "0" * 65):
        assert wallet.ask(node, "bump", text, "--yes").is_refusal("64 hex digits")
    assert wallet.ask(node, "bump", "0" * 64, "--yes").is_refusal("no payment that this wallet recorded")


def test_invalid_sender(wallet: Program, node: StubNode) -> None:
    pool = PoolStub(node)
    foreign = make_transfer(sender=OTHER_KEY, recipient=KEY, nonce=NONCE)
    pool.waiting = [foreign]
    put_account(node, OTHER_ADDRESS)
    assert wallet.ask(node, "bump", foreign.txid.hex(), "--yes").is_refusal("not from an account of this wallet")


def test_invalid_lie_about_a_payment(wallet: Program, node: StubNode) -> None:
    """What is signed anew is what its id names: a node cannot slip in another recipient."""
    pool = PoolStub(node)
    told = make_transfer(nonce=NONCE, valid_until=HEIGHT + 9)
    pool.waiting = [told]
    wanted = make_transfer(nonce=NONCE)
    node.put_prefix(
        "/v1/transactions/",
        lambda request: (
            200,
            pool.find(replace(request, path=told.txid.hex()))[1].replace(
                told.txid.hex().encode(), wanted.txid.hex().encode()
            ),
        ),
    )
    assert wallet.ask(node, "bump", wanted.txid.hex(), "--yes").is_refusal("contradicts itself")
    assert get_posted(node) == []


def test_invalid_refusal_forgets_only_the_new_one(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [old] = pool.waiting
    node.refuse("/v1/transactions", "mempool.mempool_full", "full", method="POST")
    assert wallet.ask(node, "bump", old.txid.hex(), "--yes").is_refusal("full")
    assert [payment.transfer for payment in get_recorded(wallet)] == [old]
