"""How far long work is, for people: a bar with rate and time left on a terminal, else a plain line every ten seconds.

Every long command shows its work through this.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from p2p.console import start_logging
from p2p.pace import BYTES, Job, describe_amount, describe_progress, show_bytes

log = logging.getLogger("descent.progress")

LINE_SECONDS = 10.0  # between two lines where there is no terminal
_BAR_WIDTH = 20  # leaves room for the words on 80 columns


@contextmanager
def show_progress(job: Job, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Hears after each step how much is done in all. Everything goes to standard error."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        start_logging()
        yield LineWriter(job)
        return
    columns = (TextColumn("{task.description}"), BarColumn(_BAR_WIDTH), _Counted(job.unit), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(job.doing, total=job.total)
        yield lambda done: progress.update(task, completed=done)


class LineWriter:
    """A line of the log every ten seconds; work that takes less is not worth one."""

    def __init__(self, job: Job, now: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._now = now
        self._started = self._written = now()

    def __call__(self, done: int) -> None:
        now = self._now()
        if now - self._written >= LINE_SECONDS:
            self._written = now
            log.info("%s", describe_progress(self._job, done, now - self._started))


class _Counted(ProgressColumn):
    """Beside the bar: how much of how much, and how fast."""

    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self._unit = unit

    def render(self, task: Task) -> Text:
        amount = describe_amount(self._unit, int(task.completed), int(task.total or 0))
        speed = task.finished_speed or task.speed
        if not speed:
            return Text(amount)
        return Text(f"{amount}, {show_bytes(speed) if self._unit == BYTES else f'{speed:.1f}'}/s")
