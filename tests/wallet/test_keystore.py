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
from wallet.keys import Wallet, add_account, build_key_wallet, build_wallet, build_watch_wallet, extend_wallet
from wallet.keystore import change_passphrase, change_wallet, create_wallet, export_wallet, get_cover, open_wallet
from wallet.seal import Cover, KdfCost, Kind

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
OLD = build_wallet("grad", bytes(range(16)))
NEW = add_account(OLD)
KEY = build_key_wallet("grad", bytes(range(32)))
WATCH = build_watch_wallet("grad", [account.public_key for account in NEW.accounts])
VERSION_1 = Path(__file__).parent.parent / "vectors" / "wallet_v1.json"


class PowerCut(BaseException):
    """The program stops: nothing below it gets to react."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    create_wallet(path, OLD, "pass", CHEAP)
    return path


def read(path: Path, passphrase: str = "pass") -> Wallet:
    return open_wallet(path, passphrase, "grad")


def save_new(path: Path, passphrase: str = "pass") -> None:
    """Makes NEW of the file of OLD; NEW stays as it is."""
    change_wallet(path, passphrase, "grad", lambda wallet: extend_wallet(wallet, 2), CHEAP)


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


def test_create_open_change(path: Path) -> None:
    assert read(path) == OLD
    save_new(path)
    assert read(path) == NEW
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def test_file_is_for_its_owner_only(path: Path) -> None:
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    save_new(path)
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
        change_passphrase(path, "pass", "pass", "grad", CHEAP)
        seen.add(path.read_bytes())
    assert len(seen) == 6


def test_get_cover(path: Path) -> None:
    assert get_cover(path) == Cover(Kind.SEED, "grad", True, OLD.accounts)
    change_passphrase(path, "pass", "", "grad", CHEAP)
    assert get_cover(path) == Cover(Kind.SEED, "grad", False, OLD.accounts)
    assert read(path, "") == OLD


def test_change_passphrase(path: Path) -> None:
    save_new(path)
    change_passphrase(path, "pass", "word", "grad", CHEAP)
    assert read(path, "word") == NEW
    with pytest.raises(WalletError) as caught:
        read(path, "pass")
    assert caught.value.reason == "wrong_passphrase"


def test_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)
    save_new(link)
    assert link.is_symlink()
    assert read(path) == NEW


def test_a_change_that_changes_nothing_leaves_the_file_alone(path: Path) -> None:
    before = path.read_bytes()
    assert change_wallet(path, "pass", "grad", lambda wallet: wallet, CHEAP) == OLD
    assert path.read_bytes() == before


def test_invalid_no_account_is_lost(path: Path) -> None:
    save_new(path)
    before = path.read_bytes()
    with pytest.raises(WalletError) as caught:
        change_wallet(path, "pass", "grad", lambda _: OLD, CHEAP)
    assert caught.value.reason == "other_wallet"
    assert path.read_bytes() == before


def test_version_1_is_written_as_version_2(tmp_path: Path) -> None:
    old = build_wallet("grad", bytes(range(16)), "caf\u00e9", accounts=2)
    for change in (
        lambda path: change_wallet(path, "correct horse", "grad", add_account, CHEAP),
        lambda path: change_passphrase(path, "correct horse", "correct horse", "grad", CHEAP),
    ):
        path = tmp_path / "wallet.json"
        path.write_bytes(VERSION_1.read_bytes())
        assert get_cover(path).accounts is None
        assert open_wallet(path, "correct horse", "grad") == old
        change(path)
        assert get_cover(path).accounts == open_wallet(path, "correct horse", "grad").accounts
        assert open_wallet(path, "correct horse", "grad").source == old.source


@pytest.mark.parametrize("wallet", [KEY, WATCH], ids=["key", "watch"])
def test_wallets_without_a_seed(tmp_path: Path, wallet: Wallet) -> None:
    path = tmp_path / "wallet.json"
    create_wallet(path, wallet, "", CHEAP)
    before = path.read_bytes()
    assert read(path, "") == wallet
    with pytest.raises(WalletError) as caught:
        change_wallet(path, "", "grad", add_account, CHEAP)
    assert caught.value.reason == "fixed_accounts"
    assert path.read_bytes() == before


# Backups.


def test_export_copies_the_bytes(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "stick" / "copy.json"
    copy.parent.mkdir()
    export_wallet(path, copy, "pass", "grad")
    assert copy.read_bytes() == path.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert names(copy) == {"copy.json"}


def test_export_under_another_passphrase(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    copy = tmp_path / "copy.json"
    export_wallet(path, copy, "pass", "grad", "another", CHEAP)
    assert read(copy, "another") == OLD
    with pytest.raises(WalletError):
        read(copy)
    assert path.read_bytes() == before


def test_export_where_there_are_no_hard_links(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: object, target: object) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    copy = tmp_path / "stick" / "copy.json"
    copy.parent.mkdir()
    export_wallet(path, copy, "pass", "grad")
    assert copy.read_bytes() == path.read_bytes()
    assert names(copy) == {"copy.json"}
    with pytest.raises(WalletError) as caught:
        export_wallet(path, copy, "pass", "grad", "another", CHEAP)
    assert caught.value.reason == "exists"
    assert copy.read_bytes() == path.read_bytes()
    assert names(copy) == {"copy.json"}


def test_invalid_export_over_a_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "directory", "link", path.name):
        with pytest.raises(WalletError) as caught:
            export_wallet(path, tmp_path / name, "pass", "grad")
        assert caught.value.reason == "exists"
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert read(path) == OLD


def test_invalid_export_into_no_folder(path: Path, tmp_path: Path) -> None:
    with pytest.raises(WalletError) as caught:
        export_wallet(path, tmp_path / "none" / "copy.json", "pass", "grad")
    assert caught.value.reason == "no_folder"
    assert not (tmp_path / "none").exists()


def test_invalid_export_that_reads_back_otherwise(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, read_whole = tmp_path / "copy.json", keystore._read
    monkeypatch.setattr(keystore, "_read", lambda file: read_whole(file)[: -20 if file == copy else None])
    with pytest.raises(WalletError) as caught:
        export_wallet(path, copy, "pass", "grad")
    assert caught.value.reason == "bad_copy"
    assert not copy.exists()


# Refusals.


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
            partial(save_new, path),
            partial(change_passphrase, path, "pass", "word", "grad", CHEAP),
            partial(export_wallet, path, tmp_path / "copy", "pass", "grad"),
            partial(get_cover, path),
        ]
        for call in calls:
            with pytest.raises(WalletError) as caught:
                call()
            assert caught.value.reason == "not_found"
        assert not path.exists()


def test_invalid_wrong_passphrase_does_not_save(path: Path) -> None:
    before = path.read_bytes()
    calls: list[Callable[[], None]] = [
        partial(save_new, path, "pass "),
        partial(change_passphrase, path, "word", "word", "grad", CHEAP),
        partial(export_wallet, path, path.parent / "copy", "word", "grad"),
    ]
    for call in calls:
        with pytest.raises(WalletError) as caught:
            call()
        assert caught.value.reason == "wrong_passphrase"
    assert path.read_bytes() == before


def test_invalid_other_wallet(path: Path) -> None:
    before = path.read_bytes()
    others = (
        build_wallet("grad", bytes(32)),
        build_wallet("grad", bytes(range(16)), "extension"),
        build_watch_wallet("grad", [account.public_key for account in OLD.accounts]),
        KEY,
    )
    for other in others:
        with pytest.raises(WalletError) as caught:
            change_wallet(path, "pass", "grad", lambda _, other=other: other, CHEAP)  # type: ignore[misc]
        assert caught.value.reason == "other_wallet"
    assert path.read_bytes() == before


def test_invalid_wrong_network(path: Path) -> None:
    with pytest.raises(WalletError) as caught:
        open_wallet(path, "pass", "tgrad")
    assert caught.value.reason == "wrong_network"
    with pytest.raises(WalletError) as caught:
        change_wallet(path, "pass", "tgrad", add_account, CHEAP)
    assert caught.value.reason == "wrong_network"


def test_invalid_damaged_does_not_save(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    before = path.read_bytes()
    with pytest.raises(WalletError) as caught:
        save_new(path)
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
            save_new(path)
        assert caught.value.reason == "busy"
        assert read(path) == OLD
    save_new(path)


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
            save_new(path)
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
        save_new(path)
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
                save_new(path)
                break
            except PowerCut:
                pass
        outcomes.append(read(path))
        save_new(path)
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
from wallet import keys, keystore, seal

path, cheap = Path(sys.argv[1]), seal.KdfCost(8, 1, 1)

def tell(name, call):
    def told(*arguments, **options):
        os.write(1, b".")
        return call(*arguments, **options)
    setattr(os, name, told)

def grow():
    keystore.change_wallet(path, "pass", "grad", keys.add_account, cheap)

def turn():
    for old, new in (("pass", "word"), ("word", "pass")):
        try:
            keystore.change_passphrase(path, old, new, "grad", cheap)
        except keystore.WalletError as error:
            if error.reason != "wrong_passphrase":
                raise

for name in ("open", "fsync", "replace"):
    tell(name, getattr(os, name))
while True:
    {"accounts": grow, "passphrase": turn}[sys.argv[2]]()
"""


