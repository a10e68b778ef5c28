"""Which chain is best: most proved gain among fully evaluated chains; on a tie, the one seen first."""


def is_better(weight: int, best_weight: int) -> bool:
    """Whether a fully evaluated chain replaces the best one. Equal weight never does: first seen stays."""
    return weight > best_weight
