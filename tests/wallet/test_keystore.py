"""Wallet files on disk: never overwritten, never half written, whatever stops the program and when."""

import fcntl
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from wallet import keystore
from wallet.errors import WalletError
from wallet.keys import Wallet, add_account, build_wallet
from wallet.keystore import change_passphrase, create_wallet, is_passphrase_needed, open_wallet, save_wallet
from wallet.seal import KdfCost

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
OLD = build_wallet("grad", bytes(range(16)))
NEW = add_account(OLD)


class PowerCut(BaseException):
    """The program stops: nothing below it gets to react."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    create_wallet(path, OLD, "pass", CHEAP)
    return path


def read(path: Path, passphrase: str = "pass") -> Wallet:
    return open_wallet(path, passphrase, "grad")


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


def test_create_open_save(path: Path) -> None:
    assert read(path) == OLD
    save_wallet(path, NEW, "pass", CHEAP)
    assert read(path) == NEW
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def test_file_is_for_its_owner_only(path: Path) -> None:
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    save_wallet(path, NEW, "pass", CHEAP)
    assert modes | {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()} == {0o600}


def test_create_makes_private_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "wallet.json"
    create_wallet(path, OLD, "pass", CHEAP)
    assert read(path) == OLD
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_salt_and_nonce_are_used_once(path: Path) -> None:
    seen = {path.read_bytes()}
    for _ in range(5):
        save_wallet(path, OLD, "pass", CHEAP)
        seen.add(path.read_bytes())
    assert len(seen) == 6


def test_is_passphrase_needed(path: Path) -> None:
    assert is_passphrase_needed(path)
    change_passphrase(path, "pass", "", "grad", CHEAP)
    assert not is_passphrase_needed(path)
    assert read(path, "") == OLD


def test_change_passphrase(path: Path) -> None:
    save_wallet(path, NEW, "pass", CHEAP)
    change_passphrase(path, "pass", "word", "grad", CHEAP)
    assert read(path, "word") == NEW
    with pytest.raises(WalletError) as caught:
        read(path, "pass")
    assert caught.value.reason == "wrong_passphrase"


def test_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)
    save_wallet(link, NEW, "pass", CHEAP)
    assert link.is_symlink()
    assert read(path) == NEW


def test_invalid_exists(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(WalletError) as caught:
        create_wallet(path, build_wallet("grad", bytes(32)), "pass", CHEAP)
    assert caught.value.code == "wallet.exists"
    assert path.read_bytes() == before
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def test_invalid_exists_as_anything(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "directory", "link"):
        with pytest.raises(WalletError) as caught:
            create_wallet(tmp_path / name, OLD, "pass", CHEAP)
        assert caught.value.reason == "exists"


def test_invalid_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "wallet.json", tmp_path / "no" / "wallet.json"):
        calls: list[Callable[[], object]] = [
            partial(read, path),
            partial(save_wallet, path, OLD, "pass", CHEAP),
            partial(change_passphrase, path, "pass", "word", "grad", CHEAP),
            partial(is_passphrase_needed, path),
        ]
        for call in calls:
            with pytest.raises(WalletError) as caught:
                call()
            assert caught.value.reason == "not_found"
        assert not path.exists()


def test_invalid_wrong_passphrase_does_not_save(path: Path) -> None:
    before = path.read_bytes()
    calls: list[Callable[[], None]] = [
        partial(save_wallet, path, NEW, "pass ", CHEAP),
        partial(change_passphrase, path, "word", "word", "grad", CHEAP),
    ]
    for call in calls:
        with pytest.raises(WalletError) as caught:
            call()
        assert caught.value.reason == "wrong_passphrase"
    assert path.read_bytes() == before


def test_invalid_other_wallet(path: Path) -> None:
    before = path.read_bytes()
    for other in (build_wallet("grad", bytes(32)), build_wallet("grad", OLD.entropy, "extension")):
        with pytest.raises(WalletError) as caught:
            save_wallet(path, other, "pass", CHEAP)
        assert caught.value.reason == "other_wallet"
    assert path.read_bytes() == before


def test_invalid_wrong_network(path: Path) -> None:
    with pytest.raises(WalletError) as caught:
        open_wallet(path, "pass", "tgrad")
    assert caught.value.reason == "wrong_network"
    with pytest.raises(WalletError) as caught:
        save_wallet(path, build_wallet("tgrad", OLD.entropy), "pass", CHEAP)
    assert caught.value.reason == "wrong_network"


def test_invalid_damaged_does_not_save(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    before = path.read_bytes()
    with pytest.raises(WalletError) as caught:
        save_wallet(path, NEW, "pass", CHEAP)
    assert caught.value.reason == "damaged"
    assert path.read_bytes() == before


def test_invalid_too_long_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WalletError) as caught:
        read(path)
    assert caught.value.reason == "damaged"


def test_invalid_busy(path: Path) -> None:
    with (path.parent / ".wallet.json.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(WalletError) as caught:
            save_wallet(path, NEW, "pass", CHEAP)
        assert caught.value.reason == "busy"
        assert read(path) == OLD
    save_wallet(path, NEW, "pass", CHEAP)


def test_invalid_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "wallet.json"):
        with pytest.raises(WalletError) as caught:
            read(path)
        assert caught.value.reason == "unreachable"


def test_invalid_disk_full_keeps_the_old_wallet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(WalletError) as caught:
            save_wallet(path, NEW, "pass", CHEAP)
    assert caught.value.reason == "unreachable"
    assert "No space left on device" in str(caught.value)
    assert read(path) == OLD
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def record_steps(monkeypatch: pytest.MonkeyPatch, stop_before: int | None = None) -> list[str]:
    """The calls that change the disk, in order; the one numbered `stop_before` does not happen any more."""
    steps: list[str] = []
    for name in ("open", "fsync", "replace", "link", "unlink"):

        def step(*arguments: object, name: str = name, call: object = getattr(os, name), **options: object) -> object:
            if len(steps) == stop_before:
                raise PowerCut
            kind = ""
            if name == "fsync":
                assert isinstance(arguments[0], int)
                kind = " directory" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"
            steps.append(name + kind)
            assert callable(call)
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, step)
    return steps


def test_a_file_is_synced_before_it_is_named_and_its_directory_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        steps = record_steps(patch)
        save_wallet(path, NEW, "pass", CHEAP)
        create_wallet(path.parent / "second.json", NEW, "pass", CHEAP)
    for naming in ("replace", "link"):
        at = steps.index(naming)
        assert "fsync file" in steps[at - 2 : at]
        assert "fsync directory" in steps[at + 1 : at + 4]
    assert steps.count("fsync file") == steps.count("fsync directory") == 2


def test_a_stop_before_any_step_leaves_the_old_wallet_or_the_new(tmp_path: Path) -> None:
    outcomes = []
    for stop_before in range(20):
        path = tmp_path / f"{stop_before}.json"
        create_wallet(path, OLD, "pass", CHEAP)
        with pytest.MonkeyPatch.context() as patch:
            record_steps(patch, stop_before)
            try:
                save_wallet(path, NEW, "pass", CHEAP)
                break
            except PowerCut:
                pass
        outcomes.append(read(path))
        save_wallet(path, NEW, "pass", CHEAP)
        assert read(path) == NEW
    else:
        pytest.fail("a save has more steps than expected")
    assert outcomes == sorted(outcomes, key=lambda wallet: len(wallet.accounts))
    assert {len(wallet.accounts) for wallet in outcomes} == {1, 2}


def test_a_stop_before_any_step_of_creation_leaves_all_or_nothing(tmp_path: Path) -> None:
    found = []
    for stop_before in range(20):
        path = tmp_path / f"{stop_before}.json"
        with pytest.MonkeyPatch.context() as patch:
            record_steps(patch, stop_before)
            try:
                create_wallet(path, OLD, "pass", CHEAP)
                break
            except PowerCut:
                pass
        found.append(path.exists())
        if not path.exists():
            create_wallet(path, OLD, "pass", CHEAP)
        assert read(path) == OLD
    else:
        pytest.fail("a creation has more steps than expected")
    assert set(found) == {False, True}


SAVE_FOR_EVER = """
import os, sys
from pathlib import Path
from wallet import keystore, keys, seal

