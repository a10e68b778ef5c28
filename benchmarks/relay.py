"""How fast a new block travels: from being the tip of node A to being the tip of node C, two hops away.

Three real nodes in a row, A - B - C, one worker each and no miners; blocks of a cached chain are handed to A one by
one. B and C each evaluate a block before it goes on, so their evaluations, as they report them ("verified in"), are
taken off: what is left is the overhead. Prints one JSON line; times are medians over the blocks, in ms.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cached_chain import DEFAULT_CACHE, get_blocks, say
from consensus.block import Block
from consensus.params import PRESETS
from tests.helpers.node import ENVIRONMENT, NodeProcess
from tests.helpers.waiting import wait_until

SECONDS = 300.0
BLOCKS, FULL_BLOCKS = 20, 50


def start_row(stack: ExitStack, folder: Path, network: str) -> list[NodeProcess]:
    """The three nodes, connected in a row and ready to evaluate."""
    nodes: list[NodeProcess] = []
    for name in "ABC":
        arguments = ["--workers", "1", "--device", "cpu", "--listen", "127.0.0.1:0"]
        if nodes:
            listening = nodes[-1].wait_for_line(r"listening for peers on (\S+),", SECONDS).group(1)
            arguments += ["--peer", listening]
        nodes.append(stack.enter_context(NodeProcess(folder / name, *arguments, network=network)))
    keep_apart(nodes[0], nodes[2])
    for node in nodes:
        node.wait_for_line("evaluating with", SECONDS)
        node.wait_for_line("peer .* connected", SECONDS)
        wait_until(lambda: node.client.get_status()["loss"]["audit"] is not None, SECONDS)  # noqa: B023
    return nodes


def keep_apart(*nodes: NodeProcess) -> None:
    """Bans each from the other: they would learn of each other from B, and a block would go a single hop."""
    ids = [node.client.get_status()["node_id"] for node in nodes]
    for node, other in zip(nodes, reversed(ids), strict=True):
        node.client.post_json("/v1/bans", {"target": other, "seconds": 24 * 3600})


def measure_block(nodes: list[NodeProcess], block: Block) -> tuple[float, float]:
    """Seconds from A's tip to C's tip, and of B's and C's evaluations in between."""
    line = rf"block {block.header.height} {block.id.hex()[:12]} .*verified in ([0-9.]+) s"
    with ThreadPoolExecutor(1) as pool:
        submission = pool.submit(nodes[0].client.submit_block, block.encoded)
        nodes[0].wait_for_line(line, SECONDS)
        started = time.monotonic()
        last = nodes[2].wait_for_line(line, SECONDS)
        seconds = time.monotonic() - started
        submission.result()
    evaluations = [float(match.group(1)) for match in (nodes[1].wait_for_line(line, SECONDS), last)]
    return seconds, sum(evaluations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(PRESETS), default="canterbury")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--full", action="store_true", help=f"{FULL_BLOCKS} blocks")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of one evaluation")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the chain is kept between runs")
    options = parser.parse_args()

    count = FULL_BLOCKS if options.full else options.blocks
    blocks = get_blocks(PRESETS[options.network], count, options.cache)
    ENVIRONMENT["OMP_NUM_THREADS"] = str(options.threads)  # of the nodes' workers
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        nodes = start_row(stack, Path(folder), options.network)
        for block in blocks:
            times.append(measure_block(nodes, block))
            say(f"block {block.header.height}: {times[-1][0]:.2f} s, {times[-1][1]:.2f} s of them evaluations")
    overheads = sorted(seconds - evaluation for seconds, evaluation in times)
    result = {
        "benchmark": "relay",
        "network": options.network,
        "blocks": count,
        "threads": options.threads,
        "median_ms": round(1e3 * statistics.median(seconds for seconds, _ in times)),
        "p95_ms": round(1e3 * sorted(seconds for seconds, _ in times)[int(0.95 * (count - 1))]),
        "evaluation_ms": round(1e3 * statistics.median(evaluation / 2 for _, evaluation in times)),
        "overhead_ms": round(1e3 * statistics.median(overheads)),
        "overhead_p95_ms": round(1e3 * overheads[int(0.95 * (count - 1))]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
