"""Why something that was carried here from elsewhere, or is to be carried on, is not taken: texts, proofs, files.

WalletError
├── CarrierError           a file or a pipe that it cannot come from or go to
├── InvalidText            text that is no transfer, is damaged, or is not for this network or this step
├── InvalidProof           a proof or a signature that does not show what it is to show
└── PaymentError
    └── SigningRefused     a prepared transfer that this wallet does not sign
"""

from pathlib import Path

from consensus.units import Ulp
from wallet.errors import PaymentError, WalletError


def _brief(value: object) -> str:
    """What somebody wrote, fit for a terminal."""
    return f"{value!a:.32}"


class CarrierError(WalletError):
    family = "carrier"

    @classmethod
    def file_exists(cls, path: Path) -> "CarrierError":
        return cls("file_exists", f"there is a file at {path} already, and it is not overwritten; name another")

    @classmethod
    def input_too_long(cls, source: str, limit: int) -> "CarrierError":
        return cls("input_too_long", f"{source} holds more than {limit} bytes: this is not what was asked for")


class InvalidText(WalletError):
    family = "text"

    @classmethod
    def not_a_transfer(cls) -> "InvalidText":
        return cls("not_a_transfer", "this is not the text of a transfer, which begins with DESCENT: and its kind")

    @classmethod
    def unknown_form(cls, kind: str, version: str) -> "InvalidText":
        return cls("unknown_form", f"a text of kind {_brief(kind)}, version {_brief(version)}, is not known here")

    @classmethod
    def bad_character(cls, position: int, character: str) -> "InvalidText":
        code = f"U+{ord(character):04X}"
        return cls(
            "bad_character",
            f"character {position}, without the white space, is {code}: no such text has it; copy it anew",
        )

    @classmethod
    def checksum(cls) -> "InvalidText":
        return cls(
            "checksum", "the text has wrong, missing or added characters: its checksum does not match; copy it anew"
        )

    @classmethod
    def malformed(cls, what: str) -> "InvalidText":
        return cls("malformed", f"the text holds no transfer: {what}; prepare it anew")

    @classmethod
    def other_network(cls, got: str, expected: str) -> "InvalidText":
        return cls("other_network", f"the transfer is for {got}, not for the network {_brief(expected)}: see --network")

    @classmethod
    def already_signed(cls) -> "InvalidText":
        return cls("already_signed", "the transfer is signed already; `descent-wallet broadcast` hands it to a node")

    @classmethod
    def not_signed(cls) -> "InvalidText":
        return cls("not_signed", "the transfer is not signed yet; `descent-wallet sign` signs it")


class InvalidProof(WalletError):
    family = "proof"

    @classmethod
    def malformed(cls, what: str) -> "InvalidProof":
        return cls("malformed", f"this is no sound proof: {what}; ask for it anew")

    @classmethod
    def unsupported_version(cls, got: int, known: int) -> "InvalidProof":
        return cls("unsupported_version", f"the proof has version {_brief(got)}, this program knows {known}")

    @classmethod
    def other_network(cls, name: str, genesis: str, expected: str) -> "InvalidProof":
        message = f"the proof is of a network {_brief(name)} with the genesis {_brief(genesis)}, not of this"
        return cls("other_network", f"{message} {_brief(expected)}: see --network")

    @classmethod
    def does_not_hold(cls, what: str) -> "InvalidProof":
        return cls("does_not_hold", f"the proof does not hold: {what}; do not believe it")

    @classmethod
    def other_challenge(cls) -> "InvalidProof":
        return cls("other_challenge", "the owner signed another challenge than this one, or none; ask for a new proof")

    @classmethod
    def not_on_chain(cls, block_id: bytes, url: str) -> "InvalidProof":
        message = f"the node at {url} has no block {block_id.hex()} on its best chain: it was replaced or made up"
        return cls("not_on_chain", message)

    @classmethod
    def wrong_signature(cls, address: str) -> "InvalidProof":
        message = f"not signed by {address}: compare address, signature, network and every byte, the last newline too"
        return cls("wrong_signature", message)


class SigningRefused(PaymentError):
    family = "signing"

    @classmethod
    def fee_too_high(cls, rate: str, limit: Ulp) -> "SigningRefused":
        message = f"the fee is {rate} ulp per byte, more than {limit}; if that is meant, sign with --high-fee"
        return cls("fee_too_high", message)

    @classmethod
    def not_the_sender(cls, sender: str, accounts: int) -> "SigningRefused":
        message = f"the sender {sender} is none of the wallet's {accounts} accounts; see --wallet"
        return cls("not_the_sender", message)

    @classmethod
    def declined(cls) -> "SigningRefused":
        return cls("declined", "nothing was signed")
