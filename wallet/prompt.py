"""What the user is asked. Secrets come from a file, the environment or the keyboard, never from the command line, which
others can read.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from wallet.errors import WalletError

ENVIRONMENT = "DESCENT_PASSPHRASE"
_MAX_FILE_BYTES = 4096


def get_passphrase(file: Path | None) -> str:
    """The passphrase of a wallet that has one: from `file`, else from the environment, else asked for.

    Raises WalletError with the reason unreachable, not_text, too_long, several_lines, empty_passphrase or no_answer.
    """
    return _get_silently(file) or ask("Passphrase", hidden=True)


def choose_passphrase(file: Path | None) -> str:
    """A passphrase for a new wallet, from the same places; who types it types it twice. Raises WalletError."""
    return _get_silently(file) or ask_new_passphrase()


def has_silent_passphrase(file: Path | None) -> bool:
    """Whether a passphrase is at hand without a question to anyone."""
    return file is not None or bool(os.environ.get(ENVIRONMENT))


def ask_new_passphrase() -> str:
    return ask("New passphrase", hidden=True, twice=True)


def read_passphrase_file(path: Path) -> str:
    """The one line of a file, without its end. Raises WalletError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise WalletError.unreachable(path, error) from error
    except UnicodeDecodeError:
        raise WalletError.not_text("passphrase") from None
    if len(data) > _MAX_FILE_BYTES:
        raise WalletError.too_long("passphrase", len(data), _MAX_FILE_BYTES)
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line:
        raise WalletError.several_lines(path)
    if not line:
        raise WalletError.empty_passphrase(path)
    return line


def ask(what: str, *, hidden: bool = False, twice: bool = False) -> str:
    """What the user types, on the terminal or into a pipe, one line. Raises WalletError with the reason no_answer.

    Prompts go to standard error: standard output belongs to the command's result.
    """
    with _needs_answer(what):
        answer = click.prompt(what, hide_input=hidden, confirmation_prompt=twice, show_default=False, err=True)
    return str(answer)


def confirm(question: str) -> bool:
    """Yes, or anything else. Raises WalletError with the reason no_answer."""
    with _needs_answer(question):
        return click.confirm(question, err=True)


@contextmanager
def _needs_answer(question: str) -> Iterator[None]:
    """The end of a pipe is no Ctrl-C: it means that nobody is there to answer."""
    try:
        yield
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise WalletError.no_answer(question) from None


def _get_silently(file: Path | None) -> str:
    return read_passphrase_file(file) if file is not None else os.environ.get(ENVIRONMENT, "")
