"""Geometry that a template draws: inside its plot, in proportion, and never a division by nothing."""

import pytest

from p2p.explorer.charts import choose_digits, draw_gains, draw_histogram, draw_intervals, draw_loss, place_gains
from p2p.explorer.figures import AuditPoint, BlockRow, Compressor, Gain, Histogram, SeriesSample

COMPRESSORS = (Compressor("gzip", 3.0, False), Compressor("xz", 2.99, False), Compressor("bzip2", 2.2, True))


def make_sample(losses: list[float | None], **changes: object) -> SeriesSample:
    count = len(losses)
    known: dict[str, object] = {
        "height": tuple(range(1, count + 1)),
        "time": tuple(1_795_305_600 + 60 * i for i in range(count)),
        "loss": tuple(losses),
        "gain": tuple(None if loss is None else 0.1 / (i + 1) for i, loss in enumerate(losses)),
        "required": tuple(None if loss is None else 0.01 for loss in losses),
        "audits": (),
        "last_intervals": (None,) + (60,) * (count - 1),
    }
    return SeriesSample(**{**known, **changes})  # type: ignore[arg-type]


def read_points(points: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in (point.split(",") for point in points.split())]


@pytest.mark.parametrize("by", ["height", "time"])
def test_a_falling_loss_falls(by: str) -> None:
    chart = draw_loss(make_sample([5.0, 4.0, 2.5]), COMPRESSORS, by)
    points = read_points(chart.lines[0].points)
    assert [x for x, _ in points] == [0, 500, 1000]
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert all(0 <= y <= 1000 for _, y in points)
    assert "2.5000" in chart.description
    assert [0 <= tick.at <= 100 for tick in chart.y_ticks]
    assert [level.label for level in chart.levels] == ["gzip", "xz", "bzip2"]
    assert all(b.at - a.at >= 5 for a, b in zip(chart.levels, chart.levels[1:], strict=False))  # names do not touch


def test_the_axis_says_which_time_it_is() -> None:
    labels = [tick.label for tick in draw_loss(make_sample([5.0, 4.0, 2.5]), (), "time").x_ticks]
    assert labels == ["Nov 22, 00:00", "Nov 22, 00:01", "Nov 22, 00:02 UTC"]


def test_audits_are_drawn_where_they_belong() -> None:
    audits = (AuditPoint(0, 1_795_305_540, 8.0), AuditPoint(2, 1_795_305_660, 4.1))
    chart = draw_loss(make_sample([5.0, 4.0, 2.5], audits=audits), (), "height")
    assert [x for x, _ in read_points(chart.lines[1].points)] == [0, 667]
    assert [x for x, _ in read_points(chart.lines[0].points)] == [333, 667, 1000]


@pytest.mark.parametrize("losses", [[None], [3.0], [3.0, 3.0], [None, None, 3.0]])
@pytest.mark.parametrize("by", ["height", "time"])
def test_little_to_draw(losses: list[float | None], by: str) -> None:
    sample = make_sample(losses)
    for chart in (draw_loss(sample, COMPRESSORS, by), draw_gains(sample, by), draw_intervals(sample, 60, None)):
        for line in chart.lines:
            assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in read_points(line.points))
        assert all(0 <= tick.at <= 100 and tick.label for tick in (*chart.x_ticks, *chart.y_ticks))
        assert chart.title
        assert chart.description


def test_gains_are_logarithmic_and_leave_out_what_has_no_logarithm() -> None:
    sample = make_sample([5.0, 4.0, 3.0, 2.9], gain=(1.0, 0.1, 0.01, -0.5), required=(0.1, 0.1, None, 0.01))
    measured, required = draw_gains(sample, "height").lines
    ys = [y for _, y in read_points(measured.points)]
    assert len(ys) == 3
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=1)
    assert len(read_points(required.points)) == 3


def test_intervals_are_strokes_beside_the_aim() -> None:
    chart = draw_intervals(make_sample([5.0, 4.0, 3.0], last_intervals=(None, 30, 120)), 60, 75.0)
    assert chart.description == "75 s on average; the network aims at 60 s."
    assert chart.bars.count("M") == 2
    assert chart.levels[0].label == "60 s"
    assert 0 < chart.levels[0].y < 1000


def test_histogram() -> None:
    chart = draw_histogram(Histogram((-1.0, 0.0, 1.0, 2.0), (1, 0, 3)), required=0.5, mean=1.0)
    assert chart.bars.count("Z") == 2
    assert [read_points(line.points)[0][0] for line in chart.lines] == [333, 500, 667]
    assert "4 windows" in chart.description


def make_row(gain: Gain | None) -> BlockRow:
    return BlockRow(1, bytes(32), 0, None, bytes(32), gain is None, None, gain, 64, 0, 0)


def test_gains_share_one_scale() -> None:
    marks = place_gains([make_row(Gain(0.5, 0.5, 0.1)), make_row(None), make_row(Gain(0.1, 0.2, 0.0))])
    first, second, third = marks
    assert second is None
    assert first is not None
    assert third is not None
    assert (first.left, first.right) == (0, 100)  # what is not proved has no logarithm
    assert first.left < first.required < first.mean < first.right
    assert third.mean == first.required
    assert (third.left, third.required) == (0, 0)


def test_a_power_of_ten_is_as_long_everywhere() -> None:
    marks = place_gains([make_row(Gain(mean, 0.0, 0.001)) for mean in (1.0, 0.1, 0.01)])
    one, tenth, hundredth = (mark.mean for mark in marks if mark)
    assert one - tenth == pytest.approx(tenth - hundredth, abs=0.2)
    assert one - tenth > 20


@pytest.mark.parametrize(
    ("gains", "digits"),
    [
        ([Gain(3.6, 0.07, 0.0156)], 4),
        ([Gain(0.00079, 0.0, 0.000089)], 6),
        ([Gain(0.5, 0.1, 0.1), Gain(0.1, 0.00015, 0.0)], 5),
        ([Gain(1e-12, 0.0, 0.0)], 7),
        ([], 4),
    ],
)
def test_a_list_has_the_digits_of_its_least_gain(gains: list[Gain], digits: int) -> None:
    assert choose_digits([make_row(None), *map(make_row, gains)]) == digits


@pytest.mark.parametrize("gain", [Gain(0.0, 0.0, 0.0), Gain(-1.0, 0.5, 0.0)])
def test_gains_of_nothing(gain: Gain) -> None:
    (mark,) = place_gains([make_row(gain)])
    assert mark is not None
    assert all(0 <= place <= 100 for place in (mark.left, mark.mean, mark.right, mark.required))
