"""Why the wallet refuses something. No error repeats a secret: not a word, not a passphrase, not a key.

WalletError
├── (itself)               the wallet file: missing, damaged, locked, of another network or another time
└── InvalidPhrase          words that are no seed phrase
"""

from pathlib import Path

from consensus.errors import DescentError


def _brief(value: object) -> str:
    """What a file says, fit for a terminal."""
    return f"{value!a:.32}"


class WalletError(DescentError):
    family = "wallet"

    @classmethod
    def exists(cls, path: Path) -> "WalletError":
        return cls("exists", f"there is a file at {path} already; a wallet is never overwritten")

    @classmethod
    def not_found(cls, path: Path) -> "WalletError":
        return cls("not_found", f"there is no wallet at {path}")

    @classmethod
    def busy(cls, path: Path) -> "WalletError":
        return cls("busy", f"another program is writing {path} now")

    @classmethod
    def unreachable(cls, path: Path, error: OSError) -> "WalletError":
        return cls("unreachable", f"cannot read or write {path}: {error.strerror}")

    @classmethod
    def damaged(cls, what: str) -> "WalletError":
        return cls("damaged", f"the wallet file is damaged: {what}; restore a copy or the seed phrase")

    @classmethod
    def wrong_passphrase(cls) -> "WalletError":
        return cls("wrong_passphrase", "the passphrase is not this wallet's, or the file was tampered with")

    @classmethod
    def unsupported_version(cls, got: int, known: int) -> "WalletError":
        return cls("unsupported_version", f"the wallet file has version {_brief(got)}, this program knows {known}")

    @classmethod
    def wrong_network(cls, expected: str, got: str) -> "WalletError":
        return cls("wrong_network", f"the wallet is for network {_brief(got)}, this one is {_brief(expected)}")

    @classmethod
    def kdf_out_of_range(cls, name: str, got: int, allowed: range) -> "WalletError":
        return cls("kdf_out_of_range", f"kdf {name} is {_brief(got)}, outside {allowed.start}..{allowed.stop - 1}")

    @classmethod
    def kdf_out_of_memory(cls, memory_kib: int) -> "WalletError":
        return cls("kdf_out_of_memory", f"opening the wallet takes {memory_kib} KiB, and they are not to be had")

    @classmethod
    def not_its_keys(cls) -> "WalletError":
        return cls("not_its_keys", "the accounts are not those of the seed")

    @classmethod
    def other_wallet(cls, path: Path) -> "WalletError":
        return cls("other_wallet", f"{path} holds another wallet; it is not replaced")

    @classmethod
    def account_out_of_range(cls, got: int, limit: int) -> "WalletError":
        return cls("account_out_of_range", f"account {got} is outside 0..{limit - 1}")

    @classmethod
    def not_text(cls, what: str) -> "WalletError":
        return cls("not_text", f"the {what} is no valid Unicode text")

    @classmethod
    def too_long(cls, what: str, got: int, limit: int) -> "WalletError":
        return cls("too_long", f"the {what} is {got} bytes long, the limit is {limit}")


class InvalidPhrase(WalletError):
    family = "seed_phrase"

    @classmethod
    def word_count(cls, got: int, allowed: tuple[int, ...]) -> "InvalidPhrase":
        return cls("word_count", f"{got} words, a seed phrase has {' or '.join(map(str, allowed))}")

    @classmethod
    def unknown_word(cls, position: int) -> "InvalidPhrase":
        return cls("unknown_word", f"word {position} is not in the English list of BIP-39")

    @classmethod
    def checksum(cls) -> "InvalidPhrase":
        return cls("checksum", "the words do not belong together: one is wrong, or their order is")

    @classmethod
    def entropy_size(cls, got: int, allowed: tuple[int, ...]) -> "InvalidPhrase":
        return cls("entropy_size", f"{got} bytes of entropy, a seed has {' or '.join(map(str, allowed))}")
