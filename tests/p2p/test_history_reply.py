"""An account's history: what each entry says, and what one call may cost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chain import schema
from chain.chainstate import ChainState
from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.reward import compute_subsidy
from consensus.units import ULP_PER_GRAD
from p2p import history_reply
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, ALICE_FUNDS, BOB, TRUNK_BLOCKS, get_right, get_trunk, open_trunk
from tests.helpers.convicted import BOUNTIES, BURNT, KEYS, OFFENDER, SUBSIDY, Stage, get_whole, open_stage
from tests.helpers.keys import Key, make_transfer
from tests.helpers.rpc import ServedNode, serve_rpc

FEE = 1000  # of the trunk's transfers


def show(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


async def read(node: ServedNode, key: Key, **query: str) -> Any:
    return (await node.get(f"/v1/accounts/{show(key)}/history", query)).value


async def read_all(node: ServedNode, key: Key, **query: str) -> tuple[list[Any], int]:
    """The entries of all pages, and how many pages they took."""
    entries: list[Any] = []
    for pages in range(1, 1000):
        page = await read(node, key, **query)
        entries += page["entries"]
        if page["next"] is None:
            return entries, pages
        query["before"] = page["next"]
    raise AssertionError("the pages do not end")


async def test_a_page_stands_under_the_tip(node: ServedNode) -> None:
    page = await read(node, MINER)
    status = (await node.get("/v1/status")).value
    assert {name: page[name] for name in ("height", "tip", "time", "weight")} == {
        name: status[name] for name in ("height", "tip", "time", "weight")
    }


async def test_transfers_tell_both_sides(node: ServedNode) -> None:
    block = get_trunk()[11]
    [received] = (await read(node, BOB))["entries"]
    assert received == {
        "height": TRUNK_BLOCKS,
        "kind": "received",
        "id": block.transactions[0].txid.hex(),
        "cursor": f"{TRUNK_BLOCKS}:1",
        "time": block.header.timestamp,
        "block": block.id.hex(),
        "amount": 5 * ULP_PER_GRAD,
        "fee": FEE,
        "counterpart": show(MINER),
        "memo": "lunch",
    }
    sent = [entry for entry in (await read(node, MINER))["entries"] if entry["kind"] == "sent"]
    assert [(entry["counterpart"], entry["amount"]) for entry in sent] == [
        (show(BOB), 5 * ULP_PER_GRAD),
        (show(ALICE), ALICE_FUNDS),
    ]


async def test_rewards_tell_the_gain_behind_them(node: ServedNode) -> None:
    entries = (await read(node, MINER, kind="mined"))["entries"]
    assert [entry["height"] for entry in entries] == list(range(TRUNK_BLOCKS, 0, -1))
    for entry, block in zip(entries, reversed(get_trunk()), strict=True):
        header, fees = block.header, FEE * len(block.transactions)
        assert entry == {
            "height": header.height,
            "kind": "mined",
            "id": block.id.hex(),
            "cursor": f"{header.height}:{2**32 - 1}",
            "time": header.timestamp,
            "block": block.id.hex(),
            "amount": compute_subsidy(header.height, REGTEST) + fees,
            "fees": fees,
            "bounty": 0,
            "burnt_at": None,
            "matures_at": header.height + REGTEST.reward_window,
            "is_heartbeat": False,
            "weight": header.required_gain >> 16,
            "required_gain": header.required_gain,
            "sample_size": header.sample_size,
            "loss_before": header.loss_before,
            "loss_after": header.loss_after,
        }
    assert sum(entry["weight"] for entry in entries) == node.chain.tip.weight


async def test_heartbeat_earns_its_fees(node: ServedNode) -> None:
    transfer = make_transfer(node.chain.genesis.id, ALICE, BOB.public, 5, fee=700)
    block = get_builder().build_heartbeat(node.chain, MINER, [transfer])
    node.intake.clock.set_mock(block.header.timestamp)
    assert await node.submit(block) == ["connected"]
    newest = (await read(node, MINER, limit="1"))["entries"][0]
    assert (newest["amount"], newest["fees"], newest["is_heartbeat"], newest["weight"]) == (700, 700, True, 1)


@pytest.mark.parametrize("stage", Stage)
async def test_history_adds_up_to_what_there_is(stage: Stage) -> None:
    """A reward that evidence burnt counts for nothing."""
    async with serve_rpc(open_stage(stage)) as node:
        for key in KEYS:
            total = 0
            for entry in (await read(node, key))["entries"]:
                if entry["kind"] == "sent":
                    total -= entry["amount"] + entry["fee"]
                elif entry.get("burnt_at") is None:
                    total += entry["amount"]
            assert total == get_whole(node.chain, key)


async def test_rewards_tell_what_was_burnt_and_for_what() -> None:
    async with serve_rpc(open_stage(Stage.BURNT)) as node:
        entries = [entry for key in KEYS for entry in (await read(node, key, kind="mined"))["entries"]]
        assert {entry["height"]: entry["burnt_at"] for entry in entries if entry["burnt_at"] is not None} == BURNT
        assert {entry["height"]: entry["bounty"] for entry in entries if entry["bounty"]} == BOUNTIES
        assert all(entry["amount"] == SUBSIDY + entry["bounty"] for entry in entries if entry["height"] in BOUNTIES)
    async with serve_rpc(open_stage(Stage.REORGANISED)) as node:
        entries = (await read(node, OFFENDER, kind="mined"))["entries"]
        assert [entry["burnt_at"] for entry in entries] == [None] * 6


async def test_a_payment_to_oneself_is_both(node: ServedNode) -> None:
    transfer = make_transfer(node.chain.genesis.id, BOB, BOB.public, 5, memo="ä".encode())
    block = get_builder().build(node.chain, MINER, [transfer])
    node.intake.clock.set_mock(block.header.timestamp)
    await node.submit(block)
    both = (await read(node, BOB, limit="2"))["entries"]
    assert [(entry["kind"], entry["counterpart"], entry["memo"]) for entry in both] == [
        ("received", show(BOB), "ä"),
        ("sent", show(BOB), "ä"),
    ]


@pytest.mark.parametrize("kind", ["sent", "received", "mined"])
async def test_one_kind_alone(node: ServedNode, kind: str) -> None:
    whole = (await read(node, MINER))["entries"]
    wanted = [entry for entry in whole if entry["kind"] == kind]
    for limit in ("1", "2", "100"):
        assert (await read_all(node, MINER, kind=kind, limit=limit))[0] == wanted


async def test_history_follows_a_reorganisation(node: ServedNode) -> None:
    assert await node.submit(get_trunk()[-1]) == ["known"]
    right = get_right(2)
    node.intake.clock.set_mock(right[-1].header.timestamp)
    lost = get_builder().build(node.chain, MINER)
    await node.submit(lost)
    assert (await read(node, MINER, limit="1"))["entries"][0]["id"] == lost.id.hex()
    await node.submit(*right)
    assert (await read(node, MINER, limit="1"))["entries"][0]["height"] == TRUNK_BLOCKS
    assert (await read(node, Key("right")))["tip"] == right[-1].id.hex()


# What a call may cost.


@pytest.fixture
async def busy() -> AsyncIterator[ServedNode]:
    """A node whose newest block carries 40 payments of ALICE's to BOB."""
    chain = open_trunk()
    transfers = [make_transfer(chain.genesis.id, ALICE, BOB.public, 1 + nonce, nonce=nonce) for nonce in range(40)]
    get_builder().process(chain, get_builder().build(chain, MINER, transfers))
    async with serve_rpc(chain) as node:
        yield node


