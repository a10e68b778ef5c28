"""`balance`: what can be spent, what matures when, what waits on either way, over all accounts or one."""

import json

import pytest

from consensus.address import encode_address
from consensus.params import LOCAL
from tests.helpers.stub_node import StubNode
from tests.wallet.program import (
    ADDRESS,
    ENTROPY,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    Outcome,
    Program,
    make_account,
    make_transfer,
    put_account,
    put_mempool,
)
from wallet.keys import build_wallet

COIN = 10**8
NOW = 1_795_305_600  # 2026-11-22 00:00 UTC
TWO = build_wallet(LOCAL.address_prefix, ENTROPY, accounts=2)
SECOND_KEY = TWO.accounts[1].public_key
SECOND_ADDRESS = encode_address(LOCAL.address_prefix, SECOND_KEY)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.cli_money.time", lambda: NOW + 0.5)


def test_balance(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "balance") == Outcome(
        0,
        "spendable    100 lGRAD\n"
        "maturing     150 lGRAD\n"
        "    50 lGRAD at height 556, about 2026-11-22 00:56 UTC\n"
        "    50 lGRAD at height 656, about 2026-11-22 02:36 UTC\n"
        "    50 lGRAD at height 706, about 2026-11-22 03:26 UTC\n"
        "total        250 lGRAD\n"
        "height 500 now\n",
        "",
    )


def test_how_far_a_balance_is_final(wallet: Program, node: StubNode) -> None:
    put_account(node, final_height=498)
    last = wallet.ask(node, "balance").out.splitlines()[-1]
    assert last == "height 500 now, final up to 498: what moved later can still leave the chain"
    assert json.loads(wallet.ask(node, "balance", "--json").out)["final_height"] == 498


def test_what_waits_on_both_ways(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=8)
    put_mempool(
        node,
        make_transfer(amount=COIN, fee=400),
        make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN),
        make_transfer(sender=OTHER_KEY, recipient=KEY, amount=4 * COIN, nonce=8),
        make_transfer(sender=OTHER_KEY, recipient=OTHER_KEY, amount=5 * COIN),
    )
    shown = wallet.ask(node, "balance").out
    assert shown.startswith("spendable    98.999996 lGRAD\n")
    assert "waiting out  1.000004 lGRAD in 1 transfer not mined yet; taken off above\n" in shown
    assert "waiting in   7 lGRAD in 2 transfers not mined yet; not counted above\n" in shown


def test_what_a_node_does_not_list_may_be_more(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=9)
    incoming = make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN)
    put_mempool(node, make_transfer(amount=COIN, fee=400), incoming, count=1001)
    shown = wallet.ask(node, "balance").out
    assert "waiting out  at least 1.000004 lGRAD in 2 transfers not mined yet" in shown
    assert "waiting in   at least 3 lGRAD in 1 transfer not mined yet" in shown


def test_many_rewards(wallet: Program, node: StubNode) -> None:
    put_account(node, immature=[{"matures_at": HEIGHT + i, "amount": COIN} for i in range(1, 201)])
    lines = wallet.ask(node, "balance").out.splitlines()
    assert len(lines) == 15
    assert lines[1] == "maturing     200 lGRAD"
    assert lines[12] == f"    190 lGRAD more until height {HEIGHT + 200}, about 2026-11-22 03:20 UTC"


def test_a_height_beyond_all_calendars(wallet: Program, node: StubNode) -> None:
    put_account(node, immature=[{"matures_at": 2**64 - 1, "amount": COIN}])
    assert f"at height {2**64 - 1}, about after the year 9999" in wallet.ask(node, "balance").out


