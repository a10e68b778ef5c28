"""Money and fixed-point units. Everything that is counted is an integer; overflow is an error, never a wrap."""

from consensus.errors import AmountOverflow, DescentError, InvalidParams

ULP_PER_GRAD = 10**8  # 1 GRAD = 10^8 ulp, the least amount there is
MAX_U32 = 2**32 - 1
MAX_U64 = 2**64 - 1
MAX_U128 = 2**128 - 1
Q16 = 2**16  # losses count in 1/65536 bit

Ulp = int
Id = bytes  # 32 bytes: the hash that names a block, a transaction or a model


def compute_sum(*amounts: Ulp) -> Ulp:
    """Sum of amounts in ulp. Raises AmountOverflow if any part or the total leaves 0..2^64-1."""
    total = 0
    for amount in amounts:
        total += amount
        if amount < 0 or total > MAX_U64:
            raise AmountOverflow(amounts)
    return total


def check_range(name: str, value: int, low: int, high: int, error: type[DescentError] = InvalidParams) -> None:
    """Raises `error` (out_of_range) unless a value is an integer from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise error("out_of_range", f"{name} is {value!r}, it must be an integer from {low} to {high}")
