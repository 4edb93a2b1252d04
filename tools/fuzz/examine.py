"""Runs one case and judges it: its laws, its time, its memory. What every other part of the fuzzing calls."""

import os
import resource
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from tools.fuzz.case import Case
from tools.fuzz.target import LawBroken, Outcome, Target

MEMORY, SLOW, CRASHED, HUNG = "memory", "slow", "crashed", "hung"
_ROOT = Path(__file__).parents[2]
_TOOLS = Path(__file__).parents[1]
_SIGNATURE_FRAMES = 2
_KIB = 1024
_STATUS_BYTES_MAX = 8192


@dataclass(frozen=True, slots=True)
class Failure:
    """What a case broke. Two failures of the same `signature` count as one finding."""

    kind: str
    signature: str
    message: str

    @property
    def shrinks(self) -> bool:
        """Whether running it again and again is cheap enough to make its input smaller."""
        return self.kind not in (MEMORY, SLOW, CRASHED, HUNG)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went: an outcome or a failure, the core's seconds and the bytes it took."""

    outcome: Outcome | None
    failure: Failure | None
    core_seconds: float
    growth_bytes: int


def examine(target: Target, case: Case) -> Verdict:
    """Run the case under its target's limits. A bug of the code under test is a failure, never an exception."""
    _forget_peak()
    before = _memory_bytes("VmRSS")
    started = _core_seconds()
    outcome, failure = None, None
    try:
        outcome = target.run(case)
    except Exception as error:  # noqa: BLE001 - whatever escapes is what is looked for
        failure = _failure_of(error, case)
    seconds = _core_seconds() - started + (outcome.core_seconds if outcome else 0.0)
    growth = max(_memory_bytes("VmHWM") - before, outcome.peak_bytes if outcome else 0, 0)
    return Verdict(outcome, failure or _over_limit(target, case, seconds, growth), seconds, growth)


def _over_limit(target: Target, case: Case, seconds: float, growth: int) -> Failure | None:
    where = f"{case.target} {case.facts.get('kind', '')}".strip()
    if growth > target.limits.growth_bytes:
        message = f"it took {growth >> 20} MiB, {target.limits.growth_bytes >> 20} are allowed"
        return Failure(MEMORY, f"{MEMORY} {where}", message)
    if seconds > target.limits.core_seconds:
        message = f"it took {seconds:.1f} s of a core, {target.limits.core_seconds:g} are allowed"
        return Failure(SLOW, f"{SLOW} {where}", message)
    return None


def _failure_of(error: Exception, case: Case) -> Failure:
    if isinstance(error, LawBroken):
        where = " ".join(str(case.facts[name]) for name in ("kind", "base") if name in case.facts)
        return Failure("law", f"{error.law} {where}".strip(), str(error))
    frames = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_ROOT) and not Path(frame.filename).is_relative_to(_TOOLS)
    ]
    text = "".join(traceback.format_exception(error))
    return Failure("exception", " ".join([type(error).__name__, *frames[-_SIGNATURE_FRAMES:]]), text)


def short_digest(text: str) -> str:
    """Twelve hex digits that stand for a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _core_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _forget_peak() -> None:
    """Have the peak of this process's memory count from here. Source: proc(5), clear_refs."""
    os.pwrite(_opened("clear_refs", os.O_WRONLY, os.getpid()), b"5", 0)


def _memory_bytes(name: str) -> int:
    """A line of this process's status, in bytes."""
    status = os.pread(_opened("status", os.O_RDONLY, os.getpid()), _STATUS_BYTES_MAX, 0)
    return int(status[status.index(name.encode()) :].split(None, 2)[1]) * _KIB


@lru_cache(maxsize=4)
def _opened(name: str, flags: int, process: int) -> int:
    """A file of this process in /proc, kept open: it is read for each case."""
    return os.open(f"/proc/{process}/{name}", flags | os.O_CLOEXEC)
