"""A run over targets: starts the processes of each, watches them, starts anew what died, and sums up.

Runs nothing of the code under test itself, so that what breaks that cannot break the run.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tools.fuzz.place import working_folder
from tools.fuzz.tally import Tally, summed
from tools.fuzz.worker import FILES_FOLDER, NUMBER_BYTES, NUMBER_FILE, TALLY_FILE

_POLL_SECONDS = 0.2
_START_SECONDS_MAX = 120.0
_END_SECONDS_MAX = 60.0
_STARTS_MAX = 200


class CannotStart(Exception):
    """A process of the run ended by a fault of the fuzzing itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does: each target for `seconds`, by so many processes. `clock_seconds`: when a case of it hangs."""

    seed: int
    seconds: float
    processes: int
    findings: Path
    clock_seconds: Callable[[str], float]


@dataclass(slots=True)
class _Lane:
    """One of a target's processes, and those that took its place."""

    target: str
    place: int
    folder: Path
    plan: Plan
    end: float
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    states: list[Path] = field(default_factory=list)

    def start(self, first: int, lost: tuple[int, str] | None = None) -> None:
        """Start a process at that case."""
        self.starts += 1
        state = self.folder / f"{self.target}-{self.place}-{self.starts}"
        (state / FILES_FOLDER).mkdir(parents=True)
        self.states.append(state)
        seconds = max(0.0, self.end - time.monotonic())
        words = [self.target, self.plan.seed, first, self.plan.processes, seconds, state, self.plan.findings]
        command = [sys.executable, "-m", "tools.fuzz.worker", *map(str, words)]
        command += ["--lost", str(lost[0]), lost[1]] if lost else []
        self.started_at = time.monotonic()
        with (state / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def number(self) -> int | None:
        """The case it is at; None before the first."""
        try:
            stored = (self.states[-1] / NUMBER_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return int.from_bytes(stored, "big") if len(stored) == NUMBER_BYTES else None

    def stood_seconds(self) -> float:
        """How long it has been at that case."""
        try:
            return time.time() - (self.states[-1] / NUMBER_FILE).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def kill(self) -> None:
        """End the process and all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        """The end of what it printed."""
        return (self.states[-1] / "log").read_bytes()[-4000:].decode("utf-8", "replace")


def run_target(target: str, plan: Plan) -> tuple[Tally, float]:
    """Fuzz one target for the plan's seconds; return what was counted and the seconds by the clock.

    Raises: CannotStart.
    """
    started_at = time.monotonic()
    with working_folder() as folder:
        end = started_at + plan.seconds
        lanes = [_Lane(target, place, folder, plan, end) for place in range(plan.processes)]
        try:
            for lane in lanes:
                lane.start(lane.place)
            while [lane for lane in lanes if not _is_over(lane)]:
                time.sleep(_POLL_SECONDS)
        finally:
            for lane in lanes:
                lane.kill()
        tallies = [Tally.read(state / TALLY_FILE) for lane in lanes for state in lane.states]
    return summed(tallies), time.monotonic() - started_at


def _is_over(lane: _Lane) -> bool:
    """Whether a lane is done; one whose process died or hangs goes on with the next case."""
    assert lane.process is not None
    code = lane.process.poll()
    number = lane.number()
    if code == 0:
        return True
    if code is not None:
        if code > 0 or number is None or lane.starts >= _STARTS_MAX:
            raise CannotStart(f"the process of {lane.target} ended with {code}:\n{lane.log()}")
        _go_on(lane, number, f"crashed with {signal.Signals(-code).name}")
        return False
    if number is None:
        if time.monotonic() - lane.started_at > _START_SECONDS_MAX:
            raise CannotStart(f"the process of {lane.target} did not start in {_START_SECONDS_MAX:g} s")
        return False
    if lane.stood_seconds() > lane.plan.clock_seconds(lane.target):
        _go_on(lane, number, "hung")
    elif time.monotonic() > lane.end + lane.plan.clock_seconds(lane.target) + _END_SECONDS_MAX:
        return True  # it does not come to its end: what it counted counts
    return False


def _go_on(lane: _Lane, number: int, how: str) -> None:
    lane.kill()
    lane.start(number + lane.plan.processes, (number, how))


def run_all(targets: Sequence[str], plan: Plan, said: Callable[[str], None]) -> list[tuple[str, Tally, float]]:
    """Fuzz the targets one after the other. Raises: CannotStart."""
    rows = []
    for target in targets:
        said(f"{target}: {plan.seconds:.0f} s, {plan.processes} processes")
        rows.append((target, *run_target(target, plan)))
    return rows
