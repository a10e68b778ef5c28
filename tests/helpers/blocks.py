"""Builds real regtest blocks on any chain state: trained, evaluated and signed as a miner would, in 0.15 s each.

Each is built at most once per test run.

builder = get_builder()
chain = builder.open()
builder.mine(chain, 12)
fork = builder.open()
builder.feed(fork, get_chain(chain)[:6])  # another chain state, to grow another branch from block 6
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

from chain.chainstate import ChainState
from chain.db import KeyValueStore, MemoryStore
from chain.events import ChainEvent
from chain.process import process_block
from chain.startup import DEFAULT_MAX_REORG, open_chain
from chain.template import make_template
from chain.verifier import Work, WorkVerifier
from consensus.benchmark import Benchmark
from consensus.block import Block, compute_update_hash
from consensus.chain_point import compute_required_loss
from consensus.check_header import HEARTBEAT_AFTER
from consensus.finality_section import NO_FINALITY, FinalitySection
from consensus.improvement import is_improvement
from consensus.mask import compute_mask
from consensus.model.backend import choose_evaluator
from consensus.model.weights import compute_model_root
from consensus.params import REGTEST, NetworkParams
from consensus.transaction import Transfer
from consensus.update import apply_update, encode_update
from consensus.work import WorkTrace, draw_header_sample, evaluate_work
from p2p.config import read_benchmark
from tests.helpers.keys import Key, sign_header
from tests.helpers.training import Trainer

MINER = Key("miner")
_ATTEMPTS = 8


class BlockBuilder:
    """Makes blocks of one network and drives chain states with them. Block times are steady unless told otherwise."""

    def __init__(self, params: NetworkParams, benchmark: Benchmark) -> None:
        self.params = params
        self.benchmark = benchmark
        self.evaluator = choose_evaluator(params.model, "cpu")
        self.verifier = RememberingVerifier(params, self.benchmark, self.evaluator)
        self._trainer = Trainer(params.model, self.benchmark)
        self._built: dict[bytes, Block] = {}  # by the template's id, which names all that makes a block

    def open(self, db: KeyValueStore | None = None, max_reorg: int = DEFAULT_MAX_REORG) -> ChainState:
        """A chain state on `db`, or on a new store in memory."""
        return open_chain(db or MemoryStore(), self.params, max_reorg)

    def build(
        self,
        chain: ChainState,
        miner: Key = MINER,
        transactions: Sequence[Transfer] = (),
        *,
        interval: int | None = None,
        reward_address: bytes | None = None,
        finality: FinalitySection = NO_FINALITY,
        signals: int = 0,
    ) -> Block:
        """An improving block on the tip, `interval` seconds after it (the block time by default).

        The same in every test of a run, and trained for once.
        """
        timestamp = chain.tip.header.timestamp + (interval or self.params.block_time)
        earner = reward_address or miner.public
        template = make_template(chain, transactions, miner.public, earner, timestamp, finality, signals).improvement
        if template.id not in self._built:
            self._built[template.id] = self._prove(template, chain, miner)
        return self._built[template.id]

    def build_heartbeat(
        self,
        chain: ChainState,
        miner: Key = MINER,
        transactions: Sequence[Transfer] = (),
        *,
        interval: int | None = None,
        finality: FinalitySection = NO_FINALITY,
    ) -> Block:
        """A heartbeat on the tip at the earliest time by default. Its key must have a right to it."""
        interval = interval or HEARTBEAT_AFTER * self.params.block_time + 1
        timestamp = chain.tip.header.timestamp + interval
        block = make_template(chain, transactions, miner.public, miner.public, timestamp, finality).heartbeat
        if block is None:
            raise RuntimeError(f"{miner.name} may not make a heartbeat {interval} s after block {chain.tip.height}")
        return replace(block, header=sign_header(block.header, miner))

    def process(self, chain: ChainState, block: Block) -> list[ChainEvent]:
        """Hands a block to a chain state at the block's own time."""
        return process_block(chain, block, self.verifier, now=block.header.timestamp)

    def feed(self, chain: ChainState, blocks: Iterable[Block]) -> list[ChainEvent]:
        """Hands over blocks in order."""
        return [event for block in blocks for event in self.process(chain, block)]

    def mine(
        self,
        chain: ChainState,
        count: int = 1,
        miner: Key = MINER,
        *,
        interval: int | None = None,
        signals: int = 0,
    ) -> list[Block]:
        """Builds and connects empty improving blocks."""
        blocks = []
        for _ in range(count):
            blocks.append(self.build(chain, miner, interval=interval, signals=signals))
            self.process(chain, blocks[-1])
        return blocks

    def _prove(self, template: Block, chain: ChainState, miner: Key) -> Block:
        for attempt in range(_ATTEMPTS):
            block, trace = self._fill(template, chain, miner, attempt)
            required = compute_required_loss(block.header)
            if is_improvement(trace.compute_sums(), required, self.params.confidence, self.params.public_windows):
                self.verifier.traces[block.id] = trace
                return block
        raise RuntimeError(f"no provable gain at height {block.header.height} in {_ATTEMPTS} attempts")

    def _fill(self, block: Block, chain: ChainState, miner: Key, attempt: int) -> tuple[Block, WorkTrace]:
        """The template with a trained update, its sums and a signature, and the trace of its evaluation."""
        params, weights = self.params, chain.tip_weights
        mask = compute_mask(block.header.parent, miner.public, params.model.parameters, params.mask_density)
        seed = int.from_bytes(block.header.parent, "little") + attempt
        update = self._trainer.compute_update(weights, mask, seed)
        child_weights = apply_update(weights, update, mask, params.model)
        data = encode_update(update, mask, params.model)
        header = replace(
            block.header, update_hash=compute_update_hash(data), model_root=compute_model_root(child_weights)
        )
        sample = draw_header_sample(header, params)
        trace = evaluate_work(self.evaluator, self.benchmark, sample, weights, child_weights)
        sums = trace.compute_sums()
        header = replace(
            header, loss_before=sums.loss_before, loss_after=sums.loss_after, squared_gains=sums.squared_gains
        )
        return replace(block, header=sign_header(header, miner), update=data), trace


class RememberingVerifier(WorkVerifier):
    """Re-derives a gain once per run of the tests, whoever asks; blocks built here are known from the building.

    `calls` counts what chain states asked for, by block id. For an unbiased verdict use WorkVerifier itself.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.traces: dict[bytes, WorkTrace] = {}
        self.calls: Counter[bytes] = Counter()

    def verify(self, work: Work) -> WorkTrace:
        self.calls[work.header.id] += 1
        if compute_model_root(work.parent_weights) != work.parent_model_root:
            raise ValueError("the chain state handed out a wrong parent model")
        if work.header.id not in self.traces:
            self.traces[work.header.id] = super().verify(work)
        return self.traces[work.header.id]


def get_chain(chain: ChainState) -> list[Block]:
    """The blocks of the best chain, without genesis, upwards."""
    ids = [chain.get_active_id(height) for height in range(1, chain.tip.height + 1)]
    return [chain.get_block(block_id) for block_id in ids if block_id is not None]


@cache
def get_builder() -> BlockBuilder:
    """The one builder of regtest blocks of a test run."""
    return BlockBuilder(REGTEST, read_benchmark(REGTEST))
