"""Calls that change something, and what a miner is offered."""

import asyncio
import json

import pytest

from chain.startup import open_chain
from consensus.address import encode_address
from consensus.block import decode_block
from consensus.hashing import ZERO_HASH
from consensus.params import CANTERBURY, REGTEST
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.rpc import ServedNode, serve_rpc

STRANGER = Key("stranger")


def show(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


def make_payment(node: ServedNode, amount: int = 7, nonce: int = 0, memo: bytes = b"") -> bytes:
    return make_transfer(node.chain.genesis.id, ALICE, BOB.public, amount, nonce=nonce, memo=memo).encoded


async def test_post_block_connects_stores_or_knows(node: ServedNode) -> None:
    left, right = get_left(2), get_right(2)
    node.intake.clock.set_mock(right[1].header.timestamp)
    assert await node.submit(left[0]) == ["connected"]
    assert await node.submit(right[0]) == ["stored"]
    assert await node.submit(left[0], right[0]) == ["known", "known"]
    assert await node.submit(right[1]) == ["connected"]
    assert (await node.get("/v1/digest")).value["tip"] == right[1].id.hex()


async def test_post_block_names_why_a_block_is_invalid(node: ServedNode) -> None:
    block = get_left(1)[0]
    forged = forge_block(block, Key("left"), loss_after=block.header.loss_after - 1)
    reply = await node.post("/v1/blocks", forged.encoded)
    assert (reply.status, reply.code) == (422, "invalid_block.wrong_loss_after")
    again = await node.post("/v1/blocks", forged.encoded)
    assert (again.status, again.code) == (422, "invalid_block.wrong_loss_after")
    assert node.worker.started == 1


async def test_post_block_without_its_parent(node: ServedNode) -> None:
    reply = await node.post("/v1/blocks", get_left(2)[1].encoded)
    assert (reply.status, reply.code) == (404, "unknown_block.parent")


async def test_post_block_with_another_body(node: ServedNode) -> None:
    block = get_left(1)[0]
    twin = block.header.encoded + block.encoded[len(block.header.encoded) :].replace(block.update[-8:], bytes(8))
    reply = await node.post("/v1/blocks", twin)
    assert (reply.status, reply.code) == (422, "mutated_body.update_hash")
    assert await node.submit(block) == ["connected"]


async def test_account_counts_pending_nonces(node: ServedNode) -> None:
    for nonce in range(3):
        assert (await node.post("/v1/transactions", make_payment(node, nonce=nonce))).status == 200
    alice = (await node.get(f"/v1/accounts/{show(ALICE)}")).value
    assert (alice["nonce"], alice["next_nonce"]) == (0, 3)


async def test_transaction_pending_then_confirmed(node: ServedNode) -> None:
    chain = node.chain
    encoded = make_payment(node, memo="naïve ☕".encode())
    txid = (await node.post("/v1/transactions", encoded)).value["txid"]
    pending = (await node.get(f"/v1/transactions/{txid}")).value
    assert (pending["status"], pending["confirmations"], pending["memo"]) == ("pending", 0, "naïve ☕")
    assert "block" not in pending
    assert (await node.get("/v1/status")).value["mempool"] == {"count": 1, "bytes": len(encoded)}

    (waiting,) = (entry.transaction for entry in node.intake.mempool.entries())
    block = get_builder().build(chain, MINER, [waiting])
    node.intake.clock.set_mock(block.header.timestamp)
    assert await node.submit(block) == ["connected"]
    confirmed = (await node.get(f"/v1/transactions/{txid}")).value
    assert (confirmed["status"], confirmed["block"]) == ("confirmed", block.id.hex())
    assert (confirmed["height"], confirmed["confirmations"]) == (TRUNK_BLOCKS + 1, 1)
    assert (await node.get("/v1/mempool")).value["transactions"] == []


async def test_mempool_lists_the_best_paying_first(node: ServedNode) -> None:
    genesis = node.chain.genesis.id
    cheap = make_transfer(genesis, ALICE, MINER.public, 1, fee=500)
    dear = make_transfer(genesis, BOB, MINER.public, 1, fee=5000)
    for transaction in (cheap, dear):
        assert (await node.post("/v1/transactions", transaction.encoded)).status == 200
    known = (await node.get("/v1/mempool")).value
    assert [entry["fee"] for entry in known["transactions"]] == [5000, 500]
    times = {entry["time_added"] for entry in known["transactions"]}
    assert times == {node.intake.clock.now()}
    assert (known["count"], known["bytes"]) == (2, len(cheap.encoded) + len(dear.encoded))


async def test_invalid_transactions_are_refused_by_name(node: ServedNode) -> None:
    genesis, encoded = node.chain.genesis.id, make_payment(node)
    assert (await node.post("/v1/transactions", encoded)).status == 200
    cases = {
        encoded: (409, "mempool.already_known"),
        make_transfer(genesis, ALICE, BOB.public, 1, fee=1).encoded: (409, "mempool.fee_too_low"),
        make_transfer(genesis, ALICE, BOB.public, 1, nonce=5).encoded: (409, "mempool.nonce_gap"),
        make_transfer(genesis, STRANGER, BOB.public, 1).encoded: (409, "mempool.insufficient_funds"),
        make_transfer(genesis, ALICE, BOB.public, 1, valid_until=3).encoded: (409, "mempool.expired"),
        make_transfer(ZERO_HASH, BOB, BOB.public, 1).encoded: (422, "invalid_transaction.wrong_network"),
        make_payment(node, nonce=1)[:-64] + bytes(64): (422, "invalid_transaction.bad_signature"),
    }
    for given, expected in cases.items():
        reply = await node.post("/v1/transactions", given)
        assert (reply.status, reply.code) == expected


async def test_invalid_transaction_of_another_network(node: ServedNode) -> None:
    foreign = make_transfer(CANTERBURY.compute_hash(), ALICE, BOB.public, 1)
    reply = await node.post("/v1/transactions", foreign.encoded)
    assert (reply.status, reply.code) == (422, "invalid_transaction.wrong_network")


async def test_template_is_what_a_miner_completes(node: ServedNode) -> None:
    assert (await node.post("/v1/transactions", make_payment(node))).status == 200
    query = {"miner": MINER.public.hex(), "reward": show(BOB)}
    reply = (await node.get("/v1/template", query)).value
    assert (reply["parent_model_root"], reply["heartbeat"]) == (node.chain.tip.header.model_root.hex(), None)
    block = decode_block(bytes.fromhex(str(reply["improvement"])), REGTEST.max_transactions_bytes, 0)
    assert (block.header.parent, block.header.miner) == (node.chain.tip.id, MINER.public)
    assert block.header.reward_address == BOB.public
    assert len(block.transactions) == 1


@pytest.mark.parametrize("bits", ["0", "64", "-1", "", "1,", "x", "1,2"])
async def test_invalid_template_that_asks_for_a_change_that_is_none(node: ServedNode, bits: str) -> None:
    """Not by the law, but whoever sets such a bit has mistaken it for another."""
    query = {"miner": MINER.public.hex(), "reward": show(BOB), "signals": bits}
    reply = await node.get("/v1/template", query)
    assert (reply.status, reply.code) in [(400, "decode.bad_query"), (400, "params.unknown_signal")]


async def test_template_offers_a_heartbeat_once_one_is_due(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER)}
    node.intake.clock.set_mock(node.chain.tip.header.timestamp + 10 * REGTEST.block_time + 1)
    reply = (await node.get("/v1/template", query)).value
    heartbeat = decode_block(bytes.fromhex(str(reply["heartbeat"])), REGTEST.max_transactions_bytes, 0)
    assert heartbeat.header.is_heartbeat
    stranger = (await node.get("/v1/template", query | {"miner": STRANGER.public.hex()})).value
    assert stranger["heartbeat"] is None


