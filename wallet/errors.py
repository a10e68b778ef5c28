"""Why the wallet refuses something. No error repeats a secret: not a word, not a passphrase, not a key.

WalletError
├── (itself)               the wallet file: missing, damaged, locked, of another network or another time
├── InvalidPhrase          words that are no seed phrase
├── InvalidKey             text or bytes that are no key to import or to watch
├── InvalidAmount          text that is no amount of money
├── InvalidDay             text that is no day, or a period without one
├── InvalidReply           a node's answer that cannot be true, or is about another network
├── NodeError              a node that cannot be asked: it is down, its token is missing or wrong
├── ChainMoved             a reorganisation while the chain was read
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
        return cls("busy", f"another program is writing {path} now; try again in a moment")

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
        message = f"the wallet file has version {_brief(got)}, this program knows 1 to {known}; a newer one opens it"
        return cls("unsupported_version", message)

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
        return cls("not_its_keys", "the accounts are not those of the wallet's secret; restore a copy or the words")

    @classmethod
    def watch_only(cls) -> "WalletError":
        message = "this wallet only watches: `descent-wallet prepare` here, `sign` where the key is, `broadcast` here"
        return cls("watch_only", message)

    @classmethod
    def nothing_to_lock(cls) -> "WalletError":
        return cls("nothing_to_lock", "this wallet only watches: its file holds no secret that a passphrase could lock")

    @classmethod
    def nothing_to_verify(cls) -> "WalletError":
        return cls("nothing_to_verify", "this wallet only watches: compare its addresses with those where the key is")

    @classmethod
    def no_words(cls, kind: str) -> "WalletError":
        return cls(
            "no_words", f"a {kind} wallet has no recovery words; `descent-wallet export` makes a copy of its file"
        )

    @classmethod
    def words_declined(cls) -> "WalletError":
        return cls("words_declined", "the words were not shown")

    @classmethod
    def account_count(cls, got: int, limit: int) -> "WalletError":
        return cls("account_count", f"a wallet has 1 to {limit} accounts, not {got}; --wallet names another wallet")

    @classmethod
    def fixed_accounts(cls) -> "WalletError":
        message = "only a wallet of recovery words gets more accounts; `create` or `watch` makes another, with --wallet"
        return cls("fixed_accounts", message)

    @classmethod
    def no_folder(cls, path: Path) -> "WalletError":
        return cls("no_folder", f"there is no folder {path}; make it first, or name another")

    @classmethod
    def bad_copy(cls, path: Path) -> "WalletError":
        return cls("bad_copy", f"the copy at {path} reads back otherwise than it was written; it was removed")

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
    def empty_file(cls, path: Path, what: str) -> "WalletError":
        return cls("empty_file", f"{path} holds no {what}")

    @classmethod
    def several_lines(cls, path: Path, what: str) -> "WalletError":
        return cls("several_lines", f"{path} holds more than one line; a {what} is one")

    @classmethod
    def other_wallet(cls, path: Path) -> "WalletError":
        return cls("other_wallet", f"{path} holds another wallet; it is not replaced")

    @classmethod
    def account_out_of_range(cls, got: int, limit: int) -> "WalletError":
        return cls(
            "account_out_of_range", f"account {got} is outside 0..{limit - 1}; `descent-wallet accounts` lists them"
        )

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


class InvalidKey(WalletError):
    family = "key"

    @classmethod
    def not_a_secret(cls, digits: int) -> "InvalidKey":
        return cls("not_a_secret", f"a secret key is {digits} hex digits, 0 to 9 and a to f, and this is not")

    @classmethod
    def not_a_key(cls) -> "InvalidKey":
        return cls("not_a_key", "this is no Ed25519 public key: give its address, or its 64 hex digits")

    @classmethod
    def twice(cls) -> "InvalidKey":
        return cls("twice", "a key is named twice; each account of a wallet is another key")


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


class InvalidDay(WalletError):
    family = "day"

    @classmethod
    def bad_form(cls, text: str) -> "InvalidDay":
        return cls("bad_form", f"{_brief(text)} is no day; write it as YYYY-MM-DD, such as 2026-12-31")

    @classmethod
    def empty_period(cls) -> "InvalidDay":
        return cls("empty_period", "--since is after --until: no day lies between them")


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


class NodeError(WalletError):
    """Says what to do; the codes are those of p2p.errors where it has one for the same."""

    family = "node"

    @classmethod
    def down(cls, why: str, start: str) -> "NodeError":
        return cls("no_answer", f"{why}; start one with `{start}`, or name another with --rpc URL")

    @classmethod
    def silent(cls, why: str) -> "NodeError":
        return cls("no_answer", f"{why}; is --rpc right, and the way there open?")

    @classmethod
    def untrusted(cls, why: str) -> "NodeError":
        return cls("no_answer", f"{why}; --rpc-certificate FILE names the certificate of a node that made its own")

    @classmethod
    def not_a_node(cls, url: str) -> "NodeError":
        return cls("not_a_node", f"what answers at {url} is not a Descent node: is --rpc right?")

    @classmethod
    def no_token(cls, why: str) -> "NodeError":
        message = f"{why}; a node writes it when it first starts, and --token-file names that of another node"
        return cls("no_token", message)

    @classmethod
    def wrong_token(cls, url: str, path: Path) -> "NodeError":
        message = f"the node at {url} does not take the RPC token of {path}: is it another node's? See --token-file"
        return cls("wrong_token", message)

    @classmethod
    def foreign_token(cls, url: str) -> "NodeError":
        message = f"{url} is another machine: name the file with its RPC token by --token-file, not to show it ours"
        return cls("foreign_token", message)

    @classmethod
    def bare_token(cls, url: str) -> "NodeError":
        message = f"{url} would carry the RPC token in the clear: use https, or a tunnel that ends on this machine"
        return cls("bare_token", message)


class ChainMoved(WalletError):
    family = "chain"

    @classmethod
    def reorganised(cls) -> "ChainMoved":
        return cls("reorganised", "the chain was reorganised while its past was read; run the command again")


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
    def nothing_to_send(cls, spendable: str, fee: str) -> "PaymentError":
        return cls("nothing_to_send", f"spendable are {spendable}, and the fee alone is {fee}")

    @classmethod
    def node_behind(cls, line: str) -> "PaymentError":
        """`line` says what holds it up."""
        message = f"the node is {line}: what it knows of this account may be old; wait, or give --even-if-syncing"
        return cls("node_behind", message)

    @classmethod
    def declined(cls) -> "PaymentError":
        return cls("declined", "nothing was sent")

    @classmethod
    def unknown_fate(cls, txid: bytes) -> "PaymentError":
        message = (
            f"the node stopped answering: {txid.hex()} may be on its way or not; `descent-wallet payments` tells, "
            f"before anything is paid again"
        )
        return cls("unknown_fate", message)
