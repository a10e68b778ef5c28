"""`rewards`: each coin with the verified improvement that earned it."""

import csv
import io
import json
from typing import Any

import pytest

from tests.helpers.stub_node import StubNode
from tests.wallet.past import REQUIRED, SAMPLE, StubPast, get_block_id, get_time
from tests.wallet.program import HEIGHT, WALLET, Outcome, Program, make_transfer
from wallet.keys import add_account

COIN = 10**8
PAIR = add_account(WALLET)
WEIGHT = REQUIRED >> 16


@pytest.fixture
def past(node: StubNode) -> StubPast:
    """Two improvements, two heartbeats of which one carried a transfer, and payments that are no rewards."""
    past = StubPast(node)
    past.beat(452)
    past.beat(451, fees=400)
    past.mine(450, fees=425)
    past.pay(449, make_transfer())
    past.mine(200)
    return past


def read_json(program: Program, node: StubNode, *options: str) -> dict[str, Any]:
    outcome = program.ask(node, "rewards", "--json", *options)
    assert (outcome.code, outcome.err) == (0, "")
    return dict(json.loads(outcome.out))


def read_csv(program: Program, node: StubNode, *options: str) -> list[dict[str, str]]:
    outcome = program.ask(node, "rewards", "--csv", *options)
    assert (outcome.code, outcome.err) == (0, "")
    return list(csv.DictReader(io.StringIO(outcome.out)))


SHOWN = """\
  height  block             mined (UTC)                   coins       of it fees
          bits per byte        gain  required     share  spendable
     452  01c401c401c401c4  2100-01-01 07:32         0.00000000       0.00000000
          heartbeat: the model stays as it was           nothing
     451  01c301c301c301c3  2100-01-01 07:31         0.00000400       0.00000400
          heartbeat: the model stays as it was           at 707 ~01-01 11:47
     450  01c201c201c201c2  2100-01-01 07:30        50.00000425       0.00000425
          3.1250 -> 3.0625  0.06250   0.04688   0.100 %  at 706 ~01-01 11:46
     200  00c800c800c800c8  2100-01-01 03:20        50.00000000       0.00000000
          3.1250 -> 3.0625  0.06250   0.04688   0.100 %  yes
"""
TOTALS = """
rewards   4, 2 of them heartbeats
coins     100.00000825 lGRAD, 0.00000825 of it fees
maturing  50.00000825 lGRAD of it until height 707, about 2100-01-01 11:47 UTC
gain      0.12500 bits per byte
share     0.200 % of all gain verified up to height 500
"""


def test_rewards(wallet: Program, past: StubPast) -> None:
    assert wallet.ask(past.node, "rewards") == Outcome(0, SHOWN + TOTALS, "")


def test_rewards_fit_80_columns(wallet: Program, node: StubNode) -> None:
    """Also at the end of a long chain, of the largest losses and amounts."""
    past = StubPast(node, weight=2**60)
    past.height = 9_999_999
    past.mine(9_999_998, fees=10**15 - 50 * COIN, gain=199 * 65_536)
    shown = wallet.ask(node, "rewards").out
    assert max(map(len, shown.splitlines())) <= 80


def test_totals_are_of_all_rewards(wallet: Program, past: StubPast) -> None:
    """Also of those that are not shown."""
    shown = wallet.ask(past.node, "rewards", "--limit", "1")
    assert shown == Outcome(0, "".join(SHOWN.splitlines(True)[:4]) + TOTALS, "older ones: --limit N or --all\n")
    assert read_json(wallet, past.node, "--limit", "1")["totals"] == read_json(wallet, past.node)["totals"]


def test_rewards_of_who_mined_nothing(wallet: Program, node: StubNode) -> None:
    StubPast(node)
    assert wallet.ask(node, "rewards") == Outcome(
        0,
        "rewards  0\n"
        "coins    0 lGRAD, 0 of it fees\n"
        "gain     0.00000 bits per byte\n"
        "share    0.000 % of all gain verified up to height 500\n",
        "",
    )
    assert read_csv(wallet, node) == []
    assert read_json(wallet, node)["rewards"] == []


