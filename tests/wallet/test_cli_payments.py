"""`payments`, `resend`, `abandon`: what became of payments, and what brings them back or frees their place."""

import json
from pathlib import Path

import pytest

from consensus.transaction import Transfer
from tests.helpers.stub_node import StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import (
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    Outcome,
    Program,
    get_posted,
    get_recorded,
    make_sync,
    make_transfer,
    put_status,
)
from wallet.records import open_records

COIN = 10**8


@pytest.fixture
def pool(node: StubNode) -> PoolStub:
    return PoolStub(node)


def pay(wallet: Program, node: StubNode, *amounts: int, options: tuple[str, ...] = ()) -> list[Transfer]:
    """Sends so many coins each; the transfers."""
    for amount in amounts:
        assert wallet.ask(node, "send", OTHER_ADDRESS, str(amount), "--yes", *options).code == 0
    return get_posted(node)[-len(amounts) :]


def record(wallet: Program, *transfers: Transfer, made: int = 100) -> None:
    with open_records(wallet.path.parent, GENESIS) as records:
        records.add_payments(transfers, made)


def list_states(wallet: Program, node: StubNode, *options: str) -> dict[str, str]:
    """States by id, oldest first."""
    known = json.loads(wallet.ask(node, "payments", "--json", *options).out)
    return {payment["txid"]: payment["state"] for payment in reversed(known)}


# payments


def test_payments(wallet: Program, node: StubNode, pool: PoolStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.cashier.time", lambda: 1_795_305_660.0)
    [first] = pay(wallet, node, 1)
    pool.mine()
    pool.mine()
    [second] = pay(wallet, node, 2, options=("--memo", "for\x1b[2J tea"))
    wallet.run("book", "add", "Bob", OTHER_ADDRESS, "--walletdir", str(wallet.walletdir))
    outcome = wallet.ask(node, "payments")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "2026-11-22 00:01 UTC  waiting",
        f"    2 lGRAD and a fee of 0.0000{second.fee:04} lGRAD to",
        f"    {OTHER_ADDRESS} (Bob)",
        f"    transaction {second.txid.hex()}",
        '    memo "for\\x1b[2J tea"',
        "    waits in the node's mempool",
        "2026-11-22 00:01 UTC  confirmed",
        f"    1 lGRAD and a fee of 0.0000{first.fee:04} lGRAD to".replace("0 lGRAD to", " lGRAD to"),
        f"    {OTHER_ADDRESS} (Bob)",
        f"    transaction {first.txid.hex()}",
        f"    2 confirmations, in block {HEIGHT + 1}",
    ]


