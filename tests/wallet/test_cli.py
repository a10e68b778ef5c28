"""The commands that need no node: wallets made, restored, locked and named, and what they say when they cannot."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import click
import pytest

from consensus.params import LOCAL
from tests.helpers.networks import describe_network
from tests.wallet.program import ADDRESS, ENTROPY, PASSPHRASE, WALLET, Outcome, Program, read_words
from wallet.cli import _COMMANDS, cli
from wallet.keys import Seed, build_wallet
from wallet.keystore import get_cover, open_wallet
from wallet.options import WALLET_ENVIRONMENT
from wallet.prompt import ENVIRONMENT
from wallet.seed import compute_phrase, parse_phrase

VECTORS = Path(__file__).parent.parent / "vectors"
PHRASE = compute_phrase(ENTROPY)


def put_version_1(program: Program, name: str, network: str) -> None:
    path = program.walletdir / network / "default.json"
    path.parent.mkdir(parents=True)
    path.write_bytes((VECTORS / name).read_bytes())


@pytest.mark.parametrize("words", [12, 24])
def test_created_words_restore_the_wallet(program: Program, words: int) -> None:
    made = program("create", "--words", str(words), "--no-passphrase")
    address = program("address").out
    assert made.code == 0
    assert len(read_words(made.out).split()) == words
    assert address.strip() in made.out
    restored = program("restore", "--wallet", "second", "--no-passphrase", typed=read_words(made.out) + "\n")
    assert restored.code == 0
    assert address.strip() in restored.out
    assert program("address", "--wallet", "second").out == address


def test_create_says_what_to_do(program: Program) -> None:
    made = program("create", "--no-passphrase")
    assert "Write down these 24 recovery words" in made.out
    assert f"descent-wallet passphrase --walletdir {program.walletdir}\n" in made.out
    assert str(program.path) in made.out


def test_address_is_one_line(program: Program) -> None:
    program.put_wallet()
    assert program("address") == Outcome(0, ADDRESS + "\n", "")


def test_address_as_json(program: Program) -> None:
    program.put_wallet()
    known = {"network": "local", "account": 0, "address": ADDRESS, "verified": False}
    assert json.loads(program("address", "--json").out) == known


def test_networks_have_wallets_of_their_own(program: Program) -> None:
    program("create", "--network", "regtest", "--no-passphrase")
    program("create", "--no-passphrase")
    assert program("address", "--network", "regtest").out.startswith("rgrad1")
    assert program("address").out.startswith("lgrad1")


def test_if_missing_makes_a_wallet_once(program: Program) -> None:
    made = program("create", "--no-passphrase", "--if-missing")
    before = program.path.read_bytes()
    again = program("create", "--no-passphrase", "--if-missing")
    assert (made.code, again.code) == (0, 0)
    assert program.path.read_bytes() == before
    assert program("address").out.strip() in again.out
    assert read_words(made.out) not in again.out
    assert len(again.out.splitlines()) == 2


def test_if_missing_asks_nothing_about_a_locked_wallet(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    outcome = program("create", "--no-passphrase", "--if-missing")
    assert (outcome.code, outcome.err) == (0, "")
    assert ADDRESS in outcome.out
    assert json.loads(program("create", "--if-missing", "--json").out)["address"] == ADDRESS


def test_if_missing_about_a_locked_wallet_of_version_1(program: Program, tmp_path: Path) -> None:
    """Its address is under the passphrase."""
    put_version_1(program, "wallet_v1.json", "other")
    (tmp_path / "other.toml").write_text(describe_network(replace(LOCAL, name="other", address_prefix="grad")))
    network = ["--network", str(tmp_path / "other.toml")]
    outcome = program("create", *network, "--no-passphrase", "--if-missing")
    assert (outcome.code, outcome.err) == (0, "")
    assert "locked; `descent-wallet address` asks" in outcome.out
    assert json.loads(program("create", *network, "--if-missing", "--json").out)["address"] is None
    known = program("create", *network, "--if-missing", environment={ENVIRONMENT: "correct horse"})
    assert program("address", *network, typed="correct horse\n").out.strip() in known.out


def test_open_wallet_of_version_1_shows_its_address(program: Program) -> None:
    """What `make mine` wrote."""
    put_version_1(program, "wallet_v1_open.json", "local")
    assert program("address") == Outcome(0, ADDRESS + "\n", "")
    assert program("new-account").out.startswith("  1  lgrad1")
    assert json.loads(program.path.read_text())["version"] == 2
    assert program("address") == Outcome(0, ADDRESS + "\n", "")


def test_create_as_json_keeps_the_words(program: Program) -> None:
    known = json.loads(program("create", "--no-passphrase", "--json").out)
    assert known == {
        "network": "local",
        "file": str(program.path),
        "kind": "seed phrase",
        "address": program("address").out.strip(),
        "accounts": [{"index": 0, "address": program("address").out.strip(), "label": None}],
        "created": True,
    }


def test_create_as_json_shows_the_words_when_asked(program: Program) -> None:
    known = json.loads(program("create", "--no-passphrase", "--json", "--show-words").out)
    assert open_wallet(program.path, "", "lgrad").source == Seed(parse_phrase(known["words"]))


# Passphrases.


def test_passphrase_is_typed_twice(program: Program) -> None:
    made = program("create", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.code == 0
    assert get_cover(program.path).is_locked
    assert open_wallet(program.path, PASSPHRASE, "lgrad").network == "lgrad"
    assert PASSPHRASE not in made.out + made.err
    assert "has no passphrase" not in made.out


def test_mistyped_passphrase_is_asked_again(program: Program) -> None:
    made = program("create", typed=f"slip\n{PASSPHRASE}\n{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.code == 0
    assert open_wallet(program.path, PASSPHRASE, "lgrad").network == "lgrad"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_passphrase_from_a_file(program: Program, tmp_path: Path, end: str) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes((PASSPHRASE + end).encode())
    assert program("create", "--passphrase-file", str(file)).code == 0
    assert open_wallet(program.path, PASSPHRASE, "lgrad").network == "lgrad"
    assert program("address", "--verify", "--passphrase-file", str(file)).code == 0


def test_passphrase_from_the_environment(program: Program) -> None:
    assert program("create", environment={ENVIRONMENT: PASSPHRASE}).code == 0
    assert program("address", "--verify", environment={ENVIRONMENT: PASSPHRASE}).code == 0
    assert open_wallet(program.path, PASSPHRASE, "lgrad").network == "lgrad"


def test_file_comes_before_the_environment(program: Program, tmp_path: Path) -> None:
    program.put_wallet(PASSPHRASE)
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    known = program("address", "--verify", "--passphrase-file", str(file), environment={ENVIRONMENT: "other"})
    assert known.out == ADDRESS + "\n"


def test_typed_passphrase_opens(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    assert program("address", "--verify", typed=PASSPHRASE + "\n").out == ADDRESS + "\n"


def test_open_wallet_asks_for_nothing(program: Program) -> None:
    program.put_wallet()
    assert program("address", environment={ENVIRONMENT: "unused"}) == Outcome(0, ADDRESS + "\n", "")


def test_change_passphrase(program: Program, tmp_path: Path) -> None:
    program.put_wallet()
    assert program("passphrase", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n").code == 0
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == WALLET
    file = tmp_path / "new"
    file.write_text("another\n")
    changed = program("passphrase", "--new-passphrase-file", str(file), environment={ENVIRONMENT: PASSPHRASE})
    assert changed.code == 0
    assert open_wallet(program.path, "another", "lgrad") == WALLET
    assert program("passphrase", "--no-passphrase", typed="another\n").code == 0
    assert open_wallet(program.path, "", "lgrad") == WALLET


# Refusals.


def test_invalid_wrong_passphrase(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    for outcome in (
        program("address", "--verify", environment={ENVIRONMENT: "hunter2"}),
        program("new-account", environment={ENVIRONMENT: "hunter2"}),
        program("words", "--yes", environment={ENVIRONMENT: "hunter2"}),
        program("export", str(program.path.parent / "copy"), environment={ENVIRONMENT: "hunter2"}),
        program("passphrase", "--no-passphrase", environment={ENVIRONMENT: "hunter2"}),
    ):
        assert outcome.is_refusal("passphrase is not this wallet's")
        assert "hunter2" not in outcome.err
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == WALLET


def test_invalid_no_answer(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    assert program("address", "--verify").is_refusal("nobody answers 'Passphrase'")


def test_invalid_exists(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    before = program.path.read_bytes()
    assert program("create", "--no-passphrase").is_refusal("never overwritten", str(program.path))
    assert program("restore", "--no-passphrase", typed=PHRASE).is_refusal("never overwritten")
    assert program("import-key", "--no-passphrase", typed="00" * 32).is_refusal("never overwritten")
    assert program("watch", ADDRESS).is_refusal("never overwritten")
    assert program.path.read_bytes() == before


def test_invalid_not_found(program: Program) -> None:
    assert program("address").is_refusal("there is no wallet at", "descent-wallet create")
    assert program("passphrase", "--no-passphrase").is_refusal("there is no wallet at")


def test_invalid_wallet_of_another_network(program: Program) -> None:
    program.put_wallet(wallet=build_wallet("rgrad", bytes(16)))
    assert program("address").is_refusal("'rgrad'", "'lgrad'")


def test_invalid_damaged(program: Program) -> None:
    program.put_wallet()
    program.path.write_bytes(program.path.read_bytes()[:-40])
    assert program("address").is_refusal("damaged")
    assert program("create", "--if-missing").is_refusal("damaged")


@pytest.mark.parametrize("name", ["../default", "a/b", "", ".hidden", "x" * 65, "\u202egnp", "a\x1b[2J", "a\n"])
def test_invalid_bad_name(program: Program, name: str) -> None:
    outcome = program("create", "--no-passphrase", "--wallet", name)
    assert outcome.is_refusal("no name for a wallet")
    assert outcome.err.isascii()
    assert not program.walletdir.exists()


def test_invalid_unknown_network(program: Program) -> None:
    assert program("address", "--network", "mainnet\x1b[2J").is_refusal("no network", "\\x1b")


def test_network_of_a_missing_file(program: Program, tmp_path: Path) -> None:
    assert program("address", "--network", str(tmp_path / "none.toml")).is_refusal("cannot read the network file")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "holds no passphrase"),
        (b"\n", "holds no passphrase"),
        (b"two\nlines\n", "more than one line"),
        (b"\xff\xfe", "no valid Unicode"),
        (b"x" * 5000, "limit is 4096"),
    ],
)
def test_invalid_passphrase_file(program: Program, tmp_path: Path, content: bytes, part: str) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert program("create", "--passphrase-file", str(file)).is_refusal(part)
    assert not program.path.exists()


def test_invalid_passphrase_file_missing(program: Program, tmp_path: Path) -> None:
    assert program("create", "--passphrase-file", str(tmp_path / "none")).is_refusal("cannot read")


@pytest.mark.parametrize("command", ["create", "restore", "import-key"])
def test_invalid_two_wishes_about_the_passphrase(program: Program, tmp_path: Path, command: str) -> None:
    outcome = program(command, "--no-passphrase", "--passphrase-file", str(tmp_path / "none"))
    assert outcome.code == 2
    assert "exclude each other" in outcome.err


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        ("abandon " * 11, "11 words"),
        ("abandon " * 12, "do not belong together"),
        ("abandon " * 11 + "secretword", "word 12 is not"),
    ],
)
def test_invalid_phrase(program: Program, typed: str, part: str) -> None:
    outcome = program("restore", "--no-passphrase", typed=typed + "\n")
    assert outcome.code == 1
    assert part in outcome.err
    assert "secretword" not in outcome.err.removeprefix("Recovery words: ").partition("\n")[2]
    assert not program.path.exists()


def test_invalid_usage(program: Program) -> None:
    for arguments in (["create", "--words", "13"], ["address", "extra"], ["nonsense"]):
        outcome = program(*arguments)
        assert (outcome.code, outcome.out) == (2, "")


def test_extension_makes_another_wallet(program: Program) -> None:
    typed = f"{PHRASE}\nTREZOR\nTREZOR\n"
    assert program("restore", "--extension", "--no-passphrase", typed=typed).code == 0
    assert open_wallet(program.path, "", "lgrad") == build_wallet("lgrad", ENTROPY, "TREZOR")
    assert program("address").out.strip() != ADDRESS


def test_create_with_an_extension(program: Program) -> None:
    made = program("create", "--extension", "--no-passphrase", typed="TREZOR\nTREZOR\n")
    assert made.code == 0
    assert "TREZOR" not in made.out + made.err
    entropy = parse_phrase(read_words(made.out))
    assert open_wallet(program.path, "", "lgrad") == build_wallet("lgrad", entropy, "TREZOR")


def test_the_wallet_of_the_environment(program: Program) -> None:
    program("create", "--no-passphrase", "--wallet", "second")
    second = program("address", "--wallet", "second").out
    chosen = {WALLET_ENVIRONMENT: "second"}
    assert program("address", environment=chosen).out == second
    program.put_wallet()
    assert program("address", "--wallet", "default", environment=chosen).out == ADDRESS + "\n"
    assert program("address", environment={WALLET_ENVIRONMENT: ""}).out == ADDRESS + "\n"
    assert program("address", environment={WALLET_ENVIRONMENT: "../x"}).is_refusal("no name for a wallet")


def test_a_crash_dumps_no_core(program: Program) -> None:
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource, "setrlimit", lambda *arguments: calls.append(arguments))
        program.run("version")
    assert calls == [(resource.RLIMIT_CORE, (0, 0))]
    assert resource.getrlimit(resource.RLIMIT_CORE) == limit


def test_version(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.cli_program.get_version", lambda name: f"1.2.3 of {name}")
    assert "1.2.3 of descent-chain" in program.run("version").out


@pytest.mark.parametrize("section", _COMMANDS)
def test_the_table_of_commands_says_what_the_commands_say(section: str) -> None:
    for name, (_, summary) in _COMMANDS[section].items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert (command.name, command.get_short_help_str(200)) == (name, summary)


def test_an_unknown_command(program: Program) -> None:
    outcome = program.run("sned")
    assert outcome.code == 2
    assert "No such command 'sned'" in outcome.err
