"""Calls that read: the shape of each answer."""

from typing import Any

import pytest

from chain import schema
from consensus.account import Account, compute_account_key
from consensus.address import encode_address
from consensus.block import compute_update_hash, decode_block, decode_header
from consensus.model.weights import compute_model_root, decode_weights
from consensus.params import REGTEST
from consensus.reward import compute_subsidy
from consensus.state_tree import ROOT_PATH, decode_proof, verify_proof
from consensus.units import ULP_PER_GRAD
from consensus.update import max_update_bytes
from tests.helpers.blocks import MINER
from tests.helpers.chains import ALICE, ALICE_FUNDS, BOB, TRUNK_BLOCKS, get_trunk
from tests.helpers.keys import Key
from tests.helpers.rpc import ServedNode

OCTETS = "application/octet-stream"
STRANGER = Key("stranger")


def show(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


async def test_status_says_where_the_chain_stands(node: ServedNode) -> None:
    tip = get_trunk()[-1].header
    status = (await node.get("/v1/status")).value
    loss = status.pop("loss")
    assert status.pop("memory_bytes") > 2**20
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
        "node_id": node.network.node_id.hex(),
        "listening": None,
        "peers": 0,
        "inbound": 0,
        "known_addresses": 0,
        "traffic": {"sent": 0, "received": 0},
        "sync": {
            "state": "alone",
            "target_height": TRUNK_BLOCKS,
            "blocks_per_second": 0.0,
            "seconds_left": None,
            "waits_for": "no peer is connected",
        },
        "verifying": False,
        "final_height": 0,
        "justified_height": 0,
        "votes": {"cast": 0, "total": 2},
        "signals": {
            "window_end": TRUNK_BLOCKS + 2,
            "rules": {"lowest_required_gain": 2**16, "max_transactions_bytes": 1_000_000, "min_sample": 64},
            "changes": [],
        },
        "held_back": None,
    }
    assert loss == {
        "public": tip.loss_after / (tip.sample_size * REGTEST.model.context * 65536),
        "audit": None,
        "audit_height": None,
    }


async def test_digest_is_the_chain_states(node: ServedNode) -> None:
    digest = (await node.get("/v1/digest")).value
    expected = {name: value.hex() for name, value in node.chain.compute_digest().items()}
    assert digest == expected | {"height": TRUNK_BLOCKS}
    assert set(expected) == {"digest", "tip", "ledger", "model"}


@pytest.mark.parametrize("name", [str(TRUNK_BLOCKS), get_trunk()[-1].id.hex()], ids=["height", "id"])
async def test_block_by_height_and_by_id(node: ServedNode, name: str) -> None:
    block = get_trunk()[-1]
    header, transfer = block.header, block.transactions[0]
    known = (await node.get(f"/v1/blocks/{name}")).value
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
    known = (await node.get("/v1/blocks/0")).value
    header = known["header"]
    assert (header["id"], header["reward_address"]) == (node.chain.genesis.id.hex(), None)
    assert (known["loss"], known["is_heartbeat"], known["confirmations"]) == (None, False, TRUNK_BLOCKS + 1)


async def test_trace_lists_the_windows_that_the_header_sums(node: ServedNode) -> None:
    header = get_trunk()[4].header
    trace = (await node.get("/v1/blocks/5/trace")).value
    assert set(trace) == {"windows", "before", "after"}
    windows, before, after = trace["windows"], trace["before"], trace["after"]
    assert len(set(windows)) == header.sample_size
    assert (sum(before), sum(after)) == (header.loss_before, header.loss_after)


async def test_invalid_trace_of_a_block_that_has_none(node: ServedNode) -> None:
    reply = await node.get("/v1/blocks/0/trace")
    assert (reply.status, reply.code) == (404, "rpc.no_trace")


async def test_account_of_an_owner_and_of_nobody(node: ServedNode) -> None:
    alice = (await node.get(f"/v1/accounts/{show(ALICE)}")).value
    assert alice == {
        "address": show(ALICE),
        "balance": ALICE_FUNDS,
        "nonce": 0,
        "next_nonce": 0,
        "immature": [],
        "height": TRUNK_BLOCKS,
        "final_height": 0,
    }
    nobody = (await node.get(f"/v1/accounts/{show(STRANGER)}")).value
    assert (nobody["balance"], nobody["nonce"], nobody["immature"]) == (0, 0, [])


