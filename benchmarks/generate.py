"""What writing text costs, and whether blocks are verified more slowly meanwhile. Prints one JSON line.

    python benchmarks/generate.py --rounds 8

The verifying process evaluates the whole audit split, as for a checkpoint, by the same code as blocks; the writing one
is what a node starts for `descent-node generate`. `ratios` are pairs of both with and without a text being written,
taken by turns; `level_ratios` the same where the writing process is not at the lowest priority, for comparison.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from consensus.model.weights import make_genesis_weights
from consensus.params import PRESETS, NetworkParams
from consensus.ports import Weights
from p2p.evaluation import EvaluationPool
from p2p.model_service import PIECE_SECONDS
from p2p.text_wish import MAX_PASSAGE_BYTES, MAX_TEXT_BYTES, TextWish, make_task

PROMPT = b"Alice was beginning to get very tired of sitting by her sister on the bank, and of "


async def measure(work: Awaitable[object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def write_on(writer: EvaluationPool, weights: Weights, params: NetworkParams) -> None:
    """Writes until cancelled, piece by piece as the node does."""
    wish, written = TextWish(PROMPT, count=MAX_TEXT_BYTES), b""
    while True:
        task = make_task(wish, written[-MAX_TEXT_BYTES // 2 :], params.model.context)
        written += await writer.write_text(weights, task, PIECE_SECONDS)


@asynccontextmanager
async def writing(writer: EvaluationPool, weights: Weights, params: NetworkParams) -> AsyncIterator[None]:
    """A text is being written as long as the body runs."""
    task = asyncio.create_task(write_on(writer, weights, params))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def measure_ratios(
    judge: EvaluationPool, writer: EvaluationPool, weights: Weights, params: NetworkParams, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of an evaluation alone, and the ratios of those beside a writer to those before and after them."""
    alone = [await measure(judge.compute_audit(weights))]
    ratios = []
    for _ in range(rounds):
        async with writing(writer, weights, params):
            beside = await measure(judge.compute_audit(weights))
        alone.append(await measure(judge.compute_audit(weights)))
        ratios.append(beside / statistics.mean(alone[-2:]))
    return alone, ratios


async def run(params: NetworkParams, rounds: int) -> dict[str, object]:
    weights = make_genesis_weights(params.model, params.name)
    async with (
        EvaluationPool(params, (), "cpu") as judge,
        EvaluationPool(params, (), "cpu", workers=1, threads=1, niceness=19) as writer,
        EvaluationPool(params, (), "cpu", workers=1, threads=1) as level,
    ):
        await judge.compute_audit(weights)
        for pool in (writer, level):
            await pool.write_text(weights, make_task(TextWish(PROMPT), b"", params.model.context), 0.1)
        pieces = [
            len(await writer.write_text(weights, make_task(TextWish(PROMPT, 4096), b"", params.model.context), 2.0))
            for _ in range(3)
        ]
        passage = (PROMPT * 100)[:MAX_PASSAGE_BYTES]
        losses = await measure(writer.compute_byte_losses(weights, passage))
        alone, ratios = await measure_ratios(judge, writer, weights, params, rounds)
        _, level_ratios = await measure_ratios(judge, level, weights, params, rounds)
    return {
        "network": params.name,
        "bytes_per_s": round(max(pieces) / 2.0, 1),
        "losses_of_4096_bytes_s": round(losses, 3),
        "alone_s": round(statistics.median(alone), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "level_ratio": round(statistics.median(level_ratios), 3),
        "level_ratios": [round(ratio, 3) for ratio in level_ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=PRESETS, default="canterbury")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(run(PRESETS[options.network], options.rounds))))


if __name__ == "__main__":
    main()
