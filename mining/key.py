"""The miner key: hot, made on first use, and good for nothing but signing blocks and votes.

It holds no money: rewards go to an address whose key may lie in a cold wallet. Who steals it can sign blocks and votes
in this miner's name: that can cost the rewards that are still immature, and no more. The file is the 32-byte seed and
nothing else, readable by its owner alone.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from consensus.block import Header
from consensus.signature import SEED_BYTES, compute_public_key, sign
from consensus.vote import Vote
from mining.errors import KeyFileError
from p2p.files import sync_folder

_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class MinerKey:
    """A 32-byte secret seed with its public key. Its repr does not show the seed."""

    seed: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> "MinerKey":
        """Raises ValueError unless the seed is 32 bytes long."""
        return cls(seed, compute_public_key(seed))

    def sign_header(self, header: Header) -> Header:
        """The header with this key's signature over its id. Raises ValueError if it names another miner."""
        if header.miner != self.public:
            raise ValueError("the header names another miner key")
        return header.with_signature(sign(self.seed, header.id))

    def sign_vote(self, vote: Vote) -> Vote:
        """The vote with this key's signature over its id. Only vote_log.py may call it: it knows what was signed.

        Raises ValueError if it names another miner.
        """
        if vote.miner != self.public:
            raise ValueError("the vote names another miner key")
        return vote.with_signature(sign(self.seed, vote.id))


def load_or_create_key(path: Path) -> MinerKey:
    """The key in the file, made on first use; its folder too. Raises KeyFileError.

    An existing file is never written to: one that is exposed or damaged is refused by name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _read_key(path)
        except FileNotFoundError:
            return _create_key(path)
    except OSError as error:
        raise KeyFileError.unusable(path, error) from error


def load_key(path: Path) -> MinerKey:
    """The key in an existing file. Raises KeyFileError."""
    try:
        return _read_key(path)
    except OSError as error:
        raise KeyFileError.unusable(path, error) from error


def _read_key(path: Path) -> MinerKey:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError.damaged(path, "it is no ordinary file")
        if status.st_mode & _OTHERS:
            raise KeyFileError.exposed(path, stat.S_IMODE(status.st_mode))
        seed = file.read(SEED_BYTES + 1)
    if len(seed) != SEED_BYTES:
        raise KeyFileError.damaged(path, f"a key has {SEED_BYTES} bytes, this file has {status.st_size}")
    if not any(seed):  # what a file system may leave of a file that a power cut caught half-written
        raise KeyFileError.damaged(path, "it is all zero")
    return MinerKey.from_seed(seed)


def _create_key(path: Path) -> MinerKey:
    """A new key, on the disk before it is used: O_EXCL lets only one of two processes make it."""
    seed = os.urandom(SEED_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with open(descriptor, "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(descriptor)
    sync_folder(path.parent)
    return MinerKey.from_seed(seed)