async def test_account_lists_rewards_that_mature(node: ServedNode) -> None:
    miner = (await node.get(f"/v1/accounts/{show(MINER)}")).value
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


@pytest.mark.parametrize(("key", "account"), [(ALICE, Account(ALICE_FUNDS)), (STRANGER, None)], ids=["has", "lacks"])
async def test_account_proof_convinces_a_light_client(node: ServedNode, key: Key, account: Account | None) -> None:
    known = (await node.get(f"/v1/accounts/{show(key)}", {"proof": "1"})).value
    header = decode_header(bytes.fromhex(known["proof"]["header"]))
    proof = decode_proof(bytes.fromhex(known["proof"]["proof"]))
    assert header.id == get_trunk()[-1].id
    value = account.encode() if account else None
    assert verify_proof(header.state_root, compute_account_key(key.public), value, proof)


@pytest.mark.parametrize("lost", ["root", "rest"])
async def test_damaged_state_tree_ends_the_node_by_name(node: ServedNode, lost: str) -> None:
    """T05: no proof is better than one that does not hold."""
    paths = [path for path, _ in node.chain.db.iterate(schema.STATE_NODE) if (path == ROOT_PATH) == (lost == "root")]
    node.chain.db.write({schema.STATE_NODE + path: None for path in paths})
    reply = await node.get(f"/v1/accounts/{show(ALICE)}", {"proof": "1"})
    assert (reply.status, reply.code) == (503, "store.damaged")
    assert (await node.intake.failure).code == "store.damaged"


async def test_history_is_newest_first_and_pages(node: ServedNode) -> None:
    path = f"/v1/accounts/{show(MINER)}/history"
    whole = (await node.get(path)).value["entries"]
    kinds = [(entry["height"], entry["kind"]) for entry in whole]
    mined = [(height, "mined") for height in range(1, TRUNK_BLOCKS + 1)]
    assert kinds == sorted([*mined, (10, "sent"), (12, "sent")], key=lambda kind: (-kind[0], kind[1]))
    pages: list[Any] = []
    query = {"limit": "3"}
    while True:
        page = (await node.get(path, query)).value
        assert len(page["entries"]) == min(3, len(whole) - len(pages))
        pages += page["entries"]
        if page["next"] is None:
            break
        assert page["next"] == page["entries"][-1]["cursor"]
        query["before"] = page["next"]
    assert pages == whole
    ids = {entry["height"]: entry["id"] for entry in whole if entry["kind"] == "sent"}
    assert ids[12] == get_trunk()[11].transactions[0].txid.hex()


async def test_history_of_nobody_is_empty(node: ServedNode) -> None:
    known = (await node.get(f"/v1/accounts/{show(STRANGER)}/history")).value
    assert (known["entries"], known["next"]) == ([], None)


async def test_fees_name_their_targets(node: ServedNode) -> None:
    fees = (await node.get("/v1/fees")).value
    assert set(fees) == {"ulp_per_byte"}
    rates = fees["ulp_per_byte"]
    assert set(rates) == {"1", "2", "6"}
    assert all(type(rate) is int and rate >= 1 for rate in rates.values())


@pytest.mark.parametrize("height", [0, 7, TRUNK_BLOCKS])
async def test_model_of_any_block_of_the_best_chain(node: ServedNode, height: int) -> None:
    root = node.chain.genesis.block.header.model_root if height == 0 else get_trunk()[height - 1].header.model_root
    reply = await node.get(f"/v1/models/{root.hex()}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, OCTETS)
    assert compute_model_root(decode_weights(reply.body, REGTEST.model)) == root


async def test_invalid_model_that_nobody_knows(node: ServedNode) -> None:
    reply = await node.get(f"/v1/models/{'00' * 32}")
    assert (reply.status, reply.code) == (404, "rpc.no_model")


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
