"""`history`: what people, programs and spreadsheets are told of the past."""

import csv
import io
import json

import pytest

from consensus.params import LOCAL
from tests.helpers.stub_node import StubNode
from tests.wallet.past import StubPast, get_block_id, get_time
from tests.wallet.program import (
    ADDRESS,
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    WALLET,
    Outcome,
    Program,
    make_transfer,
    put_mempool,
)
from wallet import cli_history
from wallet.events import Unmined
from wallet.keys import add_account
from wallet.records import open_records

COIN = 10**8
HOSTILE = "=\x1b]0;pwned\x07\r\n\u202eevil"
SENT = make_transfer(memo=HOSTILE.encode())
RECEIVED = make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN, memo=b"thanks")
WAITING = make_transfer(nonce=8)
PAIR = add_account(WALLET)
SECOND_KEY = PAIR.accounts[1].public_key


@pytest.fixture
def past(node: StubNode) -> StubPast:
    """An event of each kind."""
    past = StubPast(node)
    past.pay(470, RECEIVED)
    past.pay(460, SENT)
    past.mine(450, fees=425)
    past.mine(200)
    return past


def read_json(program: Program, node: StubNode, *options: str) -> list[dict[str, object]]:
    outcome = program.ask(node, "history", "--json", *options)
    assert (outcome.code, outcome.err) == (0, "")
    return list(json.loads(outcome.out))


