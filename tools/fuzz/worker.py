"""One process of a run: makes every n-th case of a target, judges it, counts.

Before each case its number is written to a file, so that whoever watches knows what a process that dies or hangs was
at; the next process is told of it, and keeps that case as a finding.
"""

import argparse
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.fuzz.examine import Failure, examine
from tools.fuzz.findings import keep
from tools.fuzz.place import temporary_files_in
from tools.fuzz.tally import Tally
from tools.fuzz.target import Target, case_of, load_target

NUMBER_FILE, TALLY_FILE, FILES_FOLDER = "number", "tally.json", "files"
NUMBER_BYTES = 8
_TALLY_SECONDS = 1.0
_DATA_BYTES_MAX = 6 << 30


@dataclass(frozen=True, slots=True)
class Share:
    """What one process does: cases `first`, `first + step`, ... for so many seconds."""

    target: str
    seed: int
    first: int
    step: int
    seconds: float
    state: Path
    findings: Path


def run_share(share: Share, lost: tuple[int, str] | None = None) -> Tally:
    """Do a share; `lost` is a case that ended the process before this one, and how."""
    end = time.monotonic() + share.seconds
    tally = Tally()
    with temporary_files_in(share.state / FILES_FOLDER) as folder:
        target = load_target(share.target, folder)
        try:
            if lost is not None:
                _keep_lost(share, target, *lost, tally)
            _run_until(end, share, target, tally)
        finally:
            target.close()
            tally.write(share.state / TALLY_FILE)
    return tally


def _run_until(end: float, share: Share, target: Target, tally: Tally) -> None:
    number, counted_at = share.first, 0.0
    descriptor = os.open(share.state / NUMBER_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while time.monotonic() < end:
            os.pwrite(descriptor, number.to_bytes(NUMBER_BYTES, "big"), 0)
            case = case_of(target, share.seed, number)
            verdict = examine(target, case)
            tally.note(verdict, number)
            if verdict.failure is not None:
                keep(share.findings, target, case, verdict.failure, number)
            if time.monotonic() - counted_at > _TALLY_SECONDS:
                tally.write(share.state / TALLY_FILE)
                counted_at = time.monotonic()
            number += share.step
    finally:
        os.close(descriptor)


def _keep_lost(share: Share, target: Target, number: int, how: str, tally: Tally) -> None:
    case = case_of(target, share.seed, number)
    kind = how.partition(" ")[0]
    failure = Failure(kind, f"{how} {case.target} {case.facts.get('kind', '')}".strip(), how)
    tally.failures[failure.signature] += 1
    keep(share.findings, target, case, failure, number)


def limit_memory() -> None:
    """Have this process refused memory beyond what any case may take: better than a machine that has none left."""
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES_MAX, _DATA_BYTES_MAX))


def main() -> int:
    """Run as `python -m tools.fuzz.worker`, by `tools.fuzz.run` alone."""
    parser = argparse.ArgumentParser()
    for name, kind in (("target", str), ("seed", int), ("first", int), ("step", int), ("seconds", float)):
        parser.add_argument(name, type=kind)
    parser.add_argument("state", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--lost", nargs=2, metavar=("NUMBER", "HOW"))
    chosen = parser.parse_args()
    share = Share(**{name: value for name, value in vars(chosen).items() if name != "lost"})
    limit_memory()
    run_share(share, (int(chosen.lost[0]), chosen.lost[1]) if chosen.lost else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
