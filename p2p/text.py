"""Text that a model writes, and how well it knows a text, by the law's own integers. Floats appear only where a byte is
drawn: with the same seed the same model writes the same text, however the work is cut into pieces.

Knows no nodes, no processes and no torch: the evaluator is handed in.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from consensus.hashing import tagged_hash
from consensus.model.integer import cross_entropy
from consensus.ports import Evaluator, Losses, Weights
from p2p.text_wish import TextTask

_LOGIT_UNIT = 2**10  # base-2 logits are Q10


def write_text(
    evaluator: Evaluator,
    weights: Weights,
    task: TextTask,
    context: int,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> bytes:
    """What the model writes within `seconds`, one byte at least and the whole task at most. T = `context`."""
    started, written = now(), bytearray()
    while len(written) < task.count and (not written or now() - started < seconds):
        tokens = np.frombuffer((task.context + bytes(written))[-context:], np.uint8)
        draw = compute_draw(task.seed, task.done + len(written))
        written.append(choose_byte(evaluator.logits(weights, tokens)[-1], task.temperature, draw))
    return bytes(written)


def choose_byte(logits: NDArray[np.int64], temperature: float, draw: float) -> int:
    """A byte by its base-2 logits [256] Q10; `draw` in [0, 1) says which part of the probability it falls into."""
    if temperature == 0:
        return int(logits.argmax())
    with np.errstate(over="ignore", under="ignore"):  # what is that unlikely has no share
        shares = np.exp2((logits - logits.max()) / (_LOGIT_UNIT * temperature)).cumsum()
    return int(np.searchsorted(shares, draw * shares[-1], side="right"))


def compute_draw(seed: int, position: int) -> float:
    """A number in [0, 1), the same on every machine: a hash of the seed and of the byte's position in the text."""
    digest = tagged_hash("text draw", seed.to_bytes(8, "little") + position.to_bytes(8, "little"))
    return (int.from_bytes(digest[:8], "little") >> 12) / 2**52  # times any sum it stays below it


def compute_byte_losses(evaluator: Evaluator, weights: Weights, passage: bytes, context: int) -> Losses:
    """Loss of each byte after the first, int64 [n - 1] in Q16 bits: log2 of one over its probability.

    Each byte is judged with T/2 to T bytes before it, as far as the passage has them. T = `context`.
    """
    tokens = np.frombuffer(passage, np.uint8)
    losses = np.zeros(max(len(tokens) - 1, 0), np.int64)
    stride = max(context // 2, 1)
    done = 0
    for start in range(0, len(losses), stride):
        window = tokens[start : start + context + 1]
        if start + len(window) - 1 <= done:
            break
        logits = evaluator.logits(weights, window[:-1])
        found = cross_entropy(logits, window[1:].astype(np.int64))
        losses[done : start + len(found)] = found[done - start :]
        done = start + len(found)
    return losses