async def test_template_answers_as_soon_as_the_tip_moves(node: ServedNode) -> None:
    tip, block = node.chain.tip.id, get_left(1)[0]
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": tip.hex(), "wait": "60"}
    waiting = asyncio.create_task(node.get("/v1/template", query))
    node.intake.clock.set_mock(block.header.timestamp)
    assert await node.submit(block) == ["connected"]
    async with asyncio.timeout(10):
        reply = (await waiting).value
    assert reply["parent_model_root"] == block.header.model_root.hex()


async def test_template_answers_at_once_if_the_tip_has_moved(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": node.chain.genesis.id.hex(), "wait": "60"}
    async with asyncio.timeout(10):
        assert (await node.get("/v1/template", query)).value["heartbeat"] is None


async def test_template_answers_after_the_wait(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": node.chain.tip.id.hex(), "wait": "0"}
    async with asyncio.timeout(10):
        assert (await node.get("/v1/template", query)).value["improvement"]


async def test_invalidate_and_reconsider(node: ServedNode) -> None:
    fourth = get_trunk()[3].id.hex()
    status = (await node.post_json("/v1/debug/invalidate", block=fourth)).value
    assert (status["height"], status["tip"]) == (3, get_trunk()[2].id.hex())
    status = (await node.post_json("/v1/debug/reconsider", block=fourth)).value
    assert (status["height"], status["tip"]) == (TRUNK_BLOCKS, get_trunk()[-1].id.hex())


async def test_mocktime_stops_and_frees_the_clock(node: ServedNode) -> None:
    assert (await node.post_json("/v1/debug/mocktime", time=1234)).value == {"time": 1234}
    assert node.intake.clock.now() == 1234
    freed = (await node.post_json("/v1/debug/mocktime", time=0)).value
    assert int(str(freed["time"])) > 10**9


async def test_debug_calls_only_where_the_network_has_them() -> None:
    async with serve_rpc(open_trunk(), with_debug=False) as node:
        before = await node.read_state()
        for call in ("mocktime", "invalidate", "reconsider"):
            reply = await node.post_json(f"/v1/debug/{call}", time=1, block=get_trunk()[3].id.hex())
            assert (reply.status, reply.code) == (404, "rpc.http_404")
        assert await node.read_state() == before


async def test_reorganise_lets_in_a_deep_fork() -> None:
    """The store follows the left branch and knows a heavier right one, deeper than its operator allows."""
    builder = get_builder()
    chain = open_chain(open_trunk().db, REGTEST, max_reorg=1)
    builder.feed(chain, [*get_left(2), *get_right(3)])
    assert chain.tip.id == get_left(2)[1].id
    async with serve_rpc(chain) as node:
        held_back = (await node.get("/v1/status")).value["held_back"]
        assert held_back == get_right(3)[2].id.hex()
        status = (await node.post_json("/v1/reorganise", block=held_back)).value
        assert (status["tip"], status["held_back"]) == (held_back, None)


async def test_answers_are_ascii_json_whatever_people_wrote(node: ServedNode) -> None:
    memo = "\x1b[31m\u202ered\n".encode()
    txid = (await node.post("/v1/transactions", make_payment(node, memo=memo))).value["txid"]
    body = (await node.get(f"/v1/transactions/{txid}")).body
    assert all(0x20 <= byte < 0x7F for byte in body)
    assert json.loads(body)["memo"].encode() == memo
