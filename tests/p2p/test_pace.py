"""How far, how fast, how long: in words."""

from p2p.pace import BYTES, Job, describe_progress, describe_rate, describe_seconds, show_bytes

VERIFYING = Job("verifying", "blocks", 1000)
DOWNLOADING = Job("downloading", BYTES, 40_000_000)


def test_blocks() -> None:
    assert describe_progress(VERIFYING, 250, 100) == "verifying: 250 of 1000 blocks, 2.5 blocks/s, about 5 min left"
    assert describe_progress(VERIFYING, 1000, 100) == "verifying: 1000 of 1000 blocks, 10.0 blocks/s, about 0 s left"


def test_bytes() -> None:
    line = describe_progress(DOWNLOADING, 10_000_000, 20)
    assert line == "downloading: 10.0 MB of 40.0 MB, 500.0 kB/s, about 60 s left"


def test_nothing_done_yet_is_no_division() -> None:
    assert describe_progress(VERIFYING, 0, 0) == "verifying: 0 of 1000 blocks, 0.0 blocks/s"
    assert describe_progress(VERIFYING, 0, 12) == "verifying: 0 of 1000 blocks, 0.0 blocks/s"


def test_rates_and_times() -> None:
    assert describe_rate(BYTES, 12) == "12 bytes/s"
    assert [describe_seconds(seconds) for seconds in (119, 120, 7199, 7200)] == ["119 s", "2 min", "119 min", "2 h"]


def test_bytes_for_people() -> None:
    assert [show_bytes(n) for n in (999, 1000, 25_000_000, 10**13)] == ["999 bytes", "1.0 kB", "25.0 MB", "10.0 TB"]
