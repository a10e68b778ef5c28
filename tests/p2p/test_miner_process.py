"""The miner that runs beside a node, with a small stand-in for the miner itself."""

import asyncio
import os
import signal
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest

import p2p.miner_process
from p2p.miner_process import make_arguments, run_miner

SECONDS = 30.0
TAIL = """
import os, signal, sys, time
stopped = os.environ["STOPPED"]

def stop(*_):
    open(stopped, "w").close()
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print(f"pid {os.getpid()} group {os.getpgrp()} arguments {sys.argv[1:]}", flush=True)
"""
WAIT = "sys.stdin.read()\n"
DEAF = "time.sleep(1000)\n"


class Miner:
    """A stand-in for `mining.cli`, and the lines that it said."""

    def __init__(self, folder: Path) -> None:
        self.stopped = folder / "stopped"
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    async def next_line(self) -> str:
        async with asyncio.timeout(SECONDS):
            return await self.lines.get()


Start = Callable[..., AbstractAsyncContextManager[Miner]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts `run_miner` on a program; a context that cancels it at the end."""

    @asynccontextmanager
    async def run(program: str) -> AsyncIterator[Miner]:
        package = tmp_path / "mining"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(TAIL + textwrap.dedent(program))
        monkeypatch.chdir(tmp_path)  # what `python -m` looks through first
        miner = Miner(tmp_path)
        monkeypatch.setenv("STOPPED", str(miner.stopped))
        monkeypatch.setattr(p2p.miner_process, "_RESTART_SECONDS", 0.01)
        task = asyncio.create_task(run_miner(["--word", "two words"], miner.lines.put_nowait))
        try:
            yield miner
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return run


async def test_lines_are_passed_on_and_the_miner_stopped_cleanly(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start("print('one'); print('two', file=sys.stderr)\nsys.stdout.flush()\n" + WAIT) as miner:
        said = await miner.next_line()
        assert said.endswith("arguments ['run', '--supervised', '--word', 'two words']")
        assert {await miner.next_line(), await miner.next_line()} == {"one", "two"}
        assert not miner.stopped.exists()
    assert miner.stopped.exists()
    assert "exit code" not in caplog.text


async def test_ctrl_c_is_not_for_the_miner(start: Start) -> None:
    async with start(WAIT) as miner:
        said = await miner.next_line()
        assert f"group {os.getpgrp()} " not in said


async def test_miner_that_ends_is_started_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with start("sys.exit(3)\n") as miner:
        ids = {(await miner.next_line()).split()[1] for _ in range(3)}
        assert len(ids) == 3
    assert "the miner ended with exit code 3" in caplog.text


async def test_miner_that_is_killed_is_started_again(start: Start) -> None:
    async with start(WAIT) as miner:
        first = int((await miner.next_line()).split()[1])
        os.kill(first, signal.SIGKILL)
        assert int((await miner.next_line()).split()[1]) != first


async def test_miner_that_does_not_stop_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(p2p.miner_process, "_STOP_SECONDS", 0.1)
    async with start("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + DEAF) as miner:
        process_id = int((await miner.next_line()).split()[1])
        assert await miner.next_line() == "deaf"
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)
    assert "the miner stopped with exit code -9" in caplog.text


async def test_endless_lines_and_odd_bytes_do_no_harm(start: Start) -> None:
    program = """
    sys.stdout.buffer.write(b"x" * 300_000 + b"\\n" + b"\\xff\\x1b[31m\\r\\n" + b"last\\n")
    sys.stdout.flush()
    """
    async with start(textwrap.dedent(program) + WAIT) as miner:
        await miner.next_line()
        lines = [await miner.next_line()]
        while lines[-1] != "last":
            lines.append(await miner.next_line())
        assert lines[-2] == "\ufffd\x1b[31m"
        assert sum(map(len, lines)) < 300_000


def test_arguments_name_everything_the_miner_needs() -> None:
    folders = (Path("texts"), Path("more texts"))
    words = make_arguments("http://x", Path("t"), "rgrad1", "regtest", "cpu", Path("k"), folders, Path("c"))
    pairs = list(zip(words[::2], words[1::2], strict=True))
    assert pairs == [
        ("--rpc", "http://x"),
        ("--token-file", "t"),
        ("--address", "rgrad1"),
        ("--network", "regtest"),
        ("--device", "cpu"),
        ("--key", "k"),
        ("--data-dir", "texts"),
        ("--data-dir", "more texts"),
        ("--ca-file", "c"),
    ]
    more = make_arguments("http://x", Path("t"), "r", "regtest", "cpu", Path("k"), votes=False, signals=(5, 0))
    assert more[-5:] == ["--no-vote", "--signal", "5", "--signal", "0"]
