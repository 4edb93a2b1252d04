"""A progress bar with rate and time left: on standard error, only on a terminal, only after a second."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bytereel.cli.printing.output import size_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DELAY_SECONDS = 1.0


class ProgressBar:
    """A context; call it with (bytes done, bytes in all or None), from any thread."""

    def __init__(self, what: str, *, hidden: bool = False) -> None:
        self._what = what
        self._shows = not hidden and sys.stderr.isatty()
        self._due_at = time.monotonic() + _DELAY_SECONDS
        self._lock = threading.Lock()
        self._started: tuple[Progress, TaskID] | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show that much progress."""
        if not self._shows or (self._started is None and time.monotonic() < self._due_at):
            return
        with self._lock:
            if self._started is None:
                self._started = _started(self._what)
            progress, task = self._started
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, total=total, rate=f"{size_text(round(speed))}/s" if speed else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shows = False
        with self._lock:
            if self._started is not None:
                self._started[0].stop()


def _started(what: str) -> "tuple[Progress, TaskID]":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(binary_units=True),
        "{task.fields[rate]}",
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.start()
    return progress, progress.add_task(what, total=None, rate="")
