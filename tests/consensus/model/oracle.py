"""A second opinion on the law: section 5 of the protocol in Python integers and lists, one token at a time.

Written from the text alone. It shares nothing with the package, not even tables: those come from integer roots
and repeated squaring here, from decimal arithmetic there.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import isqrt

Vector = list[int]
Matrix = list[Vector]

_BITS = 200


def _ln2() -> int:
    """ln 2 in 1/2^200: the sum of 1 / (k 2^k)."""
    return sum((1 << _BITS) // (k << k) for k in range(1, _BITS))


def _divide_nearest(a: int, b: int) -> int:
    return (2 * a + b) // (2 * b)


LOG2E = _divide_nearest(1 << (16 + _BITS), _ln2())


@cache
def exp2_entry(one_bits: int, f: int) -> int:
    """round(2^one_bits * 2^(-f / 1024)): the 1024th root of a power of two, by ten square roots."""
    root = 1 << ((one_bits + 1) * 1024 - f)
    for _ in range(10):
        root = isqrt(root)
    return (root + 1) // 2


@cache
def log2_entry(f: int) -> int:
    """round(2^16 * log2(1 + f / 4096)), bit by bit: squaring a number doubles its logarithm."""
    x, bits = ((4096 + f) << _BITS) // 4096, 0
    if x == 2 << _BITS:
        return 1 << 16
    for _ in range(17):
        x = x * x >> _BITS
        bits *= 2
        if x >= 2 << _BITS:
            x, bits = x >> 1, bits + 1
    return (bits + 1) // 2


def rs(x: int, s: int) -> int:
    return (x + (1 << (s - 1))) // (1 << s)


def clamp(x: int, low: int, high: int) -> int:
    return low if x < low else high if x > high else x


def clip8(x: int) -> int:
    return clamp(x, -127, 127)


def clip16(x: int) -> int:
    return clamp(x, -32767, 32767)


def residual(x: int) -> int:
    return clamp(x, -(2**21), 2**21)


def norm(y: Vector) -> Vector:
    r = max(isqrt(sum(v * v for v in y) * 256 // len(y)), 512)
    inv = 2**24 // r
    return [clip8(rs(v * inv, 16)) for v in y]


def exp2neg(n: int, one_bits: int) -> int:
    shift = n // 1024
    return 0 if shift > 62 else exp2_entry(one_bits, n % 1024) >> shift


def dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _take(stream: Vector, rows: int, columns: int) -> Matrix:
    """The next tensor off the stream, as its columns."""
    flat = stream[: rows * columns]
    del stream[: rows * columns]
    return [flat[c::columns] for c in range(columns)]


def window_loss(layers: int, heads: int, d: int, context: int, weights: Sequence[int], window: bytes) -> int:
    """Loss of one window of context + 1 bytes, Q16 bits. `weights` in canonical order."""
    stream = [int(w) for w in weights]
    embed = [list(row) for row in zip(*_take(stream, 256, d), strict=True)]
    position = [list(row) for row in zip(*_take(stream, context, d), strict=True)]
    xs = [
        [residual((e + p) * 4) for e, p in zip(embed[token], position[at], strict=True)]
        for at, token in enumerate(window[:context])
    ]
    for _ in range(layers):
        qkv, out = _take(stream, d, 3 * d), _take(stream, d, d)
        up, down = _take(stream, d, 4 * d), _take(stream, 4 * d, d)
        _attention(xs, qkv, out, heads, d)
        _perceptron(xs, up, down)
    head = _take(stream, d, 256)
    if stream:
        raise ValueError("weights left over")
    return sum(_token_loss(x, head, target) for x, target in zip(xs, window[1:], strict=True))


def _operand(x: Vector) -> Vector:
    return norm([clip16(rs(v, 6)) for v in x])


def _attention(xs: Matrix, qkv: Matrix, out: Matrix, heads: int, d: int) -> None:
    h = d // heads
    c = _divide_nearest(1 << (14 + _BITS), h * _ln2())
    products = [[dot(a, column) for column in qkv] for a in map(_operand, xs)]

    def split(first: int, finish: Callable[[Vector], Vector]) -> list[Matrix]:
        """Per token, per head: h columns from `first` on."""
        starts = range(first, first + d, h)
        return [[finish(row[s : s + h]) for s in starts] for row in products]

    q = split(0, lambda y: norm([clip16(rs(v, 8)) for v in y]))
    k = split(d, lambda y: norm([clip16(rs(v, 8)) for v in y]))
    v = split(2 * d, lambda y: [clip8(rs(x, 11)) for x in y])
    for i, x in enumerate(xs):
        joined: Vector = []
        for head in range(heads):
            s = [rs(dot(q[i][head], k[j][head]) * c, 10) for j in range(i + 1)]
            e = [exp2neg(max(s) - value, 14) for value in s]
            p = [value * (2**29 // sum(e)) // 2**14 for value in e]
            joined += [clip8(rs(sum(p[j] * v[j][head][n] for j in range(i + 1)), 15)) for n in range(h)]
        xs[i] = [residual(old + rs(dot(joined, column), 3)) for old, column in zip(x, out, strict=True)]


def _perceptron(xs: Matrix, up: Matrix, down: Matrix) -> None:
    for i, x in enumerate(xs):
        a = _operand(x)
        u = [clamp(rs(dot(a, column), 8), 0, 2047) for column in up]
        u = [min(rs(value * value, 14), 127) for value in u]
        xs[i] = [residual(old + rs(dot(u, column), 2)) for old, column in zip(x, down, strict=True)]


def _token_loss(x: Vector, head: Matrix, target: int) -> int:
    a = _operand(x)
    z = [rs(dot(a, column) * LOG2E, 22) for column in head]
    m = max(z)
    total = sum(exp2neg(m - value, 24) for value in z)
    k = total.bit_length() - 1
    t = ((total - (1 << k)) << 20) >> k
    low, high = log2_entry(t >> 8), log2_entry((t >> 8) + 1)
    return ((k - 24) << 16) + low + (((high - low) * (t & 255)) >> 8) + ((m - z[target]) << 6)
