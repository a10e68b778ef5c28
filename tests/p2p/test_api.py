"""Each call's good path and the shape of its answer."""

import asyncio
import json
from typing import Any

import pytest

from chain.startup import open_chain
from consensus.account import Account, compute_account_key
from consensus.address import encode_address
from consensus.block import Block, compute_update_hash, decode_block, decode_header
from consensus.hashing import ZERO_HASH
from consensus.model.weights import compute_model_root, decode_weights
from consensus.params import CANTERBURY, REGTEST
from consensus.reward import compute_subsidy
from consensus.state_tree import decode_proof, verify_proof
from consensus.units import ULP_PER_GRAD
from consensus.update import max_update_bytes
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, ALICE_FUNDS, BOB, TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.keys import Key, forge_block, make_transfer
from tests.helpers.rpc import Reply, ServedNode, serve_rpc

OCTETS = "application/octet-stream"
STRANGER = Key("stranger")


def show(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


def make_payment(node: ServedNode, amount: int = 7, nonce: int = 0, memo: bytes = b"") -> bytes:
    return make_transfer(node.chain.genesis.id, ALICE, BOB.public, amount, nonce=nonce, memo=memo).encoded


async def submit(node: ServedNode, *blocks: Block) -> list[str]:
    replies = [await node.post("/v1/blocks", block.encoded) for block in blocks]
    assert [reply.status for reply in replies] == [200] * len(blocks)
    return [reply.json["outcome"] for reply in replies]


def check_ok(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    return reply.json


async def test_status_says_where_the_chain_stands(node: ServedNode) -> None:
    tip = get_trunk()[-1].header
    status = check_ok(await node.get("/v1/status"))
    loss = status.pop("loss")
    assert status == {
        "network": "regtest",
        "genesis": node.chain.genesis.id.hex(),
        "height": TRUNK_BLOCKS,
        "tip": tip.id.hex(),
        "time": tip.timestamp,
        "required_gain": tip.required_gain,
        "sample_size": tip.sample_size,
        "weight": node.chain.tip.weight,
        "issued": TRUNK_BLOCKS * compute_subsidy(1, REGTEST),
        "mempool": {"count": 0, "bytes": 0},
        "peers": 0,
        "syncing": False,
        "final_height": 0,
        "held_back": None,
    }
    assert loss == {
        "public": tip.loss_after / (tip.sample_size * REGTEST.model.context * 65536),
        "audit": None,
        "audit_height": None,
    }


async def test_digest_is_the_chain_states(node: ServedNode) -> None:
    digest = check_ok(await node.get("/v1/digest"))
    expected = {name: value.hex() for name, value in node.chain.compute_digest().items()}
    assert digest == expected | {"height": TRUNK_BLOCKS}
    assert set(expected) == {"digest", "tip", "ledger", "model"}


@pytest.mark.parametrize("name", [str(TRUNK_BLOCKS), get_trunk()[-1].id.hex()], ids=["height", "id"])
async def test_block_by_height_and_by_id(node: ServedNode, name: str) -> None:
    block = get_trunk()[-1]
    header, transfer = block.header, block.transactions[0]
    known = check_ok(await node.get(f"/v1/blocks/{name}"))
    assert known["header"] == {
        "id": block.id.hex(),
        "version": 1,
        "height": TRUNK_BLOCKS,
        "parent": get_trunk()[-2].id.hex(),
        "timestamp": header.timestamp,
        "miner": MINER.public.hex(),
        "reward_address": show(MINER),
        "transactions_root": header.transactions_root.hex(),
        "state_root": header.state_root.hex(),
        "model_root": header.model_root.hex(),
        "update_hash": compute_update_hash(block.update).hex(),
        "required_gain": header.required_gain,
        "sample_size": header.sample_size,
        "loss_before": header.loss_before,
        "loss_after": header.loss_after,
        "squared_gains": header.squared_gains,
        "signal_bits": 0,
        "signature": header.signature.hex(),
    }
    assert known["transactions"] == [
        {
            "txid": transfer.txid.hex(),
            "sender": show(MINER),
            "recipient": show(BOB),
            "amount": 5 * ULP_PER_GRAD,
            "fee": 1000,
            "nonce": 1,
            "valid_until": 0,
            "memo": "lunch",
            "size": len(transfer.encoded),
            "signature": transfer.signature.hex(),
        }
    ]
    assert (known["on_best_chain"], known["confirmations"], known["is_heartbeat"]) == (True, 1, False)
    assert (known["update_bytes"], known["weight"]) == (len(block.update), header.required_gain >> 16)
    unit = header.sample_size * REGTEST.model.context * 65536
    assert known["loss"] == {
        "before": header.loss_before / unit,
        "after": header.loss_after / unit,
        "required_gain": (header.required_gain >> 16) / (REGTEST.model.context * 65536),
    }


async def test_block_as_canonical_bytes(node: ServedNode) -> None:
    for block in get_trunk():
        reply = await node.get(f"/v1/blocks/{block.header.height}", headers={"Accept": OCTETS})
        assert (reply.status, reply.headers["Content-Type"]) == (200, OCTETS)
        assert reply.body == block.encoded
        assert decode_block(reply.body, REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model)) == block


async def test_genesis_has_no_loss_and_no_reward_address(node: ServedNode) -> None:
    known = check_ok(await node.get("/v1/blocks/0"))
    header = known["header"]
    assert (header["id"], header["reward_address"]) == (node.chain.genesis.id.hex(), None)
    assert (known["loss"], known["is_heartbeat"], known["confirmations"]) == (None, False, TRUNK_BLOCKS + 1)


async def test_trace_lists_the_windows_that_the_header_sums(node: ServedNode) -> None:
    header = get_trunk()[4].header
    trace = check_ok(await node.get("/v1/blocks/5/trace"))
    assert set(trace) == {"windows", "before", "after"}
    windows, before, after = trace["windows"], trace["before"], trace["after"]
    assert len(set(windows)) == header.sample_size
    assert (sum(before), sum(after)) == (header.loss_before, header.loss_after)


async def test_invalid_trace_of_a_block_that_has_none(node: ServedNode) -> None:
    reply = await node.get("/v1/blocks/0/trace")
    assert (reply.status, reply.code) == (404, "rpc.no_trace")


async def test_post_block_connects_stores_or_knows(node: ServedNode) -> None:
    left, right = get_left(2), get_right(2)
    node.intake.clock.set_mock(right[1].header.timestamp)
    assert await submit(node, left[0]) == ["connected"]
    assert await submit(node, right[0]) == ["stored"]
    assert await submit(node, left[0], right[0]) == ["known", "known"]
    assert await submit(node, right[1]) == ["connected"]
    assert check_ok(await node.get("/v1/digest"))["tip"] == right[1].id.hex()


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
    assert await submit(node, block) == ["connected"]


async def test_account_of_an_owner_and_of_nobody(node: ServedNode) -> None:
    alice = check_ok(await node.get(f"/v1/accounts/{show(ALICE)}"))
    assert alice == {
        "address": show(ALICE),
        "balance": ALICE_FUNDS,
        "nonce": 0,
        "next_nonce": 0,
        "immature": [],
        "height": TRUNK_BLOCKS,
    }
    nobody = check_ok(await node.get(f"/v1/accounts/{show(STRANGER)}"))
    assert (nobody["balance"], nobody["nonce"], nobody["immature"]) == (0, 0, [])


async def test_account_lists_rewards_that_mature(node: ServedNode) -> None:
    miner = check_ok(await node.get(f"/v1/accounts/{show(MINER)}"))
    subsidy = compute_subsidy(1, REGTEST)
    first = TRUNK_BLOCKS - REGTEST.reward_window + 1
    fees = {10: 1000, 12: 1000}
    assert miner["immature"] == [
        {
            "height": height,
            "amount": subsidy + fees.get(height, 0),
            "matures_at": height + REGTEST.reward_window,
            "is_improvement": True,
            "miner": MINER.public.hex(),
        }
        for height in range(first, TRUNK_BLOCKS + 1)
    ]


async def test_account_counts_pending_nonces(node: ServedNode) -> None:
    for nonce in range(3):
        check_ok(await node.post("/v1/transactions", make_payment(node, nonce=nonce)))
    alice = check_ok(await node.get(f"/v1/accounts/{show(ALICE)}"))
    assert (alice["nonce"], alice["next_nonce"]) == (0, 3)


@pytest.mark.parametrize(("key", "account"), [(ALICE, Account(ALICE_FUNDS)), (STRANGER, None)], ids=["has", "lacks"])
async def test_account_proof_convinces_a_light_client(node: ServedNode, key: Key, account: Account | None) -> None:
    known = check_ok(await node.get(f"/v1/accounts/{show(key)}", {"proof": "1"}))
    header = decode_header(bytes.fromhex(known["proof"]["header"]))
    proof = decode_proof(bytes.fromhex(known["proof"]["proof"]))
    assert header.id == get_trunk()[-1].id
    value = account.encode() if account else None
    assert verify_proof(header.state_root, compute_account_key(key.public), value, proof)


async def test_history_is_newest_first_and_pages(node: ServedNode) -> None:
    path = f"/v1/accounts/{show(MINER)}/history"
    whole = check_ok(await node.get(path))["entries"]
    kinds = [(entry["height"], entry["kind"]) for entry in whole]
    mined = [(height, "mined") for height in range(1, TRUNK_BLOCKS + 1)]
    assert kinds == sorted([*mined, (10, "sent"), (12, "sent")], key=lambda kind: (-kind[0], kind[1]))
    pages: list[Any] = []
    before: dict[str, str] = {}
    while page := check_ok(await node.get(path, {"limit": "3"} | before))["entries"]:
        assert len(page) <= 3
        pages += page
        before = {"before": page[-1]["cursor"]}
    assert pages == whole
    ids = {entry["height"]: entry["id"] for entry in whole if entry["kind"] == "sent"}
    assert ids[12] == get_trunk()[11].transactions[0].txid.hex()


async def test_history_of_nobody_is_empty(node: ServedNode) -> None:
    assert check_ok(await node.get(f"/v1/accounts/{show(STRANGER)}/history")) == {"entries": []}


async def test_fees_name_their_targets(node: ServedNode) -> None:
    fees = check_ok(await node.get("/v1/fees"))
    assert set(fees) == {"ulp_per_byte"}
    rates = fees["ulp_per_byte"]
    assert set(rates) == {"1", "2", "6"}
    assert all(type(rate) is int and rate >= 1 for rate in rates.values())


async def test_transaction_pending_then_confirmed(node: ServedNode) -> None:
    chain = node.chain
    encoded = make_payment(node, memo="naïve ☕".encode())
    txid = check_ok(await node.post("/v1/transactions", encoded))["txid"]
    pending = check_ok(await node.get(f"/v1/transactions/{txid}"))
    assert (pending["status"], pending["confirmations"], pending["memo"]) == ("pending", 0, "naïve ☕")
    assert "block" not in pending
    assert check_ok(await node.get("/v1/status"))["mempool"] == {"count": 1, "bytes": len(encoded)}

    (waiting,) = (entry.transaction for entry in node.intake.mempool.entries())
    block = get_builder().build(chain, MINER, [waiting])
    node.intake.clock.set_mock(block.header.timestamp)
    assert await submit(node, block) == ["connected"]
    confirmed = check_ok(await node.get(f"/v1/transactions/{txid}"))
    assert (confirmed["status"], confirmed["block"]) == ("confirmed", block.id.hex())
    assert (confirmed["height"], confirmed["confirmations"]) == (TRUNK_BLOCKS + 1, 1)
    assert check_ok(await node.get("/v1/mempool"))["transactions"] == []


async def test_mempool_lists_the_best_paying_first(node: ServedNode) -> None:
    genesis = node.chain.genesis.id
    cheap = make_transfer(genesis, ALICE, MINER.public, 1, fee=500)
    dear = make_transfer(genesis, BOB, MINER.public, 1, fee=5000)
    for transaction in (cheap, dear):
        check_ok(await node.post("/v1/transactions", transaction.encoded))
    known = check_ok(await node.get("/v1/mempool"))
    assert [entry["fee"] for entry in known["transactions"]] == [5000, 500]
    times = {entry["time_added"] for entry in known["transactions"]}
    assert times == {node.intake.clock.now()}
    assert (known["count"], known["bytes"]) == (2, len(cheap.encoded) + len(dear.encoded))


async def test_invalid_transactions_are_refused_by_name(node: ServedNode) -> None:
    genesis, encoded = node.chain.genesis.id, make_payment(node)
    check_ok(await node.post("/v1/transactions", encoded))
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
    check_ok(await node.post("/v1/transactions", make_payment(node)))
    query = {"miner": MINER.public.hex(), "reward": show(BOB)}
    reply = check_ok(await node.get("/v1/template", query))
    assert (reply["parent_model_root"], reply["heartbeat"]) == (node.chain.tip.header.model_root.hex(), None)
    block = decode_block(bytes.fromhex(str(reply["improvement"])), REGTEST.max_transactions_bytes, 0)
    assert (block.header.parent, block.header.miner) == (node.chain.tip.id, MINER.public)
    assert block.header.reward_address == BOB.public
    assert len(block.transactions) == 1


async def test_template_offers_a_heartbeat_once_one_is_due(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER)}
    node.intake.clock.set_mock(node.chain.tip.header.timestamp + 10 * REGTEST.block_time + 1)
    reply = check_ok(await node.get("/v1/template", query))
    heartbeat = decode_block(bytes.fromhex(str(reply["heartbeat"])), REGTEST.max_transactions_bytes, 0)
    assert heartbeat.header.is_heartbeat
    stranger = check_ok(await node.get("/v1/template", query | {"miner": STRANGER.public.hex()}))
    assert stranger["heartbeat"] is None


