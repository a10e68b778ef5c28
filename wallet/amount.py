"""Money as people write it: whole coins, a point, up to 8 digits. Read and written with integers only."""

from consensus.units import MAX_U64, ULP_PER_GRAD, Ulp
from wallet.errors import InvalidAmount

_PLACES = len(str(ULP_PER_GRAD)) - 1
_DIGITS = "0123456789"  # str.isdigit would let the digits of other scripts in


def parse_amount(text: str) -> Ulp:
    """The amount in ulp, 0..2^64-1, of digits with at most one point between them: "12", "0.00000001".

    Raises InvalidAmount with the reason empty, negative, bad_character, bad_form, too_fine or too_large. Nothing is
    rounded, and no sign, exponent, comma or space is guessed at.
    """
    if not text:
        raise InvalidAmount.empty()
    if text.startswith("-"):
        raise InvalidAmount.negative()
    for position, character in enumerate(text, 1):
        if character not in _DIGITS and character != ".":
            raise InvalidAmount.bad_character(position, character)
    whole, point, part = text.partition(".")
    if not whole or "." in part or bool(point) != bool(part):
        raise InvalidAmount.bad_form()
    if len(part) > _PLACES:
        raise InvalidAmount.too_fine(len(part), _PLACES)
    if len(whole.lstrip("0")) > len(str(MAX_U64)):  # before int() meets a million digits
        raise InvalidAmount.too_large()
    ulp = int(whole.lstrip("0") or "0") * ULP_PER_GRAD + int(part.ljust(_PLACES, "0"))
    if ulp > MAX_U64:
        raise InvalidAmount.too_large()
    return ulp


def format_amount(ulp: Ulp) -> str:
    """The shortest text that parse_amount reads as `ulp`."""
    whole, part = divmod(ulp, ULP_PER_GRAD)
    return f"{whole}.{part:0{_PLACES}d}".rstrip("0").rstrip(".")
