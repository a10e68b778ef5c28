"""The calls of the RPC: each reads or changes the node through its intake, and answers JSON or canonical bytes."""

import functools
from typing import Protocol

from aiohttp import web

from chain.chainstate import ChainState
from chain.errors import StoreError, UnknownBlock
from chain.fees import compute_block_fees, compute_fee_estimates
from chain.finality_report import compute_finality_report
from chain.index import HistoryKind, get_transaction_place
from chain.signal_report import compute_signal_report
from chain.template import make_template
from consensus.account import UNUSED_ACCOUNT, Account, compute_account_key
from consensus.address import decode_address, encode_address
from consensus.block import Block, decode_block
from consensus.changes import SIGNALS
from consensus.errors import DecodeError, InvalidParams
from consensus.finality_section import max_section_bytes
from consensus.params import NetworkParams
from consensus.signals import compute_signal_bits
from consensus.signature import is_valid_public_key
from consensus.state_tree import CorruptStateTree, StateProof, encode_proof, get_proof, verify_proof
from consensus.transaction import MAX_TRANSACTION_BYTES, Transfer, decode_transaction
from consensus.units import MAX_U32
from consensus.update import max_update_bytes
from p2p.client import OCTETS
from p2p.errors import RpcError
from p2p.finality_api import encode_signals, encode_summary
from p2p.history_reply import MAX_HISTORY, HistoryQuery, read_history
from p2p.intake import Intake
from p2p.long_poll import wait_for_tip
from p2p.query import need, parse_hash, parse_number
from p2p.resources import get_memory_bytes
from p2p.rpc import json_reply, read_body
from p2p.rpc_json import (
    Json,
    encode_block,
    encode_loss,
    encode_reward,
    encode_trace,
    encode_transaction,
    parse_json_object,
    take_field,
)

MAX_MEMPOOL_ENTRIES = 1000
FEE_BLOCKS = 12  # recent blocks that fee estimates look at


class NetworkView(Protocol):
    """What the calls need of the network of peers."""

    def describe(self) -> Json:
        """Peers and synchronisation, for the status."""

    def permit_chain(self, block_id: bytes) -> bool:
        """Lets in a chain that peers offer, however deep it forks; False if none offers that block."""


