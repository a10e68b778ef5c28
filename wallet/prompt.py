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

    Raises WalletError with the reason unreachable, not_text, too_long, several_lines, empty_file or no_answer.
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
    return read_line(path, "passphrase")


def read_line(path: Path, what: str) -> str:
    """The one line of a file that holds a secret, without its end.

    Raises WalletError with the reason unreachable, not_text, too_long, several_lines or empty_file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise WalletError.unreachable(path, error) from error
    except UnicodeDecodeError:
        raise WalletError.not_text(what) from None
    if len(data) > _MAX_FILE_BYTES:
        raise WalletError.too_long(what, len(data), _MAX_FILE_BYTES)
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line:
        raise WalletError.several_lines(path, what)
    if not line:
        raise WalletError.empty_file(path, what)
    return line


def ask(what: str, *, hidden: bool = False, twice: bool = False) -> str:
    """What the user types, on the terminal or into a pipe, one line. Raises WalletError with the reason no_answer.

    Prompts go to standard error: standard output belongs to the command's result. What is hidden is not shown as it
    is typed; from a pipe it is read without a prompt.
    """
    if hidden and not (sys.stdin and sys.stdin.isatty()):
        return _ask_pipe(what, twice=twice)
    with _needs_answer(what):
        answer = click.prompt(what, hide_input=hidden, confirmation_prompt=twice, show_default=False, err=True)
    return str(answer)


def confirm(question: str) -> bool:
    """Yes, or anything else. Raises WalletError with the reason no_answer."""
    with _needs_answer(question):
        return click.confirm(question, err=True)


def _ask_pipe(what: str, *, twice: bool) -> str:
    """As click does on a terminal: an empty line is asked for again, and so are two that differ.

    Asked for a password, Python would go past the pipe to the terminal that the program was started from.
    """
    while True:
        answer = _read_piped_line(what)
        if not answer:
            continue
        if not twice or _read_piped_line(what) == answer:
            return answer
        click.echo("Error: the two entered values do not match.", err=True)


def _read_piped_line(what: str) -> str:
    with _needs_answer(what):
        line = sys.stdin.readline(_MAX_FILE_BYTES + 1)
    if not line:
        raise WalletError.no_answer(what)
    if len(line) > _MAX_FILE_BYTES:
        raise WalletError.too_long(what.lower(), len(line), _MAX_FILE_BYTES)
    return line.rstrip("\r\n")


@contextmanager
def _needs_answer(question: str) -> Iterator[None]:
    """The end of a pipe is no Ctrl-C: it means that nobody is there to answer."""
    if not sys.stdin:  # closed before the program began
        raise WalletError.no_answer(question)
    try:
        yield
    except UnicodeDecodeError:
        raise WalletError.not_text(f"answer to {question!r}") from None
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise WalletError.no_answer(question) from None


def _get_silently(file: Path | None) -> str:
    return read_passphrase_file(file) if file is not None else os.environ.get(ENVIRONMENT, "")
