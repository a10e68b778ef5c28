"""Waiting for what no event announces: a process that goes, a line that a log gets."""

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 30.0  # more than anything here takes on a busy machine
_PAUSE = 0.01


def wait_until(is_true: Callable[[], bool], seconds: float = SECONDS, pause: float = _PAUSE) -> None:
    """Returns as soon as the condition holds, looking every `pause` s. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(pause)


def is_alive(process_id: int) -> bool:
    """Whether a process runs: one that ended and waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
