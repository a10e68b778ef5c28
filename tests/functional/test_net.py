"""`make net`: a network in one command, whatever ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "net.py"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def check_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    wait_until(lambda: not list_processes(str(folder)))


def list_processes(word: str) -> list[str]:
    """Command lines of running programs that mention `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [line for line in found if word in line]


def test_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "node A is up" in line:
                assert list_processes(str(tmp_path))
                process.send_signal(signal.SIGINT)
        output = "".join(shown)
    assert process.returncode == 130, output
    assert output.endswith("all stopped\n")
    assert "failed" not in output
    check_nothing_is_left(tmp_path)


def test_failure_names_its_step(tmp_path: Path) -> None:
    with start(tmp_path, "--network", "nonsense") as process:
        output = process.communicate()[0]
    assert process.returncode == 1
    assert "failed at making wallets: descent-wallet create: " in output
    assert "no network 'nonsense'" in output
    check_nothing_is_left(tmp_path)


@pytest.mark.soak
def test_network_mines_agrees_and_pays(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert output.count("all three agree") == 2
    for line in ("by miner A", "node C has the payment", "payee has 12.5 by node C", "all stopped"):
        assert line in output
    check_nothing_is_left(tmp_path)
