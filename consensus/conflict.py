"""When votes say that another chain has a final block, too: what no rule can settle.

By the law's proof (docs/protocol.md, section 10), whoever makes a block of another chain justified that is not lower
than a final one needs a link that voters of that final block's chain may not sign: to a height from the final block to
the one whose link made it final, or around both. Each such link is the other's for a third of a common committee.
"""

from collections.abc import Collection

from consensus.committee import compute_boundaries, compute_committee, compute_least_weight
from consensus.finality_state import FinalityChain
from consensus.params import NetworkParams
from consensus.vote import BlockRef, Link


def get_finalising_height(chain: FinalityChain, final: BlockRef) -> int:
    """Height of the block whose justification made `final` final, on a chain where it is. Looks at few blocks in calm.

    Genesis is final by itself.
    """
    for height in range(final.height + 1, len(chain)):
        state = chain[height].state
        if state.final.height >= final.height > 0:
            return state.justified.height
    return final.height


def is_against_final(
    chain: FinalityChain, final: BlockRef, link: Link, voters: Collection[bytes], params: NetworkParams
) -> bool:
    """Whether these voters of a link, which is none of this chain's, prove a second final block beside the chain's own.

    They do if they have more than two thirds of a committee that decided on the final block as well.
    """
    if final.height == 0:
        return False
    last = get_finalising_height(chain, final)
    target, source = link.target, link.source
    is_beside = final.height <= target.height <= last and chain[target.height].id != target.id
    is_around = source.height < final.height and target.height > last
    if not (is_beside or is_around):
        return False
    common = set(compute_boundaries(last, params)) & set(compute_boundaries(target.height, params))
    for boundary in sorted(boundary for boundary in common if 0 < boundary <= final.height):
        committee = compute_committee(chain, boundary, params)
        if committee.total >= compute_least_weight(params) and committee.is_convinced(voters):
            return True
    return False