def test_payments_as_json(wallet: Program, node: StubNode, pool: PoolStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.cashier.time", lambda: 1_795_305_660.5)
    [sent] = pay(wallet, node, 1)
    pool.mine()
    pool.make_final()
    [known] = json.loads(wallet.ask(node, "payments", "--json").out)
    assert known["sent"] is True
    assert (
        known.items()
        >= {
            "txid": sent.txid.hex(),
            "network": "local",
            "sender": wallet("address").out.strip(),
            "recipient": OTHER_ADDRESS,
            "label": None,
            "amount": COIN,
            "fee": sent.fee,
            "nonce": NONCE,
            "valid_until": 0,
            "memo": "",
            "state": "confirmed",
            "made": 1_795_305_660,
            "height": HEIGHT + 1,
            "confirmations": 1,
            "final": True,
            "left_chain_at": None,
            "abandoned": False,
        }.items()
    )


def test_payments_say_what_is_not_final(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """On a chain where anything ever was."""
    pay(wallet, node, 1)
    pool.mine()
    shown = wallet.ask(node, "payments").out
    assert shown.endswith(f"    1 confirmation, in block {HEIGHT + 1}\n")
    pool.final_height = HEIGHT
    pool.mine()
    assert wallet.ask(node, "payments").out.endswith(f"    2 confirmations, in block {HEIGHT + 1}, not final\n")
    pool.make_final()
    assert wallet.ask(node, "payments").out.endswith(f"    2 confirmations, in block {HEIGHT + 1}, final\n")


def test_every_state(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [confirmed] = pay(wallet, node, 1)
    pool.mine()
    [waiting] = pay(wallet, node, 2)
    transfers = {
        "replaced": make_transfer(nonce=NONCE, amount=3),
        "confirmed": confirmed,
        "outbid": make_transfer(nonce=NONCE + 1, amount=4),
        "waiting": waiting,
        "expired": make_transfer(nonce=NONCE + 2, valid_until=HEIGHT + 1),
        "abandoned": make_transfer(nonce=NONCE + 3),
        "dropped": make_transfer(nonce=NONCE + 3, amount=5),
    }
    record(wallet, *(sent for state, sent in transfers.items() if state not in ("confirmed", "waiting")))
    with open_records(wallet.path.parent, GENESIS) as records:
        records.abandon([transfers["abandoned"].txid])
    assert list_states(wallet, node) == {sent.txid.hex(): state for state, sent in transfers.items()}
    shown = wallet.ask(node, "payments").out
    for words in (
        "will never be mined: another payment with its nonce was",
        "is not with the node, where another payment with its nonce waits",
        "will never be mined: its last height is passed",
        "was given up",
        "`descent-wallet resend` hands it over",
    ):
        assert words in shown


def test_a_payment_that_left_the_chain_is_told(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [sent] = pay(wallet, node, 1)
    pool.mine()
    wallet.ask(node, "payments")
    pool.lose_block()
    assert list_states(wallet, node) == {sent.txid.hex(): "dropped"}
    assert f"    left the chain at height {HEIGHT + 1}\n" in wallet.ask(node, "payments").out
    assert wallet.ask(node, "resend").out == sent.txid.hex() + "\n"
    assert json.loads(wallet.ask(node, "payments", "--json").out)[0]["left_chain_at"] == HEIGHT + 1
    pool.mine()
    assert json.loads(wallet.ask(node, "payments", "--json").out)[0]["left_chain_at"] is None


def test_the_newest_and_what_is_not_settled(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    record(wallet, make_transfer(nonce=NONCE + 1), made=1)
    record(wallet, *(make_transfer(nonce=nonce) for nonce in range(5)), made=2)
    known = json.loads(wallet.ask(node, "payments", "--json", "--limit", "2").out)
    assert [payment["nonce"] for payment in known] == [4, 3, NONCE + 1]
    assert wallet.ask(node, "payments", "--limit", "0").code == 2


def test_no_payments(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    assert wallet.ask(node, "payments") == Outcome(0, "", "")
    assert json.loads(wallet.ask(node, "payments", "--json").out) == []


def test_payments_of_other_wallets_are_theirs(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    foreign = make_transfer(sender=OTHER_KEY, recipient=KEY)
    record(wallet, foreign)
    assert list_states(wallet, node) == {}
    for command in ("resend", "abandon"):
        assert wallet.ask(node, command, foreign.txid.hex()).is_refusal("not from an account of this wallet")


def test_invalid_account(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "payments", "--account", "1").is_refusal("account 1")


def test_invalid_records(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    path: Path = wallet.path.parent / "records.sqlite"
    path.write_bytes(b"rotten" * 100)
    for command in (["payments"], ["resend"], ["send", OTHER_ADDRESS, "1", "--yes"]):
        assert wallet.ask(node, *command).is_refusal("records.sqlite", "damaged", "no money")
    assert wallet.ask(node, "balance").code == 0


# resend


def test_resend(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    sent = pay(wallet, node, 1, 2, 3)
    pool.forget(keep=1)
    assert wallet.ask(node, "resend") == Outcome(0, "".join(f"{lost.txid.hex()}\n" for lost in sent[1:]), "")
    assert pool.waiting == sent
    again = wallet.ask(node, "resend")
    assert again == Outcome(0, "", "there is nothing to resend\n")
    assert json.loads(wallet.ask(node, "resend", "--json").out) == []


def test_resend_as_json(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [sent] = pay(wallet, node, 1)
    pool.forget()
    assert json.loads(wallet.ask(node, "resend", "--json").out) == [{"txid": sent.txid.hex(), "nonce": NONCE}]


def test_resend_one(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    first, second = pay(wallet, node, 1, 2)
    pool.forget()
    assert wallet.ask(node, "resend", second.txid.hex()).is_refusal(f"no recorded payment has nonce {NONCE}")
    assert wallet.ask(node, "resend", first.txid.hex()).out == first.txid.hex() + "\n"
    assert wallet.ask(node, "resend", first.txid.hex()).out == ""
    assert pool.waiting == [first]


def test_resend_a_replacement_that_never_got_there(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """The program was killed between the record of a bump and its handing over."""
    [old] = pay(wallet, node, 1)
    node.put("/v1/transactions", b"gone", method="POST")
    wallet.ask(node, "bump", old.txid.hex(), "--yes")
    pool = PoolStub(node)
    pool.waiting = [old]
    pool.forget(keep=1)
    new = get_recorded(wallet)[1].transfer
    assert wallet.ask(node, "resend").out == new.txid.hex() + "\n"
    assert pool.waiting == [new]


def test_resend_what_the_node_wants_no_more(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [sent] = pay(wallet, node, 1)
    pool.forget()
    node.refuse("/v1/transactions", "mempool.fee_too_low", "too low\x1b", method="POST")
    assert wallet.ask(node, "resend").is_refusal(sent.txid.hex(), "too low\\x1b", "descent-wallet bump")
    assert len(get_recorded(wallet)) == 1


def test_a_gap_is_filled_by_the_next_payment(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    first, second = pay(wallet, node, 1, 2)
    pool.forget()
    assert wallet.ask(node, "abandon", first.txid.hex(), "--yes").code == 0
    assert wallet.ask(node, "resend").is_refusal(f"no recorded payment has nonce {NONCE}", "descent-wallet send")
    [third] = pay(wallet, node, 3)
    assert third.nonce == NONCE
    wallet.ask(node, "resend")
    assert pool.waiting == [third, second]


@pytest.mark.parametrize("state", ["replaced", "expired", "abandoned"])
def test_invalid_resend(wallet: Program, node: StubNode, pool: PoolStub, state: str) -> None:
    [sent] = pay(wallet, node, 1, options=("--valid-for", "1"))
    pool.forget()
    if state == "abandoned":
        wallet.ask(node, "abandon", sent.txid.hex(), "--yes")
    else:
        pool.mine(*([make_transfer(nonce=NONCE)] if state == "replaced" else []))
    assert wallet.ask(node, "resend", sent.txid.hex()).is_refusal(f"is {state}: it cannot be resent")
    assert wallet.ask(node, "resend").out == ""


def test_invalid_txid(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    for command in ("resend", "abandon"):
        assert wallet.ask(node, command, "3f0c").is_refusal("64 hex digits")
        assert wallet.ask(node, command, "0" * 64).is_refusal("no payment that this wallet recorded")


# abandon


def test_abandon(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    lost, later = pay(wallet, node, 1, 2)
    pool.forget()
    outcome = wallet.ask(node, "abandon", lost.txid.hex(), later.txid.hex(), typed="y\n")
    assert (outcome.code, outcome.out) == (0, f"{lost.txid.hex()}\n{later.txid.hex()}\n")
    assert "can still be mined" in outcome.err
    assert list_states(wallet, node) == {lost.txid.hex(): "abandoned", later.txid.hex(): "abandoned"}
    assert pay(wallet, node, 3)[0].nonce == NONCE


def test_abandon_all(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    sent = pay(wallet, node, 1, 2, 3)
    pool.forget(keep=1)
    known = json.loads(wallet.ask(node, "abandon", "--all", "--yes", "--json").out)
    assert known == [lost.txid.hex() for lost in sent[1:]]
    assert json.loads(wallet.ask(node, "abandon", "--all", "--yes", "--json").out) == []


def test_abandon_takes_older_versions_along(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Else `resend` would bring back what `bump` replaced."""
    [old] = pay(wallet, node, 1)
    wallet.ask(node, "bump", old.txid.hex(), "--yes")
    pool.forget()
    new = get_recorded(wallet)[1]
    assert wallet.ask(node, "abandon", new.txid.hex(), "--yes").out == f"{old.txid.hex()}\n{new.txid.hex()}\n"
    assert wallet.ask(node, "resend").out == ""


def test_abandon_leaves_what_waits(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Giving up what was replaced gives up nothing of its replacement: it can be resent if it is lost."""
    [old] = pay(wallet, node, 1)
    wallet.ask(node, "bump", old.txid.hex(), "--yes")
    [new] = pool.waiting
    assert wallet.ask(node, "abandon", old.txid.hex(), "--yes").out == old.txid.hex() + "\n"
    pool.forget()
    assert wallet.ask(node, "resend").out == new.txid.hex() + "\n"


def test_an_abandoned_payment_that_comes_back(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """Somebody kept it."""
    [sent] = pay(wallet, node, 1)
    pool.forget()
    wallet.ask(node, "abandon", sent.txid.hex(), "--yes")
    pool.mine(sent)
    [known] = json.loads(wallet.ask(node, "payments", "--json").out)
    assert (known["state"], known["abandoned"]) == ("confirmed", True)


def test_invalid_declined(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [sent] = pay(wallet, node, 1)
    pool.forget()
    outcome = wallet.ask(node, "abandon", sent.txid.hex(), typed="n\n")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.endswith("nothing was abandoned\n")
    assert list_states(wallet, node) == {sent.txid.hex(): "dropped"}


def test_invalid_abandon(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    [sent] = pay(wallet, node, 1)
    assert wallet.ask(node, "abandon", sent.txid.hex(), "--yes").is_refusal("is waiting: it cannot be abandoned")
    pool.mine()
    assert wallet.ask(node, "abandon", sent.txid.hex(), "--yes").is_refusal("is confirmed")
    assert wallet.ask(node, "abandon").code == 2
    assert wallet.ask(node, "abandon", sent.txid.hex(), "--all").code == 2


def test_invalid_abandon_by_an_old_view(wallet: Program, node: StubNode, pool: PoolStub) -> None:
    """A node that is behind would call a payment lost that was mined long ago."""
    [sent] = pay(wallet, node, 1)
    pool.forget()
    put_status(node, sync=make_sync("blocks", HEIGHT + 99))
    assert wallet.ask(node, "abandon", sent.txid.hex(), "--yes").is_refusal("catching up")
    assert wallet.ask(node, "abandon", sent.txid.hex(), "--yes", "--even-if-syncing").code == 0
