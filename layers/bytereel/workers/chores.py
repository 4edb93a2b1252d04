"""What keeps a home tidy beside the steps, on whatever schedule: one place for `up` and for `bytereel sweep`."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bytereel.adapters.clock import elapsed_seconds
from bytereel.adapters.folder.inbox import Reconciled
from bytereel.errors import BytereelError, is_state_lost, reason_of
from bytereel.ports.clock import Clock
from bytereel.settings import Settings
from bytereel.steps.sweep import DAY_SECONDS, SweepLimits, SweepReport, sweep
from bytereel.wiring import Home
from bytereel.workers.owners import free_the_dead

log = logging.getLogger(__name__)

FORWARD_SECONDS_MIN = 60.0
"""A clock that is set forward by less is being kept right."""


@dataclass(frozen=True, slots=True)
class TidyReport:
    """What one round of tidying did; `swept.cursor` is where the next one goes on."""

    dead_workers: int
    forgotten: int
    swept: SweepReport


class ForwardJumps:
    """By how much the clock of a home was set forward since this was made: that time did not pass.

    What is kept for days is kept for as long as that more: a clock that is wrong for a moment lets go of nothing.
    """

    def __init__(self, clock: Clock, elapsed: Callable[[], float] = elapsed_seconds) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._behind = clock.now() - elapsed()
        self._said_seconds = 0.0

    def seconds(self) -> float:
        """The seconds that it is ahead; 0 where it is not by more than a minute, or was set back."""
        ahead = self._clock.now() - self._elapsed() - self._behind
        ahead = ahead if ahead > FORWARD_SECONDS_MIN else 0.0
        if abs(ahead - self._said_seconds) > FORWARD_SECONDS_MIN:
            log.warning("the clock was set forward by %.0f s: what is kept for days is kept so much longer", ahead)
            self._said_seconds = ahead
        return ahead


def tidy(home: Home, settings: Settings, cursor: str = "", *, forward_seconds: float = 0.0) -> TidyReport:
    """Free what dead workers held, forget sources that are gone (where `cursor` is empty), and sweep from `cursor` on.

    What is kept for days is kept for `forward_seconds` more. Safe to do twice and at once. Raises: Temporary.
    """
    dead_workers = free_the_dead(home.owned, home.owners_folder) if home.owners_folder else 0
    forgotten = home.dropped.forget_gone() if home.dropped and not cursor else 0
    limits = SweepLimits(
        settings.stall_seconds,
        settings.keep_done_days + forward_seconds / DAY_SECONDS,
        None if home.dropped else settings.settle_seconds,
        0.0 if home.path else settings.lease_seconds,
    )
    return TidyReport(dead_workers, forgotten, sweep(home.ports, limits, cursor))


def place_pending(home: Home) -> int:
    """Put uploads that a crash left between commit and rename in their place; return how many."""
    return home.dropped.place_pending() if home.dropped else 0


def announce_dropped(home: Home, settings: Settings) -> Reconciled:
    """Send the intake message for every file that was dropped into the inbox and is left alone."""
    if home.dropped is None:
        return Reconciled(0, None)
    found = home.dropped.reconcile(settings.settle_seconds, home.ports.clock.now())
    if found.announced:
        log.info("%d dropped files announced", found.announced)
    return found


class Chore:
    """Something to do every so often. A failure is logged, once while it stays the same, and tried again.

    Only a state that cannot be used any more ends it all.
    """

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
        """Do it if its time has come. Raises: what `is_state_lost`."""
        started_at = time.monotonic()
        if started_at < self._due_at:
            return
        self._due_at = started_at + self._every_seconds
        try:
            self._work()
        except BytereelError as error:
            if is_state_lost(error):
                raise
            failure = reason_of(error)
            if failure != self._last_failure:
                log.warning("%s: %s", self._name, failure)
            self._last_failure = failure
        else:
            self._last_failure = ""
        self.done_at = started_at
