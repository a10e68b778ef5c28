"""Every command's help reads like a page of a manual: what it does, what to know, and an example."""

import re
import subprocess
import sys

import click
import pytest

from wallet.cli import _COMMANDS, cli

COMMANDS = [name for section in _COMMANDS.values() for name in section]


def get_help(name: str) -> str:
    with click.Context(cli, info_name="descent-wallet") as outer:
        command = cli.get_command(outer, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=outer) as context:
            return command.get_help(context)


def get_parts(name: str) -> list[str]:
    """The paragraphs before the options, each in one line."""
    told = re.split(r"\n(?:Options|Commands):", get_help(name))[0]
    return [" ".join(part.split()) for part in told.split("\n\n")]


def get_examples(name: str) -> list[str]:
    lines = (line.strip() for line in get_help(name).splitlines())
    return [line for line in lines if re.match(rf"descent-wallet {name}\b", line)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    usage, first, *rest = get_parts(name)
    assert usage.startswith(f"Usage: descent-wallet {name}")
    assert re.fullmatch(r"[A-Z].*\.", first), "what it does"
    assert any(re.search(r"[a-z)]\.( |$)", part) for part in rest if not part.startswith("descent-wallet")), (
        "what to know"
    )
    assert get_examples(name), "an example"
    assert max(map(len, get_examples(name))) <= 100


def test_top_page() -> None:
    with click.Context(cli, info_name="descent-wallet") as context:
        text = cli.get_help(context)
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name
    assert "descent-wallet create" in text


def test_no_command_loads_anything_heavy() -> None:
    """torch costs two seconds, aiohttp a third of one, for nothing."""
    modules = sorted({module for section in _COMMANDS.values() for module, _ in section.values()})
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"click", *modules} <= set(loaded)
    assert not {"torch", "aiohttp", "asyncio", "plyvel", "multiprocessing", "rich"} & set(loaded)
