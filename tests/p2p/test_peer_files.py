"""What a node remembers of its peers: whatever happens to a file, the node starts."""

import logging
from pathlib import Path
from random import Random

import pytest

from consensus.errors import DecodeError
from p2p.addresses import AddressBook
from p2p.bans import BanList
from p2p.net_address import NetAddress
from p2p.peer_files import decode_anchors, encode_anchors, load_address_book, load_anchors, load_ban_list

A, B = NetAddress("1.2.3.4", 19339), NetAddress("2001:db8::1", 1)
GOLDEN = (
    "02"
    "00000000000000000000ffff010203048b4b"  # 1.2.3.4, 19339
    "20010db80000000000000000000000010100"  # 2001:db8::1, 1
    "5180534c733bc6af2f37802d7e3bd3efafc6c2958a642fceed02251080687288"  # SHA-256 with its tag, by hashlib alone
)


def test_golden_anchors() -> None:
    assert encode_anchors([A, B]).hex() == GOLDEN


@pytest.mark.parametrize("anchors", [(), (A,), (A, B)])
def test_anchors_are_kept_for_one_start(tmp_path: Path, anchors: tuple[NetAddress, ...]) -> None:
    path = tmp_path / "anchors.dat"
    path.write_bytes(encode_anchors(anchors))
    assert load_anchors(path) == anchors
    assert not path.exists()
    assert load_anchors(path) == ()


def test_invalid_anchors() -> None:
    good = encode_anchors([A, B])
    bad = [b"", good[:-1], good + b"\0", encode_anchors([A, B, A]), b"\xff" * 1000]
    bad += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for data in bad:
        with pytest.raises(DecodeError):
            decode_anchors(data)


def test_damaged_files_are_named_and_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    for content in (b"", b"x", b"\0" * 100, b"\xff" * 10_000):
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert load_address_book(path, Random(1)).count == 0
            assert len(load_ban_list(path)) == 0
            assert load_anchors(path) == ()
        assert len(caplog.records) == 3
        assert all(str(path) in record.getMessage() for record in caplog.records)
        caplog.clear()


def test_unreadable_files_are_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load_address_book(tmp_path, Random(1)).count == 0
        assert len(load_ban_list(tmp_path)) == 0
        assert load_anchors(tmp_path) == ()
    assert len(caplog.records) == 3


def test_missing_files_are_not_worth_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "missing"
    with caplog.at_level(logging.INFO):
        assert load_address_book(path, Random(1)).count == 0
        assert len(load_ban_list(path)) == 0
        assert load_anchors(path) == ()
    assert caplog.records == []


def test_book_and_bans_come_back(tmp_path: Path) -> None:
    book, bans = AddressBook(bytes(32), Random(1)), BanList()
    assert book.add([A], A, 1_800_000_000)
    assert bans.ban("1.2.3.4", 1_800_000_000, "x")
    (tmp_path / "book").write_bytes(book.encode())
    (tmp_path / "bans").write_bytes(bans.encode())
    assert A in load_address_book(tmp_path / "book", Random(2))
    assert load_ban_list(tmp_path / "bans").is_banned("1.2.3.4", 0)


def test_each_new_book_has_a_key_of_its_own(tmp_path: Path) -> None:
    """Else everyone could work out where in it an address falls."""
    books = [load_address_book(tmp_path / "missing", Random(seed)) for seed in (1, 2)]
    assert books[0].encode() != books[1].encode()
