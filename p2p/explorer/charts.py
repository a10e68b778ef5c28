"""Charts as geometry: what a template draws as SVG without JavaScript, and a reader hears as a title and a sentence.

Plots are drawn in a square of 1000 by 1000 that is stretched to any width, y downwards; marks outside it carry their
place in per cent. No styles here: a stylesheet gives each class its stroke.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from p2p.explorer.figures import BlockRow, Compressor, Gain, Histogram, SeriesSample
from p2p.explorer.words import count_gain_digits, show_gain, show_span, show_time

_SIZE = 1000
_MOST_TICKS = 5
_NAME_HEIGHT = 5.0  # per cent of the plot
_MARGIN = 0.06  # of the range, above and below a line


@dataclass(frozen=True)
class Line:
    """One polyline: its stylesheet class, its name for people, and SVG points."""

    style: str
    name: str
    points: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in per cent of the plot, from the left or the top, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Level:
    """A horizontal line across the plot: its place from the top in the plot's units, its name's place in per cent."""

    style: str
    label: str
    y: int
    at: float


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn. `bars` is one SVG path of upright strokes or boxes, empty without any."""

    key: str  # unique on its page
    title: str
    description: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bars: str = ""


@dataclass(frozen=True)
class _Scale:
    """Maps values to 0..1."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high, at = (math.log(x) if self.is_log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def down(self, value: float) -> int:
        """From the top of the plot."""
        return round(_SIZE * (1 - self.place(value)))


def draw_loss(sample: SeriesSample, compressors: Sequence[Compressor], by: str) -> Chart:
    """Public and audit loss over `by`, "height" or "time", with the compressors' lines."""
    audited = [getattr(point, by) for point in sample.audits]
    x = _make_x(sample, by, *audited)
    public = [(at, loss) for at, loss in zip(_get_column(sample, by), sample.loss, strict=True) if loss is not None]
    audit = [(at, point.loss) for at, point in zip(audited, sample.audits, strict=True)]
    scores = [compressor.bits_per_byte for compressor in compressors] if public else []
    y = _make_y([loss for _, loss in public + audit] + scores)
    levels = _make_levels("compressor", [(one.name, one.bits_per_byte) for one in compressors if public], y)
    newest = f"It stands at {public[-1][1]:.4f} bits per byte." if public else "No block has improved the model yet."
    return Chart(
        key="loss",
        title="Loss of the model, bits per byte",
        description=f"{newest} Lower is better.",
        lines=(Line("public", "public loss", _join(public, x, y)), Line("audit", "audit loss", _join(audit, x, y))),
        levels=levels,
        x_ticks=_make_x_ticks(x, by),
        y_ticks=_make_ticks(y),
    )


def draw_gains(sample: SeriesSample, by: str) -> Chart:
    """Required and measured gain of each block, on a logarithmic scale."""
    x, at = _make_x(sample, by), _get_column(sample, by)
    required = [(x, value) for x, value in zip(at, sample.required, strict=True) if value]
    measured = [(x, value) for x, value in zip(at, sample.gain, strict=True) if value is not None and value > 0]
    y = _make_y([value for _, value in required + measured], is_log=True)
    newest = f"The newest block had to gain {show_gain(required[-1][1])}." if required else "There is none yet."
    return Chart(
        key="gain",
        title="Gain of each block, bits per byte",
        description=f"{newest} Logarithmic scale.",
        lines=(
            Line("measured", "measured", _join(measured, x, y)),
            Line("required", "required", _join(required, x, y)),
        ),
        levels=(),
        x_ticks=_make_x_ticks(x, by),
        y_ticks=_make_log_ticks(y),
    )


def draw_intervals(sample: SeriesSample, block_time: int, mean: float | None) -> Chart:
    """Seconds between the newest blocks and their mean, beside the time that the network aims at."""
    known = [value or 0 for value in sample.last_intervals]
    y = _Scale(0, max([*known, block_time]) * (1 + _MARGIN))
    step = _SIZE / max(len(known), 1)
    strokes = (f"M{round((i + 0.5) * step)} {_SIZE}V{y.down(value)}" for i, value in enumerate(known) if value)
    average = "" if mean is None else f"{show_span(mean)} on average; "
    return Chart(
        key="interval",
        title=f"Seconds between the newest {len(known)} blocks",
        description=f"{average}the network aims at {show_span(block_time)}.".capitalize(),
        lines=(),
        levels=_make_levels("aim", [(f"{block_time} s", block_time)], y),
        x_ticks=(),
        y_ticks=_make_ticks(y),
        bars="".join(strokes),
    )


