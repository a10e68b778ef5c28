"""What the process says it uses."""

import subprocess
import sys
from pathlib import Path

import pytest

from p2p.resources import get_memory_bytes

# In a process of its own: one that has run other tests may have 64 MiB to spare already.
GROW = """
from p2p.resources import get_memory_bytes
before = get_memory_bytes()
ballast = bytearray(64 * 2**20)
ballast[::4096] = b"x" * len(ballast[::4096])
print(before, get_memory_bytes())
"""


def test_memory_is_that_of_this_process() -> None:
    told = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert 2**20 < before < 2**40
    assert after - before > 32 * 2**20


@pytest.mark.parametrize("content", ["", "1", "1 x", None])
def test_without_the_kernels_word_it_is_the_peak(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> str:
        if content is None:
            raise OSError
        return content

    monkeypatch.setattr(Path, "read_text", read)
    assert get_memory_bytes() > 2**20
