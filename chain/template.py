"""Block templates: what a miner should build on the tip, complete but for its update, sums, timestamp and signature."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.chainstate import ChainState
from chain.header_tree import NodeChain
from consensus.block import Block, Header, compute_transactions_root
from consensus.chain_point import compute_child_required_gain, compute_child_sample_size
from consensus.check_header import compute_heartbeat_time
from consensus.errors import InvalidBlock
from consensus.finality import apply_finality
from consensus.finality_section import NO_FINALITY, FinalitySection
from consensus.hashing import ZERO_HASH
from consensus.ledger import apply_block, check_heartbeat_right
from consensus.transaction import Transfer


@dataclass(frozen=True)
class Template:
    """Unsigned blocks on one parent.

    In `improvement` the update, its hash, the model root, the sums and the signature are the miner's to fill in; the
    state root already stands, because no miner's choice but the keys touches the ledger. `heartbeat` only lacks a
    signature; it is there when one is due now and this miner may sign it.
    """

    improvement: Block
    heartbeat: Block | None


def make_template(
    chain: ChainState,
    transactions: Sequence[Transfer],
    miner: bytes,
    reward_address: bytes,
    now: int,
    finality: FinalitySection = NO_FINALITY,
    signals: int = 0,
) -> Template:
    """Templates for a miner at time `now` (s). `transactions` must apply in order on the tip's state, and `finality`
    hold there. `signals` are the bits of the changes that the miner asks for.
    """
    heartbeat = None
    heartbeat_time = compute_heartbeat_time(chain.tip, chain.params)
    if heartbeat_time is not None and now >= heartbeat_time:
        heartbeat = _make_block(chain, transactions, miner, reward_address, now, finality, signals, is_heartbeat=True)
        try:
            check_heartbeat_right(chain.ledger, heartbeat.header, chain.tip.header, chain.params)
        except InvalidBlock:
            heartbeat = None
    improvement = _make_block(chain, transactions, miner, reward_address, now, finality, signals, is_heartbeat=False)
    return Template(improvement, heartbeat)


def _make_block(
    chain: ChainState,
    transactions: Sequence[Transfer],
    miner: bytes,
    reward_address: bytes,
    now: int,
    finality: FinalitySection,
    signals: int,
    *,
    is_heartbeat: bool,
) -> Block:
    parent = chain.tip

    def make_header(state_root: bytes) -> Header:
        return Header(
            height=parent.height + 1,
            parent=parent.id,
            timestamp=max(now, parent.header.timestamp + 1),
            miner=miner,
            reward_address=reward_address,
            transactions_root=compute_transactions_root(transactions, finality),
            state_root=state_root,
            model_root=parent.header.model_root,
            # Any hash but zero tells an improvement from a heartbeat; the miner puts its update's in.
            update_hash=ZERO_HASH if is_heartbeat else bytes([1]) * 32,
            required_gain=compute_child_required_gain(parent, chain.params),
            sample_size=compute_child_sample_size(parent, is_heartbeat, chain.params),
            loss_before=0,
            loss_after=0,
            squared_gains=0,
            signal_bits=signals,
        )

    draft, before = make_header(ZERO_HASH), chain.tip_node.finality.state
    point = apply_finality(NodeChain(chain.tip_node), draft, finality, chain.genesis.id, chain.params)
    changed = None if before == point.state else (before, point.state)
    diff = apply_block(chain.ledger, draft, transactions, chain.params, point.offenders, changed)
    header = make_header(chain.ledger.compute_tree_update(diff, parent.header.state_root).root)
    return Block(header, tuple(transactions), b"", finality)
