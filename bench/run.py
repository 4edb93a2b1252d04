"""`make bench`: measures every bound of a suite, prints the figures and keeps them in bench/results.

Ends with 0 when every bound is kept, 1 when one is missed. `--quick` tries it out in a minute on small sources and
keeps the results in build/bench instead; its speeds say little, as a process's start is a large part of them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import cloud, embedded, peers, reels, speed
from bench.measure import MEBIBYTE, Scratch, working_place
from bench.report import TITLES, machine_facts, write
from bench.rows import Row, as_text

KEPT = Path(__file__).parent / "results"
TRIED = Path("build/bench")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    large_bytes: int
    middle_bytes: int
    peer_bytes: int
    files: int
    rounds: int


FULL = Scale(1024 * MEBIBYTE, 256 * MEBIBYTE, 64 * MEBIBYTE, 10_000, 5)
QUICK = Scale(64 * MEBIBYTE, 64 * MEBIBYTE, 16 * MEBIBYTE, 500, 2)
# The road holds a source twice, its fragments and the video at once; beside them lies what `encode` wrote.
_COPIES_HELD = 5


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Measures bytereel beside its peers.")
    parser.add_argument("suite", nargs="?", choices=sorted(TITLES), default="archive")
    parser.add_argument("--quick", action="store_true", help="small sources, results not kept")
    parser.add_argument("--only", metavar="WORD", default="", help="only the measurements named so; results not kept")
    chosen = parser.parse_args()
    scale = QUICK if chosen.quick else FULL
    started_at = time.monotonic()
    rows: list[Row] = []
    with working_place(_COPIES_HELD * scale.large_bytes) as scratch:
        facts = machine_facts(on_ram=scratch.on_ram)
        print(f"{facts['cpu']}, {facts['cores']} cores; files on {facts['files_on']}", flush=True)
        for row in _measured(chosen.suite, scratch, scale, chosen.only):
            if not rows or rows[-1].section != row.section:
                print(f"\n{row.section}")
            rows.append(row)
            print(as_text(row), flush=True)
    folder = TRIED if chosen.quick or chosen.only else KEPT
    write(folder, chosen.suite, facts, rows)
    missed = [row for row in rows if row.met is False]
    print(
        f"\n{time.monotonic() - started_at:.0f} s; results in {folder}/{chosen.suite}.md; {len(missed)} bounds missed"
    )
    return 1 if missed else 0


def _measured(suite: str, scratch: Scratch, scale: Scale, only: str) -> Iterator[Row]:
    """Every measurement. The first ones start processes whose memory counts, so this one must still be small."""
    suites: dict[str, dict[str, Callable[[], Iterator[Row]]]] = {
        "archive": {
            "speed": lambda: speed.measure(scratch, scale.large_bytes, scale.rounds),
            "start": lambda: reels.measure_start(scratch, scale.rounds),
            "expansion": lambda: reels.measure_expansion(scratch, scale.middle_bytes),
            "range": lambda: reels.measure_range(scratch, scale.large_bytes),
            "large": lambda: embedded.measure_large(scratch, scale.large_bytes, scale.rounds),
            "small": lambda: embedded.measure_small(scratch, 2 * scale.rounds),
            "many": lambda: embedded.measure_many(scratch, scale.files),
            "peers": lambda: peers.measure(scratch, scale.peer_bytes),
        },
        "cloud": {
            "cores": lambda: cloud.measure_cores(scratch, scale.middle_bytes, scale.rounds),
            "moved": lambda: cloud.measure_moved(scratch, scale.large_bytes),
            "heard": lambda: cloud.measure_heard(scratch, 2 * scale.rounds),
        },
    }
    if suite == "channel":
        from bench import channel

        suites[suite] = dict(channel.measurements(scratch, quick=scale is QUICK))
    for name, measurement in suites[suite].items():
        if name.startswith(only):
            yield from measurement()


if __name__ == "__main__":
    sys.exit(main())
