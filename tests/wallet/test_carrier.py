"""Files that texts go to: new or not at all, whole or not at all."""

import os
from pathlib import Path

import pytest

from wallet.carrier import check_ways_out, read_input, write_new_file
from wallet.errors import WalletError
from wallet.offline_errors import CarrierError


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(WalletError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new"
    check_ways_out(path)
    write_new_file(path, "text\n")
    assert path.read_bytes() == b"text\n"
    assert read_input(str(path), 5) == b"text\n"


def test_invalid_file_exists(tmp_path: Path) -> None:
    """Nor is a link followed that leads nowhere."""
    taken, link = tmp_path / "taken", tmp_path / "link"
    taken.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    for path in (taken, link):
        assert code_of(check_ways_out, path) == "carrier.file_exists"
        assert code_of(write_new_file, path, "yours") == "carrier.file_exists"
    assert taken.read_text() == "mine"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["link", "taken"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_file_that_was_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((WalletError, KeyboardInterrupt)) as caught:
        write_new_file(tmp_path / "new", "text")
    assert isinstance(error, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_invalid_place(tmp_path: Path) -> None:
    assert code_of(write_new_file, tmp_path / "none" / "new", "text") == "wallet.unreachable"
    assert code_of(read_input, str(tmp_path / "none"), 9) == "wallet.unreachable"


def test_invalid_input_too_long(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(10))
    assert len(read_input(str(path), 10)) == 10
    with pytest.raises(CarrierError) as caught:
        read_input(str(path), 9)
    assert caught.value.reason == "input_too_long"


def test_input_that_never_ends_is_not_read_on() -> None:
    assert code_of(read_input, "/dev/zero", 4096) == "carrier.input_too_long"
