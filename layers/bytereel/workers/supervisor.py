"""What `up` runs: keeps workers alive, watches the inbox, does chores on a schedule, drains at the end.

It converts nothing itself. Several may run on one home: every chore is safe to do twice and at once.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bytereel.errors import BytereelError
from bytereel.model import JOB_RUNNING
from bytereel.settings import Settings
from bytereel.stages import is_quiet, reason_of
from bytereel.steps.sweep import SweepLimits, sweep
from bytereel.wiring import Home
from bytereel.workers.inbox_watch import InboxWatch
from bytereel.workers.owners import free_the_dead
from bytereel.workers.process import WORKER_COMMAND, WorkerProcess

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
PLACE_SECONDS = 1.0
"""How often uploads that a crash left between commit and rename are put in their place."""


class Chore:
    """Something to do every so often. A failure is logged, once while it stays the same, and tried again."""

    def __init__(self, name: str, every_seconds: float, work: Callable[[], object]) -> None:
        self._name = name
        self._every_seconds = every_seconds
        self._work = work
        self._due_at = 0.0
        self._last_failure = ""
        self.done_at = 0.0

    def hasten(self, within_seconds: float) -> None:
        """Let it be due no later than `within_seconds` from now."""
        self._due_at = min(self._due_at, time.monotonic() + within_seconds)

    def run_if_due(self) -> None:
        """Do it if its time has come."""
        started_at = time.monotonic()
        if started_at < self._due_at:
            return
        self._due_at = started_at + self._every_seconds
        try:
            self._work()
        except BytereelError as error:
            failure = reason_of(error)
            if failure != self._last_failure:
                log.warning("%s: %s", self._name, failure)
            self._last_failure = failure
        else:
            self._last_failure = ""
        self.done_at = started_at


class Supervisor:
    """Runs `settings.workers` workers on a home until SIGTERM or SIGINT, or until nothing is left to do.

    The first signal drains; a second one kills the workers, which loses nothing but the segments under way.
    """

    def __init__(self, home: Home, settings: Settings, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._home = home
        self._settings = settings
        self._stopping = threading.Event()
        self._signals = 0
        self._workers = [WorkerProcess(settings, command) for _ in range(settings.workers)]
        self._limits = SweepLimits(settings.stall_seconds, settings.keep_done_days)
        self._cursor = ""
        self._placing = Chore("interrupted uploads", PLACE_SECONDS, home.inbox.settle)
        self._reconciling = Chore("inbox", settings.sweep_seconds, self._reconcile)
        self._sweeping = Chore("sweep", settings.sweep_seconds, self._sweep)

    def stop(self) -> None:
        """Drain and return from `run`."""
        self._stopping.set()

    def run(self, *, until_idle: bool = False) -> None:
        """Supervise; return when everyone has drained. Raises: Permanent `worker.unusable`."""
        with self._signalled(), InboxWatch(self._home.inbox_folder) as watch:
            started_at = time.monotonic()
            try:
                while not self._stopping.is_set():
                    self._tick(watch)
                    if until_idle and self._is_idle(started_at):
                        break
                    self._stopping.wait(TICK_SECONDS)
            finally:
                self._drain()

    def _tick(self, watch: InboxWatch) -> None:
        if watch.has_changed():
            self._reconciling.hasten(self._settings.settle_seconds)
        for chore in (self._placing, self._reconciling, self._sweeping):
            chore.run_if_due()
        died = [worker.keep_alive() for worker in self._workers]
        if any(died):
            self._sweeping.hasten(0.0)

    def _reconcile(self) -> None:
        home = self._home
        announced = home.inbox.reconcile(self._settings.settle_seconds, home.ports.clock.now())
        if announced:
            log.info("%d dropped files announced", announced)

    def _sweep(self) -> None:
        free_the_dead(self._home.ports, self._home.owners_folder)
        self._cursor = sweep(self._home.ports, self._limits, self._cursor).cursor

    def _is_idle(self, started_at: float) -> bool:
        """Whether the files that lay in the inbox were seen, no message waits and no job runs."""
        settled_at = started_at + self._settings.settle_seconds
        if self._reconciling.done_at < settled_at:
            self._reconciling.hasten(max(0.0, settled_at - time.monotonic()))
            return False
        if not is_quiet(self._home.ports.queue):
            return False
        states = self._home.ports.jobs.count()
        if any(states.get(state) for state in JOB_RUNNING):
            self._sweeping.hasten(PLACE_SECONDS)
            return False
        return True

    def _drain(self) -> None:
        for worker in self._workers:
            worker.terminate()
        while any(worker.is_alive() for worker in self._workers):
            if self._signals > 1:
                for worker in self._workers:
                    worker.kill()
            time.sleep(TICK_SECONDS / 2)
        log.info("every worker has ended")

    @contextmanager
    def _signalled(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into `stop`; in the main thread alone, as Python demands."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        self._stopping.set()
