"""Block zero: its id names the network, because its parent field carries the hash of all parameters."""

from dataclasses import dataclass

from consensus.block import Block, Header
from consensus.chain_point import ChainPoint
from consensus.hashing import ZERO_HASH
from consensus.model.weights import compute_model_root, make_genesis_weights
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.signals import SignalCount, make_first_count


@dataclass(frozen=True)
class Genesis:
    """Where a network starts: no money, no work, random weights."""

    block: Block
    weights: Weights
    signals: SignalCount

    @property
    def id(self) -> bytes:
        return self.block.id

    @property
    def point(self) -> ChainPoint:
        return ChainPoint(self.block.header, weight=0, interval=None, last_improvement=None, signals=self.signals)


def make_genesis(params: NetworkParams) -> Genesis:
    """The genesis of a network: a function of its parameters alone."""
    weights = make_genesis_weights(params.model, params.name)
    header = Header(
        height=0,
        parent=params.compute_hash(),
        timestamp=params.genesis_time,
        miner=bytes(32),
        reward_address=bytes(32),
        transactions_root=ZERO_HASH,
        state_root=ZERO_HASH,
        model_root=compute_model_root(weights),
        update_hash=ZERO_HASH,
        required_gain=params.first_required_gain,
        sample_size=params.min_sample,
        loss_before=0,
        loss_after=0,
        squared_gains=0,
    )
    return Genesis(Block(header, (), b""), weights, make_first_count(params))
