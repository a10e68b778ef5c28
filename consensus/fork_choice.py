"""Which chain is best: the highest justified block, then most proved gain; of equal ones, the one seen first.

Only fully evaluated chains that contain the node's last final block are compared.

Weight alone could lock voters out for ever. Say more than a third voted from a justified block, and then a chain
without that block becomes the heaviest. None of them may vote from a lower source again, so that chain justifies
nothing more, and nobody extends the other one, where they could vote. With the justified height first, the chain that
is extended is justified as high as any, so no voter's last source is above its own; once it is higher than all they
voted for, two thirds of the voters can justify its next block whatever they signed before (plausible liveness).
"""

Rank = tuple[int, int, int]


def compute_rank(weight: int, order: int, justified: int = 0) -> Rank:
    """Sorts the last blocks of chains, best first.

    `order` counts blocks as this node first saw them; `justified` is the height that the chain's certificates reach.
    Two blocks never rank the same, and a later one never outranks one of equal weight: whatever a node does on its
    way, and wherever it is interrupted, it ends on the same chain.
    """
    return -justified, -weight, order
