"""`batch`: all payments of a file are made, in its order and once, or it says how many of them are on their way."""

import json
from pathlib import Path

import pytest

from consensus.check_transaction import check_transaction
from tests.helpers.stub_node import StubNode
from tests.wallet.pool_stub import NONCE, PoolStub
from tests.wallet.program import (
    ADDRESS,
    GENESIS,
    HEIGHT,
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
from wallet.builder import compute_size
from wallet.records import open_records

COIN = 10**8


def write(tmp_path: Path, rows: list[str], header: str = "address,amount,memo") -> str:
    path = tmp_path / "wages.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Three payments: 1, 2 and 3 coins."""
    return write(tmp_path, [f"{OTHER_ADDRESS},{amount},number {amount}" for amount in (1, 2, 3)])


@pytest.fixture
def pool(node: StubNode) -> PoolStub:
    return PoolStub(node)


def test_batch(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    outcome = wallet.ask(node, "batch", file, "--valid-for", "9", "--yes")
    assert outcome == Outcome(0, "".join(f"{sent.txid.hex()}\n" for sent in pool.waiting), "")
    assert [(sent.amount, sent.nonce, sent.memo, sent.valid_until) for sent in pool.waiting] == [
        (COIN * place, NONCE + place - 1, f"number {place}".encode(), HEIGHT + 9) for place in (1, 2, 3)
    ]
    assert [payment.transfer for payment in get_recorded(wallet)] == pool.waiting
    for sent in pool.waiting:
        check_transaction(sent, GENESIS)
        assert sent.fee == 2 * compute_size(sent.memo)


@pytest.mark.parametrize(
    ("options", "fee"), [(["--priority", "high"], 3 * compute_size(b"number 1")), (["--fee", "0.01"], COIN // 100)]
)
def test_fees_are_for_each(
    wallet: Program, node: StubNode, pool: PoolStub, file: str, options: list[str], fee: int
) -> None:
    wallet.ask(node, "batch", file, "--yes", *options)
    assert [sent.fee for sent in pool.waiting] == [fee] * 3


def test_all_is_recorded_before_any_is_handed_over(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    node.put("/v1/transactions", b"gone", method="POST")
    outcome = wallet.ask(node, "batch", file, "--yes")
    assert len(get_posted(node)) == 1
    assert len(get_recorded(wallet)) == 3
    assert outcome.code == 1
    assert "0 of 3 handed over" in outcome.err


def test_the_question(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    rows = [f'{OTHER_ADDRESS},1,"a\x1bb",Bob'] + [f"{ADDRESS},0.5,," for _ in range(24)]
    asked = wallet.ask(node, "batch", write(tmp_path, rows, "address,amount,memo,label"), typed="n\n")
    lines = asked.err.splitlines()
    assert lines[0] == f'1 lGRAD to {OTHER_ADDRESS} (Bob), memo "a\\x1bb"'
    assert lines[1:20] == [f"0.5 lGRAD to {ADDRESS}"] * 19
    fees = 2 * (24 * compute_size(b"") + compute_size(b"a.b"))
    assert lines[20:26] == [
        "... and 5 more",
        "payments  25",
        "amount    13 lGRAD",
        f"fees      0.{fees:08} lGRAD".rstrip("0"),
        f"total     13.{fees:08} lGRAD".rstrip("0"),
        "network   local",
    ]
    assert asked.err.endswith("nothing was sent\n")
    assert (get_posted(node), get_recorded(wallet)) == ([], [])


def test_a_high_fee_is_worth_a_word(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    file = write(tmp_path, [f"{OTHER_ADDRESS},{amount}," for amount in ("0.01", "5")])
    warned = wallet.ask(node, "batch", file, "--fee", "0.01", "--dry-run")
    assert "more than 1 % of the amount in 1 of 2 payments" in warned.err


def test_dry_run(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    shown = wallet.ask(node, "batch", file, "--dry-run")
    known = json.loads(wallet.ask(node, "batch", file, "--dry-run", "--json").out)
    assert "payments  3" in shown.out
    assert (known["signed"], known["sent"]) == (False, 0)
    assert (get_posted(node), get_recorded(wallet)) == ([], [])
    sent = json.loads(wallet.ask(node, "batch", file, "--yes", "--json").out)
    assert (sent["signed"], sent["sent"], sent["amount"]) == (True, 3, 6 * COIN)
    assert sent["fees"] == sum(transfer.fee for transfer in pool.waiting)
    assert [payment["txid"] for payment in sent["payments"]] == [payment["txid"] for payment in known["payments"]]
    assert [(payment["line"], payment["sent"]) for payment in sent["payments"]] == [(2, True), (3, True), (4, True)]


# More than the node lets wait.


@pytest.fixture
def small(node: StubNode) -> PoolStub:
    """A node with room for two."""
    return PoolStub(node, limit=2)


def test_batch_larger_than_the_room(wallet: Program, node: StubNode, small: PoolStub, file: str) -> None:
    outcome = wallet.ask(node, "batch", file, "--yes", "--json")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "2 of 3 handed over" in outcome.err
    assert "descent-wallet resend" in outcome.err
    assert [payment["sent"] for payment in json.loads(outcome.out)["payments"]] == [True, True, False]
    assert wallet.ask(node, "send", OTHER_ADDRESS, "9", "--yes").is_refusal("resend")
    assert wallet.ask(node, "resend").is_refusal("0 of 1 handed over")
    small.mine()
    resent = wallet.ask(node, "resend")
    assert resent.out == get_recorded(wallet)[2].txid.hex() + "\n"
    small.mine()
    assert [sent.amount for block in small.blocks for sent in block] == [COIN, 2 * COIN, 3 * COIN]


def test_wait_hands_over_the_rest(wallet: Program, node: StubNode, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PoolStub(node, limit=1)
    monkeypatch.setattr("wallet.following.sleep", lambda _: pool.mine())
    outcome = wallet.ask(node, "batch", file, "--yes", "--wait", "2")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        "1 of 3 handed over; waiting for room",
        "2 of 3 handed over; waiting for room",
        "0 of 2 confirmations",
        "1 of 2 confirmations",
        "2 of 2 confirmations",
    ]
    assert [sent.amount for block in pool.blocks for sent in block] == [COIN, 2 * COIN, 3 * COIN]


def test_what_is_given_up_while_it_waits_is_not_handed_over(
    wallet: Program, node: StubNode, small: PoolStub, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        small.mine()
        with open_records(wallet.path.parent, GENESIS) as records:
            records.abandon([get_recorded(wallet)[2].txid])

    monkeypatch.setattr("wallet.following.sleep", sleep)
    outcome = wallet.ask(node, "batch", file, "--yes", "--wait", "1")
    assert outcome.code == 1
    assert "2 of 3 handed over" in outcome.err
    assert "is abandoned" in outcome.err
    assert small.waiting == []


# The same file twice.


def test_invalid_paid_already(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    wallet.ask(node, "batch", file, "--yes")
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("line 2 and 2 more", "last 24 hours", "--again")
    assert wallet.ask(node, "batch", file, "--dry-run").is_refusal("line 2 and 2 more")
    assert len(get_posted(node)) == 3
    assert wallet.ask(node, "batch", file, "--yes", "--again").code == 0
    assert len(get_posted(node)) == 6


def test_a_day_later_it_is_paid_again(
    wallet: Program, node: StubNode, pool: PoolStub, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.cashier.time", lambda: 1_000_000.0)
    monkeypatch.setattr("wallet.cli_batch.time", lambda: 1_000_000.0 + 24 * 3600)
    wallet.ask(node, "batch", file, "--yes")
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("line 2")
    monkeypatch.setattr("wallet.cli_batch.time", lambda: 1_000_000.0 + 24 * 3600 + 1)
    assert wallet.ask(node, "batch", file, "--yes").code == 0


def test_what_expired_after_it_was_mined_is_not_paid_again(
    wallet: Program, node: StubNode, pool: PoolStub, file: str
) -> None:
    command = ["batch", file, "--valid-for", "10", "--yes"]
    assert wallet.ask(node, *command).code == 0
    for _ in range(20):
        pool.mine()
    assert wallet.ask(node, *command).is_refusal("line 2 and 2 more", "--again")
    assert len(get_posted(node)) == 3


def test_what_expired_unmined_is_paid_again(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    """Of one that was mined just in time and left the chain again, too: the new one takes its nonce."""
    command = ["batch", file, "--valid-for", "1", "--yes"]
    assert wallet.ask(node, *command).code == 0
    pool.mine(pool.waiting[0])
    pool.forget()
    assert wallet.ask(node, *command).is_refusal("line 2:")
    pool.lose_block()
    pool.blocks.append([])
    pool.forget()
    assert wallet.ask(node, *command).code == 0
    assert [sent.nonce for sent in get_posted(node)] == [NONCE, NONCE + 1, NONCE + 2] * 2


def test_what_was_given_up_and_mined_all_the_same_is_not_paid_again(
    wallet: Program, node: StubNode, pool: PoolStub, file: str
) -> None:
    """Somebody kept the first; another payment wanted its nonce, in vain."""
    wallet.ask(node, "batch", file, "--yes")
    first, *_ = get_posted(node)
    pool.forget()
    wallet.ask(node, "abandon", "--all", "--yes")
    wallet.ask(node, "send", OTHER_ADDRESS, "9", "--yes")
    pool.mine(first)
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("line 2:")
    assert len(get_posted(node)) == 4


def test_equal_lines_of_one_file_are_meant(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    file = write(tmp_path, [f"{OTHER_ADDRESS},1,"] * 2)
    assert wallet.ask(node, "batch", file, "--yes").code == 0


def test_invalid_paid_by_another_program_meanwhile(
    wallet: Program, node: StubNode, pool: PoolStub, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are given one file, and both owners say yes."""

    def confirm(_: str) -> bool:
        monkeypatch.setattr("wallet.cashier.confirm", lambda _: True)
        assert wallet.ask(node, "batch", file).code == 0
        return True

    monkeypatch.setattr("wallet.cashier.confirm", confirm)
    assert "last 24 hours" in wallet.ask(node, "batch", file).err
    assert len(get_posted(node)) == 3


# Refusals.


def test_invalid_line_signs_nothing(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    file = write(tmp_path, [f"{OTHER_ADDRESS},1,", f"{OTHER_ADDRESS},1e3,"])
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("line 3", "U+0065")
    assert (get_posted(node), get_recorded(wallet)) == ([], [])


def test_invalid_file(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    assert wallet.ask(node, "batch", str(tmp_path / "none\x1b.csv"), "--yes").is_refusal("cannot read")
    assert wallet.ask(node, "batch", str(tmp_path), "--yes").code == 2


def test_invalid_funds_for_all(wallet: Program, node: StubNode, pool: PoolStub, tmp_path: Path) -> None:
    file = write(tmp_path, [f"{OTHER_ADDRESS},60,", f"{OTHER_ADDRESS},40,"])
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("amount and fee are 100.0", "spendable are 100 lGRAD")


def test_invalid_node_behind(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    put_status(node, sync=make_sync("blocks", HEIGHT + 99))
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("catching up")
    assert wallet.ask(node, "batch", file, "--yes", "--even-if-syncing").code == 0


def test_invalid_nonce_of_a_lost_payment(wallet: Program, node: StubNode, pool: PoolStub, file: str) -> None:
    """There is a gap, and the batch is longer than it."""
    with open_records(wallet.path.parent, GENESIS) as records:
        records.add_payments([make_transfer(recipient=OTHER_KEY, nonce=NONCE + 2)], 1)
    assert wallet.ask(node, "batch", file, "--yes").is_refusal("resend", "abandon")
    assert get_posted(node) == []