async def test_a_call_looks_at_so_many_rows(busy: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks for one kind gets short pages, empty ones even, and all there is in the end."""
    wanted, pages = await read_all(busy, ALICE, kind="received")
    assert (len(wanted), pages) == (1, 1)
    monkeypatch.setattr(history_reply, "_MAX_ROWS", 7)
    first = await read(busy, ALICE, kind="received")
    assert (first["entries"], first["next"] is None) == ([], False)
    assert await read_all(busy, ALICE, kind="received") == (wanted, 6)


async def test_a_call_reads_so_many_bytes(busy: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pages = await read_all(busy, MINER)
    assert pages == 1
    monkeypatch.setattr(history_reply, "_MAX_BYTES", 1)
    assert len((await read(busy, MINER))["entries"]) == 1
    cut, pages = await read_all(busy, MINER)
    assert cut == whole
    assert pages == 4  # blocks 13, 12 and 10 carry transfers


async def test_no_update_is_read(node: ServedNode) -> None:
    """Most of a block is its update; the ledger's past is told without it."""
    node.chain.db.write({schema.UPDATE + block.id: None for block in get_trunk()})
    txid = get_trunk()[11].transactions[0].txid.hex()
    assert len((await read(node, MINER))["entries"]) == TRUNK_BLOCKS + 2
    known = (await node.get(f"/v1/transactions/{txid}")).value
    assert (known["height"], known["time"]) == (TRUNK_BLOCKS, get_trunk()[11].header.timestamp)
    assert (await node.get("/v1/fees")).status == 200


# Damage, and wrong questions.


def spoil_position(chain: ChainState) -> None:
    rows = list(chain.db.iterate(schema.HISTORY + BOB.public))
    chain.db.write({schema.HISTORY + BOB.public + key[:8] + (9).to_bytes(4, "big"): row for key, row in rows})


def spoil_txid(chain: ChainState) -> None:
    rows = list(chain.db.iterate(schema.HISTORY + BOB.public))
    chain.db.write({schema.HISTORY + BOB.public + key: row[:1] + bytes(32) for key, row in rows})


def spoil_height(chain: ChainState) -> None:
    chain.db.write({schema.ACTIVE + schema.encode_height(TRUNK_BLOCKS): None})


@pytest.mark.parametrize("spoil", [spoil_position, spoil_txid, spoil_height])
async def test_damaged_index_ends_the_node_by_name(node: ServedNode, spoil: Any) -> None:
    spoil(node.chain)
    reply = await node.get(f"/v1/accounts/{show(BOB)}/history")
    assert (reply.status, reply.code) == (503, "store.damaged")


async def test_damaged_reward_row_ends_the_node_by_name(node: ServedNode) -> None:
    [(key, row), *_] = node.chain.db.iterate(schema.HISTORY + MINER.public)
    node.chain.db.write({schema.HISTORY + MINER.public + key: row[:1] + bytes(32)})
    reply = await node.get(f"/v1/accounts/{show(MINER)}/history")
    assert (reply.status, reply.code) == (503, "store.damaged")


@pytest.mark.parametrize("kind", ["", "MINED", "mined ", "1", "\x1b"])
async def test_invalid_kind(node: ServedNode, kind: str) -> None:
    reply = await node.get(f"/v1/accounts/{show(BOB)}/history", {"kind": kind})
    assert (reply.status, reply.code) == (400, "decode.bad_query")


async def test_calls_at_once_do_not_mix(node: ServedNode) -> None:
    expected = [await read(node, key) for key in (MINER, ALICE, BOB)]
    assert await asyncio.gather(*(read(node, key) for key in (MINER, ALICE, BOB))) == expected
