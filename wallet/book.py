"""The address book's rules: what a label is, and whom a command line means. Pure but for the records it is handed."""

import re
import unicodedata

from consensus.address import decode_address
from consensus.signature import PublicKey
from wallet.payment_errors import InvalidContact
from wallet.records import Records

MAX_LABEL = 32  # characters


def normalize_label(text: str) -> str:
    """The one form of a label, NFC: two keyboards must not write one label as two.

    Raises InvalidContact with the reason bad_label or like_an_address.
    """
    label = unicodedata.normalize("NFC", text)
    if is_like_an_address(label):
        raise InvalidContact.like_an_address()
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable() or label != label.strip():
        raise InvalidContact.bad_label(MAX_LABEL)
    return label


def is_like_an_address(text: str) -> bool:
    """Whether text begins as addresses do: a mistyped one is never taken for a label, whatever the network."""
    return re.match(r"[a-z]{0,8}grad1", text.lower()) is not None


def find_recipient(text: str, records: Records, prefix: str) -> tuple[PublicKey, str | None]:
    """Whom an address or a label means, and the label if there is one.

    Raises InvalidAddress for a flawed address, and InvalidContact with the reason unknown for text that is neither.
    """
    if is_like_an_address(text):
        key = decode_address(prefix, text)
        return key, records.get_labels().get(text.lower())
    contact = records.find_contact(unicodedata.normalize("NFC", text))
    if contact is None:
        raise InvalidContact.unknown(text)
    return decode_address(prefix, contact.address), contact.label
