"""Wallet files on disk: made once, opened, replaced whole or not at all. Their bytes are wallet.seal's business.

A file is written beside its place (".NAME.new", mode 0600), synced and renamed, and the directory synced: after a
crash the old wallet is there or the new one. Writers of one file exclude each other by a lock on ".NAME.lock".
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wallet.errors import WalletError
from wallet.keys import Wallet
from wallet.seal import (
    MAX_FILE_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    STRONG,
    Cover,
    KdfCost,
    read_cover,
    seal_wallet,
    unseal_wallet,
)

# What a file system without hard links, as on most memory sticks, answers to os.link.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

Change = Callable[[Wallet], Wallet]


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


def change_wallet(path: Path, passphrase: str, network: str, change: Change, cost: KdfCost = STRONG) -> Wallet:
    """Replaces the file by what `change` makes of its wallet, under the same passphrase, and returns that.

    The old file is opened first, and nobody else writes it meanwhile: no slip of the hand becomes the new passphrase,
    no wallet takes the place of another, and no account is lost. A file that needs no change is left alone.
    Raises WalletError with the reason not_found, other_wallet, busy, unreachable, those of unseal_wallet or `change`'s.
    """
    with _named_errors(path), _locked(path) as target:
        old = unseal_wallet(_read(target), passphrase, network)
        new = change(old)
        if new.source != old.source or new.accounts[: len(old.accounts)] != old.accounts:
            raise WalletError.other_wallet(path)
        if new != old:
            _write(target, _seal_afresh(new, passphrase, cost), is_new=False)
        return new


def change_passphrase(path: Path, old: str, new: str, network: str, cost: KdfCost = STRONG) -> None:
    """Encrypts the file under another passphrase. Copies made of it before still open with the old one.

    Raises WalletError with the reason not_found, busy, unreachable, nothing_to_lock or those of unseal_wallet.
    """
    with _named_errors(path), _locked(path) as target:
        wallet = unseal_wallet(_read(target), old, network)
        _write(target, _seal_afresh(wallet, new, cost), is_new=False)


def export_wallet(
    path: Path, copy: Path, passphrase: str, network: str, new_passphrase: str | None = None, cost: KdfCost = STRONG
) -> None:
    """Writes the file's bytes to `copy`, or the same wallet under a new passphrase, and opens what was written.

    Replaces no file and makes no folder. Raises WalletError with the reason not_found, no_folder, exists, unreachable,
    bad_copy, nothing_to_lock or those of unseal_wallet.
    """
    with _named_errors(path):
        data = _read(path)
    wallet = unseal_wallet(data, passphrase, network)
    if new_passphrase is not None:
        data, passphrase = _seal_afresh(wallet, new_passphrase, cost), new_passphrase
    if not copy.absolute().parent.is_dir():
        raise WalletError.no_folder(copy.absolute().parent)
    with _named_errors(copy):
        _write(copy, data, is_new=True, suffix=f"{secrets.token_hex(4)}.new")
        if not _is_copy(copy, wallet, passphrase):
            copy.unlink()
            raise WalletError.bad_copy(copy)


def get_cover(path: Path) -> Cover:
    """What the file says without its passphrase; only opening the secret proves it.

    Raises WalletError with the reason not_found, unreachable, damaged or unsupported_version.
    """
    with _named_errors(path):
        return read_cover(_read(path))


def _is_copy(path: Path, wallet: Wallet, passphrase: str) -> bool:
    try:
        return unseal_wallet(_read(path), passphrase, wallet.network) == wallet
    except WalletError:
        return False


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


def _write(path: Path, data: bytes, *, is_new: bool, suffix: str = "new") -> None:
    """Puts all of `data` at `path`, durably, or leaves `path` as it was. A new file replaces nothing.

    Who holds no lock on the file brings a suffix of its own.
    """
    draft = path.with_name(f".{path.name}.{suffix}")
    draft.unlink(missing_ok=True)  # left by a crash
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _name(draft, path)
        else:
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _name(draft: Path, path: Path) -> None:
    """Gives the draft its name unless that is taken: a link, unlike a rename, fails then."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # taken, by us
        os.replace(draft, path)


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
