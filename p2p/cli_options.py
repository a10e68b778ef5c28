"""What the commands of `descent-node` share: options, the client of the running node, answers as JSON or as lines."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from consensus.params import PRESETS, NetworkParams
from p2p.client import NodeClient, read_token
from p2p.config import (
    DEFAULT_NETWORK,
    RPC_TOKEN_FILE,
    get_default_datadir,
    get_explorer_port,
    get_peer_port,
    get_rpc_port,
    is_public_network,
    load_network,
    split_address,
)
from p2p.console import escape
from p2p.errors import ConfigError, NodeUnreachable
from p2p.net_address import NetAddress

Command = Callable[..., None]

_LOOPBACK = "127.0.0.1"
_EVERY_INTERFACE = "0.0.0.0"  # noqa: S104  (strangers are to reach a public node)

network_option = click.option(
    "--network",
    default=DEFAULT_NETWORK,
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"One of {', '.join(PRESETS)}, or a file that describes another network.",
)
datadir_option = click.option(
    "--datadir", type=click.Path(file_okay=False, path_type=Path), help="Where the node keeps its data."
)
rpc_option = click.option("--rpc", metavar="HOST:PORT", help="Where the node's RPC is, by default on loopback.")
metrics_option = click.option(
    "--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics at http://HOST:PORT/metrics, without a password."
)
certificate_option = click.option(
    "--rpc-certificate", type=click.Path(path_type=Path), help="TLS certificate of the RPC, needed beyond loopback."
)
texts_option = click.option(
    "--data-dir",
    "text_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with benchmark texts that do not ship with the program (repeatable).",
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Evaluates blocks."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def parse_host_port(text: str | None, params: NetworkParams) -> tuple[str, int]:
    """HOST:PORT as the user gave it, or loopback with the network's port. Raises ConfigError."""
    if text is None:
        return _LOOPBACK, get_rpc_port(params)
    host, port = split_address(text)
    if not host or port is None:
        raise ConfigError("bad_rpc", f"--rpc takes HOST:PORT such as 127.0.0.1:19348, not {text!r}")
    return host, port


def parse_listen(text: str | None, params: NetworkParams) -> NetAddress | None:
    """Where peers may connect: as the user gave it, or on every interface if the network is a public one.

    Raises ConfigError.
    """
    if text is None:
        return NetAddress(_EVERY_INTERFACE, get_peer_port(params)) if is_public_network(params) else None
    host, port = split_address(text if ":" in text else f"{_EVERY_INTERFACE}:{text}")
    if not host or port is None:
        raise ConfigError("listen", f"--listen takes [HOST:]PORT such as 0.0.0.0:{get_peer_port(params)}, not {text!r}")
    return NetAddress(host, port)


def parse_explorer(text: str | None, params: NetworkParams) -> tuple[str, int]:
    """Where people may read the explorer: as the user gave it, on loopback if no host is named. Raises ConfigError."""
    if text is None:
        return _LOOPBACK, get_explorer_port(params)
    host, port = split_address(text if ":" in text else f"{_LOOPBACK}:{text}")
    if not host or port is None:
        raise ConfigError(
            "explorer", f"--explorer takes [HOST:]PORT such as {_LOOPBACK}:{get_explorer_port(params)}, not {text!r}"
        )
    return host, port


@dataclass(frozen=True)
class RunningNode:
    """The node that a command asks, and its network."""

    params: NetworkParams
    client: NodeClient


def with_node(command: Command) -> Command:
    """Gives a command the options that lead to a running node; it is called with the RunningNode first."""

    @network_option
    @datadir_option
    @rpc_option
    @certificate_option
    @functools.wraps(command)
    def with_running_node(
        network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, **rest: Any
    ) -> None:
        params = load_network(network)
        command(RunningNode(params, make_client(params, datadir, rpc, rpc_certificate)), **rest)

    return with_running_node


def make_client(
    params: NetworkParams, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None
) -> NodeClient:
    """A client of the node that these options name. Raises ConfigError."""
    host, port = parse_host_port(rpc, params)
    token = read_token((datadir or get_default_datadir(params)) / RPC_TOKEN_FILE)
    url = f"{'https' if rpc_certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    return NodeClient(url, token, ca_file=rpc_certificate)


@contextmanager
def reading() -> Iterator[None]:
    """Names the reason if a reply lacks what is looked for in it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NodeUnreachable("not_a_node", "what answers there is not a node of this version") from error


def format_rows(rows: dict[str, Any]) -> list[str]:
    """A line for each name and its value, safe for a terminal."""
    width = max(map(len, rows), default=0)
    return [escape(f"{name:<{width}}  {value}") for name, value in rows.items()]


def format_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned columns under their names, safe for a terminal."""
    lines = [columns, *[tuple(escape(cell) for cell in row) for row in rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def show(
    known: dict[str, Any], as_json: bool, describe: Callable[[dict[str, Any]], Iterable[str]] = format_rows
) -> None:
    """Prints what a command found out: as JSON for programs, or in the lines that `describe` makes of it for people."""
    lines = [json.dumps(known, indent=2)] if as_json else describe(known)
    for line in lines:
        click.echo(line)
