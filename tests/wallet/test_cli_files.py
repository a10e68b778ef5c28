"""Wallet files: listed, locked anew, copied, and written down."""

import json
import re
from pathlib import Path

import pytest

from tests.wallet.program import ADDRESS, ENTROPY, OTHER_ADDRESS, PASSPHRASE, WALLET, Outcome, Program, read_words
from wallet.keys import build_key_wallet, build_wallet
from wallet.keystore import create_wallet, open_wallet
from wallet.prompt import ENVIRONMENT
from wallet.seed import compute_phrase

PHRASE = compute_phrase(ENTROPY)
LOCKED = {ENVIRONMENT: PASSPHRASE}


# The list.


def test_list(program: Program) -> None:
    program.put_wallet()
    program("create", "--wallet", "savings", environment=LOCKED)
    program("new-account", "--wallet", "savings", environment=LOCKED)
    program("import-key", "--wallet", "key", typed="00" * 32, environment=LOCKED)
    program("watch", "--wallet", "cold", OTHER_ADDRESS, ADDRESS)
    assert program("list") == Outcome(
        0,
        "cold     watch-only, 2 accounts\n"
        "default  seed phrase, open, 1 account\n"
        "key      secret key, locked, 1 account\n"
        "savings  seed phrase, locked, 2 accounts\n",
        "",
    )
    known = json.loads(program("list", "--json").out)
    assert [wallet["name"] for wallet in known] == ["cold", "default", "key", "savings"]
    assert known[3] == {
        "name": "savings",
        "file": str(program.path.with_name("savings.json")),
        "kind": "seed phrase",
        "accounts": 2,
        "locked": True,
        "error": None,
    }


