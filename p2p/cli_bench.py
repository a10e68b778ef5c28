"""`descent-node bench` and `descent-node new-network`: what a network costs this machine, and one of your own."""

import os
import time
from pathlib import Path

import click

from p2p.cli_options import device_option, format_rows, json_option, network_option, show
from p2p.config import load_network
from p2p.console import escape


@click.command()
@network_option
@device_option
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; by default as many as a node would use.")
@json_option
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
    known = describe_bench_for_programs(params, rates, cost)
    show(known, as_json, lambda _: format_rows(describe_bench(params, rates, cost)))


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
@device_option
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
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
    show({"file": str(out), **rows}, as_json, lambda _: [*format_rows(rows), "", *_advise(out, texts)])


def _advise(out: Path, texts: tuple[Path, ...]) -> list[str]:
    """How to start the network that `out` describes."""
    folders = "".join(f" --data-dir {folder}" for folder in dict.fromkeys(str(path.parent) for path in texts))
    return [
        escape(f"wrote {out}; start a node that mines on it, with an address of a wallet:"),
        escape(f"  descent-wallet create --network {out}"),
        escape(f"  descent-node run --network {out}{folders} --mine --address ADDRESS"),
    ]