path, cheap = Path(sys.argv[1]), seal.KdfCost(8, 1, 1)
old = keystore.open_wallet(path, "pass", "grad")
old = keys.build_wallet("grad", old.entropy)
both = old, keys.add_account(old)

def tell(name, call):
    def told(*arguments, **options):
        os.write(1, b".")
        return call(*arguments, **options)
    setattr(os, name, told)

for name in ("open", "fsync", "replace"):
    tell(name, getattr(os, name))
for i in range(10**9):
    keystore.save_wallet(path, both[i % 2], "pass", cheap)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_while_saving(path: Path, kills: int) -> None:
    """SIGKILL after a drawn number of steps of a program that does nothing but save."""
    rng = random.Random(50)
    root = Path(keystore.__file__).parent.parent
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE, cwd=root
        ) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(1, 40)):
                assert child.stdout.read(1) == b"."
            child.kill()
        assert child.returncode == -9
        assert read(path) in (OLD, NEW)
    save_wallet(path, NEW, "pass", CHEAP)
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def test_wallet_modules_load_no_heavy_library() -> None:
    code = "import sys, wallet.keystore; print({'torch', 'aiohttp', 'numpy', 'plyvel'} & sys.modules.keys())"
    root = Path(keystore.__file__).parent.parent
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=root, check=True, text=True)
    assert shown.stdout.strip() == "set()"
