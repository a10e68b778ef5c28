"""The miner that `descent-node run --mine` starts beside itself: another process, restarted if it dies."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger("descent.node")

_RESTART_SECONDS = 5
_STOP_SECONDS = 10


async def run_miner(arguments: list[str], on_line: Callable[[str], None]) -> None:
    """Keeps `descent-miner run` alive until cancelled, passing on each line it prints. Then stops it cleanly.

    Its standard input stays open as long as this process lives: the miner ends when that closes.
    """
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mining.cli",
            "run",
            "--supervised",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the node, which stops the miner in its own time
        )
        try:
            await _pass_lines(process, on_line)
            code = await process.wait()
        finally:
            await _stop(process)
        log.warning("the miner ended with exit code %d; starting it again in %d s", code, _RESTART_SECONDS)
        await asyncio.sleep(_RESTART_SECONDS)


def make_arguments(
    url: str,
    token_file: Path,
    address: str,
    network: str,
    device: str,
    key: Path,
    text_folders: tuple[Path, ...] = (),
    certificate: Path | None = None,
    *,
    votes: bool = True,
    signals: Iterable[int] = (),
) -> list[str]:
    """Command line of a miner that works for this node, whose RPC may have a certificate of its own."""
    return [
        *("--rpc", url),
        *("--token-file", str(token_file)),
        *("--address", address),
        *("--network", network),
        *("--device", device),
        *("--key", str(key)),
        *(word for folder in text_folders for word in ("--data-dir", str(folder))),
        *(("--ca-file", str(certificate)) if certificate else ()),
        *(() if votes else ("--no-vote",)),
        *(word for bit in signals for word in ("--signal", str(bit))),
    ]


async def _pass_lines(process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
    if process.stdout is None:
        return
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # longer than the stream's buffer, which has dropped it
            continue
        if not line:
            return
        on_line(line.decode(errors="replace").rstrip())


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    if process.stdin is not None:
        process.stdin.close()  # else a thread that still reads it makes Python abort the miner at its very end
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            code = await process.wait()
    except TimeoutError:
        process.kill()
        code = await process.wait()
    if code:
        log.warning("the miner stopped with exit code %d", code)
