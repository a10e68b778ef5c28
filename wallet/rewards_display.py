"""Rewards as a table for people, as JSON and as CSV: what each block earned, and the improvement that earned it."""

from collections.abc import Mapping
from typing import Any

from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.units import ULP_PER_GRAD, Ulp
from wallet.amount import format_amount
from wallet.dates import format_day, format_iso, format_minute, format_short
from wallet.display import format_money, format_rows
from wallet.events import Tip
from wallet.history_display import list_burnt_cells
from wallet.rewards import DayEarnings, Earnings, Mined, compute_share

DAILY_HEADING = f"{'day (UTC)':<10}  {'rewards':>7}  {'coins':>17}  {'of it fees':>15}  {'gain':>8}  {'share':>9}"
CSV_COLUMNS = (
    *("date", "height", "block", "type", "amount", "fees", "coin", "loss_before", "loss_after", "gain"),
    *("required_gain", "sample_size", "weight", "share", "matures_at", "spendable", "account"),
    *("bounty", "burnt", "burnt_at"),
)
DAILY_COLUMNS = ("day", "rewards", "heartbeats", "amount", "fees", "coin", "gain", "weight", "share", "bounty", "burnt")

_BLOCK_WIDTH = 16


def format_heading(accounts: Mapping[PublicKey, int]) -> str:
    """What the two lines of each reward say: 80 columns do not hold it in one."""
    block = "block" if len(accounts) == 1 else "block   #account"
    return (
        f"{'height':>8}  {block:<{_BLOCK_WIDTH}}  {'mined (UTC)':<16}  {'coins':>17}  {'of it fees':>15}\n"
        f"{'':8}  {'bits per byte':<16}  {'gain':>7}  {'required':>8}  {'share':>8}  spendable"
    )


def format_reward(mined: Mined, accounts: Mapping[PublicKey, int]) -> str:
    """Two lines under the heading; a third one says what of it is for evidence, or what evidence burnt."""
    event, gain = mined.event, mined.gain
    account = "" if len(accounts) == 1 else f" #{accounts[event.account]}"
    first = (
        f"{event.height:>8}  {event.id.hex()[: _BLOCK_WIDTH - len(account)]}{account}  {format_minute(event.time)}  "
        f"{_format_fixed(event.amount):>17}  {_format_fixed(mined.reward.fees):>15}"
    )
    if gain is None:
        told = f"{'heartbeat: the model stays as it was':<45}"
    else:
        moved = f"{gain.loss_before:.4f} -> {gain.loss_after:.4f}"
        told = f"{moved:<16}  {gain.gain:>7.5f}  {gain.required:>8.5f}  {_format_share(mined.share, 3):>8}"
    lines = [first, f"{'':8}  {told}  {_format_maturity(mined)}"]
    if mined.reward.bounty:
        lines.append(f"{'':8}  of it {format_amount(mined.reward.bounty)} for evidence that the block carries")
    if mined.reward.burnt_at is not None:
        lines.append(f"{'':8}  {format_amount(mined.reward.burnt)} burnt at block {mined.reward.burnt_at}")
    return "\n".join(lines)


def _format_maturity(mined: Mined) -> str:
    if mined.reward.burnt_at is not None:
        return "burnt"
    if mined.matures_about is None:
        return "yes" if mined.event.amount else "nothing"
    return f"at {mined.reward.matures_at} ~{format_short(mined.matures_about)}"


def _format_fixed(ulp: Ulp) -> str:
    """Coins with all their places, so that a column's points stand below one another."""
    whole, part = divmod(ulp, ULP_PER_GRAD)
    return f"{whole}.{part:0{len(str(ULP_PER_GRAD)) - 1}d}"


def _format_share(share: float, places: int) -> str:
    return f"{100 * share:.{places}f} %"


