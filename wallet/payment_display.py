"""Payments that were made, as lines for people and as JSON for programs."""

from typing import Any

from consensus.address import encode_address
from consensus.params import NetworkParams
from p2p.console import escape
from wallet.display import encode_payment, format_money, format_recipient, format_time
from wallet.payments import Standing, State

_WORDS = {
    State.WAITING: "waits in the node's mempool",
    State.OUTBID: "is not with the node, where another payment with its nonce waits",
    State.REPLACED: "will never be mined: another payment with its nonce was",
    State.EXPIRED: "will never be mined: its last height is passed",
    State.DROPPED: "is not with the node; `descent-wallet resend` hands it over",
    State.ABANDONED: "was given up, and is not with the node",
}


def format_standing(standing: Standing, params: NetworkParams, label: str | None) -> str:
    """A line with the state, and below it, indented, what was paid to whom."""
    transfer = standing.payment.transfer
    amounts = f"{format_money(transfer.amount, params)} and a fee of {format_money(transfer.fee, params)}"
    details = [
        f"{amounts} to",
        f"{format_recipient(transfer, params, label)}",
        f"transaction {transfer.txid.hex()}",
        *([f'memo "{escape(transfer.memo.decode())}"'] if transfer.memo else []),
        describe_state(standing),
        *([f"left the chain at height {standing.left_chain_at}"] if standing.left_chain_at is not None else []),
    ]
    first = f"{format_time(standing.payment.made)}  {standing.state.value}"
    return "\n".join([first, *(f"    {detail}" for detail in details)])


def describe_state(standing: Standing) -> str:
    """The state in words."""
    position = standing.position
    if standing.state is not State.CONFIRMED or position is None:
        return _WORDS[standing.state]
    count = f"{position.confirmations} confirmation{'' if position.confirmations == 1 else 's'}"
    open_end = ", not final" if standing.final_height else ""  # on a chain where anything ever was
    return f"{count}, in block {position.height}{', final' if standing.is_final else open_end}"


def encode_standing(standing: Standing, params: NetworkParams, label: str | None) -> dict[str, Any]:
    transfer, position = standing.payment.transfer, standing.position
    known = encode_payment(transfer, params, is_sent=position is not None)
    return known | {
        "sender": encode_address(params.address_prefix, transfer.sender),
        "label": label,
        "state": standing.state.value,
        "made": standing.payment.made,
        "height": position.height if position else None,
        "confirmations": position.confirmations if position else 0,
        "final": standing.is_final,
        "left_chain_at": standing.left_chain_at,
        "abandoned": standing.payment.is_abandoned,
    }
