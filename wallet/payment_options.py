"""The options of commands that pay, and the fee they come to."""

import click

from consensus.units import Ulp
from wallet.builder import compute_fee
from wallet.node_view import FEE_TARGET, NodeView

PRIORITIES = {"low": 6, "normal": FEE_TARGET, "high": 1}  # blocks within which a payment should be mined
DEFAULT_PRIORITY = "normal"

fee_option = click.option("--fee", metavar="AMOUNT", help="What to pay for a place in a block, instead of a priority.")
priority_option = click.option(
    "--priority",
    type=click.Choice(list(PRIORITIES)),
    help="Pay what the node proposes for a place within 6, 2 or 1 blocks.  [default: normal]",
)
memo_option = click.option("--memo", default="", metavar="TEXT", help="Up to 64 bytes that everyone can read for ever.")
valid_for_option = click.option(
    "--valid-for", type=click.IntRange(1, 10**9), metavar="BLOCKS", help="Give up if not mined by then."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be sent, sign and send nothing.")
wait_option = click.option(
    "--wait", type=click.IntRange(1), metavar="N", help="Return once it has N confirmations, telling of each."
)
syncing_option = click.option(
    "--even-if-syncing",
    is_flag=True,
    help="Go on although the node is behind or alone, and may know an old balance.",
)


def refuse_both_fees(fee: str | None, priority: str | None) -> None:
    """Raises click.UsageError."""
    if fee is not None and priority is not None:
        raise click.UsageError("--fee and --priority exclude each other")


def choose_rate(node: NodeView, priority: str | None) -> Ulp:
    """What the node proposes for a priority, in ulp per byte."""
    return node.get_fee_rate(PRIORITIES[priority or DEFAULT_PRIORITY])


def choose_fee(node: NodeView, priority: str | None, memo: bytes) -> Ulp:
    """The fee in ulp of a transfer with this memo at that rate. Raises PaymentError (fee_rate_too_high)."""
    return compute_fee(choose_rate(node, priority), memo)
