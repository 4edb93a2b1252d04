"""A progress bar with rate and time left: on standard error, only on a terminal, only after a second.

It is there after that second also where nothing is done yet. Rate and time left are those of all the time so far: a
first part that comes late, or many at once, makes no promise.
"""

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
        self._started_at = time.monotonic()
        self._lock = threading.Lock()
        self._started: tuple[Progress, TaskID] | None = None
        self._timer = threading.Timer(_DELAY_SECONDS, self._show)
        self._timer.daemon = True
        self._done = 0
        self._total: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show that much progress."""
        if not self._shows:
            return
        with self._lock:
            self._done, self._total = done, total
            self._update()

    def __enter__(self) -> Self:
        if self._shows:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._shows = False
            if self._started is not None:
                self._started[0].stop()

    def _show(self) -> None:
        with self._lock:
            if self._shows:
                self._started = _started(self._what)
                self._update()

    def _update(self) -> None:
        """Say where it stands, if it is shown yet; under the lock."""
        if self._started is None:
            return
        progress, task = self._started
        seconds = time.monotonic() - self._started_at
        rate = f"{size_text(round(self._done / seconds))}/s" if self._done else ""
        left = time_left(self._done, self._total, seconds)
        progress.update(task, completed=self._done, total=self._total, rate=rate, left=left)


def time_left(done: int, total: int | None, seconds: float) -> str:
    """How long the rest takes at the rate of all the time so far, for people; empty where nothing tells."""
    if not done or total is None or done > total:
        return ""
    rest = round(seconds * (total - done) / done)
    minutes, rest = divmod(rest, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} left" if minutes >= 60 else f"{minutes}:{rest:02} left"


def _started(what: str) -> "tuple[Progress, TaskID]":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(binary_units=True),
        "{task.fields[rate]}",
        "{task.fields[left]}",
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.start()
    return progress, progress.add_task(what, total=None, rate="", left="")
