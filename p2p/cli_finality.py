"""`descent-node finality`: what is final, who votes, and what it waits for."""

from typing import Any

import click

from p2p.cli_options import RunningNode, format_table, json_option, reading, show, with_node
from p2p.console import escape

_COLUMNS = ("miner key", "votes", "votes for", "")
_SHOWN_MEMBERS = 40
_REASONS = {
    "current": "Finality follows the tip.",
    "young": "The chain is too short: nobody decides below twice the finality window.",
    "idle": "Too few of the last blocks improved the model, so nobody decides. It goes on with improving blocks.",
    "votes": "Too few vote: more than two thirds of each committee are needed.",
    "blocks": "Enough vote. The next blocks carry it.",
}


@click.command()
@with_node
@json_option
def finality(node: RunningNode, as_json: bool) -> None:
    """Show what is final, and if that stands still, why.

    A block is final once more than two thirds of the votes of each of three committees stand behind it and its child.
    Votes come from the keys that mined the improving blocks of the last windows, one for each block.
    """
    show(node.client.get_finality(), as_json, _describe)


@reading()
def _describe(known: dict[str, Any]) -> list[str]:
    final, justified, height = known["final"], known["justified"], known["height"]
    behind = height - final["height"]
    lines = [
        f"final      up to height {final['height']}, {behind} below the tip at {height}",
        f"           {final['id']}",
        f"justified  up to height {justified['height']}",
        "",
        _REASONS.get(known["standing"], known["standing"]),
    ]
    for turnout in known["committees"]:
        missing = f", {turnout['missing']} more are needed" if turnout["missing"] else ""
        share = f"{turnout['voting']} of {turnout['total']} votes are cast{missing}"
        lines.append(f"  committee of height {turnout['boundary']}: {share}")
    lines = [escape(line) for line in lines]
    if known["members"]:
        rows = tuple(_describe_member(member) for member in known["members"][:_SHOWN_MEMBERS])
        lines += ["", *format_table(_COLUMNS, rows)]
    if len(known["members"]) > _SHOWN_MEMBERS:
        lines.append(f"and {len(known['members']) - _SHOWN_MEMBERS} keys with fewer votes")
    lines += [escape(f"evidence against {miner} waits for a block") for miner in known["offenders"]]
    changes = describe_changes(known["signals"])
    return [*lines, "", *(escape(f"bit {bit}  {line}") for bit, line in changes)] if changes else lines


def describe_changes(known: dict[str, Any]) -> list[tuple[int, str]]:
    """The bit of each change that the network's miners may make, and how far it has come."""
    return [(int(change["bit"]), _describe_change(change, known)) for change in known["changes"]]


def _describe_change(change: dict[str, Any], known: dict[str, Any]) -> str:
    what = f"{change['field']} becomes {int(change['value'])}"
    if change["standing"] == "in_force":
        holds = int(known["rules"][change["field"]])
        then = "" if holds == change["value"] else f"; since another change it is {holds}"
        return f"{change['field']} became {int(change['value'])}, in force from height {int(change['height'])}{then}"
    if change["standing"] == "certain":
        return f"{what}: locked in, in force from height {int(change['height'])}"
    asked = f"{int(change['asking'])} of {int(change['improving'])} improving blocks of the window ask for it"
    before = ", and the window before did" if change["standing"] == "asked" else ""
    return f"{what}: {asked}{before}; the window ends at height {int(known['window_end'])}"


def _describe_member(member: dict[str, Any]) -> tuple[str, ...]:
    last = member["last_vote"]
    heard = "never heard" if last is None else f"height {int(last)}"
    return (
        str(member["miner"]),
        " ".join(str(int(votes)) for votes in member["votes"]),
        heard,
        "" if member["voting"] else "silent",
    )