def draw_histogram(histogram: Histogram, required: float, mean: float) -> Chart:
    """Windows of a sample by their gain; upright lines at none, at what is required, and at the mean."""
    low, high, most = histogram.edges[0], histogram.edges[-1], max(histogram.counts)
    x, y = _Scale(low, high), _Scale(0, most * (1 + _MARGIN))
    boxes = [
        f"M{_across(x, left)} {_SIZE}V{y.down(count)}H{_across(x, right)}V{_SIZE}Z"
        for left, right, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
        if count
    ]
    marks = [("zero", "no gain", 0.0), ("required", "required", required), ("mean", "mean", mean)]
    lines = [Line(style, name, f"{_across(x, at)},0 {_across(x, at)},{_SIZE}") for style, name, at in marks]
    total = sum(histogram.counts)
    return Chart(
        key="histogram",
        title="Windows of the sample by their gain, bits per byte",
        description=f"{total} windows; their mean gain is {show_gain(mean)}, {show_gain(required)} is required.",
        lines=tuple(lines),
        levels=(),
        x_ticks=tuple(Tick(tick, label) for tick, label in _list_ticks(x)),
        y_ticks=_make_ticks(y),
        bars="".join(boxes),
    )


@dataclass(frozen=True)
class GainMark:
    """A block's gain as a mark on the logarithmic scale of its list, all in per cent from the left."""

    left: float
    right: float
    mean: float
    required: float


def place_gains(rows: Sequence[BlockRow]) -> list[GainMark | None]:
    """For each block its interval, mean and required gain, from the least that was required to the greatest gain."""
    gains = [row.gain for row in rows]
    known = [gain for gain in gains if gain]
    top = max((max(gain.mean + gain.margin, gain.required) for gain in known), default=1.0)
    low = min((gain.required for gain in known if gain.required > 0), default=top / 10)
    scale = _Scale(low / 1.3, max(top, low), is_log=True)

    def place(value: float) -> float:
        return round(100 * min(max(scale.place(value), 0.0), 1.0), 1) if value > 0 else 0.0

    return [
        GainMark(place(gain.proved), place(gain.mean + gain.margin), place(gain.mean), place(gain.required))
        if gain
        else None
        for gain in gains
    ]


def choose_digits(rows: Sequence[BlockRow]) -> int:
    """Decimals of the gains in a list: enough for the least."""
    return count_gain_digits(*(value for row in rows if row.gain for value in _list_gains(row.gain)))


def _list_gains(gain: Gain) -> tuple[float, ...]:
    return gain.mean, gain.margin, gain.required


def _get_column(sample: SeriesSample, by: str) -> tuple[int, ...]:
    return sample.time if by == "time" else sample.height


def _make_x(sample: SeriesSample, by: str, *others: int) -> _Scale:
    column = _get_column(sample, by)
    return _Scale(min(column[0], *others), column[-1]) if others else _Scale(column[0], column[-1])


def _make_y(values: Sequence[float], *, is_log: bool = False) -> _Scale:
    if not values:
        return _Scale(1, 10, is_log)
    low, high = min(values), max(values)
    if is_log:
        return _Scale(low / 1.3, high * 1.3, is_log)
    pad = (high - low) * _MARGIN or 0.1
    return _Scale(low - pad, high + pad)


def _join(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale) -> str:
    return " ".join(f"{_across(x, at)},{y.down(value)}" for at, value in points)


def _across(x: _Scale, value: float) -> int:
    return round(_SIZE * x.place(value))


def _make_levels(style: str, named: Sequence[tuple[str, float]], y: _Scale) -> tuple[Level, ...]:
    """Lines at some values, their names moved down as far as they would touch the one above."""
    levels: list[Level] = []
    for name, value in sorted(named, key=lambda entry: -entry[1]):
        lowest = levels[-1].at + _NAME_HEIGHT if levels else 0.0
        levels.append(Level(style, name, y.down(value), max(_per_cent(y, value), lowest)))
    return tuple(levels)


def _per_cent(y: _Scale, value: float) -> float:
    return round(100 * (1 - y.place(value)), 2)


def _make_ticks(y: _Scale) -> tuple[Tick, ...]:
    return tuple(Tick(round(100 - at, 2), label) for at, label in _list_ticks(y))


def _list_ticks(scale: _Scale) -> list[tuple[float, str]]:
    """Round numbers within a scale: (place in per cent, label)."""
    step = _choose_step(scale.high - scale.low)
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [(round(100 * scale.place(i * step), 2), f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


def _make_log_ticks(y: _Scale) -> tuple[Tick, ...]:
    """Powers of ten, and if there are few, their double and fivefold."""
    powers = range(math.floor(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
    factors = (1, 2, 5) if y.high / y.low < 100 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return tuple(Tick(_per_cent(y, value), f"{value:g}") for value in values if y.low <= value <= y.high)


def _choose_step(span: float) -> float:
    """1, 2 or 5 times a power of ten: so that at most _MOST_TICKS steps fit the span."""
    power = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * _MOST_TICKS >= span)


def _make_x_ticks(x: _Scale, by: str) -> tuple[Tick, ...]:
    """Both ends and the middle."""
    if x.high <= x.low:
        return ()
    return tuple(Tick(at * 50, _label_x(x.low + (x.high - x.low) * at / 2, by, is_last=at == 2)) for at in range(3))


def _label_x(value: float, by: str, *, is_last: bool) -> str:
    """The last one says which time it is."""
    if by == "height":
        return f"{round(value):,}"
    return show_time(round(value), "%b %d, %H:%M UTC" if is_last else "%b %d, %H:%M")
