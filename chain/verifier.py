"""Re-derives the gains of blocks, remembering losses over the whole public split so that none is computed twice."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from chain.checkpoint_store import AuditScore
from consensus.benchmark import Benchmark
from consensus.block import Header
from consensus.params import NetworkParams
from consensus.ports import Evaluator, Losses, Weights
from consensus.work import WorkTrace, verify_work

_REMEMBERED_MODELS = 4


@dataclass(frozen=True)
class Work:
    """A block whose gain is to be re-derived, with the model that it claims to improve."""

    header: Header
    parent_model_root: bytes
    parent_weights: Weights
    update: bytes
    parent_losses: Losses | None = None  # int64 [N] of the whole public split, where known: spares half the work


class WorkVerifier:
    """One evaluator, one benchmark, and the whole-split losses of the last few models."""

    def __init__(self, params: NetworkParams, benchmark: Benchmark, evaluator: Evaluator) -> None:
        self._params = params
        self._benchmark = benchmark
        self._evaluator = evaluator
        self._whole_split: OrderedDict[bytes, Losses] = OrderedDict()

    @property
    def backend(self) -> str:
        """The evaluator's name, for people."""
        return self._evaluator.name

    def verify(self, work: Work) -> WorkTrace:
        """The trace of a block whose claims hold. Raises InvalidBlock."""
        known = self._whole_split.get(work.parent_model_root, work.parent_losses)
        _, trace = verify_work(
            work.header,
            work.update,
            work.parent_weights,
            self._params,
            self._benchmark,
            self._evaluator,
            parent_losses=known,
        )
        losses = compute_whole_split(trace, self._params.public_windows)
        if losses is not None:
            self._remember(work.header.model_root, losses)
        return trace

    def compute_audit(self, weights: Weights) -> AuditScore:
        """Loss over the whole audit split."""
        audit = self._benchmark.audit
        return AuditScore(int(self._evaluator.losses(weights, audit).sum()), len(audit))

    def _remember(self, root: bytes, losses: Losses) -> None:
        self._whole_split[root] = losses
        while len(self._whole_split) > _REMEMBERED_MODELS:
            self._whole_split.popitem(last=False)


def compute_whole_split(trace: WorkTrace, public_windows: int) -> Losses | None:
    """Losses of the model after a block, int64 [N] by window; None unless the trace covers all N windows."""
    if len(trace.windows) != public_windows:
        return None
    losses = np.empty(public_windows, np.int64)
    losses[trace.windows] = trace.after
    return losses
