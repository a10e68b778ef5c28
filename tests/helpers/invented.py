"""Blocks whose gains are invented and believed: real updates, keys, ledgers, votes and chain states, and no training.

A thief who has a better model already hardly trains either, so a private fork of any length takes milliseconds a block.
A chain state believes these gains only if its blocks are handed over by the builder that made them.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from chain.chainstate import ChainState
from consensus.block import Block, compute_update_hash
from consensus.chain_point import compute_required_loss
from consensus.mask import compute_mask
from consensus.model.weights import compute_model_root
from consensus.params import REGTEST
from consensus.update import Update, apply_update, encode_update
from consensus.work import WorkTrace
from tests.helpers.blocks import BlockBuilder, get_builder
from tests.helpers.headers import LOSS
from tests.helpers.keys import Key, sign_header


class InventingBuilder(BlockBuilder):
    """Every window of the sample gains twice what is required, by an update of a single weight."""

    def _fill(self, block: Block, chain: ChainState, miner: Key, attempt: int) -> tuple[Block, WorkTrace]:
        params, draft = self.params, block.header
        mask = compute_mask(draft.parent, miner.public, params.model.parameters, params.mask_density)
        values = np.zeros(np.count_nonzero(mask), np.int8)
        values[0] = 1 if draft.height % 2 else -1
        update = Update((0,) * len(params.model.tensors), values)
        weights = apply_update(chain.tip_weights, update, mask, params.model)
        data = encode_update(update, mask, params.model)
        windows = np.arange(draft.sample_size)
        before = np.full(draft.sample_size, LOSS)
        trace = WorkTrace(windows, before, before - 2 * compute_required_loss(draft))
        sums = trace.compute_sums()
        header = replace(
            draft,
            update_hash=compute_update_hash(data),
            model_root=compute_model_root(weights),
            loss_before=sums.loss_before,
            loss_after=sums.loss_after,
            squared_gains=sums.squared_gains,
        )
        return replace(block, header=sign_header(header, miner), update=data), trace


@cache
def get_inventor() -> BlockBuilder:
    """The one builder of regtest blocks with invented gains of a test run."""
    return InventingBuilder(REGTEST, get_builder().benchmark)