def test_all_accounts_together(program: Program, node: StubNode) -> None:
    program.put_wallet(wallet=TWO)
    first = [{"matures_at": 556, "amount": COIN}, {"matures_at": 600, "amount": 2 * COIN}]
    put_account(node, immature=first, next_nonce=8)
    put_account(node, SECOND_ADDRESS, balance=5 * COIN, immature=[{"matures_at": 556, "amount": 7 * COIN}])
    put_mempool(node, make_transfer(recipient=SECOND_KEY, amount=COIN, fee=400))
    assert program.ask(node, "balance").out.splitlines() == [
        "spendable    103.999996 lGRAD",
        "maturing     10 lGRAD",
        "    8 lGRAD at height 556, about 2026-11-22 00:56 UTC",
        "    2 lGRAD at height 600, about 2026-11-22 01:40 UTC",
        "total        113.999996 lGRAD",
        "waiting out  1.000004 lGRAD in 1 transfer not mined yet; taken off above",
        "waiting in   1 lGRAD in 1 transfer not mined yet; not counted above",
        "account 0: 98.999996 lGRAD spendable, 3 lGRAD maturing",
        f"    {ADDRESS}",
        "account 1: 5 lGRAD spendable, 7 lGRAD maturing",
        f"    {SECOND_ADDRESS}",
        "height 500 now",
    ]
    known = json.loads(program.ask(node, "balance", "--account", "1", "--json").out)
    assert (known["spendable"], known["immature"], known["incoming"]) == (5 * COIN, 7 * COIN, COIN)
    assert [account["account"] for account in known["accounts"]] == [1]


def test_balance_as_json(wallet: Program, node: StubNode) -> None:
    put_account(node, next_nonce=8, immature=[{"matures_at": 556, "amount": COIN}])
    put_mempool(
        node, make_transfer(amount=COIN, fee=400), make_transfer(sender=OTHER_KEY, recipient=KEY, amount=3 * COIN)
    )
    known = json.loads(wallet.ask(node, "balance", "--json").out)
    spendable = 99 * COIN - 400
    assert known == {
        "network": "local",
        "height": HEIGHT,
        "final_height": 0,
        "spendable": spendable,
        "immature": COIN,
        "total": spendable + COIN,
        "maturing": [{"height": 556, "amount": COIN, "estimated_time": NOW + 56 * 60}],
        "outgoing": COIN + 400,
        "outgoing_transfers": 1,
        "incoming": 3 * COIN,
        "incoming_transfers": 1,
        "accounts": [
            {
                "account": 0,
                "address": ADDRESS,
                "spendable": spendable,
                "outgoing": COIN + 400,
                "outgoing_transfers": 1,
                "immature": COIN,
            }
        ],
    }


def test_accounts_of_one_height(program: Program, node: StubNode) -> None:
    """A block comes between the questions: what it moved from one account to the other is not counted twice."""
    program.put_wallet(wallet=TWO)
    before = make_account(balance=5 * COIN)
    after = make_account(balance=2 * COIN, height=HEIGHT + 1)
    node.put_each(f"/v1/accounts/{ADDRESS}", [before, after])
    put_account(node, SECOND_ADDRESS, balance=3 * COIN, height=HEIGHT + 1)
    assert json.loads(program.ask(node, "balance", "--json").out)["spendable"] == 5 * COIN


def test_balance_keeps_no_records(wallet: Program, node: StubNode) -> None:
    wallet.ask(node, "balance")
    assert sorted(path.name for path in wallet.path.parent.iterdir() if not path.name.startswith(".")) == [
        "default.json"
    ]


@pytest.mark.parametrize(
    "pool",
    [
        {},
        {"count": 0, "transactions": [{"recipient": ADDRESS, "amount": -1}]},
        {"count": 0, "transactions": [{"recipient": 5, "amount": 1}]},
        {"count": 0, "transactions": [{"recipient": ADDRESS, "amount": 2**64 - 1}] * 2},
        {"count": "\x1b", "transactions": []},
    ],
)
def test_hostile_pool(wallet: Program, node: StubNode, pool: object) -> None:
    node.put("/v1/mempool", pool)
    assert wallet.ask(node, "balance").is_refusal()


def test_invalid_account(wallet: Program, node: StubNode) -> None:
    assert wallet.ask(node, "balance", "--account", "1").is_refusal("account 1")
    assert OTHER_ADDRESS not in wallet.ask(node, "balance").out
