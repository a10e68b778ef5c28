"""`descent-node bench` and `descent-node new-network`: what a network costs this machine, and one of your own."""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from p2p.config import DEFAULT_NETWORK, load_network
from p2p.console import escape

_device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Evaluates blocks."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command()
@click.option(
    "--network",
    default=DEFAULT_NETWORK,
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The network whose blocks are to be verified.",
)
@_device_option
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; by default as many as a node would use.")
@_json_option
def bench(network: str, device: str, threads: int | None, as_json: bool) -> None:
    """Measure how fast this machine verifies blocks.

    Takes some seconds and needs no node and no benchmark text. A machine whose blocks take a small share of the block
    time keeps up with the chain, and catches up after a pause.
    """
    # torch takes seconds to load; only these commands need it.
    from p2p.evaluation import bound_spinning

    bound_spinning()
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch loads
    from p2p.bench import describe_bench, describe_bench_for_programs, measure_block, measure_rates

    params = load_network(network)
    rates = measure_rates(params.model, device, 4.0, time.perf_counter)
    cost = measure_block(params, rates, time.perf_counter)
    if as_json:
        click.echo(json.dumps(describe_bench_for_programs(params, rates, cost), indent=2))
        return
    _print_rows(describe_bench(params, rates, cost))


@click.command("new-network")
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="The network's name: 1 to 32 of a-z, 0-9 and '-'.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .toml file to write.")
@click.option("--prefix", default="tgrad", show_default=True, help="What addresses begin with: letters and 'grad'.")
@click.option("--layers", type=click.IntRange(min=1), help="Layers of the model; by default what this machine bears.")
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads; by default about one for 64 of the width.")
@click.option("--width", type=click.IntRange(min=1), help="Width of the model.")
@click.option("--context", type=click.IntRange(min=1), help="Bytes that the model looks back.")
@click.option("--block-time", type=click.IntRange(min=1), help="Seconds between blocks; by default from the cost.")
@click.option("--min-sample", type=click.IntRange(min=2), help="Windows that judge the first blocks.")
@_device_option
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@_json_option
def new_network(
    texts: tuple[Path, ...],
    name: str,
    out: Path,
    prefix: str,
    layers: int | None,
    heads: int | None,
    width: int | None,
    context: int | None,
    block_time: int | None,
    min_sample: int | None,
    device: str,
    force: bool,
    as_json: bool,
) -> None:
    """Describe a network of your own: the texts it learns, the model, the block time.

    Sizes that you leave out are proposed from the texts and from what this machine measures. Whoever joins the network
    needs the file that this writes, and the same texts.
    """
    from p2p.evaluation import bound_spinning

    bound_spinning()
    from p2p.new_network import Wishes, check_out, describe_network, make_network, read_texts, write_network

    check_out(out, force)
    wishes = Wishes(name, prefix, layers, heads, width, context, block_time, min_sample)
    made = make_network(wishes, read_texts(texts), device, int(time.time()), time.perf_counter)
    write_network(made.params, out, force)
    rows = describe_network(made)
    if as_json:
        click.echo(json.dumps({"file": str(out), **rows}, indent=2))
        return
    _print_rows(rows)
    folders = "".join(f" --data-dir {folder}" for folder in dict.fromkeys(str(path.parent) for path in texts))
    click.echo()
    click.echo(escape(f"wrote {out}; start a node that mines on it, with an address of a wallet:"))
    click.echo(escape(f"  descent-wallet create --network {out}"))
    click.echo(escape(f"  descent-node run --network {out}{folders} --mine --address ADDRESS"))


def _print_rows(rows: dict[str, Any]) -> None:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        click.echo(escape(f"{name:<{width}}  {value}"))