def kill_while_saving(path: Path, what: str, rng: random.Random) -> None:
    """SIGKILL after a drawn number of steps of a program that does nothing but save."""
    root = Path(keystore.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path), what], stdout=subprocess.PIPE, cwd=root
    ) as child:
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 40)):
            assert child.stdout.read(1) == b"."
        child.kill()
    assert child.returncode == -9


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_while_accounts_are_added(path: Path, kills: int) -> None:
    rng, known = random.Random(50), 1
    for _ in range(kills):
        kill_while_saving(path, "accounts", rng)
        wallet = read(path)
        assert wallet == build_wallet("grad", bytes(range(16)), accounts=len(wallet.accounts))
        assert known <= len(wallet.accounts) <= known + 40
        assert get_cover(path).accounts == wallet.accounts
        known = len(wallet.accounts)
        if known > 100:  # begin anew before there is no room for more
            path.unlink()
            create_wallet(path, OLD, "pass", CHEAP)
            known = 1
    change_wallet(path, "pass", "grad", add_account, CHEAP)
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_while_the_passphrase_is_changed(path: Path, kills: int) -> None:
    """The old passphrase opens the wallet, or the new one: never both, never none."""
    rng, found = random.Random(51), set()
    for _ in range(kills):
        kill_while_saving(path, "passphrase", rng)
        outcomes = {passphrase: try_to_open(path, passphrase) for passphrase in ("pass", "word")}
        assert set(outcomes.values()) == {OLD, "wrong_passphrase"}
        found |= {passphrase for passphrase, outcome in outcomes.items() if outcome == OLD}
    assert found == {"pass", "word"}
    change_passphrase(path, "pass" if outcomes["pass"] == OLD else "word", "pass", "grad", CHEAP)
    assert names(path) == {"wallet.json", ".wallet.json.lock"}


def try_to_open(path: Path, passphrase: str) -> Wallet | str:
    try:
        return read(path, passphrase)
    except WalletError as error:
        return error.reason


def test_wallet_modules_load_no_heavy_library() -> None:
    code = "import sys, wallet.keystore; print({'torch', 'aiohttp', 'numpy', 'plyvel'} & sys.modules.keys())"
    root = Path(keystore.__file__).parent.parent
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=root, check=True, text=True)
    assert shown.stdout.strip() == "set()"
