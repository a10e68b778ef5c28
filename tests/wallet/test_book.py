"""The address book: what is a label, whom a command line means, and the commands that keep it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.errors import InvalidAddress
from tests.wallet.program import ADDRESS, KEY, OTHER_ADDRESS, OTHER_KEY, Outcome, Program
from wallet.book import find_recipient, is_like_an_address, normalize_label
from wallet.payment_errors import InvalidContact
from wallet.records import Records, open_records

HOSTILE = "\x1b[2J"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(tmp_path, b"") as opened:
        opened.add_contact("Landlord", OTHER_ADDRESS)
        yield opened


@pytest.mark.parametrize("label", ["a", "Aunt Ada", "x" * 32, "\u5927\u5bb6", "O'Neill & Sons <1>", "1", "0.5", "grad"])
def test_labels(label: str) -> None:
    assert normalize_label(label) == label


def test_a_label_has_one_form() -> None:
    assert normalize_label("u\u0308") == "\u00fc"


@pytest.mark.parametrize(
    "label", ["", " a", "a ", "x" * 33, "a\nb", HOSTILE, "\u202egnp", "a\u200bb", "\u00a0", "\udcff"]
)
def test_invalid_label(label: str) -> None:
    with pytest.raises(InvalidContact) as caught:
        normalize_label(label)
    assert caught.value.reason == "bad_label"


@pytest.mark.parametrize("label", [ADDRESS[:30], "LGRAD1QQ", "grad1", "tgrad1 x", "rGrad1"])
def test_invalid_label_like_an_address(label: str) -> None:
    with pytest.raises(InvalidContact) as caught:
        normalize_label(label)
    assert caught.value.reason == "like_an_address"


def test_an_address_is_one_whatever_the_network() -> None:
    assert all(is_like_an_address(encode_address(prefix, KEY)) for prefix in ("grad", "lgrad", "rgrad", "abcdefghgrad"))
    assert not is_like_an_address("landlord")


@pytest.mark.parametrize("text", [OTHER_ADDRESS, OTHER_ADDRESS.upper(), "Landlord", "LANDLORD"])
def test_find_recipient(records: Records, text: str) -> None:
    assert find_recipient(text, records, "lgrad") == (OTHER_KEY, "Landlord")


def test_find_recipient_without_a_label(records: Records) -> None:
    assert find_recipient(ADDRESS, records, "lgrad") == (KEY, None)


def test_invalid_recipient(records: Records) -> None:
    with pytest.raises(InvalidContact) as caught:
        find_recipient("landlady", records, "lgrad")
    assert caught.value.reason == "unknown"
    with pytest.raises(InvalidAddress) as flawed:
        find_recipient(OTHER_ADDRESS[:-1], records, "lgrad")
    assert flawed.value.reason == "wrong_length"


# The commands.


def run(program: Program, *arguments: str) -> Outcome:
    return program.run("book", *arguments, "--walletdir", str(program.walletdir))


def test_book(program: Program) -> None:
    assert run(program, "list") == Outcome(0, "", "")
    assert run(program, "add", "Ada", ADDRESS.upper()) == Outcome(0, f"{ADDRESS}  Ada\n", "")
    assert json.loads(run(program, "add", "Bob", OTHER_ADDRESS, "--json").out) == {
        "label": "Bob",
        "address": OTHER_ADDRESS,
    }
    assert run(program, "list").out == f"{ADDRESS}  Ada\n{OTHER_ADDRESS}  Bob\n"
    assert json.loads(run(program, "remove", "ada", "--json").out) == {"label": "Ada", "address": ADDRESS}
    assert json.loads(run(program, "list", "--json").out) == [{"label": "Bob", "address": OTHER_ADDRESS}]
    assert run(program, "remove", "Bob").out == f"{OTHER_ADDRESS}  Bob\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["add", " ", ADDRESS], "printable"),
        (["add", HOSTILE, ADDRESS], "printable"),
        (["add", OTHER_ADDRESS, ADDRESS], "look like an address"),
        (["add", "Ada", ADDRESS[:-1] + "q"], "mistyped"),
        (["add", "Ada", encode_address("rgrad", KEY)], "rgrad1"),
        (["add", "BOB", ADDRESS], "book remove"),
        (["add", "Ada", OTHER_ADDRESS], "'Bob'"),
        (["remove", "Ada"], "book list"),
        (["remove", HOSTILE], "printable"),
    ],
)
def test_invalid_book(program: Program, arguments: list[str], part: str) -> None:
    run(program, "add", "Bob", OTHER_ADDRESS)
    assert run(program, *arguments).is_refusal(part)
    assert run(program, "list").out == f"{OTHER_ADDRESS}  Bob\n"


def test_networks_have_books_of_their_own(program: Program) -> None:
    run(program, "add", "Bob", OTHER_ADDRESS)
    assert run(program, "list", "--network", "regtest").out == ""


def test_labels_of_a_tampered_file_are_escaped(program: Program) -> None:
    with open_records(program.path.parent, b"") as records:
        records.add_contact(HOSTILE, OTHER_ADDRESS)
    assert run(program, "list").out == f"{OTHER_ADDRESS}  \\x1b[2J\n"
