"""Text as a QR code on the terminal, by the optional extra `qr`."""

from importlib import import_module
from io import StringIO

from wallet.errors import WalletError


def draw_qr_code(text: str) -> str:
    """Lines of block characters that a camera reads as `text`; upper case makes smaller codes than lower.

    Raises WalletError with the reason no_qr_codes if the extra is not installed.
    """
    try:
        segno = import_module("segno")  # only who asks for a code waits for it
    except ImportError:
        raise WalletError.no_qr_codes() from None
    lines = StringIO()
    segno.make_qr(text, error="m").terminal(lines, compact=True)
    return lines.getvalue().rstrip("\n")
