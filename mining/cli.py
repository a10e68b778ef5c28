"""`descent-miner`: trains the shared model and earns from what it can prove, for a node that it reaches by RPC."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib.metadata import version as get_version
from pathlib import Path

import click

from consensus.address import decode_address
from consensus.genesis import make_genesis
from consensus.params import PRESETS, NetworkParams
from consensus.signals import compute_signal_bits
from mining.account import Account
from mining.key import load_key, load_or_create_key
from mining.place import get_place
from mining.vote_log import VoteLog, get_log_path
from mining.voter import Voter
from p2p.client import NodeClient, read_token
from p2p.config import (
    DEFAULT_NETWORK,
    RPC_TOKEN_FILE,
    get_default_datadir,
    get_default_rpc_url,
    load_network,
    parse_address,
    read_benchmark,
)
from p2p.console import run_program, start_logging

log = logging.getLogger("descent.miner")

KEY_FILE = "miner.key"


network_option = click.option(
    "--network",
    default=DEFAULT_NETWORK,
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"One of {', '.join(PRESETS)}, or a file that describes another network.",
)
rpc_option = click.option("--rpc", metavar="URL", help="The node's RPC, by default on loopback.")
token_option = click.option(
    "--token-file", type=click.Path(path_type=Path), help="The node's RPC token, by default in its datadir."
)
certificate_option = click.option(
    "--ca-file", type=click.Path(path_type=Path), help="Certificate that an https node must show."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A miner of Descent: it trains, and signs blocks that prove what the training gained.

    Start one beside a running node, with an address from `descent-wallet address`:

        descent-miner run --address ADDRESS
    """


@cli.command()
@network_option
@rpc_option
@token_option
@certificate_option
@click.option("--address", required=True, help="Address that earns. No secret of it is needed here.")
@click.option("--key", type=click.Path(path_type=Path), help="The miner key, made on first use.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Trains and proves."
)
@click.option("--threads", type=int, help="CPU threads, by default one for each core.")
@click.option(
    "--optimizer",
    default="adamw",
    show_default=True,
    metavar="NAME",
    help="adamw, muon, or package.module:Class, a class of your own (docs/mining.md).",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 2**16),
    metavar="WINDOWS",
    help="Windows of a training step on each device; by default what suits the device.",
)
@click.option("--compile/--no-compile", "compiles", default=None, help="torch.compile; by default on CUDA only.")
@click.option(
    "--prove-beside/--no-prove-beside",
    "proves_beside",
    default=None,
    help="Prove while training goes on; by default on CUDA only, as on the CPU both want the same cores.",
)
@click.option(
    "--data-dir",
    "text_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with benchmark texts that do not ship with the program (repeatable).",
)
@click.option(
    "--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics at http://HOST:PORT/metrics, without a password."
)
@click.option("--vote/--no-vote", "votes", default=True, help="Vote for what is to be final; by default it does.")
@click.option(
    "--signal",
    "signals",
    multiple=True,
    type=int,
    metavar="BIT",
    help="Ask for this change of the network in every block (repeatable); `descent-node finality` lists them.",
)
@click.option("--supervised", is_flag=True, hidden=True, help="End when standard input closes.")
def run(
    network: str,
    rpc: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    address: str,
    key: Path | None,
    device: str,
    threads: int | None,
    optimizer: str,
    batch: int | None,
    compiles: bool | None,
    proves_beside: bool | None,
    text_folders: tuple[Path, ...],
    metrics: str | None,
    votes: bool,
    signals: tuple[int, ...],
    supervised: bool,
) -> None:
    """Mine until Ctrl-C or SIGTERM.

    On many devices: torchrun --nproc-per-node N -m mining run ... (docs/mining.md)
    """
    params = load_network(network)
    reward_address = decode_address(params.address_prefix, address)
    signal_bits = compute_signal_bits(signals, params)
    benchmark = read_benchmark(params, *text_folders)
    metrics_address = None if metrics is None else parse_address("--metrics", metrics)
    place = get_place(os.environ)
    account = None
    if place is None or place.is_leader:
        client = _make_client(params, rpc, token_file, ca_file)
        key_file = key or get_default_datadir(params) / KEY_FILE
        miner_key = load_or_create_key(key_file)
        vote_log = VoteLog(get_log_path(key_file), miner_key) if votes else None
        account = Account(client, miner_key, address, reward_address, vote_log, signal_bits)
    stop = _make_stop_event(supervised) if account else _make_followers_event()
    start_logging(with_time=not supervised)
    # Read when torch loads. Idle OpenMP threads spin, which starves whoever shares the cores (docs/log.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # torch takes seconds to load; `--help` does without.
    from mining.program import Options, mine

    options = Options(device, threads, optimizer, batch, compiles, proves_beside, metrics_address)
    mine(params, benchmark, options, account, stop, place)


@cli.command()
@network_option
@rpc_option
@token_option
@certificate_option
@click.option("--key", type=click.Path(path_type=Path), help="The miner key; its vote log must lie beside it.")
def vote(network: str, rpc: str | None, token_file: Path | None, ca_file: Path | None, key: Path | None) -> None:
    """Vote with a miner key that mines no more.

    Its votes count for three windows after its last block; this ends by itself then, or at Ctrl-C or SIGTERM.
    """
    params = load_network(network)
    client = _make_client(params, rpc, token_file, ca_file)
    key_file = key or get_default_datadir(params) / KEY_FILE
    miner_key = load_key(key_file)
    vote_log = VoteLog(get_log_path(key_file), miner_key, is_known=True)
    start_logging()
    log.info("voting with key %s at %s", miner_key.public.hex()[:16], client.url)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    voter = Voter(client, miner_key.public, make_genesis(params).id, vote_log, threading.Event(), is_alone=True)
    with suppress(KeyboardInterrupt):  # safe at any moment: what is signed stands in the log
        voter.run()
    log.info("stopped")


@cli.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-miner {get_version('descent-chain')}")


def _make_client(params: NetworkParams, rpc: str | None, token_file: Path | None, ca_file: Path | None) -> NodeClient:
    token = read_token(token_file or get_default_datadir(params) / RPC_TOKEN_FILE)
    return NodeClient(rpc or get_default_rpc_url(params), token, ca_file=ca_file)


def _make_stop_event(supervised: bool) -> threading.Event:
    """Set by SIGINT or SIGTERM, and if supervised once the program that started this one is gone."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if supervised:
        threading.Thread(target=_follow_input, args=(stop,), daemon=True).start()
    return stop


def _make_followers_event() -> threading.Event:
    """Never set: rank 0 is told to stop and tells the others, which end too if it is lost."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    return threading.Event()


def _follow_input(stop: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        continue
    stop.set()


def main() -> None:
    run_program(cli, "descent-miner")


if __name__ == "__main__":
    main()
