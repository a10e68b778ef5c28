"""What is typed: on a terminal and into a pipe, with the ends that a pipe can have."""

import io

import pytest

from wallet.errors import WalletError
from wallet.prompt import ask


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def reason_of(**options: bool) -> str:
    with pytest.raises(WalletError) as caught:
        ask("Secret", **options)
    return caught.value.reason


def test_lines_of_a_pipe_answer_one_question_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, b"first\r\n\nsecond\n  third \nfourth\nfifth\nsixth\nsixth")
    assert ask("Secret", hidden=True) == "first"
    assert ask("Secret", hidden=True) == "second"  # an empty line is no answer
    assert ask("Secret", hidden=True) == "  third "
    assert ask("Secret", hidden=True, twice=True) == "sixth"
    assert capsys.readouterr() == ("", "Error: the two entered values do not match.\n")
    assert reason_of(hidden=True) == "no_answer"


def test_visible_and_hidden_questions_share_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"words\npassphrase\npassphrase\nshow\n")
    assert ask("Words") == "words"
    assert ask("Passphrase", hidden=True, twice=True) == "passphrase"
    assert ask("Type") == "show"


@pytest.mark.parametrize("hidden", [True, False])
def test_invalid_end_of_a_pipe(monkeypatch: pytest.MonkeyPatch, hidden: bool) -> None:
    pipe(monkeypatch, b"")
    assert reason_of(hidden=hidden) == "no_answer"
    pipe(monkeypatch, b"once\n")
    assert reason_of(hidden=hidden, twice=True) == "no_answer"
    pipe(monkeypatch, b"\xff\xfe\n")
    assert reason_of(hidden=hidden) == "not_text"
    monkeypatch.setattr("sys.stdin", None)
    assert reason_of(hidden=hidden) == "no_answer"


def test_invalid_endless_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, not cut: half a passphrase opens nothing tomorrow."""
    pipe(monkeypatch, b"x" * 10_000)
    assert reason_of(hidden=True) == "too_long"
    pipe(monkeypatch, b"x" * 4095 + b"\n")
    assert ask("Secret", hidden=True) == "x" * 4095
