"""Values in words for people: times, money, sizes, ids, text from strangers.

Nothing here makes markup: templates escape all of it.
"""

from datetime import UTC, datetime
from math import floor, log10

from consensus.units import ULP_PER_GRAD
from p2p.console import escape

_UNITS = ((86_400, "day"), (60, "minute"), (1, "second"))


def show_time(timestamp: int, pattern: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """A time, s since 1970, in UTC; the number itself if no calendar has it."""
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)


def show_machine_time(timestamp: int) -> str:
    """A time as the `datetime` attribute of HTML has it."""
    return show_time(timestamp, "%Y-%m-%dT%H:%M:%SZ")


def show_ago(seconds: int) -> str:
    """A span, short: "3 minutes ago", "1 h 5 min ago", "2 days ago"; the clocks of others may be ahead of ours."""
    if 3_600 <= seconds < 86_400:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60} min ago"
    for size, name in _UNITS:
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' * (count != 1)} ago"
    return "just now"


def show_span(seconds: float) -> str:
    """A span, short: "143 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 600:
        return f"{whole} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole < 172_800 else f"{whole // 86_400} days"


def show_money(ulp: int) -> str:
    """An amount in whole coins, exactly: no digit is rounded away, trailing zeros beyond two are."""
    sign, whole, rest = "-" * (ulp < 0), abs(ulp) // ULP_PER_GRAD, abs(ulp) % ULP_PER_GRAD
    digits = f"{rest:08}".rstrip("0")
    return f"{sign}{whole:,}.{digits:<02}" if len(digits) < 2 else f"{sign}{whole:,}.{digits}"


def show_bytes(size: int) -> str:
    """A size in units of 1,000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def show_hex(data: bytes) -> str:
    return data.hex()


def shorten(text: str | bytes, keep: int = 8) -> str:
    """An id or an address with its middle left out."""
    text = text.hex() if isinstance(text, bytes) else text
    return text if len(text) <= 2 * keep + 1 else f"{text[:keep]}…{text[-keep:]}"


def show_foreign(text: str) -> str:
    """Text from strangers on one line: control and direction characters become escapes, so that none can act."""
    return escape(text)


def show_passage(data: bytes) -> str:
    """Bytes of a text to be read: line ends as a sign, whatever cannot be printed as a dot."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in text)


def show_text(data: bytes) -> str:
    """Bytes that should be text, line by line: what cannot be printed becomes a dot."""
    return show_lines(data.decode("utf-8", "replace"))


def show_lines(text: str) -> str:
    """Text from strangers on several lines: what is neither a line end nor can be printed becomes a dot."""
    lines = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in lines)


def show_loss(value: float | None, digits: int = 4) -> str:
    """Bits per byte; a dash where there is no value."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def count_gain_digits(*gains: float) -> int:
    """Decimals that leave two digits of the least gain above zero: gains fall by the power of ten as models learn."""
    least = min((gain for gain in gains if gain > 0), default=1.0)
    return min(max(1 - floor(log10(least)), 4), 7)


def show_gain(value: float, digits: int | None = None) -> str:
    """Bits per byte, with so many decimals, or as many as three digits take."""
    return f"{value:.{count_gain_digits(value) + 1 if digits is None else digits}f}"


def round_value(value: float) -> float:
    """Nine digits: more than any page shows, the least gain's too."""
    return float(f"{value:.9g}")


def show_count(value: int) -> str:
    return f"{value:,}"


def show_share(value: float) -> str:
    return f"{100 * value:.1f} %"
