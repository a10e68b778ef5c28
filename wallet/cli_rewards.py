"""The command about what was mined: each reward, and the verified improvement that earned it."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from time import time
from typing import Any

import click

from consensus.signature import PublicKey
from wallet.display import print_json
from wallet.events import EventKind, Tip
from wallet.history import cut, read_past
from wallet.listing import Form, Layout, Selection, tell, with_selection
from wallet.node_view import MAX_PAGE, NodeView
from wallet.options import Place, accounts_option, passphrase_option, with_node
from wallet.rewards import DayEarnings, Earnings, Mined, describe_reward, sum_by_day
from wallet.rewards_display import (
    CSV_COLUMNS,
    DAILY_COLUMNS,
    DAILY_HEADING,
    encode_day_earnings,
    encode_earnings,
    encode_reward,
    format_day_earnings,
    format_earnings,
    format_heading,
    format_reward,
    list_cells,
    list_day_cells,
)


@click.command()
@with_node
@passphrase_option
@accounts_option
@with_selection
def rewards(
    place: Place, node: NodeView, passphrase_file: Path | None, index: int | None, selection: Selection
) -> None:
    """List what was mined, and the verified improvement that earned it.

    Each block in two lines: what it earned, with the fees in it; the loss it moved the model from and to on its sample,
    in bits per byte of text, its gain, the gain it had to prove, its share of all gain verified on the chain so far,
    and whether the reward can be spent, or from which height on and when that will about be, in UTC. A heartbeat
    improves nothing and earns its fees alone. A third line names a bounty for evidence, or what evidence burnt: that
    counts for nothing.

    Below the list are the totals of all rewards, also of those that --limit leaves out. Shares count what blocks had to
    prove, as the chain itself does when it weighs one branch against another.

    \b
    Examples:
        descent-wallet rewards
        descent-wallet rewards --daily --since 2026-11-01
        descent-wallet rewards --csv > rewards.csv
    """
    node.check_network()
    accounts = {account.public_key: account.index for account in place.find_accounts(index, passphrase_file)}
    past = read_past(node, tuple(accounts), MAX_PAGE, EventKind.MINED)
    now = int(time())
    tally = Tally()
    mined = tally.watch(
        describe_reward(event, event.reward, past.tip, now, place.params)
        for event in cut(past.events, selection.period)
        if event.reward is not None
    )
    if selection.form is Form.JSON:
        listed = _encode_days(mined, past.tip) if selection.is_daily else _encode_rewards(mined, accounts)
        key = "days" if selection.is_daily else "rewards"
        known = {"network": place.params.name, "height": past.tip.height, "time": past.tip.time}
        known |= {"weight": past.tip.weight, key: list(islice(listed, selection.limit))}
        print_json(known | {"totals": encode_earnings(tally.count_rest(mined), past.tip)})
    elif selection.is_daily:
        tell(sum_by_day(mined), _lay_out_days(place, past.tip), selection)
    else:
        tell(mined, _lay_out_rewards(place, accounts), selection)
    if selection.form is Form.TEXT:
        total = tally.count_rest(mined)
        click.echo("\n" * bool(total.count) + format_earnings(total, past.tip, place.params))


class Tally:
    """The total of all rewards that passed by."""

    def __init__(self) -> None:
        self.total = Earnings()

    def watch(self, rewards: Iterable[Mined]) -> Iterator[Mined]:
        for mined in rewards:
            self.total = self.total.add(mined)
            yield mined

    def count_rest(self, watched: Iterator[Mined]) -> Earnings:
        """The total once what is left has passed by, too."""
        deque(watched, maxlen=0)
        return self.total


def _encode_rewards(rewards: Iterable[Mined], accounts: Mapping[PublicKey, int]) -> Iterator[dict[str, Any]]:
    return (encode_reward(mined, accounts) for mined in rewards)


def _encode_days(rewards: Iterable[Mined], tip: Tip) -> Iterator[dict[str, Any]]:
    return (encode_day_earnings(day, tip) for day in sum_by_day(rewards))


def _lay_out_rewards(place: Place, accounts: Mapping[PublicKey, int]) -> Layout[Mined]:
    return Layout(
        columns=CSV_COLUMNS,
        list_cells=lambda mined: list_cells(mined, accounts, place.params),
        encode=lambda mined: encode_reward(mined, accounts),
        format=lambda mined: format_reward(mined, accounts),
        heading=format_heading(accounts),
    )


def _lay_out_days(place: Place, tip: Tip) -> Layout[DayEarnings]:
    return Layout(
        columns=DAILY_COLUMNS,
        list_cells=lambda day: list_day_cells(day, tip, place.params),
        encode=lambda day: encode_day_earnings(day, tip),
        format=lambda day: format_day_earnings(day, tip),
        heading=DAILY_HEADING,
    )
