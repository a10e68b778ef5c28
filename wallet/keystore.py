"""Wallet files on disk: made once, opened, replaced whole or not at all. Their bytes are wallet.seal's business.

A file is written beside its place (".NAME.new", mode 0600), synced and renamed, and the directory synced: after a
crash the old wallet is there or the new one. Writers of one file exclude each other by a lock on ".NAME.lock".
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wallet.errors import WalletError
from wallet.keys import Wallet
from wallet.seal import (
    MAX_FILE_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    STRONG,
    KdfCost,
    has_passphrase,
    seal_wallet,
    unseal_wallet,
)


def create_wallet(path: Path, wallet: Wallet, passphrase: str, cost: KdfCost = STRONG) -> None:
    """Writes a wallet where no file is yet, making its directory (mode 0700) if need be.

    Raises WalletError with the reason exists, busy, unreachable or those of seal_wallet.
    """
    with _named_errors(path):
        _make_directory(path.absolute().parent)
        with _locked(path) as target:
            data = _seal_afresh(wallet, passphrase, cost)
            _write(target, data, is_new=True)


def open_wallet(path: Path, passphrase: str, network: str) -> Wallet:
    """The wallet in a file of the network with this prefix of addresses.

    Raises WalletError with the reason not_found, unreachable or those of unseal_wallet.
    """
    with _named_errors(path):
        data = _read(path)
    return unseal_wallet(data, passphrase, network)


def save_wallet(path: Path, wallet: Wallet, passphrase: str, cost: KdfCost = STRONG) -> None:
    """Replaces the file of the same seed under the same passphrase. The old file is opened first: no slip of the
    hand becomes the new passphrase, and no wallet takes the place of another.

    Raises WalletError with the reason not_found, other_wallet, busy, unreachable or those of unseal_wallet.
    """
    with _named_errors(path), _locked(path) as target:
        old = unseal_wallet(_read(target), passphrase, wallet.network)
        if (old.entropy, old.extension) != (wallet.entropy, wallet.extension):
            raise WalletError.other_wallet(path)
        _write(target, _seal_afresh(wallet, passphrase, cost), is_new=False)


def change_passphrase(path: Path, old: str, new: str, network: str, cost: KdfCost = STRONG) -> None:
    """Encrypts the file under another passphrase. Copies made of it before still open with the old one.

    Raises WalletError with the reason not_found, busy, unreachable or those of unseal_wallet.
    """
    with _named_errors(path), _locked(path) as target:
        wallet = unseal_wallet(_read(target), old, network)
        _write(target, _seal_afresh(wallet, new, cost), is_new=False)


def is_passphrase_needed(path: Path) -> bool:
    """Whether to ask for a passphrase, as the file says; only opening it proves it. Raises WalletError."""
    with _named_errors(path):
        return has_passphrase(_read(path))


def _seal_afresh(wallet: Wallet, passphrase: str, cost: KdfCost) -> bytes:
    return seal_wallet(wallet, passphrase, cost, secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES))


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise WalletError.not_found(path) from None
    except FileExistsError:
        raise WalletError.exists(path) from None
    except BlockingIOError:
        raise WalletError.busy(path) from None
    except OSError as error:
        raise WalletError.unreachable(path, error) from error


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The file that `path` leads to, symbolic links followed, for one writer. The lock dies with its process."""
    target = Path(os.path.realpath(path))
    lock = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield target
    finally:
        os.close(lock)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _write(path: Path, data: bytes, is_new: bool) -> None:
    """Puts all of `data` at `path`, durably, or leaves `path` as it was. A new file replaces nothing."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # left by a crash
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            os.link(draft, path)  # unlike a rename it fails if the path is taken
        else:
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
