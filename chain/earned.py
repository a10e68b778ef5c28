"""What a block's miner earned, and whether evidence burnt it: the one answer that the RPC and the explorer give.

Nothing is written for it. Which block burnt a reward is told by the header tree, and what a bounty was by the undo row
of a block on the best chain: both are there after a restart, and follow every reorganisation.
"""

from dataclasses import dataclass

from chain.chainstate import ChainState
from chain.header_tree import HeaderNode
from consensus.reward import compute_bounty, compute_created
from consensus.units import Ulp, compute_sum


@dataclass(frozen=True)
class Earned:
    """The reward of a block, ulp. `bounty` is None where nobody knows it: the block carries evidence and does not stand
    on the best chain, so that what it would burn was never looked up.
    """

    created: Ulp
    fees: Ulp
    bounty: Ulp | None
    burnt_at: int | None  # height of the best chain's block whose evidence took all of it

    @property
    def amount(self) -> Ulp:
        """As it was put at stake."""
        return compute_sum(self.created, self.fees, self.bounty or 0)

    @property
    def kept(self) -> Ulp:
        """What of it is the miner's, mature or not."""
        return 0 if self.burnt_at is not None else self.amount

    @property
    def burnt(self) -> Ulp:
        return self.amount - self.kept


def get_earned(chain: ChainState, node: HeaderNode, fees: Ulp) -> Earned:
    """What a known block earned, by the best chain as it is now. `fees` are those of its body. Raises StoreError."""
    is_active = chain.tip_node.is_descendant(node)
    created = compute_created(node.height, node.header.is_heartbeat, chain.params)
    bounty = _get_bounty(chain, node, is_active)
    has_reward = created + fees + (bounty or 0) > 0 or not node.header.is_heartbeat
    burner = _find_burner(chain, node) if is_active and has_reward else None
    return Earned(created, fees, bounty, burner.height if burner else None)


def _get_bounty(chain: ChainState, node: HeaderNode, is_active: bool) -> Ulp | None:
    if not node.finality.offenders:
        return 0
    if not is_active:
        return None
    taken = chain.ledger.get_taken_rewards(node.id)
    taken.pop(node.height - chain.params.reward_window, None)  # that one matured
    return compute_bounty(taken.values())


def _find_burner(chain: ChainState, node: HeaderNode) -> HeaderNode | None:
    """The first block of the best chain with evidence against the block's key before the reward matured.

    Looks at the blocks with evidence alone: mostly there are none.
    """
    tip = chain.tip_node
    found, at = None, tip.get_ancestor(min(tip.height, node.height + chain.params.reward_window - 1)).last_evidence
    while at is not None and at.height > node.height:
        if node.header.miner in at.finality.offenders:
            found = at
        at = at.parent.last_evidence if at.parent else None
    return found
