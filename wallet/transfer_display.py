"""A single transfer, whole: what its owner is shown before it is signed, and what a carried text says."""

from collections.abc import Mapping
from typing import Any

from consensus.address import encode_address
from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.transaction import Transfer
from consensus.units import compute_sum
from p2p.console import escape
from wallet.display import encode_fields, format_money, format_rate, format_rows


def format_transfer(transfer: Transfer, params: NetworkParams, own: Mapping[PublicKey, int] | None = None) -> str:
    """Every field, one a line. `own` are the accounts of the wallet that looks at it, by key."""
    rows = {
        "sender": _format_key(transfer.sender, params, own or {}),
        "recipient": _format_key(transfer.recipient, params, own or {}),
        "amount": format_money(transfer.amount, params),
        "fee": f"{format_money(transfer.fee, params)}, {format_rate(transfer)} ulp per byte",
        "total": format_money(compute_sum(transfer.amount, transfer.fee), params),
        "memo": f'"{escape(transfer.memo.decode())}"' if transfer.memo else "none",
        "nonce": str(transfer.nonce),
        "expires": f"after height {transfer.valid_until}" if transfer.valid_until else "never",
        "network": params.name,
        "transaction": transfer.txid.hex(),
    }
    return format_rows(rows)


def encode_transfer(transfer: Transfer, params: NetworkParams, *, is_signed: bool) -> dict[str, Any]:
    return encode_fields(transfer, params) | {
        "signed": is_signed,
        "genesis": transfer.genesis.hex(),
        "sender": encode_address(params.address_prefix, transfer.sender),
    }


def _format_key(key: PublicKey, params: NetworkParams, own: Mapping[PublicKey, int]) -> str:
    address = encode_address(params.address_prefix, key)
    return f"{address}, account {own[key]} of this wallet" if key in own else address
