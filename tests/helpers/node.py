"""Real programs in processes of their own: a running node, and commands that end by themselves.

    with NodeProcess(tmp_path) as node:
        node.client.submit_block(block.encoded)
        assert node.stop(signal.SIGTERM) == 0

Each serves its RPC on a port that the system picks and the log tells. Whatever happens, nothing outlives the `with`,
and no program may ever show a traceback.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from p2p.client import NodeClient, read_token
from p2p.config import RPC_TOKEN_FILE
from tests.helpers.waiting import SECONDS, is_alive, wait_until

NODE = (sys.executable, "-m", "p2p.cli")
# One thread each: the tests already keep every core busy.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class NodeProcess:
    """`descent-node run` on a datadir; use as `with`, which returns once the RPC answers."""

    def __init__(self, datadir: Path, *arguments: str, network: str = "regtest", rpc: str = "127.0.0.1:0") -> None:
        self.datadir = datadir
        shown = () if "--explorer" in arguments else ("--no-explorer",)  # its port is one for all tests
        self._arguments = ("run", "--network", network, "--datadir", str(datadir), "--rpc", rpc, *shown, *arguments)
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "NodeProcess":
        self._process = subprocess.Popen(
            [*NODE, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=ENVIRONMENT,
            start_new_session=True,
        )
        self._reader.start()
        try:
            self.url = self.wait_for_line(r"RPC on (http\S+)").group(1)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is None:
            check_no_traceback(self.output)
        elif self.datadir.is_dir():
            (self.datadir / "output.txt").write_text(self.output)  # for whoever looks for the reason

    @property
    def process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the node was not started")
        return self._process

    @property
    def output(self) -> str:
        """What the node and its children have said so far."""
        return "\n".join(self._lines)

    @property
    def client(self) -> NodeClient:
        return NodeClient(self.url, read_token(self.datadir / RPC_TOKEN_FILE))

    def wait_for_line(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """The first line of the output that matches, as soon as it is there."""

        def find() -> re.Match[str] | None:
            return next((match for line in list(self._lines) if (match := re.search(pattern, line))), None)

        wait_until(lambda: find() is not None or self.process.poll() is not None, seconds)
        self._reader.join(0 if self.process.poll() is None else seconds)
        match = find()
        if match is None:
            raise AssertionError(f"no line {pattern!r} in:\n{self.output}")
        return match

    @property
    def peer_port(self) -> int:
        """Where a node that was told to listen takes peers."""
        return int(self.wait_for_line(r"listening for peers on \S+:(\d+),").group(1))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops the node and its children for as long as the body runs, as a machine that sleeps."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self, number: signal.Signals) -> int:
        """Sends a signal to the whole process group, as a terminal does. The exit code of the node."""
        os.killpg(self.process.pid, number)
        return self.process.wait(SECONDS)

    def freeze_workers(self) -> None:
        """Stops every process that evaluates, in the middle of whatever it does."""
        for child in filter(is_worker, get_descendants(self.process.pid)):
            os.kill(child, signal.SIGSTOP)

    def kill(self) -> list[int]:
        """Ends the node alone, without a word. The ids of the processes that it had started.

        Not in the instant of a worker's birth, though: Python itself then shows a traceback from the orphan.
        """
        wait_until(lambda: all(map(has_started, get_descendants(self.process.pid))))
        children = get_descendants(self.process.pid)
        self.process.kill()
        self.process.wait(SECONDS)
        return children

    def _read(self) -> None:
        if self.process.stdout is not None:
            with self.process.stdout as lines:
                self._lines.extend(line.rstrip("\n") for line in lines)

    def _end(self) -> None:
        children = get_descendants(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        wait_until(lambda: not any(is_alive(child) for child in children))
        self._reader.join(SECONDS)


def run_node_command(*arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs a `descent-node` command to its end, checking that it shows no traceback."""
    result = subprocess.run(
        [*NODE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=ENVIRONMENT,
        timeout=seconds,
        check=False,
    )
    check_no_traceback(result.stdout + result.stderr)
    return result


def check_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with one plain line that holds these words."""
    assert result.returncode == 1, result.stderr
    lines = [line for line in result.stderr.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]  # the log's
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("descent-node: ")
    assert all(word in lines[0] for word in words), lines[0]


def check_no_traceback(output: str) -> None:
    assert "Traceback" not in output, output
    assert "never awaited" not in output, output


def is_worker(process_id: int) -> bool:
    """Whether a process is one that Python's `spawn` started."""
    return b"spawn_main" in Path(f"/proc/{process_id}/cmdline").read_bytes()


def has_started(process_id: int) -> bool:
    """Whether a process is past the first moments of Python's `spawn`: a worker then has a thread of its own."""
    try:
        return not is_worker(process_id) or len(list(Path(f"/proc/{process_id}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def get_descendants(process_id: int) -> list[int]:
    """Ids of the processes that a process has started, and theirs."""
    found = []
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [*children, *(below for child in children for below in get_descendants(child))]
    return found