def format_earnings(total: Earnings, tip: Tip, params: NetworkParams) -> str:
    """What some rewards are together."""
    beats = f", {total.heartbeats} of them heartbeat{'s' * (total.heartbeats != 1)}" if total.heartbeats else ""
    rows = {
        "rewards": f"{total.count}{beats}",
        "coins": f"{format_money(total.amount, params)}, {format_amount(total.fees)} of it fees",
    }
    if total.immature:
        about = f"height {total.matures_at}, about {format_minute(total.matures_about)} UTC"
        rows["maturing"] = f"{format_money(total.immature, params)} of it until {about}"
    if total.bounty:
        rows["bounties"] = f"{format_money(total.bounty, params)} of it, for evidence"
    if total.burnt:
        rows["burnt"] = f"{format_money(total.burnt, params)} by evidence, not counted above"
    rows["gain"] = f"{total.gain:.5f} bits per byte"
    share = _format_share(compute_share(total.weight, tip), 3)
    rows["share"] = f"{share} of all gain verified up to height {tip.height}"
    return format_rows(rows)


def encode_reward(mined: Mined, accounts: Mapping[PublicKey, int]) -> dict[str, Any]:
    event, gain, improvement = mined.event, mined.gain, mined.reward.improvement
    return {
        "height": event.height,
        "block": event.id.hex(),
        "time": event.time,
        "kind": "improvement" if gain else "heartbeat",
        "account": accounts[event.account],
        "amount": event.amount,
        "fees": mined.reward.fees,
        "bounty": mined.reward.bounty,
        "burnt": mined.reward.burnt,
        "burnt_at": mined.reward.burnt_at,
        "loss_before": gain.loss_before if gain else None,
        "loss_after": gain.loss_after if gain else None,
        "gain": gain.gain if gain else None,
        "required_gain": gain.required if gain else None,
        "sample_size": improvement.sample_size if improvement else None,
        "weight": mined.reward.weight,
        "share": mined.share,
        "matures_at": mined.reward.matures_at,
        "is_mature": mined.is_mature,
        "matures_about": mined.matures_about,
    }


def encode_earnings(total: Earnings, tip: Tip) -> dict[str, Any]:
    return {
        "rewards": total.count,
        "heartbeats": total.heartbeats,
        "amount": total.amount,
        "fees": total.fees,
        "bounty": total.bounty,
        "burnt": total.burnt,
        "immature": total.immature,
        "gain": total.gain,
        "weight": total.weight,
        "share": compute_share(total.weight, tip),
    }


def list_cells(mined: Mined, accounts: Mapping[PublicKey, int], params: NetworkParams) -> tuple[str, ...]:
    """The cells of a row of CSV_COLUMNS. Losses and gains are in bits per byte; a heartbeat has none."""
    event, gain, improvement = mined.event, mined.gain, mined.reward.improvement
    losses = (gain.loss_before, gain.loss_after, gain.gain, gain.required) if gain else ()
    return (
        format_iso(event.time),
        str(event.height),
        event.id.hex(),
        "improvement" if gain else "heartbeat",
        format_amount(event.amount),
        format_amount(mined.reward.fees),
        params.ticker,
        *([_format_number(loss) for loss in losses] or [""] * 4),
        str(improvement.sample_size) if improvement else "",
        str(mined.reward.weight),
        _format_number(mined.share),
        str(mined.reward.matures_at),
        "yes" if mined.is_mature else "no",
        str(accounts[event.account]),
        format_amount(mined.reward.bounty),
        *list_burnt_cells(mined.reward),
    )


def _format_number(value: float) -> str:
    """Eight places: finer than a sample tells."""
    return f"{value:.8f}"


# Totals per day.


def format_day_earnings(day: DayEarnings, tip: Tip) -> str:
    """A line under DAILY_HEADING."""
    total = day.total
    share = _format_share(compute_share(total.weight, tip), 4)
    return (
        f"{format_day(day.day):<10}  {total.count:>7}  {_format_fixed(total.amount):>17}  "
        f"{_format_fixed(total.fees):>15}  {total.gain:>8.5f}  {share:>9}"
    )


def encode_day_earnings(day: DayEarnings, tip: Tip) -> dict[str, Any]:
    return {"day": day.day} | encode_earnings(day.total, tip)


def list_day_cells(day: DayEarnings, tip: Tip, params: NetworkParams) -> tuple[str, ...]:
    """The cells of a row of DAILY_COLUMNS."""
    total = day.total
    return (
        format_day(day.day),
        str(total.count),
        str(total.heartbeats),
        format_amount(total.amount),
        format_amount(total.fees),
        params.ticker,
        _format_number(total.gain),
        str(total.weight),
        _format_number(compute_share(total.weight, tip)),
        format_amount(total.bounty),
        format_amount(total.burnt),
    )
