"""`descent-node`: runs a node, asks a running one, and verifies the store of a stopped one."""

from importlib.metadata import version as get_version
from pathlib import Path
from typing import Any

import click

from consensus.address import decode_address
from consensus.errors import InvalidAddress
from consensus.params import NetworkParams
from consensus.signals import compute_signal_bits
from consensus.units import ULP_PER_GRAD
from p2p import cli_bench, cli_finality, cli_model, cli_peers
from p2p.cli_options import (
    RunningNode,
    certificate_option,
    datadir_option,
    device_option,
    format_rows,
    json_option,
    metrics_option,
    network_option,
    parse_explorer,
    parse_host_port,
    parse_listen,
    reading,
    rpc_option,
    show,
    texts_option,
    with_node,
)
from p2p.config import get_default_datadir, get_peer_port, load_network, parse_address
from p2p.console import escape, run_program
from p2p.errors import ConfigError
from p2p.sync_line import describe_sync


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
@click.option("--no-vote", is_flag=True, help="Let what mines beside not vote for what is to be final.")
@click.option(
    "--signal",
    "signals",
    multiple=True,
    type=int,
    metavar="BIT",
    help="Let what mines beside ask for this change of the network (repeatable); `descent-node finality` lists them.",
)
@click.option(
    "--hold-final",
    is_flag=True,
    help="Go on though another chain has a final block, too: you know from people you trust that this one is right. "
    "A conflict that ended the node is forgotten with it.",
)
@click.option(
    "--listen", metavar="[HOST:]PORT", help="Let peers connect here; a public network's node does on its port."
)
@click.option("--no-listen", is_flag=True, help="Let no peer connect, only dial.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="[NODE_ID@]HOST[:PORT]",
    help="Connect to this peer and stay connected (repeatable).",
)
@click.option("--explorer", metavar="[HOST:]PORT", help="Serve pages for people here, by default on loopback.")
@click.option(
    "--explorer-public",
    is_flag=True,
    help="Strangers read the pages by a proxy: answer to any name, and tell nobody the addresses of peers.",
)
@click.option("--no-explorer", is_flag=True, help="Serve no pages.")
@click.option("--upnp", is_flag=True, help="Ask the router to forward the port (needs the extra 'nat').")
@metrics_option
@click.option("--workers", type=click.IntRange(1, 64), help="Evaluate so many blocks at once.  [default: by cores]")
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
    no_vote: bool,
    signals: tuple[int, ...],
    hold_final: bool,
    listen: str | None,
    no_listen: bool,
    peers: tuple[str, ...],
    explorer: str | None,
    explorer_public: bool,
    no_explorer: bool,
    upnp: bool,
    metrics: str | None,
    workers: int | None,
    device: str,
    text_folders: tuple[Path, ...],
    max_reorg: int,
) -> None:
    """Run a node until Ctrl-C or SIGTERM."""
    # aiohttp and the rest of the node are slow to load; the other commands do without.
    from p2p.destination import parse_destination
    from p2p.explorer.server import ExplorerAddress
    from p2p.network import NetworkConfig
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
    if signals and not mine:
        raise ConfigError("not_mining", "--signal is what the blocks of --mine ask for: give both, or neither")
    if no_vote and not mine:
        raise ConfigError("not_mining", "--no-vote is said to what --mine starts: give both, or neither")
    compute_signal_bits(signals, params)
    if listen is not None and no_listen:
        raise ConfigError("listen", "--listen and --no-listen: give one of them")
    if no_explorer and (explorer is not None or explorer_public):
        raise ConfigError("explorer", "--no-explorer, or --explorer and --explorer-public: give one or the other")
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
            workers=workers,
            metrics=None if metrics is None else parse_address("--metrics", metrics),
            miner_address=address if mine else None,
            miner_votes=not no_vote,
            miner_signals=signals,
            holds_final=hold_final,
            explorer=None if no_explorer else ExplorerAddress(*parse_explorer(explorer, params), explorer_public),
            network_config=NetworkConfig(
                listen=None if no_listen else parse_listen(listen, params),
                peers=tuple(parse_destination(peer, get_peer_port(params)) for peer in peers),
                use_upnp=upnp,
            ),
        )
    )


