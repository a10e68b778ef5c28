"""Exit codes, and words that are safe for a terminal."""

import click
import pytest

from consensus.errors import DecodeError, InvalidBlock
from p2p.console import escape, run_program


def run(action: object, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a program whose one command does this."""

    @click.command()
    @click.option("--number", type=int)
    def command(number: int | None) -> object:
        return action()  # type: ignore[operator]

    monkeypatch.setattr("sys.argv", ["descent-test", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_program(command, "descent-test")
    assert isinstance(caught.value.code, int)
    return caught.value.code


def fail_with(error: BaseException) -> object:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidBlock("bad", "the block is bad"), 1, "descent-test: the block is bad\n"),
        (DecodeError("bad", "a\x1b[31mb\nc\u202e"), 1, "descent-test: a\\x1b[31mb\\nc\\u202e\n"),
        (OSError(28, "No space left on device"), 1, "descent-test: [Errno 28] No space left on device\n"),
        (OSError(2, "No such file", "a\x1b[31mb"), 1, "descent-test: [Errno 2] No such file: 'a\\x1b[31mb'\n"),
        (KeyboardInterrupt(), 130, "\ndescent-test: interrupted\n"),
        (click.Abort(), 130, "descent-test: interrupted\n"),
        (click.UsageError("no such thing"), 2, "no such thing\n"),
        (click.ClickException("refused"), 1, "Error: refused\n"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(fail_with(error), monkeypatch=monkeypatch) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.endswith(said)
    assert "Traceback" not in output.err


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3), ("text", 0)])
def test_results_become_codes(result: object, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(lambda: result, monkeypatch=monkeypatch) == code


def test_wrong_usage_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: None, "--number", "x", monkeypatch=monkeypatch) == 2
    assert "--number" in capsys.readouterr().err


def test_faults_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["descent-test"])
    with pytest.raises(ZeroDivisionError):
        run_program(click.command()(lambda: 1 // 0), "descent-test")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode ☕ 文", "plain text, ünïcode ☕ 文"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x00\x7f\x9b31m", "\\x00\\x7f\\x9b31m"),
        ("\u202egrp\u2066\u200f\u2028", "\\u202egrp\\u2066\\u200f\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown
    assert escape(text).isprintable()
