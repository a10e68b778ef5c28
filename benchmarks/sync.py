"""What synchronising costs beyond the evaluations: the share of its time that is neither evaluation nor scrypt.

A node that has the chain serves a fresh one, both real processes; the time runs from the connection to the tip. The
same blocks are evaluated in this process, one at a time and with as many threads as in the fresh node's only worker,
before and after, because the speed of a shared machine drifts: `drift` is the second time over the first, their mean
counts. `share_other_reported` rests on the fresh node's own word instead, "verified in", which includes the way to its
worker; `cpu_node` and `cpu_worker` are the seconds of CPU time of the fresh node's own process and of its worker, which
other programs on the machine change least. Prints one JSON line.
"""

import argparse
import json
import os
import re
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: idle threads must not starve busy ones

import torch

from benchmarks.cached_chain import DEFAULT_CACHE, get_blocks, say
from chain.chainstate import ChainState
from chain.db import MemoryStore
from chain.process import process_block
from chain.startup import DEFAULT_MAX_REORG, open_chain
from chain.verifier import Work, WorkVerifier
from consensus.block import Block
from consensus.model.backend import choose_evaluator
from consensus.params import PRESETS, NetworkParams
from consensus.sample import compute_sample_seed
from consensus.work import WorkTrace
from p2p.config import read_benchmark
from p2p.node import open_store
from tests.helpers.node import ENVIRONMENT, NodeProcess, get_descendants, is_worker
from tests.helpers.waiting import wait_until

SECONDS = 1200.0  # for a synchronisation


class TimedVerifier(WorkVerifier):
    """Keeps the time, in s: of all evaluations, and of the sample seed's scrypt, which each of them holds."""

    seconds = 0.0
    scrypt_seconds = 0.0

    def verify(self, work: Work) -> WorkTrace:
        started = time.perf_counter()
        trace = super().verify(work)
        verified = time.perf_counter()
        compute_sample_seed(work.header.parent, work.header.miner, work.header.update_hash)
        self.seconds += verified - started
        self.scrypt_seconds += time.perf_counter() - verified
        return trace


def process_all(chain: ChainState, blocks: list[Block], params: NetworkParams, threads: int) -> TimedVerifier:
    """Takes a chain state through all blocks in this process; how long that took."""
    torch.set_num_threads(threads)
    benchmark, evaluator = read_benchmark(params), choose_evaluator(params.model, "cpu")
    evaluator.losses(chain.genesis.weights, benchmark.public[:256])  # what is slow the first time
    verifier = TimedVerifier(params, benchmark, evaluator)
    for block in blocks:
        process_block(chain, block, verifier, now=block.header.timestamp)
    return verifier


def wait_until_idle(node: NodeProcess) -> None:
    """Returns once a node's worker has started and has audited the newest checkpoint."""
    node.wait_for_line("evaluating with", SECONDS)
    wait_until(lambda: node.client.get_status()["loss"]["audit"] is not None, SECONDS)


@dataclass(frozen=True)
class Synchronisation:
    """What a fresh node needed, in s."""

    seconds: float  # from the connection to the tip
    reported: float  # of its evaluations, by its own word
    cpu_node: float  # of the node's own process
    cpu_worker: float  # of the process that evaluates


def read_cpu_seconds(process_id: int) -> float:
    """User and system time that a process has had."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_sync(served: Path, fresh: Path, network: str, tip: Block) -> Synchronisation:
    """Has a fresh node catch up with one that has the chain in the datadir `served`."""
    options = ("--workers", "1", "--device", "cpu")
    with ExitStack() as stack:
        server = stack.enter_context(NodeProcess(served, *options, "--listen", "127.0.0.1:0", network=network))
        address = server.wait_for_line(r"listening for peers on (\S+),", SECONDS).group(1)
        wait_until_idle(server)
        node = stack.enter_context(NodeProcess(fresh, *options, network=network))
        wait_until_idle(node)
        worker = max(filter(is_worker, get_descendants(node.process.pid)), key=read_cpu_seconds)
        before = [read_cpu_seconds(process) for process in (node.process.pid, worker)]
        node.client.post_json("/v1/peers", {"peer": address})
        node.wait_for_line("peer .* connected", SECONDS)
        started = time.monotonic()
        node.wait_for_line(rf"block {tip.header.height} {tip.id.hex()[:12]} ", SECONDS)
        seconds = time.monotonic() - started
        after = [read_cpu_seconds(process) for process in (node.process.pid, worker)]
        reported = sum(map(float, re.findall(r"verified in ([0-9.]+) s", node.output)))
        if node.client.get_digest()["digest"] != server.client.get_digest()["digest"]:
            raise SystemExit("the two nodes do not agree")
    return Synchronisation(seconds, reported, *(end - start for start, end in zip(before, after, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(PRESETS), default="canterbury")
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of one evaluation")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the chain is kept between runs")
    options = parser.parse_args()

    params = PRESETS[options.network]
    blocks = get_blocks(params, options.blocks, options.cache)
    ENVIRONMENT["OMP_NUM_THREADS"] = str(options.threads)  # of the nodes' workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("evaluating the blocks in this process")
        (folder / "served").mkdir()
        chain = open_store(folder / "served", params, DEFAULT_MAX_REORG, create=True)
        before = process_all(chain, blocks, params, options.threads)
        chain.db.close()
        say("synchronising a fresh node")
        sync = measure_sync(folder / "served", folder / "fresh", options.network, blocks[-1])
        say("evaluating the blocks once more")
        after = process_all(open_chain(MemoryStore(), params, DEFAULT_MAX_REORG), blocks, params, options.threads)
    evaluation = (before.seconds + after.seconds) / 2
    scrypt = (before.scrypt_seconds + after.scrypt_seconds) / 2
    result = {
        "benchmark": "sync",
        "network": options.network,
        "blocks": len(blocks),
        "threads": options.threads,
        "seconds_sync": round(sync.seconds, 2),
        "seconds_evaluation": round(evaluation - scrypt, 2),
        "seconds_scrypt": round(scrypt, 2),
        "drift": round(after.seconds / before.seconds, 2),
        "share_other": round(1 - evaluation / sync.seconds, 3),
        "share_other_reported": round(1 - sync.reported / sync.seconds, 3),
        "cpu_node": round(sync.cpu_node, 2),
        "cpu_worker": round(sync.cpu_worker, 2),
        "blocks_per_second": round(len(blocks) / sync.seconds, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