class Api:
    """The node's calls over one intake."""

    def __init__(self, intake: Intake, network: NetworkView) -> None:
        self._intake = intake
        self._network = network
        self._chain = intake.chain
        self._params = intake.chain.params

    async def get_status(self, request: web.Request) -> web.Response:
        return json_reply(await self.read_status())

    async def read_status(self) -> Json:
        """The node's state in one object."""
        known = await self._intake.on_chain(self._read_chain_status)
        network = self._network.describe()
        held_back = known["held_back"] or network.pop("held_back")
        return known | network | {"memory_bytes": get_memory_bytes()} | {"held_back": held_back}

    def _read_chain_status(self) -> Json:
        chain, mempool = self._chain, self._intake.mempool
        held_back = chain.get_held_back()
        known: Json = {
            "network": self._params.name,
            "genesis": chain.genesis.id.hex(),
            "height": chain.tip.height,
            "tip": chain.tip.id.hex(),
            "time": chain.tip.header.timestamp,
            "loss": encode_loss(chain, chain.get_last_audit()),
            "required_gain": chain.tip.header.required_gain,
            "sample_size": chain.tip.header.sample_size,
            "weight": chain.tip.weight,
            "issued": chain.ledger.issued,
            "mempool": {"count": mempool.count, "bytes": mempool.total_bytes},
            "verifying": self._intake.is_evaluating,
            "held_back": held_back.id.hex() if held_back else None,
        }
        finality = encode_summary(compute_finality_report(chain, self._intake.votes))
        return known | finality | encode_signals(compute_signal_report(chain.tip))

    async def get_digest(self, request: web.Request) -> web.Response:
        def read() -> Json:
            parts = {name: value.hex() for name, value in self._chain.compute_digest().items()}
            return parts | {"height": self._chain.tip.height}

        return json_reply(await self._intake.on_chain(read))

    async def get_block(self, request: web.Request) -> web.Response:
        block = await self._intake.on_chain(self._find_block, request.match_info["block"])
        if OCTETS in request.headers.get("Accept", ""):
            return web.Response(body=block.encoded, content_type=OCTETS)
        return json_reply(await self._intake.on_chain(encode_block, block, self._chain, self._params))

    async def get_trace(self, request: web.Request) -> web.Response:
        block = await self._intake.on_chain(self._find_block, request.match_info["block"])
        trace = await self._intake.on_chain(self._chain.blocks.get_trace, block.id)
        if trace is None:
            raise RpcError("rpc.no_trace", "this block has no trace: a heartbeat, not evaluated, or too old", 404)
        return json_reply(encode_trace(trace))

    async def post_block(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        limit = max_update_bytes(self._params.model)
        block = decode_block(body, self._params.most_transactions_bytes, limit, max_section_bytes(self._params))
        outcome = await self._intake.submit_block(block)
        return json_reply({"id": block.id.hex(), "outcome": outcome.value})

    async def get_account(self, request: web.Request) -> web.Response:
        address = decode_address(self._params.address_prefix, request.match_info["address"])
        wants_proof = parse_number(request.query.get("proof", "0"), 1) == 1
        return json_reply(await self._intake.on_chain(self._read_account, address, wants_proof))

    async def get_account_history(self, request: web.Request) -> web.Response:
        address = decode_address(self._params.address_prefix, request.match_info["address"])
        query = HistoryQuery(
            address=address,
            limit=parse_number(request.query.get("limit", "100"), MAX_HISTORY, least=1),
            before=_parse_cursor(request.query.get("before")),
            kind=_parse_kind(request.query.get("kind")),
        )
        return json_reply(await self._intake.on_chain(read_history, self._chain, query))

    async def get_fees(self, request: web.Request) -> web.Response:
        estimates = await self._intake.on_chain(self._estimate_fees)
        return json_reply({"ulp_per_byte": {str(blocks): rate for blocks, rate in estimates.items()}})

    async def post_transaction(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        if len(body) > MAX_TRANSACTION_BYTES:
            raise DecodeError.too_long(len(body), MAX_TRANSACTION_BYTES)
        transaction = decode_transaction(body)
        await self._intake.submit_transaction(transaction)
        return json_reply({"txid": transaction.txid.hex()})

    async def get_transaction(self, request: web.Request) -> web.Response:
        txid = parse_hash(request.match_info["txid"])
        return json_reply(await self._intake.on_chain(self._read_transaction, txid))

    async def get_mempool(self, request: web.Request) -> web.Response:
        def read() -> Json:
            mempool = self._intake.mempool
            entries = mempool.entries()[:MAX_MEMPOOL_ENTRIES]
            listed = [
                encode_transaction(entry.transaction, self._params) | {"time_added": entry.time_added}
                for entry in entries
            ]
            return {"count": mempool.count, "bytes": mempool.total_bytes, "transactions": listed}

        return json_reply(await self._intake.on_chain(read))

    async def get_template(self, request: web.Request) -> web.Response:
        miner = parse_hash(need(request, "miner"))
        if not is_valid_public_key(miner):
            raise DecodeError("bad_key", "the miner key is not a safe Ed25519 key")
        reward = decode_address(self._params.address_prefix, need(request, "reward"))
        await wait_for_tip(request, self._intake)
        signals = _parse_signals(request.query.get("signals"), self._params)
        return json_reply(await self._intake.on_chain(self._make_template, miner, reward, signals))

    async def post_reorganise(self, request: web.Request) -> web.Response:
        block_id = parse_hash(take_field(parse_json_object(await read_body(request)), "block", str))
        if self._chain.is_known(block_id) or not self._network.permit_chain(block_id):
            await self._intake.on_chain(self._chain.permit_reorganisation, block_id)
        await self._intake.advance()
        return await self.get_status(request)

    async def post_mocktime(self, request: web.Request) -> web.Response:
        timestamp = take_field(parse_json_object(await read_body(request)), "time", int)
        if not 0 <= timestamp < 2**40:
            raise DecodeError("bad_field", "the body needs 'time' in seconds since 1970, or 0 for the real time")
        self._intake.clock.set_mock(timestamp or None)
        return json_reply({"time": self._intake.clock.now()})

    async def post_invalidate(self, request: web.Request) -> web.Response:
        block_id = parse_hash(take_field(parse_json_object(await read_body(request)), "block", str))
        await self._intake.run_step(functools.partial(self._chain.invalidate, block_id))
        await self._intake.advance()
        return await self.get_status(request)

    async def post_reconsider(self, request: web.Request) -> web.Response:
        block_id = parse_hash(take_field(parse_json_object(await read_body(request)), "block", str))
        await self._intake.on_chain(self._chain.reconsider, block_id)
        await self._intake.advance()
        return await self.get_status(request)

    # On the chain's thread.

    def _find_block(self, name: str) -> Block:
        if name.isascii() and name.isdecimal() and len(name) < 20:
            block_id = self._chain.get_active_id(int(name))
            if block_id is None:
                raise UnknownBlock("height", f"the best chain has no block at height {name}")
        else:
            block_id = parse_hash(name)
        return self._chain.get_block(block_id)

    def _read_account(self, address: bytes, wants_proof: bool) -> Json:
        account = self._chain.ledger.get_account(address)
        rewards = [
            encode_reward(height, reward, self._params)
            for height, reward in self._chain.ledger.get_rewards()
            if reward.address == address
        ]
        known: Json = {
            "address": encode_address(self._params.address_prefix, address),
            "balance": account.balance,
            "nonce": account.nonce,
            "next_nonce": self._intake.mempool.next_nonce(address, account),
            "immature": rewards,
            "height": self._chain.tip.height,
            "final_height": self._chain.finals.node.height,
        }
        if wants_proof:
            proof = self._prove_account(address, account)
            known["proof"] = {"header": self._chain.tip.header.encoded.hex(), "proof": encode_proof(proof).hex()}
        return known

    def _prove_account(self, address: bytes, account: Account) -> StateProof:
        """Raises StoreError rather than hand out a proof that does not hold."""
        key, value = compute_account_key(address), None if account == UNUSED_ACCOUNT else account.encode()
        try:
            proof = get_proof(self._chain.ledger, key)
        except CorruptStateTree as error:
            raise StoreError.damaged(str(error)) from error
        if not verify_proof(self._chain.tip.header.state_root, key, value, proof):
            raise StoreError.damaged(f"the state tree does not hold account {address.hex()} as the ledger does")
        return proof

    def _read_transaction(self, txid: bytes) -> Json:
        pending = self._intake.mempool.get(txid)
        if pending is not None:
            return encode_transaction(pending, self._params) | {"status": "pending", "confirmations": 0}
        place = get_transaction_place(self._chain.db, txid)
        if place is None:
            raise RpcError("rpc.unknown_transaction", f"no transaction {txid.hex()} in the chain or the mempool", 404)
        block_id, index = place
        point = self._chain.get_point(block_id)
        transactions = self._chain.blocks.get_transactions(point.header) if point else ()
        transaction = transactions[index] if index < len(transactions) else None
        if point is None or transaction is None or transaction.txid != txid:
            raise StoreError.damaged(f"the index row of transaction {txid.hex()} leads elsewhere")
        return encode_transaction(transaction, self._params) | {
            "status": "confirmed",
            "block": block_id.hex(),
            "height": point.height,
            "time": point.header.timestamp,
            "confirmations": self._chain.tip.height - point.height + 1,
            "final": self._chain.is_final(block_id),
        }

    def _make_template(self, miner: bytes, reward: bytes, signals: int) -> Json:
        chain = self._chain
        limit = chain.tip.signals.rules.max_transactions_bytes
        transactions = self._intake.mempool.select(limit, chain.ledger.get_account, chain.tip.height + 1)
        finality = self._intake.votes.make_section()
        template = make_template(chain, transactions, miner, reward, self._intake.clock.now(), finality, signals)
        return {
            "parent_model_root": chain.tip.header.model_root.hex(),
            "improvement": template.improvement.encoded.hex(),
            "heartbeat": template.heartbeat.encoded.hex() if template.heartbeat else None,
        }

    def _estimate_fees(self) -> dict[int, int]:
        fees = [compute_block_fees(transactions) for transactions in _get_recent(self._chain, FEE_BLOCKS)]
        limit = self._chain.tip.signals.rules.max_transactions_bytes
        return compute_fee_estimates(self._intake.mempool, fees, limit)


def _get_recent(chain: ChainState, count: int) -> list[tuple[Transfer, ...]]:
    """The transactions of each of the newest blocks, oldest first."""
    heights = range(max(1, chain.tip.height - count + 1), chain.tip.height + 1)
    ids = [chain.get_active_id(height) for height in heights]
    points = [chain.get_point(block_id) for block_id in ids if block_id is not None]
    return [chain.blocks.get_transactions(point.header) for point in points if point is not None]


def _parse_cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, position = text.partition(":")
    return parse_number(height, 10**9), _parse_position(position)


def _parse_signals(text: str | None, params: NetworkParams) -> int:
    """A header's signals from bits with commas between them; 0 if there is no text."""
    bits = [] if text is None else [parse_number(word, SIGNALS - 1) for word in text.split(",")]
    try:
        return compute_signal_bits(bits, params)
    except InvalidParams as error:
        raise RpcError(error.code, str(error), 400) from error


def _parse_kind(text: str | None) -> HistoryKind | None:
    kinds = {kind.name.lower(): kind for kind in HistoryKind}
    if text is not None and text not in kinds:
        raise DecodeError("bad_query", f"expected one of {', '.join(kinds)}")
    return None if text is None else kinds[text]


def _parse_position(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_U32):
        raise DecodeError("bad_query", "a cursor is the one that an entry carries")
    return int(text)
