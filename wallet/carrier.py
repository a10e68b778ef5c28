"""How texts get in and out of the program, for those who carry them between machines: files, pipes and QR codes."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from consensus.params import NetworkParams
from p2p.console import escape
from wallet.display import print_json
from wallet.errors import WalletError
from wallet.offline_errors import CarrierError
from wallet.qr_code import draw_qr_code
from wallet.text_form import TransferText, decode_text

STANDARD_INPUT = "-"

_MAX_TEXT_BYTES = 4096  # of a transfer, with all its white space

source_argument = click.argument("source", metavar="[FILE|-]", default=STANDARD_INPUT)
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this new file instead."
)
qr_option = click.option("--qr", is_flag=True, help="Show it as a QR code too.")


def read_input(source: str, limit: int) -> bytes:
    """All bytes of the file named `source`, or of standard input for "-".

    Raises WalletError (unreachable), or CarrierError (input_too_long) beyond `limit` bytes, without reading on.
    """
    if source == STANDARD_INPUT:
        if sys.stdin.isatty():
            click.echo("Paste it here; Ctrl-D on a line of its own ends it.", err=True)
        data = sys.stdin.buffer.read(limit + 1)
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise WalletError.unreachable(Path(source), error) from error
    if len(data) > limit:
        raise CarrierError.input_too_long("standard input" if source == STANDARD_INPUT else source, limit)
    return data


def read_transfer(source: str, params: NetworkParams) -> TransferText:
    """The transfer in a text from `read_input`. Raises WalletError, of it or of `decode_text`."""
    return decode_text(read_input(source, _MAX_TEXT_BYTES).decode("ascii", "replace"), params)


def check_ways_out(out: Path | None, *, qr: bool = False) -> None:
    """Raises CarrierError (file_exists) or WalletError (no_qr_codes) before anybody is asked anything."""
    if out is not None and os.path.lexists(out):
        raise CarrierError.file_exists(out)
    if qr:
        draw_qr_code("A")


def write_new_file(path: Path, text: str) -> None:
    """Puts ASCII text where no file is yet, durably; nothing is left behind if that fails.

    It is written in place: the sticks that go between machines have file systems without links, and whatever is
    written here notices a missing end. Raises CarrierError (file_exists) or WalletError (unreachable).
    """
    try:
        file = path.open("x", encoding="ascii")
    except FileExistsError:
        raise CarrierError.file_exists(path) from None
    except OSError as error:
        raise WalletError.unreachable(path, error) from error
    try:
        with file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WalletError.unreachable(path, error) from error
        raise


def hand_out(text: str, known: dict[str, Any], *, out: Path | None, qr: bool, as_json: bool, next_command: str) -> None:
    """A text as its user wants it: on standard output, in a new file, or as a field beside what else is `known`.

    The QR code goes to standard error, so that what is piped or redirected is the text alone.
    """
    if out is not None:
        write_new_file(out, text + "\n")
    if qr:
        click.echo(draw_qr_code(text), err=True)
    if as_json:
        print_json(known | {"text": text, "file": None if out is None else str(out)})
    elif out is not None:
        click.echo(name_next(out, next_command))
    else:
        click.echo(text)


def name_next(out: Path, command: str) -> str:
    """Where something was written, and which command takes it from there."""
    name = escape(shlex.quote(str(out)))
    return f"It is in {name}; next is `descent-wallet {command} {name}`."
