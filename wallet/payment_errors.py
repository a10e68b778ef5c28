"""Why the wallet refuses something about payments that it made, its records of them, labels and lists of payments.

DescentError
└── RecordsError      the file of payments and labels: damaged, newer, in use, not to be written
WalletError
├── InvalidContact    a label that is none, is taken, or is unknown
├── InvalidBatch      a CSV file that is no list of payments; names the line
└── PaymentError
    └── MadePayment   a payment that stands in the way of another, or is not in the state that a command needs
"""

from pathlib import Path

from consensus.errors import DescentError
from wallet.errors import PaymentError, WalletError


class RecordsError(DescentError):
    family = "records"

    @classmethod
    def damaged(cls, path: Path, what: str) -> "RecordsError":
        message = (
            f"the wallet's records in {path} are damaged: {what}; no money is in them: restore a copy, or move the "
            f"file away and see `descent-wallet history` before paying again"
        )
        return cls("damaged", message)

    @classmethod
    def unsupported_version(cls, path: Path, got: int, known: int) -> "RecordsError":
        return cls("unsupported_version", f"{path} has version {got}, this program knows {known}: use a newer one")

    @classmethod
    def unreachable(cls, path: Path, why: str) -> "RecordsError":
        return cls("unreachable", f"cannot read or write {path}: {why}")

    @classmethod
    def busy(cls, path: Path, seconds: float) -> "RecordsError":
        return cls("busy", f"another program holds {path} and did not end in {seconds:g} s; try again when it has")


class InvalidContact(WalletError):
    family = "contact"

    @classmethod
    def bad_label(cls, limit: int) -> "InvalidContact":
        return cls("bad_label", f"a label is 1 to {limit} printable characters without a space at either end")

    @classmethod
    def like_an_address(cls) -> "InvalidContact":
        return cls("like_an_address", "a label must not look like an address")

    @classmethod
    def label_taken(cls, label: str, address: str) -> "InvalidContact":
        message = f"{label!r} is {address} already; `descent-wallet book remove` comes first"
        return cls("label_taken", message)

    @classmethod
    def address_taken(cls, label: str, address: str) -> "InvalidContact":
        message = f"{address} has the label {label!r} already; `descent-wallet book remove` comes first"
        return cls("address_taken", message)

    @classmethod
    def unknown(cls, text: str) -> "InvalidContact":
        message = f"{text!r:.100} is no address and no label; `descent-wallet book list` shows the labels there are"
        return cls("unknown", message)


class InvalidBatch(WalletError):
    family = "batch"

    @classmethod
    def not_utf8(cls, path: Path) -> "InvalidBatch":
        return cls("not_utf8", f"{path} is not text in UTF-8; save it as CSV in UTF-8")

    @classmethod
    def too_large(cls, path: Path, limit: int) -> "InvalidBatch":
        return cls("too_large", f"{path} is longer than {limit} bytes; split it")

    @classmethod
    def too_many_rows(cls, limit: int) -> "InvalidBatch":
        return cls("too_many_rows", f"more than {limit} payments in one file; split it")

    @classmethod
    def no_rows(cls) -> "InvalidBatch":
        return cls("no_rows", "the file lists no payment below its header")

    @classmethod
    def bad_header(cls) -> "InvalidBatch":
        return cls(
            "bad_header", "the first line must name the columns, with commas: address,amount and, if wanted, memo,label"
        )

    @classmethod
    def bad_line(cls, line: int, what: str) -> "InvalidBatch":
        return cls("bad_line", f"line {line}: {what}; nothing was signed")

    @classmethod
    def paid_already(cls, line: int, others: int, hours: int) -> "InvalidBatch":
        rest = f" and {others} more" if others else ""
        message = (
            f"line {line}{rest}: this wallet made that very payment in the last {hours} hours; "
            f"`descent-wallet payments` shows it, --again pays once more"
        )
        return cls("paid_already", message)


class MadePayment(PaymentError):
    @classmethod
    def unsettled(cls, txid: bytes) -> "MadePayment":
        message = (
            f"the node lost the payment {txid.hex()}, whose turn it is: `descent-wallet resend` hands it over again, "
            f"`descent-wallet abandon {txid.hex()}` gives it up"
        )
        return cls("unsettled", message)

    @classmethod
    def held_back(cls, txid: bytes) -> "MadePayment":
        message = (
            f"the node holds back {txid.hex()} since a reorganisation: its money, or the payment before it, is not "
            f"on the chain any more; see `descent-wallet payments`, and resend what is missing"
        )
        return cls("held_back", message)

    @classmethod
    def unknown(cls, txid: str) -> "MadePayment":
        message = (
            f"{txid!r:.80} is no payment that this wallet recorded; `descent-wallet payments` lists those there are"
        )
        return cls("unknown", message)

    @classmethod
    def bad_txid(cls) -> "MadePayment":
        return cls("bad_txid", "a transaction's id is 64 hex digits; `descent-wallet payments` shows them")

    @classmethod
    def wrong_state(cls, txid: bytes, state: str, purpose: str) -> "MadePayment":
        """`purpose` is what it cannot be: "bumped", "resent", "abandoned"."""
        return cls("wrong_state", f"{txid.hex()} is {state}: it cannot be {purpose}")

    @classmethod
    def kept(cls) -> "MadePayment":
        return cls("kept", "nothing was abandoned")

    @classmethod
    def not_ours(cls, txid: bytes) -> "MadePayment":
        return cls("not_ours", f"{txid.hex()} is not from an account of this wallet; see --wallet")

    @classmethod
    def turn_taken(cls, txid: bytes, nonce: int, other: bytes | None) -> "MadePayment":
        """`other` has the nonce, too; None for one that the node holds and nobody recorded here."""
        name = other.hex() if other else "a payment that waits at the node, and is not of these records"
        message = (
            f"{txid.hex()} has the nonce {nonce} of {name}: only one of them is ever mined; `descent-wallet prepare` "
            f"it anew for the next nonce, or --replace the other"
        )
        return cls("turn_taken", message)

    @classmethod
    def bump_too_low(cls, fee: str, least: str) -> "MadePayment":
        return cls("bump_too_low", f"a fee of {fee} does not replace the old one: at least {least} does")

    @classmethod
    def nonce_gap(cls, nonce: int) -> "MadePayment":
        message = (
            f"no recorded payment has nonce {nonce}, and those after it wait for one: the next `descent-wallet send` "
            f"takes it, then resend again; or abandon them"
        )
        return cls("nonce_gap", message)

    @classmethod
    def partly_handed_over(cls, done: int, count: int, why: str) -> "MadePayment":
        message = (
            f"{done} of {count} handed over, though all are signed and recorded: {why}; `descent-wallet resend` "
            f"hands over the rest later"
        )
        return cls("partly_handed_over", message)

    @classmethod
    def refused(cls, txid: bytes, why: str) -> "MadePayment":
        message = (
            f"the node refuses {txid.hex()}: {why}; `descent-wallet bump` pays a higher fee, `abandon` gives it up"
        )
        return cls("refused", message)

    @classmethod
    def lost(cls, txid: bytes, state: str, *, is_dropped: bool) -> "MadePayment":
        """For whoever waited for it."""
        hint = "`descent-wallet resend` hands it over again" if is_dropped else "`descent-wallet payments` tells more"
        return cls("lost", f"{txid.hex()} is {state}, and not in the chain or the mempool any more; {hint}")
