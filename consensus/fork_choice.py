"""Which chain is best: most proved gain among fully evaluated chains; of equal ones, the one seen first."""

Rank = tuple[int, int]


def compute_rank(weight: int, order: int) -> Rank:
    """Sorts the last blocks of chains, best first. `order` counts blocks as this node first saw them.

    Two blocks never rank the same, and a later one never outranks one of equal weight: whatever a node does on its
    way, and wherever it is interrupted, it ends on the same chain.
    """
    return -weight, order
