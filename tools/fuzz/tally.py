"""What a run counts, of one process or of several: executions, outcomes, failures, the slowest, the largest."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.fuzz.examine import Verdict, short_digest

_DISTINCT_MAX = 100_000
_LABELS_SHOWN = 6


@dataclass(slots=True)
class Tally:
    """Counts. `distinct` holds digests of (label, detail); the slowest and the largest case with their numbers."""

    executions: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    distinct: set[str] = field(default_factory=set)
    slowest: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)

    def note(self, verdict: Verdict, number: int) -> None:
        """Take in one case."""
        self.executions += 1
        self.slowest = max(self.slowest, (verdict.core_seconds, number))
        self.largest = max(self.largest, (verdict.growth_bytes, number))
        if verdict.failure is not None:
            self.failures[verdict.failure.signature] += 1
        elif verdict.outcome is not None:
            self.labels[verdict.outcome.label] += 1
            if len(self.distinct) < _DISTINCT_MAX:
                self.distinct.add(short_digest(f"{verdict.outcome.label} {verdict.outcome.detail}"))

    def write(self, path: Path) -> None:
        """Keep it as JSON, whole or not at all."""
        values = {
            "executions": self.executions,
            "labels": self.labels,
            "failures": self.failures,
            "distinct": sorted(self.distinct),
            "slowest": self.slowest,
            "largest": self.largest,
        }
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(values), "ascii")
        beside.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """The inverse of `write`; nothing counted where there is no file."""
        if not path.exists():
            return cls()
        values: dict[str, Any] = json.loads(path.read_text("ascii"))
        return cls(
            values["executions"],
            Counter(values["labels"]),
            Counter(values["failures"]),
            set(values["distinct"]),
            (values["slowest"][0], values["slowest"][1]),
            (values["largest"][0], values["largest"][1]),
        )


def summed(tallies: Iterable[Tally]) -> Tally:
    """The tallies of several processes as one."""
    total = Tally()
    for each in tallies:
        total.executions += each.executions
        total.labels += each.labels
        total.failures += each.failures
        total.distinct |= each.distinct
        total.slowest = max(total.slowest, each.slowest)
        total.largest = max(total.largest, each.largest)
    return total


def table(rows: Sequence[tuple[str, Tally, float]]) -> list[str]:
    """A line a target: what it did in how many seconds by the clock."""
    lines = [
        f"{'target':<9} {'executions':>10} {'a second':>9} {'distinct':>8} {'slowest':>9} {'memory':>8} {'found':>6}"
        "  outcomes"
    ]
    for name, tally, seconds in rows:
        labels = [f"{label} {count}" for label, count in tally.labels.most_common(_LABELS_SHOWN)]
        more = len(tally.labels) - _LABELS_SHOWN
        lines.append(
            f"{name:<9} {tally.executions:>10,} {tally.executions / max(seconds, 1e-9):>9,.1f}"
            f" {len(tally.distinct):>8} {tally.slowest[0]:>7.2f} s {tally.largest[0] >> 20:>4} MiB"
            f" {len(tally.failures):>6}  {', '.join(labels)}{f', {more} more' if more > 0 else ''}"
        )
    return lines


def label_lines(name: str, tally: Tally) -> list[str]:
    """Every outcome and failure of a target with its count."""
    counted = [f"  {count:>10,}  {label}" for label, count in tally.labels.most_common()]
    failed = [f"  {count:>10,}  FOUND {signature}" for signature, count in tally.failures.most_common()]
    return [f"{name}:", *counted, *failed]