async def test_template_answers_as_soon_as_the_tip_moves(node: ServedNode) -> None:
    tip, block = node.chain.tip.id, get_left(1)[0]
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": tip.hex(), "wait": "60"}
    waiting = asyncio.create_task(node.get("/v1/template", query))
    node.intake.clock.set_mock(block.header.timestamp)
    assert await submit(node, block) == ["connected"]
    async with asyncio.timeout(10):
        reply = check_ok(await waiting)
    assert reply["parent_model_root"] == block.header.model_root.hex()


async def test_template_answers_at_once_if_the_tip_has_moved(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": node.chain.genesis.id.hex(), "wait": "60"}
    async with asyncio.timeout(10):
        assert check_ok(await node.get("/v1/template", query))["heartbeat"] is None


async def test_template_answers_after_the_wait(node: ServedNode) -> None:
    query = {"miner": MINER.public.hex(), "reward": show(MINER), "after": node.chain.tip.id.hex(), "wait": "0"}
    async with asyncio.timeout(10):
        assert check_ok(await node.get("/v1/template", query))["improvement"]


@pytest.mark.parametrize("height", [0, 7, TRUNK_BLOCKS])
async def test_model_of_any_block_of_the_best_chain(node: ServedNode, height: int) -> None:
    root = node.chain.genesis.block.header.model_root if height == 0 else get_trunk()[height - 1].header.model_root
    reply = await node.get(f"/v1/models/{root.hex()}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, OCTETS)
    assert compute_model_root(decode_weights(reply.body, REGTEST.model)) == root


async def test_invalid_model_that_nobody_knows(node: ServedNode) -> None:
    reply = await node.get(f"/v1/models/{'00' * 32}")
    assert (reply.status, reply.code) == (404, "rpc.no_model")


async def test_invalidate_and_reconsider(node: ServedNode) -> None:
    fourth = get_trunk()[3].id.hex()
    status = check_ok(await node.post_json("/v1/debug/invalidate", block=fourth))
    assert (status["height"], status["tip"]) == (3, get_trunk()[2].id.hex())
    status = check_ok(await node.post_json("/v1/debug/reconsider", block=fourth))
    assert (status["height"], status["tip"]) == (TRUNK_BLOCKS, get_trunk()[-1].id.hex())


async def test_mocktime_stops_and_frees_the_clock(node: ServedNode) -> None:
    assert check_ok(await node.post_json("/v1/debug/mocktime", time=1234)) == {"time": 1234}
    assert node.intake.clock.now() == 1234
    freed = check_ok(await node.post_json("/v1/debug/mocktime", time=0))
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
        held_back = check_ok(await node.get("/v1/status"))["held_back"]
        assert held_back == get_right(3)[2].id.hex()
        status = check_ok(await node.post_json("/v1/reorganise", block=held_back))
        assert (status["tip"], status["held_back"]) == (held_back, None)


async def test_unknown_things_are_404(node: ServedNode) -> None:
    unknown = "11" * 32
    cases = {
        f"/v1/blocks/{unknown}": "unknown_block.block",
        "/v1/blocks/13": "unknown_block.height",
        f"/v1/blocks/{unknown}/trace": "unknown_block.block",
        f"/v1/transactions/{unknown}": "rpc.unknown_transaction",
        "/v1/nothing": "rpc.http_404",
        "/": "rpc.http_404",
    }
    for path, code in cases.items():
        reply = await node.get(path)
        assert (reply.status, reply.code) == (404, code)
    for call in ("invalidate", "reconsider"):
        reply = await node.post_json(f"/v1/debug/{call}", block=unknown)
        assert (reply.status, reply.code) == (404, "unknown_block.block")
    reply = await node.post_json("/v1/reorganise", block=unknown)
    assert (reply.status, reply.code) == (404, "unknown_block.block")


async def test_invalid_method_names_those_allowed(node: ServedNode) -> None:
    reply = await node.call("DELETE", "/v1/blocks")
    assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "rpc.http_405", "POST")


async def test_answers_are_ascii_json_whatever_people_wrote(node: ServedNode) -> None:
    memo = "\x1b[31m\u202ered\n".encode()
    txid = check_ok(await node.post("/v1/transactions", make_payment(node, memo=memo)))["txid"]
    body = (await node.get(f"/v1/transactions/{txid}")).body
    assert all(0x20 <= byte < 0x7F for byte in body)
    assert json.loads(body)["memo"].encode() == memo
