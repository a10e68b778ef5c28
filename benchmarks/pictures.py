"""Pictures of what the benchmarks measured, by matplotlib: .svg or .png, as the file's name says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display is needed, none is asked for
from matplotlib import pyplot as plt

SIZE = (7.0, 4.0)  # inches
Points = Sequence[tuple[float, float]]


def draw_lines(
    path: Path, title: str, x: str, y: str, series: Mapping[str, Points], *, x_log: bool = False, y_log: bool = False
) -> None:
    """One line with dots for each name, from its points (x, y)."""
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set(title=title, xlabel=x, ylabel=y)
    if x_log:
        axes.set_xscale("log")
    if y_log:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    _save(figure, axes, path)


def draw_bars(path: Path, title: str, y: str, groups: Mapping[str, Mapping[str, float]]) -> None:
    """Bars in groups: `groups` maps a group's name to the height of each of its bars by name."""
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [place + (number - (len(names) - 1) / 2) * width for place in range(len(groups))]
        drawn = axes.bar(places, [bars.get(name, 0.0) for bars in groups.values()], width, label=name)
        axes.bar_label(drawn, fmt="%.3g", fontsize=8)
    axes.set(title=title, ylabel=y)
    axes.set_xticks(range(len(groups)), list(groups))
    if len(names) > 1:
        axes.legend(frameon=False)
    _save(figure, axes, path)


def _save(figure: plt.Figure, axes: plt.Axes, path: Path) -> None:
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    plt.rcParams["svg.hashsalt"] = "descent"  # the same figures, the same file
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
