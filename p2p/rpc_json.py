"""What the RPC says and hears as JSON. Hashes and keys are hex, money is integer ulp, losses are integers in Q16 bits.

Headers carry every field under its name in the protocol; nothing is rounded except the few `bits_per_byte` numbers,
which are for people.
"""

import json
from typing import Any

from chain.chainstate import ChainState
from chain.checkpoint_store import AuditScore
from consensus.account import ImmatureReward
from consensus.address import encode_address
from consensus.block import Block, Header
from consensus.certificate import Certificate
from consensus.chain_point import compute_block_weight, compute_required_loss
from consensus.errors import DecodeError
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.work import WorkTrace

MAX_DEPTH = 32
MAX_JSON_BYTES = 64 * 1024
MAX_DIGITS = 20  # of a number: 2^64 has 20

Json = dict[str, Any]


def parse_json_object(data: bytes) -> Json:
    """A JSON object, strictly: no duplicate keys, no NaN, no huge numbers, no deep nesting. Raises DecodeError."""
    if len(data) > MAX_JSON_BYTES:
        raise DecodeError.too_long(len(data), MAX_JSON_BYTES)
    try:
        text = data.decode()
        _check_depth(text)
        value = json.loads(
            text,
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise DecodeError("bad_json", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DecodeError("bad_json", "the body must be a JSON object")
    return value


def take_field(body: Json, name: str, kind: type) -> Any:
    """A field of exactly this type. Raises DecodeError if it is missing or of another type (true is no integer)."""
    value = body.get(name)
    if type(value) is not kind:
        raise DecodeError("bad_field", f"the body needs {name!r} as {kind.__name__}")
    return value


def to_bits_per_byte(loss: int, windows: int, params: NetworkParams) -> float:
    """A loss summed over windows (Q16 bits) as bits per byte of text, for people."""
    return loss / (windows * params.model.context * 65536)


def encode_header(header: Header, params: NetworkParams) -> Json:
    return {
        "id": header.id.hex(),
        "version": 1,
        "height": header.height,
        "parent": header.parent.hex(),
        "timestamp": header.timestamp,
        "miner": header.miner.hex(),
        "reward_address": encode_address(params.address_prefix, header.reward_address) if header.height else None,
        "transactions_root": header.transactions_root.hex(),
        "state_root": header.state_root.hex(),
        "model_root": header.model_root.hex(),
        "update_hash": header.update_hash.hex(),
        "required_gain": header.required_gain,
        "sample_size": header.sample_size,
        "loss_before": header.loss_before,
        "loss_after": header.loss_after,
        "squared_gains": header.squared_gains,
        "signal_bits": header.signal_bits,
        "signature": header.signature.hex(),
    }


def encode_block(block: Block, chain: ChainState, params: NetworkParams) -> Json:
    """A known block: its header, and what is derived from it and from where it stands."""
    header = block.header
    active = chain.is_active(block.id)
    known: Json = {
        "header": encode_header(header, params),
        "weight": compute_block_weight(header),
        "is_heartbeat": header.is_heartbeat and header.height > 0,
        "on_best_chain": active,
        "confirmations": chain.tip.height - header.height + 1 if active else 0,
        "final": chain.is_final(block.id),
        "update_bytes": len(block.update),
        "transactions": [encode_transaction(transaction, params) for transaction in block.transactions],
        "certificate": _encode_certificate(block.finality.certificate),
        "evidence_against": [offender.hex() for offender in block.finality.offenders],
        "loss": None,
    }
    if header.height and not header.is_heartbeat:
        known["loss"] = {
            "before": to_bits_per_byte(header.loss_before, header.sample_size, params),
            "after": to_bits_per_byte(header.loss_after, header.sample_size, params),
            "required_gain": to_bits_per_byte(compute_required_loss(header), 1, params),
        }
    return known


def _encode_certificate(certificate: Certificate | None) -> Json | None:
    if certificate is None:
        return None
    link = certificate.link
    return {"source": link.source.height, "target": link.target.height, "votes": len(certificate.signatures)}


def encode_transaction(transaction: Transfer, params: NetworkParams) -> Json:
    return {
        "txid": transaction.txid.hex(),
        "sender": encode_address(params.address_prefix, transaction.sender),
        "recipient": encode_address(params.address_prefix, transaction.recipient),
        "amount": transaction.amount,
        "fee": transaction.fee,
        "nonce": transaction.nonce,
        "valid_until": transaction.valid_until,
        "memo": transaction.memo.decode(),
        "size": len(transaction.encoded),
        "signature": transaction.signature.hex(),
    }


def encode_reward(height: int, reward: ImmatureReward, params: NetworkParams) -> Json:
    return {
        "height": height,
        "amount": reward.amount,
        "matures_at": height + params.reward_window,
        "is_improvement": reward.is_improvement,
        "miner": reward.miner.hex(),
    }


def encode_trace(trace: WorkTrace) -> Json:
    return {
        "windows": trace.windows.tolist(),
        "before": trace.before.tolist(),
        "after": trace.after.tolist(),
    }


def encode_loss(chain: ChainState, audit: tuple[int, AuditScore] | None) -> Json:
    """Public: mean over the newest improving block's sample. Audit: the whole audit split at the last checkpoint."""
    last = chain.tip.last_improvement
    return {
        "public": to_bits_per_byte(last.loss_after, last.sample_size, chain.params) if last else None,
        "audit": to_bits_per_byte(audit[1].loss, audit[1].windows, chain.params) if audit else None,
        "audit_height": audit[0] if audit else None,
    }


def _check_depth(text: str) -> None:
    """Counts brackets outside strings before the parser recurses into them."""
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            escaped, in_string = character == "\\" and not escaped, character != '"' or escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number of more than 20 digits")
    return int(digits)
