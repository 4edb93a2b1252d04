"""What keeps a home tidy beside the steps, on whatever schedule: one place for `up` and for `bytereel sweep`."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bytereel.errors import BytereelError, reason_of
from bytereel.settings import Settings
from bytereel.steps.sweep import SweepLimits, SweepReport, sweep
from bytereel.wiring import Home
from bytereel.workers.owners import free_the_dead

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TidyReport:
    """What one round of tidying did; `swept.cursor` is where the next one goes on."""

    dead_workers: int
    forgotten: int
    swept: SweepReport


def tidy(home: Home, settings: Settings, cursor: str = "") -> TidyReport:
    """Free what dead workers held, forget sources that are gone (where `cursor` is empty), and sweep from `cursor` on.

    Safe to do twice and at once. Raises: Temporary.
    """
    dead_workers = free_the_dead(home.owned, home.owners_folder) if home.owners_folder else 0
    forgotten = home.dropped.forget_gone() if home.dropped and not cursor else 0
    limits = SweepLimits(
        settings.stall_seconds,
        settings.keep_done_days,
        None if home.dropped else settings.settle_seconds,
        0.0 if home.path else settings.lease_seconds,
    )
    return TidyReport(dead_workers, forgotten, sweep(home.ports, limits, cursor))


def place_pending(home: Home) -> int:
    """Put uploads that a crash left between commit and rename in their place; return how many."""
    return home.dropped.place_pending() if home.dropped else 0


def announce_dropped(home: Home, settings: Settings) -> int:
    """Send the intake message for every file that was dropped into the inbox and is left alone; return how many."""
    if home.dropped is None:
        return 0
    announced = home.dropped.reconcile(settings.settle_seconds, home.ports.clock.now())
    if announced:
        log.info("%d dropped files announced", announced)
    return announced


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
