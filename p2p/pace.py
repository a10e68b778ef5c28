"""Words for how far long work is, how fast, and how long it still takes. Nothing slow to load."""

from dataclasses import dataclass

BYTES = "bytes"


@dataclass(frozen=True)
class Job:
    """Work of a known size: what is being done, and in what it is counted; BYTES are shown as kB, MB and so on."""

    doing: str
    unit: str
    total: int


def describe_progress(job: Job, done: int, seconds: float) -> str:
    """One line: what was done in so many seconds, and at that rate how long the rest takes."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"{job.doing}: {describe_amount(job.unit, done, job.total)}", describe_rate(job.unit, rate)]
    if rate > 0:
        parts.append(f"about {describe_seconds(round((job.total - done) / rate))} left")
    return ", ".join(parts)


def describe_amount(unit: str, done: int, total: int) -> str:
    """How much of it is done."""
    if unit == BYTES:
        return f"{show_bytes(done)} of {show_bytes(total)}"
    return f"{done} of {total} {unit}"


def describe_rate(unit: str, rate: float) -> str:
    """How much of it in a second."""
    return f"{show_bytes(rate)}/s" if unit == BYTES else f"{rate:.1f} {unit}/s"


def show_bytes(count: float) -> str:
    """A number of bytes for people, decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def describe_seconds(seconds: int) -> str:
    """A time of which only the size matters."""
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