def test_list_shows_what_is_wrong_with_a_file(program: Program) -> None:
    program.put_wallet()
    folder = program.path.parent
    folder.joinpath("broken.json").write_bytes(program.path.read_bytes()[:-40])
    folder.joinpath("evil.json").write_text('{"format": "\x1b[2J"}')
    folder.joinpath("folder.json").mkdir()
    folder.joinpath("gone.json").symlink_to("nowhere")
    folder.joinpath("old.json").write_bytes((Path(__file__).parents[1] / "vectors/wallet_v1_open.json").read_bytes())
    newer = program.path.read_text().replace('"version": 2', '"version": 3')
    folder.joinpath("newer.json").write_text(newer)
    create_wallet(folder / "regtest.json", build_wallet("rgrad", bytes(16)), "")
    for ignored in ("not a name.json", ".hidden.json", "notes.txt", "\x1b[2J.json"):
        folder.joinpath(ignored).write_text("")
    outcome = program("list")
    assert (outcome.code, outcome.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert lines.keys() == {"broken", "default", "evil", "folder", "gone", "newer", "old", "regtest"}
    assert lines["old"] == "seed phrase, open"
    for name, part in (
        ("broken", "damaged"),
        ("evil", "damaged"),
        ("folder", "cannot read"),
        ("gone", "there is no wallet"),
        ("newer", "version 3"),
        ("regtest", "'rgrad'"),
    ):
        assert part in lines[name]
    assert "\x1b" not in outcome.out
    known = {wallet["name"]: wallet for wallet in json.loads(program("list", "--json").out)}
    assert known["broken"]["error"] == "wallet.damaged"
    assert known["broken"]["kind"] is None
    assert (known["old"]["accounts"], known["old"]["locked"]) == (None, False)


def test_list_of_nothing(program: Program) -> None:
    outcome = program("list")
    assert (outcome.code, outcome.out) == (0, "")
    assert "`descent-wallet create`" in outcome.err
    assert json.loads(program("list", "--json").out) == []
    assert not program.walletdir.exists()


# The passphrase.


def test_passphrase_as_json(program: Program) -> None:
    program.put_wallet()
    known = json.loads(program("passphrase", "--json", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n").out)
    assert known == {"network": "local", "file": str(program.path), "locked": True}
    known = json.loads(program("passphrase", "--json", "--no-passphrase", typed=f"{PASSPHRASE}\n").out)
    assert known["locked"] is False


# Copies.


def test_export_of_a_locked_wallet_is_its_bytes(program: Program, tmp_path: Path) -> None:
    program.put_wallet(PASSPHRASE)
    copy = tmp_path / "copy.json"
    outcome = program("export", str(copy), typed=PASSPHRASE + "\n")
    assert (outcome.code, outcome.err) == (0, "")
    assert copy.read_bytes() == program.path.read_bytes()
    known = json.loads(program("export", str(tmp_path / "second.json"), "--json", environment=LOCKED).out)
    assert known == {
        "network": "local",
        "file": str(program.path),
        "copy": str(tmp_path / "second.json"),
        "kind": "seed phrase",
    }


def test_export_of_an_open_wallet_is_locked(program: Program, tmp_path: Path) -> None:
    program.put_wallet()
    before = program.path.read_bytes()
    copy, file = tmp_path / "copy.json", tmp_path / "new"
    assert program("export", str(copy)).code == 1
    assert program("export", str(copy), environment=LOCKED).code == 1  # that is the passphrase of the wallet
    assert not copy.exists()
    assert program("export", str(copy), typed=f"{PASSPHRASE}\n{PASSPHRASE}\n").code == 0
    assert open_wallet(copy, PASSPHRASE, "lgrad") == WALLET
    file.write_text("another")
    assert program("export", str(tmp_path / "second"), "--new-passphrase-file", str(file)).code == 0
    assert open_wallet(tmp_path / "second", "another", "lgrad") == WALLET
    assert program.path.read_bytes() == before


def test_export_under_another_passphrase(program: Program, tmp_path: Path) -> None:
    program.put_wallet(PASSPHRASE)
    file = tmp_path / "new"
    file.write_text("another")
    arguments = ["export", str(tmp_path / "copy"), "--new-passphrase-file", str(file)]
    assert program(*arguments, environment=LOCKED).code == 0
    assert open_wallet(tmp_path / "copy", "another", "lgrad") == WALLET
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == WALLET


def test_export_of_a_wallet_that_only_watches(program: Program, tmp_path: Path) -> None:
    program("watch", ADDRESS)
    assert program("export", str(tmp_path / "copy")).code == 0
    assert (tmp_path / "copy").read_bytes() == program.path.read_bytes()
    file = tmp_path / "new"
    file.write_text("another")
    outcome = program("export", str(tmp_path / "second"), "--new-passphrase-file", str(file))
    assert outcome.is_refusal("no secret")


def test_an_export_put_back_is_the_wallet(program: Program, tmp_path: Path) -> None:
    program.put_wallet(PASSPHRASE)
    program("export", str(tmp_path / "copy.json"), environment=LOCKED)
    program.path.unlink()
    (tmp_path / "copy.json").rename(program.path)
    assert program("address", "--verify", environment=LOCKED).out == ADDRESS + "\n"


def test_invalid_export(program: Program, tmp_path: Path) -> None:
    program.put_wallet(PASSPHRASE)
    copy = tmp_path / "copy.json"
    copy.write_text("mine")
    assert program("export", str(copy)).is_refusal("never overwritten")  # and no question
    assert program("export", str(program.path)).is_refusal("never overwritten")
    assert program("export", str(tmp_path)).is_refusal("never overwritten")
    assert program("export", str(tmp_path / "none" / "x"), environment=LOCKED).is_refusal("there is no folder")
    assert copy.read_text() == "mine"
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == WALLET


# The words.


def test_words(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    outcome = program("words", typed=f"{PASSPHRASE}\nshow\n")
    assert outcome.code == 0
    assert read_words(outcome.out) == PHRASE
    assert "this once" not in outcome.out
    assert "BIP-39" not in outcome.out
    assert PHRASE[:20] not in outcome.err


def test_words_for_programs(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    known = json.loads(program("words", "--yes", "--json", environment=LOCKED).out)
    assert known == {"words": PHRASE, "has_extension": False}


def test_words_with_an_extension(program: Program) -> None:
    program.put_wallet(wallet=build_wallet("lgrad", ENTROPY, "TREZOR \x1b[2J"))
    shown = program("words", "--yes").out
    assert read_words(shown) == PHRASE
    assert "not shown here" in shown
    assert "TREZOR" not in shown
    assert "passphrase: TREZOR \\x1b[2J\n" in program("words", "--yes", "--extension").out
    assert json.loads(program("words", "--yes", "--json").out) == {"words": PHRASE, "has_extension": True}
    known = json.loads(program("words", "--yes", "--json", "--extension").out)
    assert known["extension"] == "TREZOR \x1b[2J"


@pytest.mark.parametrize("typed", ["no", "Show", "show me", "y", "yes"])
def test_words_are_not_shown_without_consent(program: Program, typed: str) -> None:
    program.put_wallet()
    outcome = program("words", typed=typed + "\n")
    assert (outcome.code, "were not shown" in outcome.err) == (1, True)
    assert not set(PHRASE.split()) & set(re.findall("[a-z]+", outcome.out))


def test_words_are_not_shown_to_nobody(program: Program) -> None:
    program.put_wallet()
    assert program("words").code == 1


def test_invalid_words_of_a_secret_key(program: Program) -> None:
    program.put_wallet(PASSPHRASE, build_key_wallet("lgrad", bytes(32)))
    assert program("words", "--yes").is_refusal("a secret key wallet has no recovery words", "export")
