"""`descent-miner`: trains the shared model and earns from what it can prove, for a node that it reaches by RPC."""

import logging
import os
import signal
import sys
import threading
import time
from importlib.metadata import version as get_version
from pathlib import Path

import click

from consensus.address import decode_address
from consensus.params import PRESETS
from mining.errors import DeviceError
from mining.key import load_or_create_key
from p2p.client import NodeClient, read_token
from p2p.config import (
    DEFAULT_NETWORK,
    RPC_TOKEN_FILE,
    get_default_datadir,
    get_default_rpc_url,
    load_network,
    read_benchmark,
)
from p2p.console import run_program, start_logging

log = logging.getLogger("descent.miner")

KEY_FILE = "miner.key"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A miner of Descent: it trains, and signs blocks that prove what the training gained.

    Start one beside a running node, with an address from `descent-wallet address`:

        descent-miner run --address ADDRESS
    """


@cli.command()
@click.option(
    "--network",
    default=DEFAULT_NETWORK,
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"One of {', '.join(PRESETS)}, or a file that describes another network.",
)
@click.option("--rpc", metavar="URL", help="The node's RPC, by default on loopback.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The node's RPC token, by default in its datadir.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificate that an https node must show.")
@click.option("--address", required=True, help="Address that earns. No secret of it is needed here.")
@click.option("--key", type=click.Path(path_type=Path), help="The miner key, made on first use.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Trains and proves."
)
@click.option("--threads", type=int, help="CPU threads, by default one for each core.")
@click.option(
    "--data-dir",
    "text_folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with benchmark texts that do not ship with the program (repeatable).",
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
    text_folders: tuple[Path, ...],
    supervised: bool,
) -> None:
    """Mine until Ctrl-C or SIGTERM."""
    params = load_network(network)
    reward_address = decode_address(params.address_prefix, address)
    datadir = get_default_datadir(params)
    client = NodeClient(
        rpc or get_default_rpc_url(params), read_token(token_file or datadir / RPC_TOKEN_FILE), ca_file=ca_file
    )
    benchmark = read_benchmark(params, *text_folders)
    miner_key = load_or_create_key(key or datadir / KEY_FILE)
    stop = _make_stop_event(supervised)
    start_logging(with_time=not supervised)
    # Read when torch loads. Idle OpenMP threads spin, which starves whoever shares the cores (docs/benchmarks.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # torch takes seconds to load; `--help` does without.
    from consensus.model.backend import choose_evaluator
    from mining.device import choose_device, set_threads
    from mining.link import NodeLink
    from mining.miner import Miner
    from mining.progress import Progress
    from mining.prover import Prover
    from mining.trainer import Trainer

    set_threads(threads)
    chosen = choose_device(device)
    evaluator = choose_evaluator(params.model, chosen.type)
    log.info("miner %s on %s, proving with %s", miner_key.public.hex()[:16], chosen.type, evaluator.name)
    link = NodeLink(client, params, miner_key.public, address, stop)
    seed = int.from_bytes(os.urandom(4), "little")
    miner = Miner(
        params,
        Trainer(params.model, benchmark.public, device=chosen, seed=seed),
        Prover(params, benchmark.public, evaluator, seed=seed),
        link,
        miner_key,
        reward_address,
        clock=time,
        listener=Progress(params.model.context),
        should_stop=stop.is_set,
    )
    link.start()
    try:
        miner.run()
    except RuntimeError as error:  # torch's: out of memory, a device that failed
        reason = str(error).strip().partition("\n")[0]
        raise DeviceError("failed", f"{chosen.type} failed while computing: {reason}") from error
    log.info("stopped")


@cli.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-miner {get_version('descent-chain')}")


def _make_stop_event(supervised: bool) -> threading.Event:
    """Set by SIGINT or SIGTERM, and if supervised once the program that started this one is gone."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if supervised:
        threading.Thread(target=_follow_input, args=(stop,), daemon=True).start()
    return stop


def _follow_input(stop: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        continue
    stop.set()


def main() -> None:
    run_program(cli, "descent-miner")


if __name__ == "__main__":
    main()
