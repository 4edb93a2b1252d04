"""The target `reels`: a base, what is done to it, and a way to read it."""

import logging
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tools.fuzz.case import Case
from tools.fuzz.reels.bases import CUT, EMPTY, LOSSY, Base, base_titled, titles
from tools.fuzz.reels.damage import damaged, disordered, grown
from tools.fuzz.reels.forgery import beside, forgery
from tools.fuzz.reels.laws import Reading, judged, ways
from tools.fuzz.target import Limits, Outcome

NAME = "reels"
DAMAGED, DISORDERED, GROWN, FORGED, BESIDE = "damaged", "disordered", "grown", "forged", "beside"
_KINDS = (DAMAGED, DISORDERED, GROWN, FORGED, FORGED, BESIDE)
_LOSSY_SHARE = 0.03
_RANGE_MAX = 70_000


class Reels:
    """Whole reels. `facts`: `kind` what was done, `base` to which reel, `way` how it is read, `start` and `end`."""

    name = NAME
    limits = Limits(core_seconds=20.0, growth_bytes=300 << 20)

    def __init__(self) -> None:
        self._lossy = [title for title in titles() if title.startswith(LOSSY)]
        self._plain = [title for title in titles() if not title.startswith(LOSSY)]
        self._others = [title for title in self._plain if title != EMPTY]  # nothing read could be told from its content

    def make(self, random: Random) -> Case:
        """A reel that something was done to."""
        base = base_titled(random.choice(self._lossy if random.random() < _LOSSY_SHARE else self._plain))
        kind = DAMAGED if base.is_lossy else random.choice(_KINDS)
        if kind == BESIDE and base.title.endswith(CUT):
            kind = GROWN  # what parity computes of a forged frame and a right one is no reader's to tell
        start = random.randint(0, max(0, len(base.original) - 1))
        facts: dict[str, Any] = {"kind": kind, "base": base.title, "way": random.choice(ways())}
        facts |= {"start": start, "end": min(len(base.original), start + random.randint(1, _RANGE_MAX))}
        return Case(NAME, self._changed(random, base, kind), facts)

    def _changed(self, random: Random, base: Base, kind: str) -> bytes:
        others = [base_titled(title).reel for title in random.sample(self._others, 3) if title != base.title]
        if kind == DAMAGED:
            return damaged(random, base.reel, others)
        if kind == BESIDE:
            return beside(random, base.reel, leaders=base.secret is not None)
        return {DISORDERED: disordered, GROWN: grown, FORGED: forgery}[kind](random, base.reel, others)

    def run(self, case: Case) -> Outcome:
        """Read it whole, and in its way."""
        base = base_titled(case.facts["base"])
        found = judged(case.content, case.facts["way"], partial(self._reading, case, base))
        return Outcome(found.label, f"{case.facts['kind']} {found.detail}")

    def _reading(self, case: Case, base: Base, path: Path) -> Reading:
        kind = case.facts["kind"]
        exact = kind != FORGED or base.secret is not None
        span = (case.facts["start"], case.facts["end"])
        return Reading(base, path, exact, kind in (GROWN, BESIDE), span)

    def shrinks(self, case: Case) -> bool:
        """Where a reel with less in it is judged alike."""
        return case.facts["kind"] in (DAMAGED, DISORDERED, FORGED)

    def close(self) -> None:
        """Nothing is open."""


def open_target(folder: Path) -> Reels:
    """The target."""
    del folder
    logging.disable(logging.WARNING)
    return Reels()
