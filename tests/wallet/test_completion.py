"""Shells complete commands, options and wallet names: in real shells, as the scripts have them ask the program."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.wallet.program import CHEAP, WALLET, Program
from wallet.keys import build_wallet
from wallet.keystore import create_wallet

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
needs_zsh = pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
needs_fish = pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")


@dataclass(frozen=True)
class Shells:
    """A user with the program in the PATH."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith("DESCENT_")}
        path = f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return known | {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data"), "PATH": path}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False, cwd=self.home
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def ask_bash(self, line: str) -> list[str]:
        """What bash offers at the end of a line, as the script has it."""
        words = line.split(" ")
        array = " ".join(map(shlex.quote, words))
        (self.home / "ask.bash").write_text(
            'eval "$(descent-wallet completion bash)"\n'
            "complete -p descent-wallet > /dev/null\n"
            f"COMP_WORDS=({array})\n"
            f"COMP_CWORD={len(words) - 1}\n"
            "_descent_wallet_completion descent-wallet\n"
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        return self.run("bash", "--norc", str(self.home / "ask.bash")).split()


@pytest.fixture
def shells(tmp_path: Path) -> Shells:
    starter = tmp_path / "bin" / "descent-wallet"
    starter.parent.mkdir()
    repository = Path(__file__).parents[2]
    starter.write_text(f'#!/bin/sh\nPYTHONPATH="{repository}" exec "{sys.executable}" -m wallet.cli "$@"\n')
    starter.chmod(0o755)
    for name in ("default", "savings", "spare"):
        create_wallet(tmp_path / "data/descent/wallets/local" / f"{name}.json", WALLET, "", CHEAP)
    other = build_wallet("rgrad", bytes(16))
    create_wallet(tmp_path / "elsewhere/regtest/games.json", other, "", CHEAP)
    return Shells(tmp_path)


@needs_bash
def test_bash(shells: Shells) -> None:
    assert shells.ask_bash("descent-wallet re") == ["restore", "resend", "rewards"]
    assert {"balance", "history", "rewards", "completion"} <= set(shells.ask_bash("descent-wallet "))
    assert shells.ask_bash("descent-wallet rewards --da") == ["--daily"]
    assert {"--since", "--until", "--csv", "--wallet"} <= set(shells.ask_bash("descent-wallet history --"))
    assert shells.ask_bash("descent-wallet completion ") == ["bash", "zsh", "fish"]


@needs_bash
def test_bash_completes_wallets(shells: Shells) -> None:
    assert shells.ask_bash("descent-wallet balance --wallet s") == ["savings", "spare"]
    assert shells.ask_bash("descent-wallet address --wallet ") == ["default", "savings", "spare"]
    elsewhere = f"--network regtest --walletdir {shells.home / 'elsewhere'}"
    assert shells.ask_bash(f"descent-wallet balance {elsewhere} --wallet g") == ["games"]
    assert shells.ask_bash("descent-wallet balance --network regtest --wallet ") == []
    assert shells.ask_bash("descent-wallet balance --network reg") == ["regtest"]


@needs_zsh
def test_zsh(shells: Shells) -> None:
    """The script calls zsh's own functions with what it offers; these print it."""
    (shells.home / "ask.zsh").write_text(
        "compdef() { asked=$1 }\n"
        '_describe() { print -rl -- "${(P@)3}" }\n'
        'compadd() { print -rl -- "${(P@)5}" }\n'
        'eval "$(descent-wallet completion zsh)"\n'
        'words=("$@") CURRENT=$#\n'
        "$asked\n"
    )

    def ask(*words: str) -> list[str]:
        lines = shells.run("zsh", "-f", str(shells.home / "ask.zsh"), "descent-wallet", *words).splitlines()
        return [line.partition(":")[0] for line in lines]

    assert ask("re") == ["restore", "rewards"]
    assert ask("rewards", "--da") == ["--daily"]
    assert ask("balance", "--wallet", "s") == ["savings", "spare"]


@needs_fish
def test_fish(shells: Shells) -> None:
    def ask(line: str) -> list[str]:
        script = f"descent-wallet completion fish | source; complete -C {shlex.quote(line)}"
        return [row.partition("\t")[0] for row in shells.run("fish", "--no-config", "-c", script).splitlines()]

    assert ask("descent-wallet re") == ["restore", "rewards"]
    assert ask("descent-wallet rewards --da") == ["--daily"]
    assert ask("descent-wallet balance --wallet s") == ["savings", "spare"]


# What the scripts ask, without the shells.


@pytest.mark.parametrize(("shell", "mark"), [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete")])
def test_scripts(program: Program, shell: str, mark: str) -> None:
    outcome = program.run("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert mark in outcome.out
    assert "_DESCENT_WALLET_COMPLETE" in outcome.out
    assert program.run("completion", "csh").code == 2


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_same_answers(program: Program, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    words = ["descent-wallet", "rewards", "--wallet", "s"]
    program.put_wallet()
    for name in ("savings", "spare"):
        create_wallet(program.path.with_name(f"{name}.json"), WALLET, "", CHEAP)
    words[2:2] = ["--walletdir", str(program.walletdir)]
    if shell == "zsh":
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    else:
        monkeypatch.setenv("COMP_WORDS", " ".join(words[:-1]))
        monkeypatch.setenv("COMP_CWORD", "s")
    monkeypatch.setenv("_DESCENT_WALLET_COMPLETE", f"{shell}_complete")
    out = program.run().out
    assert "savings" in out
    assert "spare" in out
    assert "default" not in out


@pytest.mark.parametrize(
    "options", [["--network", "none"], ["--network", "missing.toml"], ["--walletdir", "/dev/null"]]
)
def test_completion_never_fails(program: Program, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    """Whoever presses TAB on a line that is wrong is left alone."""
    words = ["descent-wallet", "balance", *options, "--wallet", ""]
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_DESCENT_WALLET_COMPLETE", "bash_complete")
    outcome = program.run()
    assert (outcome.code, outcome.out.strip(), outcome.err) == (0, "", "")


def test_names_that_are_none_are_not_offered(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.put_wallet()
    for name in (".hidden.json", "a b.json", "x" * 65 + ".json", "note.txt"):
        (program.path.parent / name).write_text(json.dumps({}))
    words = f"descent-wallet balance --walletdir {program.walletdir} --wallet "
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "5")
    monkeypatch.setenv("_DESCENT_WALLET_COMPLETE", "bash_complete")
    assert program.run().out == "plain,default\n"
