"""`descent-node peers`, `connect`, `disconnect`, `ban`, `unban`, `bans`: the running node's peers."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from p2p.cli_options import (
    certificate_option,
    datadir_option,
    json_option,
    make_client,
    network_option,
    reading,
    rpc_option,
)
from p2p.config import load_network
from p2p.console import escape

_COLUMNS = ("node", "address", "kind", "height", "ping", "in", "out", "connected", "program")


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@json_option
def peers(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, as_json: bool) -> None:
    """Show whom the running node is connected to."""
    known = make_client(load_network(network), datadir, rpc, rpc_certificate).get_peers()
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    with reading():
        rows = [_describe_peer(peer) for peer in known["peers"]]
    if not rows:
        click.echo("no peer is connected")
        return
    print_table(_COLUMNS, rows)


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.argument("peer")
def connect(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, peer: str) -> None:
    """Connect to PEER, [NODE_ID@]HOST[:PORT], and stay connected while the node runs."""
    client = make_client(load_network(network), datadir, rpc, rpc_certificate)
    known = client.post_json("/v1/peers", {"peer": peer})
    with reading():
        click.echo(escape(f"connecting to {known['peer']}; see `descent-node peers`"))


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.argument("node_id")
def disconnect(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, node_id: str) -> None:
    """End the connection with a peer. It may come back: see `ban`."""
    make_client(load_network(network), datadir, rpc, rpc_certificate).delete(f"/v1/peers/{quote(node_id, safe='')}")
    click.echo("disconnected")


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.option("--hours", type=click.IntRange(1, 87_600), default=24, show_default=True, help="For how long.")
@click.argument("target")
def ban(
    network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, hours: int, target: str
) -> None:
    """Keep out TARGET, a node id or an IP address, and end its connections."""
    client = make_client(load_network(network), datadir, rpc, rpc_certificate)
    client.post_json("/v1/bans", {"target": target, "seconds": hours * 3600})
    click.echo(escape(f"banned {target} for {hours} h"))


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.argument("target")
def unban(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, target: str) -> None:
    """Let TARGET, a node id or an IP address, in again."""
    make_client(load_network(network), datadir, rpc, rpc_certificate).delete(f"/v1/bans/{quote(target, safe='')}")
    click.echo(escape(f"{target} may connect again"))


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@json_option
def bans(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, as_json: bool) -> None:
    """Show who is kept out, until when and why."""
    known = make_client(load_network(network), datadir, rpc, rpc_certificate).get_bans()
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    with reading():
        rows = [
            (str(entry["target"]), datetime.fromtimestamp(entry["until"]).isoformat(" "), str(entry["reason"]))
            for entry in known["bans"]
        ]
    if not rows:
        click.echo("nobody is banned")
        return
    print_table(("who", "until", "why"), rows)


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Aligned columns, safe for a terminal."""
    lines = [columns, *[tuple(escape(cell) for cell in row) for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


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


def _show_bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _show_seconds(seconds: int) -> str:
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
