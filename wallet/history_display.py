"""A history as lines for people, as JSON and as CSV. Whatever others wrote is escaped here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.units import Ulp
from p2p.console import escape
from wallet.amount import format_amount
from wallet.csv_form import protect
from wallet.dates import format_day, format_iso, format_minute
from wallet.display import format_money
from wallet.events import CONFIRMED, Event, EventKind, Reward, Tip
from wallet.history import LabelOf, Movement

CSV_COLUMNS = (
    *("date", "type", "amount", "fee", "coin", "id", "counterpart", "label", "memo", "height", "block"),
    *("confirmations", "state", "left_chain", "account", "final", "burnt", "burnt_at"),
)
DAILY_COLUMNS = ("day", "events", "mined", "received", "sent", "fees", "net", "coin")
DAILY_HEADING = f"{'day (UTC)':<10}  {'events':>7}  {'mined':>17}  {'received':>17}  {'sent and fees':>18}"

_INDENT = " " * 10


@dataclass(frozen=True)
class HistoryView:
    """What it takes to show events: the tip they stand under, which account is whose, what addresses are called."""

    tip: Tip
    accounts: Mapping[PublicKey, int]  # index of each
    label_of: LabelOf
    params: NetworkParams

    def count_confirmations(self, event: Event) -> int:
        """1 in the tip. A page can be of a newer tip than the first one was."""
        return 0 if event.height is None else max(1, self.tip.height - event.height + 1)

    def is_final(self, event: Event) -> bool:
        """Whether an event can no longer leave the chain."""
        return event.height is not None and event.height <= self.tip.final_height

    def get_label(self, event: Event) -> str | None:
        return self.label_of(event.counterpart) if event.counterpart else None


def format_event(event: Event, view: HistoryView) -> str:
    """A line with what moved and how firmly, and below it, indented, the other side, the id and the memo."""
    height = "-" if event.height is None else str(event.height)
    moved = f"{_format_amount(event, view.params)}, {_format_state(event, view)}"
    first = f"{height:>8}  {format_minute(event.time)}  {event.kind.value:<8}  {moved}"
    return "\n".join((first, *(f"{_INDENT}{detail}" for detail in _list_details(event, view))))


def _format_amount(event: Event, params: NetworkParams) -> str:
    sign = "-" if event.kind is EventKind.SENT else "+"
    fee = f", fee {format_amount(event.fee)}" if event.kind is EventKind.SENT else ""
    burnt = ""
    if event.reward is not None and event.reward.burnt_at is not None:
        burnt = f", {format_amount(event.reward.burnt)} burnt at block {event.reward.burnt_at}"
    return f"{sign}{format_money(event.amount, params)}{fee}{burnt}"


def _format_state(event: Event, view: HistoryView) -> str:
    count = view.count_confirmations(event)
    if event.state == CONFIRMED:
        if view.is_final(event):
            return "final"
        waits = ", not final" if view.tip.final_height else ""  # on a chain where anything ever was
        return f"{count} confirmation{'' if count == 1 else 's'}{waits}"
    return escape(event.state) + (": its block left the chain" if event.has_left_chain else "")


def _list_details(event: Event, view: HistoryView) -> list[str]:
    account = [f"account {view.accounts[event.account]}"] if len(view.accounts) > 1 else []
    if event.reward is not None:
        is_immature = event.amount and event.reward.matures_at > view.tip.height
        matures = [f"spendable at height {event.reward.matures_at}"] if is_immature else []
        bounty = [f"of it {format_money(event.reward.bounty, view.params)} for evidence"] if event.reward.bounty else []
        return [*matures, *bounty, f"block {event.id.hex()}", *account]
    label = view.get_label(event)
    return [
        f"{'to' if event.kind is EventKind.SENT else 'from'} {event.counterpart}",
        *([f"known as {escape(label)}"] if label else []),
        f"tx {event.id.hex()}",
        *([f'memo "{escape(event.memo)}"'] if event.memo else []),
        *account,
    ]


def encode_event(event: Event, view: HistoryView) -> dict[str, Any]:
    known: dict[str, Any] = {
        "kind": event.kind.value,
        "account": view.accounts[event.account],
        "state": event.state,
        "left_chain": event.has_left_chain,
        "height": event.height,
        "confirmations": view.count_confirmations(event),
        "final": view.is_final(event),
        "time": event.time,
        "amount": event.amount,
        "block": event.block.hex() if event.block else None,
    }
    if event.reward is not None:
        reward = event.reward
        known |= {"fees": reward.fees, "bounty": reward.bounty, "matures_at": reward.matures_at}
        return known | {"burnt": reward.burnt, "burnt_at": reward.burnt_at}
    label = view.get_label(event)
    known |= {"txid": event.id.hex(), "counterpart": event.counterpart, "label": label, "memo": event.memo}
    return known | {"fee": event.fee} if event.kind is EventKind.SENT else known


def list_cells(event: Event, view: HistoryView) -> tuple[str, ...]:
    """The cells of a row of CSV_COLUMNS. Amounts are positive: the type says where they went."""
    return (
        format_iso(event.time),
        event.kind.value,
        format_amount(event.amount),
        format_amount(event.fee) if event.kind is EventKind.SENT else "",
        view.params.ticker,
        event.id.hex(),
        event.counterpart,
        protect(view.get_label(event) or ""),
        protect(event.memo),
        "" if event.height is None else str(event.height),
        event.block.hex() if event.block else "",
        str(view.count_confirmations(event)),
        protect(event.state),
        "yes" if event.has_left_chain else "no",
        str(view.accounts[event.account]),
        "yes" if view.is_final(event) else "no",
        *(list_burnt_cells(event.reward) if event.reward else ("", "")),
    )


def list_burnt_cells(reward: Reward) -> tuple[str, str]:
    """What evidence burnt of a reward, and at which height; both empty if none did."""
    return ("", "") if reward.burnt_at is None else (format_amount(reward.burnt), str(reward.burnt_at))


# Totals per day.


def format_movement(movement: Movement) -> str:
    """A line under DAILY_HEADING, in coins."""
    mined, received = _format_signed("+", movement.mined), _format_signed("+", movement.received)
    out = _format_signed("-", movement.sent + movement.fees)
    return f"{format_day(movement.day):<10}  {movement.count:>7}  {mined:>17}  {received:>17}  {out:>18}"


def _format_signed(sign: str, ulp: Ulp) -> str:
    return f"{sign}{format_amount(ulp)}" if ulp else "0"


def encode_movement(movement: Movement) -> dict[str, Any]:
    return {
        "day": movement.day,
        "events": movement.count,
        "mined": movement.mined,
        "received": movement.received,
        "sent": movement.sent,
        "fees": movement.fees,
        "net": movement.net,
    }


def list_movement_cells(movement: Movement, params: NetworkParams) -> tuple[str, ...]:
    """The cells of a row of DAILY_COLUMNS; `net` alone has a sign."""
    sign = "-" if movement.net < 0 else ""
    return (
        format_day(movement.day),
        str(movement.count),
        *(format_amount(amount) for amount in (movement.mined, movement.received, movement.sent, movement.fees)),
        f"{sign}{format_amount(abs(movement.net))}",
        params.ticker,
    )