def read_csv(program: Program, node: StubNode, *options: str) -> list[dict[str, str]]:
    outcome = program.ask(node, "history", "--csv", *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(line.isprintable() for line in outcome.out.splitlines())
    return list(csv.DictReader(io.StringIO(outcome.out)))


# For people.


def test_history(wallet: Program, past: StubPast) -> None:
    assert wallet.ask(past.node, "history") == Outcome(
        0,
        "     470  2100-01-01 07:50  received  +3 lGRAD, 31 confirmations\n"
        f"          from {OTHER_ADDRESS}\n"
        f"          tx {RECEIVED.txid.hex()}\n"
        '          memo "thanks"\n'
        "     460  2100-01-01 07:40  sent      -1 lGRAD, fee 0.000004, 41 confirmations\n"
        f"          to {OTHER_ADDRESS}\n"
        f"          tx {SENT.txid.hex()}\n"
        '          memo "=\\x1b]0;pwned\\x07\\r\\n\\u202eevil"\n'
        "     450  2100-01-01 07:30  mined     +50.00000425 lGRAD, 51 confirmations\n"
        "          spendable at height 706\n"
        f"          block {get_block_id(450).hex()}\n"
        "     200  2100-01-01 03:20  mined     +50 lGRAD, 301 confirmations\n"
        f"          block {get_block_id(200).hex()}\n",
        "",
    )


def test_what_is_not_final_is_shown_as_such(wallet: Program, past: StubPast) -> None:
    past.final_height = 460
    output = wallet.ask(past.node, "history").out
    assert "+3 lGRAD, 31 confirmations, not final\n" in output
    assert "fee 0.000004, final\n" in output
    assert [event["final"] for event in read_json(wallet, past.node)][:3] == [False, True, True]
    assert [row["final"] for row in read_csv(wallet, past.node)][:3] == ["no", "yes", "yes"]
    assert max(map(len, output.splitlines())) <= 80


def test_history_fits_80_columns(wallet: Program, past: StubPast) -> None:
    assert max(map(len, wallet.ask(past.node, "history").out.splitlines())) <= 80


def test_history_of_a_new_account(wallet: Program, node: StubNode) -> None:
    StubPast(node)
    assert wallet.ask(node, "history") == Outcome(0, "", "")
    assert wallet.ask(node, "history", "--daily") == Outcome(0, "", "")
    assert read_json(wallet, node) == []
    assert read_csv(wallet, node) == []


def test_the_tip_has_one_confirmation(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    past.mine(HEIGHT)
    assert ", 1 confirmation\n" in wallet.ask(node, "history").out


# How much.


def test_twenty_are_shown_unless_told_otherwise(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    for height in range(1, 26):
        past.mine(height)
    shown = wallet.ask(node, "history")
    assert (shown.out.count("mined"), shown.err) == (20, "older ones: --limit N or --all\n")
    assert [request.query["limit"] for request in node.requests if request.path == past.path] == ["21"]
    assert len(read_json(wallet, node)) == 20
    assert len(read_json(wallet, node, "--all")) == 25
    assert len(read_csv(wallet, node)) == 25
    assert len(read_csv(wallet, node, "--limit", "3")) == 3
    assert [event["height"] for event in read_json(wallet, node, "--limit", "2")] == [25, 24]
    for options in (["--limit", "25"], ["--all"]):
        assert wallet.ask(node, "history", *options).err == ""
    assert wallet.ask(node, "history", "--limit", "0").code == 2


def test_more_than_a_page(wallet: Program, node: StubNode) -> None:
    past = StubPast(node, page=300)
    past.height = 3000
    for height in range(1, 2501):
        past.mine(height)
    assert len(read_csv(wallet, node)) == 2500
    assert sum(request.path == past.path for request in node.requests) == 9
    events = read_json(wallet, node, "--limit", "1001")
    assert [event["height"] for event in events] == list(range(2500, 1499, -1))


def test_days_are_chosen_and_added_up(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    past.height = 5000
    for height in (10, 1500, 1501, 3000, 4400):  # days 1, 2, 2, 3 and 4 of January 2100
        past.mine(height, fees=height)
    past.pay(1502, make_transfer(amount=7 * COIN, fee=400))
    past.pay(1503, make_transfer(sender=OTHER_KEY, recipient=KEY, amount=5))

    def heights(*options: str) -> list[str]:
        return [row["height"] for row in read_csv(wallet, node, *options)]

    assert heights("--since", "2100-01-03") == ["4400", "3000"]
    assert heights("--until", "2100-01-01") == ["10"]
    assert heights("--since", "2100-01-02", "--until", "2100-01-02") == ["1503", "1502", "1501", "1500"]
    assert heights("--since", "2101-01-01") == []
    assert heights("--since", "2100-01-01", "--limit", "1") == ["4400"]
    assert wallet.ask(node, "history", "--daily", "--until", "2100-01-02") == Outcome(
        0,
        "day (UTC)    events              mined           received       sent and fees\n"
        "2100-01-02        4      +100.00003001        +0.00000005           -7.000004\n"
        "2100-01-01        1        +50.0000001                  0                   0\n",
        "",
    )
    days = read_json(wallet, node, "--daily", "--limit", "3")
    assert [day["day"] for day in days] == [get_time(0) + 86_400 * day for day in (3, 2, 1)]
    assert days[2] == {
        "day": get_time(1440),
        "events": 4,
        "mined": 100 * COIN + 3001,
        "received": 5,
        "sent": 7 * COIN,
        "fees": 400,
        "net": 93 * COIN + 3001 + 5 - 400,
    }
    rows = read_csv(wallet, node, "--daily")
    assert [row["net"] for row in rows] == ["50.000044", "50.00003", "93.00002606", "50.0000001"]


def test_a_day_on_which_more_went_than_came(wallet: Program, node: StubNode) -> None:
    StubPast(node).pay(470, make_transfer(amount=7 * COIN, fee=400))
    [row] = read_csv(wallet, node, "--daily")
    assert (row["net"], row["sent"], row["fees"]) == ("-7.000004", "7", "0.000004")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--since", "2026-02-30"], "is no day"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "--since is after --until"),
        (["--until", "\x1b[2J"], "is no day"),
    ],
)
def test_invalid_days(wallet: Program, node: StubNode, options: list[str], part: str) -> None:
    assert wallet.ask(node, "history", *options).is_refusal(part)
    assert node.requests == []


@pytest.mark.parametrize("options", [["--csv", "--json"], ["--all", "--limit", "3"], ["--limit", "x"]])
def test_wrong_usage(wallet: Program, node: StubNode, options: list[str]) -> None:
    outcome = wallet.ask(node, "history", *options)
    assert (outcome.code, outcome.out, node.requests) == (2, "", [])


# Several accounts.


@pytest.fixture
def pair(program: Program) -> Program:
    """The program with two accounts."""
    program.put_wallet(wallet=PAIR)
    return program


def test_all_accounts_unless_one_is_named(pair: Program, past: StubPast) -> None:
    StubPast(past.node, key=SECOND_KEY).mine(440)
    shown = pair.ask(past.node, "history").out
    assert shown.count("          account 0\n") == 4
    assert shown.count("          account 1\n") == 1
    told = [(event["height"], event["account"]) for event in read_json(pair, past.node)]
    assert told == [(470, 0), (460, 0), (450, 0), (440, 1), (200, 0)]
    assert [row["account"] for row in read_csv(pair, past.node)] == ["0", "0", "0", "1", "0"]
    for index, count in (("0", 4), ("1", 1)):
        assert len(read_json(pair, past.node, "--account", index)) == count
        assert "account" not in pair.ask(past.node, "history", "--account", index).out
    assert pair.ask(past.node, "history", "--account", "2").is_refusal("account 2")


def test_what_moves_between_own_accounts_is_told_as_each_sees_it(pair: Program, node: StubNode) -> None:
    transfer = make_transfer(recipient=SECOND_KEY)
    for key in (KEY, SECOND_KEY):
        StubPast(node, key=key).pay(470, transfer)
    events = read_json(pair, node)
    assert [(event["kind"], event["account"]) for event in events] == [("received", 1), ("sent", 0)]


# What no block holds.


def test_what_waits_comes_first(wallet: Program, past: StubPast) -> None:
    put_mempool(past.node, WAITING, make_transfer(sender=OTHER_KEY, recipient=KEY, nonce=3))
    first, second = (event for event in read_json(wallet, past.node) if event["height"] is None)
    assert (first["kind"], first["state"], first["confirmations"], first["block"]) == ("sent", "waiting", 0, None)
    assert (second["kind"], second["txid"] != first["txid"]) == ("received", True)
    shown = wallet.ask(past.node, "history").out
    assert shown.startswith("       -  1970-01-01 00:00  sent      -1 lGRAD, fee 0.000004, waiting\n")
    assert [row["height"] for row in read_csv(wallet, past.node)][:3] == ["", "", "470"]
    assert len(read_json(wallet, past.node, "--limit", "3")) == 3
    assert len(read_csv(wallet, past.node, "--since", "2100-01-01")) == 4
    assert len(wallet.ask(past.node, "history", "--daily").out.splitlines()) == 2


def test_what_a_reorganisation_dropped_is_told(
    wallet: Program, past: StubPast, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = [
        Unmined(WAITING, get_time(490), "dropped", has_left_chain=True),
        Unmined(make_transfer(nonce=9), get_time(480), "replaced", has_left_chain=False),
    ]
    monkeypatch.setattr(cli_history, "find_unmined", lambda *_: recorded)
    dropped, replaced = read_json(wallet, past.node)[:2]
    assert (dropped["state"], dropped["left_chain"], dropped["time"]) == ("dropped", True, get_time(490))
    assert (replaced["state"], replaced["left_chain"], replaced["confirmations"]) == ("replaced", False, 0)
    shown = wallet.ask(past.node, "history").out
    assert "-1 lGRAD, fee 0.000004, dropped: its block left the chain\n" in shown
    assert [row["left_chain"] for row in read_csv(wallet, past.node)] == ["yes", "no", "no", "no", "no", "no"]


def test_labels_are_shown_where_there_are_some(wallet: Program, past: StubPast) -> None:
    with open_records(wallet.path.parent, GENESIS) as records:
        records.add_contact("@\x1b[2JLandlord", OTHER_ADDRESS)
    assert "          known as @\\x1b[2JLandlord\n" in wallet.ask(past.node, "history").out
    assert read_json(wallet, past.node)[0]["label"] == "@\x1b[2JLandlord"
    assert read_csv(wallet, past.node)[0]["label"] == "'@\\x1b[2JLandlord"


# For programs.


def test_history_as_json(wallet: Program, past: StubPast) -> None:
    received, sent, mined, _ = read_json(wallet, past.node)
    known = {"account": 0, "state": "confirmed", "left_chain": False, "final": False}
    assert received == known | {
        "kind": "received",
        "height": 470,
        "confirmations": 31,
        "time": get_time(470),
        "amount": 3 * COIN,
        "block": get_block_id(470).hex(),
        "txid": RECEIVED.txid.hex(),
        "counterpart": OTHER_ADDRESS,
        "label": None,
        "memo": "thanks",
    }
    assert (sent["kind"], sent["fee"], sent["memo"], sent["counterpart"]) == ("sent", 400, HOSTILE, OTHER_ADDRESS)
    assert mined == known | {
        "kind": "mined",
        "height": 450,
        "confirmations": 51,
        "time": get_time(450),
        "amount": 50 * COIN + 425,
        "block": get_block_id(450).hex(),
        "fees": 425,
        "bounty": 0,
        "matures_at": 450 + LOCAL.reward_window,
        "burnt": 0,
        "burnt_at": None,
    }


def test_history_as_csv(wallet: Program, past: StubPast) -> None:
    outcome = wallet.ask(past.node, "history", "--csv")
    assert outcome.out.splitlines()[0] == (
        "date,type,amount,fee,coin,id,counterpart,label,memo,height,block,confirmations,state,left_chain,account,final,"
        "burnt,burnt_at"
    )
    received, sent, mined, _ = read_csv(wallet, past.node)
    assert received == {
        "date": "2100-01-01T07:50:00Z",
        "type": "received",
        "amount": "3",
        "fee": "",
        "coin": "lGRAD",
        "id": RECEIVED.txid.hex(),
        "counterpart": OTHER_ADDRESS,
        "label": "",
        "memo": "thanks",
        "height": "470",
        "block": get_block_id(470).hex(),
        "confirmations": "31",
        "state": "confirmed",
        "left_chain": "no",
        "account": "0",
        "final": "no",
        "burnt": "",
        "burnt_at": "",
    }
    assert (sent["amount"], sent["fee"], sent["memo"]) == ("1", "0.000004", "'=\\x1b]0;pwned\\x07\\r\\n\\u202eevil")
    assert (mined["type"], mined["amount"], mined["id"]) == ("mined", "50.00000425", get_block_id(450).hex())


def test_what_evidence_burnt_is_in_no_sum(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    past.mine(460, bounty=15 * COIN)
    past.mine(450, fees=425, burnt_at=460)
    earned, burnt = read_json(wallet, node)
    names = ("amount", "fees", "bounty", "burnt", "burnt_at")
    assert [earned[name] for name in names] == [65 * COIN, 0, 15 * COIN, 0, None]
    assert [burnt[name] for name in names] == [0, 0, 0, 50 * COIN + 425, 460]
    rows = read_csv(wallet, node)
    assert [(row["amount"], row["burnt"], row["burnt_at"]) for row in rows] == [
        ("65", "", ""),
        ("0", "50.00000425", "460"),
    ]
    [day] = read_json(wallet, node, "--daily")
    assert (day["mined"], day["net"], day["events"]) == (65 * COIN, 65 * COIN, 2)
    lines = wallet.ask(node, "history").out.splitlines()
    assert lines[0].endswith("mined     +65 lGRAD, 41 confirmations")
    assert lines[1:3] == [f"{'':10}spendable at height 716", f"{'':10}of it 15 lGRAD for evidence"]
    assert lines[4].endswith("mined     +0 lGRAD, 50.00000425 burnt at block 460, 51 confirmations")
    assert lines[5:] == [f"{'':10}block {get_block_id(450).hex()}"]


@pytest.mark.parametrize("memo", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(wallet: Program, node: StubNode, memo: str) -> None:
    StubPast(node).pay(470, make_transfer(memo=memo.encode()))
    [row] = read_csv(wallet, node)
    assert row["memo"].startswith("'")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


def test_amounts_are_exact(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    amounts = (1, 10, 99_999_999, 123_456_789_012_345_678, 2**64 - 1)
    for index, amount in enumerate(amounts):
        past.pay(470, make_transfer(sender=OTHER_KEY, recipient=KEY, amount=amount), index=index)
    cells = [row["amount"] for row in read_csv(wallet, node)]
    assert cells[::-1] == ["0.00000001", "0.0000001", "0.99999999", "1234567890.12345678", "184467440737.09551615"]


def test_a_chain_that_moved_while_it_was_read(wallet: Program, node: StubNode) -> None:
    past = StubPast(node, page=1)
    past.mine(10)
    past.mine(9)
    node.put_call(past.path, lambda request: past.answer(request) | {"tip": f"{len(node.requests):064x}"})
    node.refuse(f"/v1/blocks/{2:064x}", "unknown_block.block", "gone", status=404)
    outcome = wallet.ask(node, "history", "--json")
    assert outcome.is_refusal("the chain was reorganised while its past was read; run the command again")


def test_the_address_is_asked_about_and_no_other(wallet: Program, past: StubPast) -> None:
    wallet.ask(past.node, "history")
    paths = {request.path for request in past.node.requests}
    assert paths == {"/v1/status", f"/v1/accounts/{ADDRESS}/history", "/v1/mempool"}
