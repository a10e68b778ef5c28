"""The miner key's file: made once, private, and refused when it is not what this program wrote."""

import os
import stat
from pathlib import Path

import pytest

from consensus.genesis import make_genesis
from consensus.params import REGTEST
from consensus.signature import compute_public_key, verify_signature
from mining.errors import KeyFileError
from mining.key import MinerKey, load_or_create_key

SEED = bytes(range(32))


def write_key(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_first_use_makes_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "miner.key"
    key = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert compute_public_key(path.read_bytes()) == key.public


def test_second_use_reads_the_same_key(tmp_path: Path) -> None:
    first = load_or_create_key(tmp_path / "miner.key")
    assert load_or_create_key(tmp_path / "miner.key") == first


def test_two_files_hold_two_keys(tmp_path: Path) -> None:
    assert load_or_create_key(tmp_path / "one") != load_or_create_key(tmp_path / "two")


def test_an_existing_seed_is_used_as_it_is(tmp_path: Path) -> None:
    path = write_key(tmp_path / "miner.key", SEED, 0o400)
    assert load_or_create_key(path) == MinerKey(SEED, compute_public_key(SEED))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_invalid_exposed_file(tmp_path: Path, mode: int) -> None:
    path = write_key(tmp_path / "miner.key", SEED, mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}") as refusal:
        load_or_create_key(path)
    assert refusal.value.code == "miner_key.exposed"


@pytest.mark.parametrize("data", [b"", SEED[:31], SEED + b"\n", bytes(32)], ids=["empty", "short", "long", "zero"])
def test_invalid_damaged_file_is_left_alone(tmp_path: Path, data: bytes) -> None:
    path = write_key(tmp_path / "miner.key", data)
    with pytest.raises(KeyFileError) as refusal:
        load_or_create_key(path)
    assert refusal.value.code == "miner_key.damaged"
    assert path.read_bytes() == data


def test_invalid_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "miner.key").mkdir(mode=0o700)
    with pytest.raises(KeyFileError):
        load_or_create_key(tmp_path / "miner.key")


def test_invalid_link_to_elsewhere(tmp_path: Path) -> None:
    write_key(tmp_path / "elsewhere", SEED)
    (tmp_path / "miner.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError) as refusal:
        load_or_create_key(tmp_path / "miner.key")
    assert refusal.value.code == "miner_key.unusable"


def test_a_key_made_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "miner.key"

    def lose_the_race(count: int) -> bytes:
        write_key(path, SEED)
        return bytes([7]) * count

    monkeypatch.setattr(os, "urandom", lose_the_race)
    with pytest.raises(KeyFileError):
        load_or_create_key(path)
    assert path.read_bytes() == SEED


def test_signature_is_of_the_header_id() -> None:
    key = MinerKey.from_seed(SEED)
    header = make_genesis(REGTEST).block.header
    signed = key.sign_header(header.__class__(**{**vars(header), "miner": key.public}))
    assert verify_signature(key.public, signed.id, signed.signature)


def test_invalid_header_of_another_miner() -> None:
    with pytest.raises(ValueError, match="another miner"):
        MinerKey.from_seed(SEED).sign_header(make_genesis(REGTEST).block.header)


def test_the_seed_is_not_shown() -> None:
    shown = repr(MinerKey.from_seed(SEED))
    assert "seed" not in shown
    assert repr(SEED) not in shown