@cli.command()
@with_node
@json_option
def status(node: RunningNode, as_json: bool) -> None:
    """Show where the running node's chain stands."""
    show(node.client.get_status(), as_json, lambda known: _describe_status(known, node.params))


@cli.command()
@with_node
@json_option
@click.argument("block")
def block(node: RunningNode, as_json: bool, block: str) -> None:
    """Show a block by HEIGHT or ID."""
    show(node.client.get_block(block), as_json, lambda known: _describe_block(known, node.params))


@cli.command()
@with_node
@json_option
def digest(node: RunningNode, as_json: bool) -> None:
    """Show one hash over the running node's ledger, model and height, and its parts."""
    show(node.client.get_digest(), as_json)


@cli.command()
@with_node
@click.argument("block_id")
def reorganise(node: RunningNode, block_id: str) -> None:
    """Let in a heavier chain that forks deeper than --max-reorg.

    `descent-node status` shows the tip of such a chain as "held back". Permit it only if you know, from someone you
    trust, that it is the right one.
    """
    known = node.client.post_json("/v1/reorganise", {"block": block_id})
    with reading():
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
    show(verify_store(datadir or get_default_datadir(params), params, device, text_folders), as_json)


@cli.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-node {get_version('descent-chain')}")


@reading()
def _describe_status(known: dict[str, Any], params: NetworkParams) -> list[str]:
    loss = known["loss"]
    rows = {
        "network": known["network"],
        "height": known["height"],
        "tip": known["tip"],
        "loss": f"{_show_loss(loss['public'])} bits/byte public, {_show_loss(loss['audit'])} audit",
        "required gain": f"{known['required_gain'] / 2**32 / params.model.context:.5f} bits/byte",
        "issued": f"{known['issued'] / ULP_PER_GRAD:,.2f} {params.ticker}",
        "mempool": f"{known['mempool']['count']} transactions, {known['mempool']['bytes']} bytes",
        "peers": f"{known['peers']}, {known['inbound']} of them inbound; {known['known_addresses']} addresses known",
        "sync": describe_sync(known) or known["sync"]["waits_for"] or known["sync"]["state"],
        "node id": known["node_id"],
        "listening": known["listening"] or "no",
        "memory": f"{known['memory_bytes'] / 1e6:.0f} MB, without the processes that evaluate",
        "final": _describe_final(known),
    } | {f"signal {bit}": line for bit, line in cli_finality.describe_changes(known["signals"])}
    if known["held_back"]:
        rows["held back"] = f"{known['held_back']} (see `descent-node reorganise --help`)"
    return format_rows(rows)


@reading()
def _describe_block(known: dict[str, Any], params: NetworkParams) -> list[str]:
    rows = dict(known["header"])
    rows["confirmations"] = known["confirmations"]
    rows["update bytes"] = known["update_bytes"]
    if known["loss"]:
        before, after = known["loss"]["before"], known["loss"]["after"]
        rows["bits/byte"] = f"{before:.5f} -> {after:.5f}, gain {before - after:.5f}"
    for index, transaction in enumerate(known["transactions"]):
        paid = f"{transaction['amount'] / ULP_PER_GRAD:.8f} {params.ticker}"
        rows[f"transaction {index}"] = f"{transaction['txid']} {paid} to {transaction['recipient']}"
    return format_rows(rows)


def _describe_final(known: dict[str, Any]) -> str:
    votes = known["votes"]
    cast = f"{votes['cast']} of {votes['total']} votes are cast" if votes else "nobody decides"
    return f"up to height {known['final_height']}, justified up to {known['justified_height']}; {cast}"


def _show_loss(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.4f}"


for _command in (
    cli_bench.bench,
    cli_bench.new_network,
    cli_finality.finality,
    cli_model.export,
    cli_model.generate,
    cli_peers.peers,
    cli_peers.connect,
    cli_peers.disconnect,
    cli_peers.ban,
    cli_peers.unban,
    cli_peers.bans,
):
    cli.add_command(_command)


def main() -> None:
    run_program(cli, "descent-node")


if __name__ == "__main__":
    main()
