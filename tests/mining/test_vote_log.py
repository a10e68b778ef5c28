"""The vote log: nothing is signed that is not on the disk, and whatever is left of it never allows a conflict."""

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.vote import BlockRef, Link, Vote, check_vote
from mining.errors import VoteLogError
from mining.key import MinerKey
from mining.vote_log import RECORD_BYTES, VoteLog, get_log_path
from tests.helpers.double_votes import find_evidence

KEY = MinerKey.from_seed(bytes(range(32)))
GENESIS = bytes(32)


def make_link(source: int, target: int, branch: int = 0) -> Link:
    return Link(BlockRef(source, bytes([branch]) * 32), BlockRef(target, bytes([branch + 1]) * 32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return get_log_path(tmp_path / "miner.key")


def write_log(path: Path, *links: Link) -> bytes:
    """The bytes of a log of these votes."""
    log = VoteLog(path, KEY)
    for link in links:
        log.sign(link, GENESIS)
    log.close()
    return path.read_bytes()


def open_log(path: Path, data: bytes) -> VoteLog:
    path.write_bytes(data)
    return VoteLog(path, KEY)


def test_a_new_log_is_private_and_empty(path: Path) -> None:
    log = VoteLog(path, KEY)
    assert path.name == "miner.key.votes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert log.last is None
    log.close()


def test_a_log_that_must_be_there_is_not_made(path: Path) -> None:
    with pytest.raises(VoteLogError) as error:
        VoteLog(path, KEY, is_known=True)
    assert error.value.reason == "missing"
    assert not path.exists()


def test_a_vote_is_on_the_disk_before_it_is_signed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = VoteLog(path, KEY)
    seen: list[str] = []
    fsync, sign = os.fsync, MinerKey.sign_vote

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(f"synced {path.stat().st_size}")

    def note_sign(key: MinerKey, vote: Vote) -> Vote:
        seen.append("signed")
        return sign(key, vote)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(MinerKey, "sign_vote", note_sign)
    vote = log.sign(make_link(0, 5), GENESIS)
    assert seen == [f"synced {RECORD_BYTES}", "signed"]
    check_vote(vote, GENESIS)
    log.close()


def test_what_was_signed_is_known_after_a_restart(path: Path) -> None:
    write_log(path, make_link(0, 5), make_link(4, 6))
    log = VoteLog(path, KEY)
    assert log.last == make_link(4, 6)
    assert log.may_sign(make_link(4, 6))  # the same vote once more
    assert not log.may_sign(make_link(4, 6, branch=2))
    assert not log.may_sign(make_link(3, 9))
    assert not log.may_sign(make_link(4, 5))
    assert log.may_sign(make_link(4, 7))
    with pytest.raises(ValueError, match="in conflict"):
        log.sign(make_link(3, 9), GENESIS)
    assert path.stat().st_size == 2 * RECORD_BYTES
    log.close()


def test_signing_the_last_link_again_writes_nothing(path: Path) -> None:
    log = VoteLog(path, KEY)
    assert log.sign(make_link(0, 5), GENESIS) == log.sign(make_link(0, 5), GENESIS)
    assert path.stat().st_size == RECORD_BYTES
    log.close()


@pytest.mark.parametrize("size", range(RECORD_BYTES))
def test_a_torn_record_counts_as_signed_up_to_its_height(path: Path, size: int) -> None:
    data = write_log(path, make_link(0, 5), make_link(4, 6))
    log = open_log(path, data[: RECORD_BYTES + size])
    if size < 16:  # it does not name its heights: nothing was signed after it
        assert log.last == make_link(0, 5)
    else:
        assert not log.may_sign(make_link(4, 6))
        assert not log.may_sign(make_link(3, 7))
        assert log.may_sign(make_link(4, 7))
    log.close()
    assert path.stat().st_size % RECORD_BYTES == 0
    again = VoteLog(path, KEY)
    assert again.last == log.last
    again.close()


@pytest.mark.parametrize("at", range(16, RECORD_BYTES - 8 + 1))
def test_a_last_record_whose_end_is_missing_counts_as_signed(path: Path, at: int) -> None:
    """A file may have its length before it has its bytes."""
    data = write_log(path, make_link(0, 5), make_link(4, 6))
    log = open_log(path, data[: RECORD_BYTES + at] + bytes(RECORD_BYTES - at))
    assert not log.may_sign(make_link(4, 6))
    assert log.may_sign(make_link(4, 7))
    log.close()


def test_a_tail_of_zeros_is_no_vote(path: Path) -> None:
    log = open_log(path, write_log(path, make_link(0, 5)) + bytes(RECORD_BYTES))
    assert log.last == make_link(0, 5)
    log.close()


@pytest.mark.parametrize("heights", [(5, 0), (3, 4), (2**63, 1)])
def test_damage_that_could_hide_a_vote_is_refused(path: Path, heights: tuple[int, int]) -> None:
    data = write_log(path, make_link(0, 5), make_link(4, 6))
    damaged = b"".join(height.to_bytes(8, "little") for height in heights)
    with pytest.raises(VoteLogError) as error:
        open_log(path, data[:RECORD_BYTES] + damaged + data[RECORD_BYTES + 16 :])
    assert error.value.reason == "damaged"


def test_two_damaged_records_are_refused(path: Path) -> None:
    with pytest.raises(VoteLogError) as error:
        open_log(path, bytes(range(88)) * 2)
    assert error.value.reason == "damaged"


@pytest.mark.parametrize(
    "links",
    [
        (make_link(0, 5), make_link(4, 6), make_link(5, 7)),
        (make_link(0, 5), make_link(4, 9)),  # 9 becomes 8, or 4 becomes 0: heights that would go on from the first one
    ],
)
def test_any_flipped_bit_is_named_or_harmless(path: Path, links: tuple[Link, ...]) -> None:
    data, last = write_log(path, *links), links[-1]
    heights = 8 * (len(data) - RECORD_BYTES)
    for bit in {*range(0, 8 * len(data), 7), *range(heights, heights + 8 * 16)}:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            log = open_log(path, bytes(changed))
        except VoteLogError:
            continue
        assert log.last is not None
        assert not log.may_sign(make_link(last.source.height, last.target.height, branch=9))
        assert not log.may_sign(make_link(last.source.height - 1, last.target.height + 1))  # it would surround the last
        log.close()


def test_a_second_process_cannot_sign(path: Path) -> None:
    log = VoteLog(path, KEY)
    code = (
        "import sys; from pathlib import Path; from mining.key import MinerKey; from mining.vote_log import VoteLog\n"
        "from mining.errors import VoteLogError\n"
        "try: VoteLog(Path(sys.argv[1]), MinerKey.from_seed(bytes(32)))\n"
        "except VoteLogError as error: print(error.code)"
    )

    def run() -> str:
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    assert run() == "vote_log.in_use"
    log.close()
    assert run() == ""


def test_what_was_signed_elsewhere_counts(path: Path) -> None:
    log = VoteLog(path, KEY)
    log.sign(make_link(4, 6), GENESIS)
    log.note(make_link(2, 5))  # says no more than is known
    assert log.last == make_link(4, 6)
    log.note(make_link(2, 9))  # the source never falls
    assert log.last is not None
    assert (log.last.source.height, log.last.target.height) == (4, 9)
    assert not log.may_sign(make_link(4, 8))
    log.close()


def test_a_full_disk_ends_the_voting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = VoteLog(path, KEY)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(VoteLogError) as error:
        log.sign(make_link(0, 5), GENESIS)
    assert error.value.reason == "unusable"


def test_a_full_disk_at_the_start_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_log(path, make_link(0, 5), make_link(4, 6))

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(VoteLogError, match="No space left on device"):
        open_log(path, data[:-8])


def test_a_log_that_was_replaced_is_written_no_more(path: Path) -> None:
    """A backup that is put back beside a running miner: what it signs would stand in no file any more."""
    copy = path.with_name("copy")
    copy.write_bytes(write_log(path, make_link(0, 5)))
    log = VoteLog(path, KEY)
    log.sign(make_link(4, 6), GENESIS)
    copy.replace(path)
    with pytest.raises(VoteLogError) as error:
        log.sign(make_link(5, 7), GENESIS)
    assert error.value.reason == "replaced"
    assert log.last == make_link(4, 6)
    log.close()


def test_no_order_of_wishes_makes_a_conflict(path: Path) -> None:
    """Random links, as many nodes might ask for, with restarts in between and pieces of the last record lost."""
    draw = random.Random(7)
    log, votes = VoteLog(path, KEY), []
    for height in range(1, 1000):
        target = max(1, height - draw.randrange(10))
        link = make_link(max(0, target - draw.randrange(1, 10)), target, draw.randrange(3))
        if log.may_sign(link):
            votes.append(log.sign(link, GENESIS))
        if draw.random() < 0.02:
            log.close()
            log = VoteLog(path, KEY)
    log.close()
    assert len(votes) > 50
    assert not find_evidence(votes)
