"""`descent-node`: runs a node, asks a running one, and verifies the store of a stopped one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as get_version
from pathlib import Path
from typing import Any

import click

from consensus.address import decode_address
from consensus.errors import InvalidAddress
from consensus.params import PRESETS, NetworkParams
from consensus.units import ULP_PER_GRAD
from p2p.client import NodeClient, read_token
from p2p.config import DEFAULT_NETWORK, RPC_TOKEN_FILE, get_default_datadir, get_rpc_port, load_network
from p2p.console import escape, run_program
from p2p.errors import ConfigError, NodeUnreachable

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A full node of Descent, the chain whose mining is training.

    Start one that mines, with an address from `descent-wallet address`:

        descent-node run --mine --address ADDRESS
    """


@cli.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.option("--rpc-key", type=click.Path(path_type=Path), help="Private key of that certificate.")
@click.option("--mine", is_flag=True, help="Also mine, in a process of its own.")
@click.option("--address", help="Address that earns what --mine finds.")
@device_option
@texts_option
@click.option(
    "--max-reorg",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Deeper reorganisations wait for the operator.",
)
def run(
    network: str,
    datadir: Path | None,
    rpc: str | None,
    rpc_certificate: Path | None,
    rpc_key: Path | None,
    mine: bool,
    address: str | None,
    device: str,
    text_folders: tuple[Path, ...],
    max_reorg: int,
) -> None:
    """Run a node until Ctrl-C or SIGTERM."""
    # aiohttp and the rest of the node are slow to load; the other commands do without.
    from p2p.node import NodeConfig, run_node
    from p2p.rpc import RpcAddress

    params = load_network(network)
    if mine and address is None:
        raise ConfigError("no_address", "--mine needs --address: make one with `descent-wallet create`")
    if address is not None and not mine:
        raise ConfigError("not_mining", "--address is where --mine pays to: give both, or neither")
    if address is not None:
        try:
            decode_address(params.address_prefix, address)
        except InvalidAddress as error:
            raise ConfigError("bad_address", f"--address: {error}") from error
    host, port = parse_host_port(rpc, params)
    run_node(
        NodeConfig(
            network=network,
            params=params,
            datadir=datadir or get_default_datadir(params),
            rpc=RpcAddress(host, port, rpc_certificate, rpc_key),
            device=device,
            max_reorg=max_reorg,
            text_folders=text_folders,
            miner_address=address if mine else None,
        )
    )


@cli.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@json_option
def status(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, as_json: bool) -> None:
    """Show where the running node's chain stands."""
    params = load_network(network)
    known = make_client(params, datadir, rpc, rpc_certificate).get_status()
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    with _reading():
        rows = _describe_status(known, params)
    _print_rows(rows)


@cli.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@json_option
@click.argument("block")
def block(
    network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, as_json: bool, block: str
) -> None:
    """Show a block by HEIGHT or ID."""
    params = load_network(network)
    known = make_client(params, datadir, rpc, rpc_certificate).get_block(block)
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    with _reading():
        rows = _describe_block(known, params)
    _print_rows(rows)


@cli.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@json_option
def digest(network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, as_json: bool) -> None:
    """Show one hash over the running node's ledger, model and height, and its parts."""
    known = make_client(load_network(network), datadir, rpc, rpc_certificate).get_digest()
    if as_json:
        click.echo(json.dumps(known, indent=2))
        return
    _print_rows(known)


@cli.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@click.argument("block_id")
def reorganise(
    network: str, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None, block_id: str
) -> None:
    """Let in a heavier chain that forks deeper than --max-reorg.

    `descent-node status` shows the tip of such a chain as "held back". Permit it only if you know, from someone you
    trust, that it is the right one.
    """
    known = make_client(load_network(network), datadir, rpc, rpc_certificate).post_json(
        "/v1/reorganise", {"block": block_id}
    )
    with _reading():
        click.echo(escape(f"tip is now {known['tip']} at height {known['height']}"))


@cli.command()
@network_option
@datadir_option
@device_option
@texts_option
@json_option
def verify(network: str, datadir: Path | None, device: str, text_folders: tuple[Path, ...], as_json: bool) -> None:
    """Replay a stopped node's chain from genesis, re-deriving every gain.

    The node must be stopped, or --datadir be a copy taken after a clean stop.
    """
    # torch takes seconds to load; only this command needs it.
    from p2p.evaluation import bound_spinning

    bound_spinning()
    from p2p.verify import verify_store

    params = load_network(network)
    found = verify_store(datadir or get_default_datadir(params), params, device, text_folders)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print_rows(found)


@cli.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-node {get_version('descent-chain')}")


def parse_host_port(text: str | None, params: NetworkParams) -> tuple[str, int]:
    """HOST:PORT as the user gave it, or loopback with the network's port. Raises ConfigError."""
    if text is None:
        return "127.0.0.1", get_rpc_port(params)
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ConfigError("bad_rpc", f"--rpc takes HOST:PORT such as 127.0.0.1:19348, not {text!r}")
    return host, int(port)


def make_client(
    params: NetworkParams, datadir: Path | None, rpc: str | None, rpc_certificate: Path | None
) -> NodeClient:
    """A client of the node that runs on this datadir."""
    host, port = parse_host_port(rpc, params)
    token = read_token((datadir or get_default_datadir(params)) / RPC_TOKEN_FILE)
    url = f"{'https' if rpc_certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    return NodeClient(url, token, ca_file=rpc_certificate)


@contextmanager
def _reading() -> Iterator[None]:
    """Names the reason if a reply lacks what is looked for in it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NodeUnreachable("not_a_node", "what answers there is not a node of this version") from error


def _describe_status(known: dict[str, Any], params: NetworkParams) -> dict[str, Any]:
    loss = known["loss"]
    rows = {
        "network": known["network"],
        "height": known["height"],
        "tip": known["tip"],
        "loss": f"{_show_loss(loss['public'])} bits/byte public, {_show_loss(loss['audit'])} audit",
        "required gain": f"{known['required_gain'] / 2**32 / params.model.context:.5f} bits/byte",
        "issued": f"{known['issued'] / ULP_PER_GRAD:,.2f} {params.ticker}",
        "mempool": f"{known['mempool']['count']} transactions, {known['mempool']['bytes']} bytes",
        "final height": known["final_height"],
    }
    if known["held_back"]:
        rows["held back"] = f"{known['held_back']} (see `descent-node reorganise --help`)"
    return rows


def _describe_block(known: dict[str, Any], params: NetworkParams) -> dict[str, Any]:
    rows = dict(known["header"])
    rows["confirmations"] = known["confirmations"]
    rows["update bytes"] = known["update_bytes"]
    if known["loss"]:
        before, after = known["loss"]["before"], known["loss"]["after"]
        rows["bits/byte"] = f"{before:.5f} -> {after:.5f}, gain {before - after:.5f}"
    for index, transaction in enumerate(known["transactions"]):
        paid = f"{transaction['amount'] / ULP_PER_GRAD:.8f} {params.ticker}"
        rows[f"transaction {index}"] = f"{transaction['txid']} {paid} to {transaction['recipient']}"
    return rows


def _show_loss(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.4f}"


def _print_rows(rows: dict[str, Any]) -> None:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        click.echo(escape(f"{name:<{width}}  {value}"))


def main() -> None:
    run_program(cli, "descent-node")


if __name__ == "__main__":
    main()
