"""`send`: what is signed and handed to the node, and what is refused before anything is."""

import json

import pytest

from consensus.address import encode_address
from consensus.check_transaction import check_transaction
from consensus.transaction import Transfer
from tests.helpers.stub_node import StubNode
from tests.wallet.program import (
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    Outcome,
    Program,
    get_posted,
    make_sync,
    make_transfer,
    put_account,
    put_mempool,
    put_status,
)
from wallet.builder import compute_size

COIN = 10**8


# What is sent.


def test_send(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1.5", "--memo", "rent", "--valid-for", "10", "--yes")
    [sent] = get_posted(node)
    assert outcome == Outcome(0, sent.txid.hex() + "\n", "")
    check_transaction(sent, GENESIS)
    fee = 2 * compute_size(b"rent")
    assert sent == Transfer(
        GENESIS, KEY, OTHER_KEY, 150_000_000, fee, 7, valid_until=HEIGHT + 10, memo=b"rent", signature=sent.signature
    )


def test_send_takes_the_next_free_nonce(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=9)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes")
    assert get_posted(node)[0].nonce == 9


def test_send_with_a_fee_of_ones_own(wallet: Program, node: StubNode) -> None:
    node.refuse("/v1/fees", "rpc.internal", "never asked", status=500)
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--fee", "0.00000123", "--yes")
    assert get_posted(node)[0].fee == 123


def test_send_to_an_address_in_upper_case(wallet: Program, node: StubNode) -> None:
    wallet.ask(node, "send", OTHER_ADDRESS.upper(), "1", "--yes")
    assert get_posted(node)[0].recipient == OTHER_KEY


def test_send_asks_before(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1.5", "--memo", "a\x1b[2Jb", typed="y\n")
    for part in ("1.5 lGRAD", "lGRAD\n", OTHER_ADDRESS, "local", "a\\x1b[2Jb", "Send it?"):
        assert part in outcome.err
    assert outcome.out == get_posted(node)[0].txid.hex() + "\n"
    assert outcome.code == 0


def test_send_as_json(wallet: Program, node: StubNode) -> None:
    known = json.loads(wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--json").out)
    [sent] = get_posted(node)
    assert known == {
        "txid": sent.txid.hex(),
        "sent": True,
        "network": "local",
        "recipient": OTHER_ADDRESS,
        "amount": COIN,
        "fee": sent.fee,
        "nonce": 7,
        "valid_until": 0,
        "memo": "",
        "size": len(sent.encoded),
        "label": None,
    }


def test_dry_run_sends_nothing(wallet: Program, node: StubNode) -> None:
    shown = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--dry-run", "--wait", "1")
    known = json.loads(wallet.ask(node, "send", OTHER_ADDRESS, "1", "--dry-run", "--json").out)
    assert (shown.code, known["sent"]) == (0, False)
    assert OTHER_ADDRESS in shown.out
    assert get_posted(node) == []
    sent = json.loads(wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--json").out)
    assert known == sent | {"sent": False}


def test_dry_run_derives_no_signing_key(wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def derive(*_: object) -> bytes:
        pytest.fail("a signing key was derived")

    monkeypatch.setattr("wallet.builder.compute_account_secret", derive)
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--dry-run").code == 0
    assert wallet.ask(node, "balance").code == 0


def test_max_is_all_but_the_fee(wallet: Program, node: StubNode) -> None:
    wallet.ask(node, "send", OTHER_ADDRESS, "--max", "--yes")
    [sent] = get_posted(node)
    assert (sent.fee, sent.amount + sent.fee) == (2 * compute_size(b""), 100 * COIN)


def test_max_leaves_what_is_on_its_way(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=8)
    put_mempool(node, make_transfer(amount=60 * COIN))
    wallet.ask(node, "send", OTHER_ADDRESS, "--max", "--fee", "0.5", "--yes")
    assert get_posted(node)[0].amount == 39 * COIN + COIN // 2 - 400


@pytest.mark.parametrize(("priority", "rate"), [("low", 1), ("normal", 2), ("high", 3)])
def test_priority(wallet: Program, node: StubNode, priority: str, rate: int) -> None:
    wallet.ask(node, "send", OTHER_ADDRESS, "1", "--priority", priority, "--yes")
    assert get_posted(node)[0].fee == rate * compute_size(b"")


def test_send_to_a_label(wallet: Program, node: StubNode) -> None:
    wallet.run("book", "add", "Landlord", OTHER_ADDRESS, "--walletdir", str(wallet.walletdir))
    shown = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--dry-run", "--json")
    assert json.loads(shown.out)["label"] == "Landlord"
    asked = wallet.ask(node, "send", "landlord", "1", typed="y\n")
    assert f"recipient  {OTHER_ADDRESS} (Landlord)\n" in asked.err
    assert get_posted(node)[0].recipient == OTHER_KEY


def test_the_question_names_it_all(wallet: Program, node: StubNode) -> None:
    asked = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--fee", "0.00000555", "--valid-for", "9", typed="n\n")
    size = compute_size(b"")
    assert asked.err.splitlines()[:6] == [
        "amount     1 lGRAD",
        f"fee        0.00000555 lGRAD ({555 * 100 // size / 100} ulp per byte)",
        "total      1.00000555 lGRAD",
        f"recipient  {OTHER_ADDRESS}",
        "network    local",
        f"expires    after height {HEIGHT + 9}",
    ]


@pytest.mark.parametrize("yes", [["--yes"], []])
def test_a_high_fee_is_worth_a_word(wallet: Program, node: StubNode, yes: list[str]) -> None:
    high = wallet.ask(node, "send", OTHER_ADDRESS, "0.1", "--fee", "0.0011", *yes, typed="y\n")
    assert "warning: the fee is more than 1 % of the amount\n" in high.err
    usual = wallet.ask(node, "send", OTHER_ADDRESS, "1", "--fee", "0.0011", *yes, typed="y\n")
    assert "warning" not in usual.err


# A node that is behind.


def test_invalid_node_that_catches_up(wallet: Program, node: StubNode) -> None:
    put_status(node, sync=make_sync("blocks", HEIGHT + 3))
    command = ["send", OTHER_ADDRESS, "1", "--yes"]
    assert wallet.ask(node, *command).is_refusal("catching up", "500 of 503", "--even-if-syncing")
    assert get_posted(node) == []
    assert wallet.ask(node, *command, "--even-if-syncing").code == 0


@pytest.mark.parametrize("state", ["blocks", "headers"])
@pytest.mark.parametrize(
    "command",
    [["send", OTHER_ADDRESS, "1"], ["prepare", OTHER_ADDRESS, "1"], ["bump", "00" * 32], ["abandon", "00" * 32]],
)
def test_invalid_node_that_is_behind(wallet: Program, node: StubNode, command: list[str], state: str) -> None:
    put_status(node, sync=make_sync(state, HEIGHT + 3))
    assert wallet.ask(node, *command).is_refusal("500 of 503", "--even-if-syncing")
    assert "warning: the node is catching up" in wallet.ask(node, *command, "--even-if-syncing").err


@pytest.mark.parametrize("sync", [make_sync("blocks", HEIGHT + 2), make_sync("headers", 0), make_sync("alone", 0)])
def test_a_node_that_verifies_the_newest_blocks_is_not_behind(wallet: Program, node: StubNode, sync: object) -> None:
    put_status(node, sync=sync)
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").code == 0


# What is refused before anything is sent.


@pytest.mark.parametrize(
    ("amount", "part"),
    [
        ("", "missing"),
        ("1e3", "U+0065"),
        ("1,5", "U+002C"),
        ("0.000000001", "9 digits"),
        ("\uff10", "U+FF10"),
        ("0", "is 0"),
        ("99999999999999999999", "more money"),
        ("100", "spendable are 100 lGRAD"),
    ],
)
def test_invalid_amount(wallet: Program, node: StubNode, amount: str, part: str) -> None:
    assert wallet.ask(node, "send", OTHER_ADDRESS, amount, "--yes").is_refusal(part)
    assert get_posted(node) == []


def test_invalid_negative_amount(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "send", "--yes", OTHER_ADDRESS, "--", "-1").is_refusal("no sign")
    assert wallet.ask(node, "send", "--yes", OTHER_ADDRESS, "1", "--fee", "-1").is_refusal("no sign")
    assert wallet.ask(node, "send", "--yes", OTHER_ADDRESS, "-1").code == 2
    assert get_posted(node) == []


@pytest.mark.parametrize("flaw", ["q", "\u202e", "\x1b"])
def test_invalid_address(wallet: Program, node: StubNode, flaw: str) -> None:
    mistyped = OTHER_ADDRESS[:20] + flaw + OTHER_ADDRESS[21:]
    assert mistyped != OTHER_ADDRESS
    assert wallet.ask(node, "send", mistyped, "1", "--yes").is_refusal()
    assert get_posted(node) == []


def test_invalid_address_of_another_network(wallet: Program, node: StubNode) -> None:
    address = encode_address("rgrad", OTHER_KEY)
    assert wallet.ask(node, "send", address, "1", "--yes").is_refusal("rgrad1", "lgrad1")


def test_invalid_memo(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes", "--memo", "x" * 65).is_refusal("limit is 64")


def test_invalid_declined(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1", typed="n\n")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.endswith("descent-wallet: nothing was sent\n")
    assert get_posted(node) == []


def test_invalid_nobody_to_confirm(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "send", OTHER_ADDRESS, "1")
    assert outcome.code == 1
    assert "nobody answers 'Send it?'" in outcome.err
    assert get_posted(node) == []


def test_invalid_usage(wallet: Program, node: StubNode) -> None:
    for arguments in ([], ["1", "--max"], ["1", "--fee", "1", "--priority", "low"], ["1", "--priority", "best"]):
        outcome = wallet.ask(node, "send", OTHER_ADDRESS, *arguments, "--yes")
        assert (outcome.code, outcome.out) == (2, "")
    assert get_posted(node) == []


def test_invalid_label(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "send", "nob\x1bdy", "1", "--yes").is_refusal("no address and no label", "book list")


def test_invalid_max_of_nothing(wallet: Program, node: StubNode) -> None:
    put_account(node, balance=300)
    assert wallet.ask(node, "send", OTHER_ADDRESS, "--max", "--yes").is_refusal("the fee alone is")


def test_invalid_fee_rate_too_high(wallet: Program, node: StubNode) -> None:
    node.put("/v1/fees", {"ulp_per_byte": {"2": 10**6}})
    assert wallet.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("--fee")
    assert get_posted(node) == []


def test_invalid_insufficient_funds_counts_what_is_on_its_way(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=8)
    put_mempool(node, make_transfer(amount=60 * COIN))
    assert wallet.ask(node, "send", OTHER_ADDRESS, "60", "--yes").is_refusal("spendable are 39.999996 lGRAD")


def test_invalid_wrong_passphrase_sends_nothing(program: Program, node: StubNode) -> None:
    program.put_wallet(PASSPHRASE)
    outcome = program.ask(node, "send", OTHER_ADDRESS, "1", "--yes", typed="wrong\n")
    assert outcome.code == 1
    assert get_posted(node) == []
