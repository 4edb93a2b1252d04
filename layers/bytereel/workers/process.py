"""One place for a worker process: starts it, and starts it again, at a bounded rate, when it died."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from io import FileIO

from bytereel.errors import Permanent
from bytereel.settings import Settings
from bytereel.workers.main import BEGUN, EXIT_UNUSABLE, PARENT

log = logging.getLogger(__name__)

WORKER_COMMAND = (sys.executable, "-P", "-m", "bytereel.workers.main")
"""-P: nothing of the folder that the user stands in is ever imported."""

RESTART_SECONDS_MIN = 0.1
RESTART_SECONDS_MAX = 5.0
HEALTHY_SECONDS = 30.0


class WorkerProcess:
    """At most one live process at a time. Not for several threads."""

    def __init__(self, settings: Settings, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._begun: FileIO | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._pause_seconds = RESTART_SECONDS_MIN

    def keep_alive(self) -> bool:
        """Start the process where it is due; True when the last one was found dead.

        Raises: Permanent `worker.unusable` when it said that starting again cannot help.
        """
        died = self._process is not None and self._process.poll() is not None
        if died:
            self._bury()
        if self._process is None and time.monotonic() >= self._start_at:
            self._start()
        return died

    def terminate(self) -> None:
        """Ask it to drain."""
        if self.is_alive():
            assert self._process is not None
            self._process.terminate()

    def kill(self) -> None:
        """End it at once; nothing durable is lost."""
        if self.is_alive():
            assert self._process is not None
            self._process.kill()

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def has_begun(self) -> bool:
        """Whether the process has all that it works with, or is over; until then nobody knows if it can work at all."""
        return self._begun is not None and self._begun.read(1) is not None

    def check(self) -> None:
        """Raises: Permanent `worker.unusable` when the process said that starting again cannot help."""
        if self._process is not None and self._process.poll() == EXIT_UNUSABLE:
            raise Permanent(
                "worker.unusable",
                "a worker could not start with these settings, or could not go on",
                hint="the log says what is wrong",
            )

    def _start(self) -> None:
        if self._begun is not None:
            self._begun.close()
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._begun = FileIO(ours)
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, pass_fds=(theirs,))  # noqa: S603 - ours
        finally:
            os.close(theirs)
        self._started_at = time.monotonic()
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                chosen = {**self._settings.model_dump(mode="json"), PARENT: os.getpid(), BEGUN: theirs}
                stdin.write(json.dumps(chosen).encode("utf-8"))
        except BrokenPipeError:
            log.warning("worker process %d ended before it had its settings", self._process.pid)

    def _bury(self) -> None:
        assert self._process is not None
        status, pid = self._process.returncode, self._process.pid
        self.check()
        self._process = None
        if time.monotonic() - self._started_at >= HEALTHY_SECONDS:
            self._pause_seconds = RESTART_SECONDS_MIN
        log.warning(
            "worker process %d ended with status %d; another starts in %.1f s", pid, status, self._pause_seconds
        )
        self._start_at = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(RESTART_SECONDS_MAX, self._pause_seconds * 2)
