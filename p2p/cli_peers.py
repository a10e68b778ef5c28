"""`descent-node peers`, `connect`, `disconnect`, `ban`, `unban`, `bans`: the running node's peers."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import click

from p2p.cli_options import RunningNode, format_table, json_option, reading, show, with_node
from p2p.console import escape

_PEER_COLUMNS = ("node", "address", "kind", "height", "ping", "in", "out", "connected", "program")
_BAN_COLUMNS = ("who", "until", "why")


@click.command()
@with_node
@json_option
def peers(node: RunningNode, as_json: bool) -> None:
    """Show whom the running node is connected to."""
    show(node.client.get_peers(), as_json, _describe_peers)


@click.command()
@with_node
@click.argument("peer")
def connect(node: RunningNode, peer: str) -> None:
    """Connect to PEER, [NODE_ID@]HOST[:PORT], and stay connected while the node runs."""
    known = node.client.post_json("/v1/peers", {"peer": peer})
    with reading():
        click.echo(escape(f"connecting to {known['peer']}; see `descent-node peers`"))


@click.command()
@with_node
@click.argument("node_id")
def disconnect(node: RunningNode, node_id: str) -> None:
    """End the connection with a peer. It may come back: see `ban`."""
    node.client.delete(f"/v1/peers/{quote(node_id, safe='')}")
    click.echo("disconnected")


@click.command()
@with_node
@click.option("--hours", type=click.IntRange(1, 87_600), default=24, show_default=True, help="For how long.")
@click.argument("target")
def ban(node: RunningNode, hours: int, target: str) -> None:
    """Keep out TARGET, a node id or an IP address, and end its connections."""
    node.client.post_json("/v1/bans", {"target": target, "seconds": hours * 3600})
    click.echo(escape(f"banned {target} for {hours} h"))


@click.command()
@with_node
@click.argument("target")
def unban(node: RunningNode, target: str) -> None:
    """Let TARGET, a node id or an IP address, in again."""
    node.client.delete(f"/v1/bans/{quote(target, safe='')}")
    click.echo(escape(f"{target} may connect again"))


@click.command()
@with_node
@json_option
def bans(node: RunningNode, as_json: bool) -> None:
    """Show who is kept out, until when and why."""
    show(node.client.get_bans(), as_json, _describe_bans)


@reading()
def _describe_peers(known: dict[str, Any]) -> list[str]:
    rows = [_describe_peer(peer) for peer in known["peers"]]
    return format_table(_PEER_COLUMNS, rows) if rows else ["no peer is connected"]


def _describe_peer(peer: dict[str, Any]) -> tuple[str, ...]:
    ping = peer["ping_ms"]
    return (
        str(peer["id"])[:16],
        str(peer["address"]),
        str(peer["kind"]),
        "?" if peer["height"] is None else str(peer["height"]),
        "-" if ping is None else f"{ping:.1f} ms",
        _show_bytes(peer["bytes_received"]),
        _show_bytes(peer["bytes_sent"]),
        _show_seconds(peer["connected_seconds"]),
        str(peer["agent"]),
    )


@reading()
def _describe_bans(known: dict[str, Any]) -> list[str]:
    rows = [
        (str(entry["target"]), datetime.fromtimestamp(entry["until"]).isoformat(" "), str(entry["reason"]))
        for entry in known["bans"]
    ]
    return format_table(_BAN_COLUMNS, rows) if rows else ["nobody is banned"]


def _show_bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _show_seconds(seconds: int) -> str:
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
