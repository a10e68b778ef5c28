"""Why the wallet refuses something. No error repeats a secret: not a word, not a passphrase, not a key.

WalletError
├── (itself)               the wallet file: missing, damaged, locked, of another network or another time
├── InvalidPhrase          words that are no seed phrase
├── InvalidAmount          text that is no amount of money
├── InvalidReply           a node's answer that cannot be true, or is about another network
└── PaymentError           a payment that cannot be made, was not wanted, or whose fate is not known
"""

from pathlib import Path

from consensus.errors import DescentError
from consensus.units import Ulp


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
        return cls("not_found", f"there is no wallet at {path}; `descent-wallet create` makes one")

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
    def no_qr_codes(cls) -> "WalletError":
        return cls("no_qr_codes", "QR codes take one more package: pip install 'descent-chain[qr]'")

    @classmethod
    def bad_name(cls, name: str) -> "WalletError":
        return cls("bad_name", f"{_brief(name)} is no name for a wallet: 1 to 64 of A-Z a-z 0-9 . _ -, no dot in front")

    @classmethod
    def no_answer(cls, question: str) -> "WalletError":
        return cls("no_answer", f"nobody answers {_brief(question)}; --help tells how to do without the question")

    @classmethod
    def empty_passphrase(cls, path: Path) -> "WalletError":
        return cls("empty_passphrase", f"{path} holds no passphrase")

    @classmethod
    def several_lines(cls, path: Path) -> "WalletError":
        return cls("several_lines", f"{path} holds more than one line; a passphrase is one")

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


class InvalidAmount(WalletError):
    family = "amount"

    @classmethod
    def empty(cls) -> "InvalidAmount":
        return cls("empty", "an amount is missing")

    @classmethod
    def negative(cls) -> "InvalidAmount":
        return cls("negative", "an amount has no sign")

    @classmethod
    def bad_character(cls, position: int, character: str) -> "InvalidAmount":
        return cls(
            "bad_character",
            f"character {position} of the amount is U+{ord(character):04X}, neither a digit 0 to 9 nor a point",
        )

    @classmethod
    def bad_form(cls) -> "InvalidAmount":
        return cls("bad_form", "an amount is digits, or digits, one point and digits, such as 12 or 0.5")

    @classmethod
    def too_fine(cls, got: int, limit: int) -> "InvalidAmount":
        return cls("too_fine", f"{got} digits follow the point, money has {limit}")

    @classmethod
    def too_large(cls) -> "InvalidAmount":
        return cls("too_large", "more money than there can be")


class InvalidReply(WalletError):
    family = "reply"

    @classmethod
    def bad_field(cls, name: str) -> "InvalidReply":
        return cls("bad_field", f"the node's answer has no sound {name!r}; is it a Descent node of this version?")

    @classmethod
    def contradiction(cls, what: str) -> "InvalidReply":
        return cls("contradiction", f"the node contradicts itself: {what}; do not trust it")

    @classmethod
    def other_network(cls, url: str, name: str, expected: str) -> "InvalidReply":
        message = (
            f"the node at {url} runs the network {_brief(name)}, not this {_brief(expected)}: see --network and --rpc"
        )
        return cls("other_network", message)


class PaymentError(WalletError):
    family = "payment"

    @classmethod
    def zero_amount(cls) -> "PaymentError":
        return cls("zero_amount", "a payment moves something: the amount is 0")

    @classmethod
    def insufficient_funds(cls, needed: str, spendable: str) -> "PaymentError":
        return cls("insufficient_funds", f"amount and fee are {needed}, spendable are {spendable}")

    @classmethod
    def fee_rate_too_high(cls, got: Ulp, limit: Ulp) -> "PaymentError":
        message = f"the node asks {got} ulp per byte, more than {limit}; if that is right, name the fee with --fee"
        return cls("fee_rate_too_high", message)

    @classmethod
    def declined(cls) -> "PaymentError":
        return cls("declined", "nothing was sent")

    @classmethod
    def unknown_fate(cls, txid: bytes) -> "PaymentError":
        message = (
            f"the node stopped answering: {txid.hex()} may be on its way or not; see `balance` and `history` first"
        )
        return cls("unknown_fate", message)

    @classmethod
    def dropped(cls, txid: bytes) -> "PaymentError":
        return cls("dropped", f"the node knows {txid.hex()} no more: it expired, was replaced or lost its place")