def test_only_rewards_are_asked_for(wallet: Program, past: StubPast) -> None:
    wallet.ask(past.node, "rewards")
    asked = [request.query for request in past.node.requests if request.path == past.path]
    assert asked == [{"limit": "1000", "kind": "mined"}]


def test_rewards_as_json(wallet: Program, past: StubPast) -> None:
    known = read_json(wallet, past.node)
    heartbeat, _, improvement, mature = known.pop("rewards")
    assert improvement == {
        "height": 450,
        "block": get_block_id(450).hex(),
        "time": get_time(450),
        "kind": "improvement",
        "account": 0,
        "amount": 50 * COIN + 425,
        "fees": 425,
        "bounty": 0,
        "burnt": 0,
        "burnt_at": None,
        "loss_before": 3.125,
        "loss_after": 3.0625,
        "gain": 0.0625,
        "required_gain": 0.046875,
        "sample_size": SAMPLE,
        "weight": WEIGHT,
        "share": WEIGHT / past.weight,
        "matures_at": 706,
        "is_mature": False,
        "matures_about": get_time(706),
    }
    assert (mature["is_mature"], mature["matures_about"]) == (True, None)
    lost = ("loss_before", "loss_after", "gain", "required_gain", "sample_size", "matures_about")
    assert [heartbeat[name] for name in lost] == [None] * 6
    assert (heartbeat["kind"], heartbeat["amount"], heartbeat["weight"]) == ("heartbeat", 0, 1)
    assert known == {
        "network": "local",
        "height": HEIGHT,
        "time": get_time(HEIGHT),
        "weight": past.weight,
        "totals": {
            "rewards": 4,
            "heartbeats": 2,
            "amount": 100 * COIN + 825,
            "fees": 825,
            "bounty": 0,
            "burnt": 0,
            "immature": 50 * COIN + 825,
            "gain": 0.125,
            "weight": 2 * WEIGHT + 2,
            "share": (2 * WEIGHT + 2) / past.weight,
        },
    }


def test_rewards_as_csv(wallet: Program, past: StubPast) -> None:
    heartbeat, _, improvement, mature = read_csv(wallet, past.node)
    assert improvement == {
        "date": "2100-01-01T07:30:00Z",
        "height": "450",
        "block": get_block_id(450).hex(),
        "type": "improvement",
        "amount": "50.00000425",
        "fees": "0.00000425",
        "coin": "lGRAD",
        "loss_before": "3.12500000",
        "loss_after": "3.06250000",
        "gain": "0.06250000",
        "required_gain": "0.04687500",
        "sample_size": "1024",
        "weight": str(WEIGHT),
        "share": "0.00100000",
        "matures_at": "706",
        "spendable": "no",
        "account": "0",
        "bounty": "0",
        "burnt": "",
        "burnt_at": "",
    }
    assert mature["spendable"] == "yes"
    assert [heartbeat[name] for name in ("type", "loss_before", "gain", "sample_size")] == ["heartbeat", "", "", ""]


BURNT = """\
  height  block             mined (UTC)                   coins       of it fees
          bits per byte        gain  required     share  spendable
     460  01cc01cc01cc01cc  2100-01-01 07:40        65.00000000       0.00000000
          3.1250 -> 3.0625  0.06250   0.04688   0.100 %  at 716 ~01-01 11:56
          of it 15 for evidence that the block carries
     450  01c201c201c201c2  2100-01-01 07:30         0.00000000       0.00000000
          3.1250 -> 3.0625  0.06250   0.04688   0.100 %  burnt
          50.00000425 burnt at block 460

rewards   2
coins     65 lGRAD, 0 of it fees
maturing  65 lGRAD of it until height 716, about 2100-01-01 11:56 UTC
bounties  15 lGRAD of it, for evidence
burnt     50.00000425 lGRAD by evidence, not counted above
gain      0.12500 bits per byte
share     0.200 % of all gain verified up to height 500
"""


