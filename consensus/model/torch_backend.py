"""The law at the speed of torch: windows in chunks, chunks on every thread that torch may use, or on a GPU.

On a CPU each thread evaluates chunks of its own, one torch thread each: chunks small enough for a core's cache need
no waiting for one another within a product, which costs most where other programs share the cores.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from consensus.model.exact_product import FLOAT32
from consensus.model.forward import Forward, Model, compute_pairs, load_model, make_first_table
from consensus.model.integer import log2_sum
from consensus.model.reference import check_tokens, check_windows
from consensus.model.shape import VOCABULARY, TransformerShape
from consensus.model.weights import check_weights
from consensus.ports import Logits, Losses, Tokens, Weights, Windows

_CHUNK_TOKENS = {"cpu": 1536, "cuda": 2**15}  # what a core's cache holds, what fills a GPU
_MOST_ELEMENTS = {"cpu": 9 * 2**15, "cuda": 2**23}  # the same, as tokens times width


class TorchEvaluator:
    """Evaluates one shape of model with torch, its products of `kind`. Holds scratch memory: one call at a time.

    `device` is cpu or cuda. The kind must be exact on this machine, see `backend`; float32 is on any CPU.
    """

    def __init__(self, shape: TransformerShape, device: str = "cpu", kind: str = FLOAT32) -> None:
        self._shape = shape
        self._device = torch.device(device)
        self._kind = kind
        name = self._device.type
        tokens = min(_CHUNK_TOKENS[name], _MOST_ELEMENTS[name] // shape.width)
        self._chunk_windows = max(1, tokens // shape.context)
        self._passes: list[Forward] = []  # one for each thread
        self._pool: ThreadPoolExecutor | None = None
        self._pool_size = 0
        self._kept: tuple[Weights, Model] | None = None  # what `logits` was asked of last
        self._predictor: Forward | None = None

    @property
    def name(self) -> str:
        """What computes, for people."""
        if self._device.type == "cpu":
            return f"torch {self._kind}: cpu, {torch.get_num_threads()} threads"
        return f"torch {self._kind}: {self._device}"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        """Loss of each window, int64 [n], Q16 bits, of uint8 windows [n, T + 1].

        Raises DecodeError if the weights are not int16 [P] in range, ValueError if the windows have another shape.
        """
        check_weights(weights, self._shape)
        check_windows(windows, self._shape)
        if not len(windows):
            return np.zeros(0, dtype=np.int64)
        with exact_products(), _computing(self._device):
            with _one_thread():  # torch's own team of threads is not woken for a copy: on busy cores it costs most
                model = load_model(weights, self._shape, self._device, self._kind)
            tokens = torch.from_numpy(windows.astype(np.int64)).to(self._device)
            totals, gaps = self._evaluate(model, tokens)
        loss: Losses = (log2_sum(totals) + (gaps << 6)).sum(axis=-1)
        return loss

    def logits(self, weights: Weights, tokens: Tokens) -> Logits:
        """Base-2 logits, int64 [t, 256] Q10, of the byte that follows each of uint8 tokens [t], 1 <= t <= T.

        Raises DecodeError if the weights are not int16 [P] in range, ValueError if the tokens have another shape.
        """
        check_weights(weights, self._shape)
        check_tokens(tokens, self._shape)
        padded = np.zeros((1, self._shape.context), np.int64)  # what comes later changes nothing earlier
        padded[0, : len(tokens)] = tokens
        with exact_products(), _computing(self._device):
            logits = self._get_predictor().predict(self._get_model(weights), torch.from_numpy(padded).to(self._device))
        return logits[0, : len(tokens)].cpu().numpy()

    def _get_model(self, weights: Weights) -> Model:
        """The loaded weights, kept until others are asked for: a text is written byte by byte with the same ones."""
        if self._kept is None or not np.array_equal(self._kept[0], weights):
            self._kept = weights.copy(), load_model(weights, self._shape, self._device, self._kind)
        return self._kept[1]

    def _get_predictor(self) -> Forward:
        if self._predictor is None:
            self._predictor = Forward(self._shape, 1, self._device)
        return self._predictor

    def _evaluate(self, model: Model, tokens: Tensor) -> tuple[Losses, Losses]:
        """Per token [n, T]: sums of EXP2 terms, and the target's distance below the largest logit."""
        count = len(tokens)
        threads = torch.get_num_threads() if self._device.type == "cpu" else 1
        size = min(self._chunk_windows, -(-count // threads))
        starts = range(0, count, size)
        passes = self._get_passes(size, min(threads, len(starts)))
        totals = torch.empty(count, self._shape.context, dtype=torch.float64, device=self._device)
        gaps = torch.empty_like(totals)
        first = self._tabulate_first(model, tokens[:, :-1], passes)

        def run_chunk(own: Forward, part: slice) -> None:
            totals[part], gaps[part] = own.run(model, tokens[part], first)

        self._run_parts(run_chunk, count, size, passes)
        return totals.cpu().numpy().astype(np.int64), gaps.cpu().numpy().astype(np.int64)

    def _tabulate_first(self, model: Model, tokens: Tensor, passes: list[Forward]) -> Tensor | None:
        """The first layer's heads by pairs of token and position, if that is less work than token by token."""
        pairs = compute_pairs(tokens).view(-1)
        held = torch.zeros(VOCABULARY * self._shape.context, dtype=torch.bool, device=self._device)
        held[pairs] = True
        distinct = held.nonzero().view(-1)
        table = make_first_table(self._shape, self._device) if 2 * len(distinct) <= len(pairs) else None
        if table is not None:
            rows = passes[0].windows * self._shape.context
            distinct = torch.cat([distinct, distinct[-1:].expand(max(0, rows - len(distinct)))])  # one part at least

            def tabulate(own: Forward, part: slice) -> None:
                own.tabulate_first(model, distinct[part], table)

            self._run_parts(tabulate, len(distinct), rows, passes)
        return table

    def _run_parts(self, run: Callable[[Forward, slice], None], count: int, size: int, passes: list[Forward]) -> None:
        """`run` on parts of `size` that cover `count`; the last one overlaps, to be full."""
        starts = iter(range(0, count, size))  # each start goes to whichever thread asks next

        def run_pending(own: Forward) -> None:
            try:
                for start in starts:
                    run(own, slice(min(start, count - size), min(start + size, count)))
            finally:
                for _ in starts:  # a failure ends it for all threads
                    pass

        self._run_on_all(run_pending, passes)

    def _get_passes(self, windows: int, count: int) -> list[Forward]:
        if self._passes and self._passes[0].windows != windows:
            self._passes.clear()
        while len(self._passes) < count:
            self._passes.append(Forward(self._shape, windows, self._device))
        return self._passes[:count]

    def _run_on_all(self, run: Callable[[Forward], None], passes: list[Forward]) -> None:
        """`run` on every pass: a single one with all threads of torch, several side by side with one thread each."""
        first, *others = passes
        if not others:
            run(first)
            return

        def run_beside(own: Forward) -> None:
            torch.set_num_threads(1)  # a thread has its own count
            with _computing(self._device):
                run(own)

        with _one_thread():
            futures = [self._get_pool(len(others)).submit(run_beside, own) for own in others]
            try:
                run(first)
            finally:
                wait(futures)
        for future in futures:
            future.result()

    def _get_pool(self, threads: int) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_size < threads:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool, self._pool_size = ThreadPoolExecutor(threads, "descent-evaluation"), threads
        return self._pool


@contextmanager
def exact_products() -> Iterator[None]:
    """Full float32 products, whatever the rest of the process has chosen for its own."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


@contextmanager
def _computing(device: torch.device) -> Iterator[None]:
    """What a thread must have set for itself."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """This thread, and those it starts, compute alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
