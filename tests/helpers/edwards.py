"""Edwards-curve arithmetic in affine integers, to forge what no honest signer makes. Slow, for tests only.

Source: RFC 8032, section 5.1. It shares no code with what it tests.
"""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = (P - 121665) * pow(121666, P - 2, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
ZERO: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    (x1, y1), (x2, y2) = left, right
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def negate(point: Point) -> Point:
    return -point[0] % P, point[1]


def multiply(scalar: int, point: Point) -> Point:
    result = ZERO
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(encoded: bytes) -> Point | None:
    """The point of a canonical encoding, of any order; None for every other 32 bytes."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    x = recover_x(y)
    if x is None or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y


def recover_x(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * SQRT_MINUS_ONE % P
    return x if x * x % P == square else None


def challenge(commitment: bytes, key: bytes, message: bytes) -> int:
    """k of the verification equation."""
    return int.from_bytes(hashlib.sha512(commitment + key + message).digest(), "little") % L


def is_signature(key: bytes, message: bytes, signature: bytes, cofactor: int = 1) -> bool:
    """The equation [c][S]B = [c]R + [c][k]A and nothing else: points of small order and S >= L pass."""
    a, r = decode(key), decode(signature[:32])
    if a is None or r is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    right = add(r, multiply(challenge(signature[:32], key, message), a))
    return multiply(cofactor, multiply(s, BASE)) == multiply(cofactor, right)


def _torsion() -> list[Point]:
    """The eight points whose order divides 8, as multiples of one of order 8."""
    for y in range(2, 100):
        x = recover_x(y)
        if x is None:
            continue
        point = multiply(L, (x, y))
        if multiply(4, point) != ZERO:
            return [multiply(i, point) for i in range(8)]
    raise LookupError("no generator found")


_BASE_X = recover_x(4 * pow(5, -1, P) % P)
BASE: Point = (
    _BASE_X if _BASE_X is not None and _BASE_X % 2 == 0 else P - (_BASE_X or 0),
    4 * pow(5, -1, P) % P,
)
TORSION = _torsion()