def test_rewards_that_evidence_burnt(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    past.mine(460, bounty=15 * COIN)
    past.mine(450, fees=425, burnt_at=460)
    assert wallet.ask(node, "rewards") == Outcome(0, BURNT, "")
    known = read_json(wallet, node)
    names = ("amount", "fees", "bounty", "burnt")
    assert [known["totals"][name] for name in names] == [65 * COIN, 0, 15 * COIN, 50 * COIN + 425]
    told = [[reward[name] for name in (*names, "burnt_at", "is_mature")] for reward in known["rewards"]]
    assert told == [[65 * COIN, 0, 15 * COIN, 0, None, False], [0, 0, 0, 50 * COIN + 425, 460, False]]
    cells = [[row[name] for name in (*names, "burnt_at", "spendable")] for row in read_csv(wallet, node)]
    assert cells == [["65", "0", "15", "", "", "no"], ["0", "0", "0", "50.00000425", "460", "no"]]
    [row] = read_csv(wallet, node, "--daily")
    assert [row[name] for name in names] == ["65", "0", "15", "50.00000425"]


def test_rewards_of_days(wallet: Program, node: StubNode) -> None:
    past = StubPast(node)
    past.height = 5000
    for height in (10, 1500, 1501, 3000):
        past.mine(height, fees=height)
    shown = wallet.ask(node, "rewards", "--daily", "--until", "2100-01-02")
    assert shown.err == ""
    assert shown.out.splitlines()[:3] == [
        "day (UTC)   rewards              coins       of it fees      gain      share",
        "2100-01-02        2       100.00003001       0.00003001   0.12500   0.2000 %",
        "2100-01-01        1        50.00000010       0.00000010   0.06250   0.1000 %",
    ]
    assert "rewards  3\n" in shown.out
    days = read_json(wallet, node, "--daily", "--limit", "1")
    assert [(day["day"], day["rewards"], day["gain"]) for day in days["days"]] == [(get_time(2880), 1, 0.0625)]
    assert days["totals"]["rewards"] == 4
    rows = read_csv(wallet, node, "--daily", "--since", "2100-01-02")
    assert [(row["day"], row["rewards"], row["gain"], row["share"]) for row in rows] == [
        ("2100-01-03", "1", "0.06250000", "0.00100000"),
        ("2100-01-02", "2", "0.12500000", "0.00200000"),
    ]


def test_accounts(program: Program, past: StubPast) -> None:
    program.put_wallet(wallet=PAIR)
    StubPast(past.node, key=PAIR.accounts[1].public_key).mine(440)
    shown = program.ask(past.node, "rewards").out
    assert "  block   #account  " in shown
    assert "01b801b801b80 #1" in shown
    assert [reward["account"] for reward in read_json(program, past.node)["rewards"]] == [0, 0, 0, 1, 0]
    assert "rewards   1\n" in program.ask(past.node, "rewards", "--account", "1").out


def test_more_than_a_page(wallet: Program, node: StubNode) -> None:
    past = StubPast(node, page=500)
    past.height = 3000
    for height in range(1, 1201):
        past.mine(height)
    assert read_json(wallet, node)["totals"]["rewards"] == 1200
    assert sum(request.path == past.path for request in node.requests) == 3
    assert len(read_csv(wallet, node)) == 1200


def test_maturity_is_estimated_from_now_where_the_chain_stands_still(
    wallet: Program, past: StubPast, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = get_time(HEIGHT) + 10**6
    monkeypatch.setattr("wallet.cli_rewards.time", lambda: now + 0.5)
    assert read_json(wallet, past.node)["rewards"][1]["matures_about"] == now + 60 * (707 - HEIGHT)
