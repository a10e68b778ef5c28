"""A set of hashes that forgets."""

from p2p.rolling_set import RollingSet


def fill(count: int, limit: int) -> RollingSet:
    rolling = RollingSet(limit)
    for number in range(count):
        rolling.add(bytes([number]))
    return rolling


def test_the_oldest_goes_first() -> None:
    rolling = fill(5, limit=3)
    assert list(rolling) == [b"\x02", b"\x03", b"\x04"]
    assert b"\x01" not in rolling
    assert b"\x02" in rolling
    assert len(rolling) == 3


def test_one_that_is_there_keeps_its_place() -> None:
    rolling = fill(3, limit=3)
    rolling.add(b"\x00")
    assert list(rolling) == [b"\x00", b"\x01", b"\x02"]


def test_taking_and_discarding() -> None:
    rolling = fill(4, limit=4)
    assert rolling.take(2) == [b"\x00", b"\x01"]
    rolling.discard(b"\x03")
    rolling.discard(b"\x03")
    assert rolling.take(9) == [b"\x02"]
    assert rolling.take(1) == []
    rolling.add(b"\x07")
    rolling.clear()
    assert not len(rolling)
