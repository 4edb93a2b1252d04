"""What `up` runs: keeps workers alive, watches the inbox, does chores on a schedule, drains at the end.

It converts nothing itself. Several may run on one home: every chore is safe to do twice and at once.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bytereel.dispatch import is_quiet
from bytereel.errors import Integrity, Permanent, Temporary
from bytereel.model import JOB_RUNNING
from bytereel.settings import Settings
from bytereel.signals import on_ending
from bytereel.wiring import Home, open_event_source
from bytereel.workers.chores import Chore, ForwardJumps, announce_dropped, place_pending, tidy
from bytereel.workers.inbox_watch import InboxWatch
from bytereel.workers.listener import EventListener
from bytereel.workers.process import WORKER_COMMAND, WorkerProcess

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
CLOUD_LOOK_SECONDS = 1.0
PAGE_SECONDS = 1.0
"""How soon the next page of a round of the sweep follows."""
LOOK_SHARE = 10
"""Files that have yet to settle are looked for again no sooner than so many times what a look takes."""
PLACE_SECONDS = 1.0
"""How often uploads that a crash left between commit and rename are put in their place."""
RECONCILE_SECONDS = 0.5
"""By so much a store's clock may be behind, for its objects still to count as older than a new connection."""
DRAIN_SECONDS_MAX = 600.0
"""How long workers may take to finish what they do; killing them then costs a lease and nothing else."""


class Supervisor:
    """Runs `settings.workers` workers on a home until a signal asks for the end, or until nothing is left to do.

    The first signal drains; a second one, or ten minutes, kills the workers, which loses nothing but the segments
    under way.
    """

    def __init__(self, home: Home, settings: Settings, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._home = home
        self._settings = settings
        self._stopping = threading.Event()
        self._signals = 0
        self._workers = [WorkerProcess(settings, command) for _ in range(settings.workers)]
        self._cursor = ""
        self._forward = ForwardJumps(home.ports.clock)
        self._listener = EventListener(open_event_source(settings), home.ports.queue)
        self._reconcile_at: float | None = None
        self._look_at = 0.0
        self._placing = Chore("interrupted uploads", PLACE_SECONDS, partial(place_pending, home))
        self._announcing = Chore("inbox", settings.sweep_seconds, self._announce)
        self._tidying = Chore("sweep", settings.sweep_seconds, self._tidy)

    def stop(self) -> None:
        """Drain and return from `run`."""
        self._stopping.set()

    def run(self, *, until_idle: bool = False) -> None:
        """Supervise; return when everyone has drained.

        Raises: Permanent `worker.unusable`; what `is_state_lost`.
        """
        with self._signalled(), InboxWatch(self._home.inbox_folder) as watch, self._listener:
            started_at = time.monotonic()
            try:
                while not self._stopping.is_set():
                    self._tick(watch)
                    if until_idle and self._looks_idle(started_at):
                        break
                    self._stopping.wait(TICK_SECONDS)
            except (Permanent, Integrity):
                self._check_state()  # a worker that could not go on may have noticed first
                raise
            finally:
                self._drain()
        self._check_workers()

    def _tick(self, watch: InboxWatch) -> None:
        self._check_state()
        if watch.has_changed():
            self._announcing.hasten(self._settings.settle_seconds)
        self._make_up_for_events()
        for chore in (self._placing, self._announcing, self._tidying):
            chore.run_if_due()
        died = [worker.keep_alive() for worker in self._workers]
        if any(died):
            self._tidying.hasten(0.0)

    def _check_state(self) -> None:
        """Raises: what `is_state_lost`, with every worker ended: nothing that they do now could be kept.

        A state that cannot be looked at just now is looked at the next time.
        """
        try:
            self._home.check_state()
        except Temporary as error:
            log.debug("the state cannot be looked at: %s", error.message)
        except (Permanent, Integrity):
            self._kill()
            raise

    def _check_workers(self) -> None:
        """Raises: Permanent `worker.unusable`; what `is_state_lost`, where that is why a worker could not go on."""
        try:
            for worker in self._workers:
                worker.check()
        except Permanent:
            self._check_state()
            raise

    def _make_up_for_events(self) -> None:
        """Compare the inbox with the jobs once what came before a new connection for events is old enough for it."""
        now = time.monotonic()
        if self._listener.has_connected():
            self._reconcile_at = now + self._settings.settle_seconds + RECONCILE_SECONDS
        if self._reconcile_at is not None and now >= self._reconcile_at:
            self._reconcile_at, self._cursor = None, ""
            self._tidying.hasten(0.0)

    def _announce(self) -> None:
        """Announce what was dropped, and look again when the next file has settled: in time, but not all the time."""
        started_at = time.monotonic()
        settles_in = announce_dropped(self._home, self._settings).settles_in_seconds
        if settles_in is not None:
            self._announcing.hasten(max(settles_in, LOOK_SHARE * (time.monotonic() - started_at)))

    def _tidy(self) -> None:
        forward_seconds = self._forward.seconds()
        self._cursor = tidy(self._home, self._settings, self._cursor, forward_seconds=forward_seconds).swept.cursor
        if self._cursor:
            self._tidying.hasten(PAGE_SECONDS)

    def _looks_idle(self, started_at: float) -> bool:
        """Whether nothing is left to do, asked not too often where the asking goes over a network."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + (TICK_SECONDS if self._home.path else CLOUD_LOOK_SECONDS)
        return self._is_idle(started_at)

    def _is_idle(self, started_at: float) -> bool:
        """Whether the workers have begun, what lay in the inbox was seen, no message waits and no job runs."""
        if not all(worker.has_begun() for worker in self._workers):
            return False
        settled_at = started_at + self._settings.settle_seconds
        looking = self._announcing if self._home.dropped else self._tidying
        if looking.done_at < settled_at:
            looking.hasten(max(0.0, settled_at - time.monotonic()))
            return False
        if not is_quiet(self._home.ports.queue):
            return False
        states = self._home.ports.jobs.count()
        if any(states.get(state) for state in JOB_RUNNING):
            self._tidying.hasten(PLACE_SECONDS)
            return False
        return True

    def _drain(self) -> None:
        """Let every worker finish what it does, until a second signal or the time is up; then end it."""
        kill_at = time.monotonic() + DRAIN_SECONDS_MAX
        for worker in self._workers:
            worker.terminate()
        while any(worker.is_alive() for worker in self._workers):
            if self._signals > 1 or time.monotonic() >= kill_at:
                self._kill()
            time.sleep(TICK_SECONDS / 2)
        log.info("every worker has ended")

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    @contextmanager
    def _signalled(self) -> Iterator[None]:
        """Turn the signals that ask for an end into `stop`, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with on_ending(self._on_signal):
            yield

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        self._stopping.set()
