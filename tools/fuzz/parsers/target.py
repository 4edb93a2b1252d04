"""The target `parsers`: each case is for one parser, all of them in turn."""

import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tools.fuzz.case import Case
from tools.fuzz.parsers import events, frames, state, texts
from tools.fuzz.parsers.parser import Parser
from tools.fuzz.target import Limits, Outcome

NAME = "parsers"


class Parsers:
    """Every parser. `facts`: `kind` its name."""

    name = NAME
    limits = Limits(core_seconds=2.0, growth_bytes=64 << 20)

    def __init__(self, parsers: Sequence[Parser]) -> None:
        self._parsers = {parser.name: parser for parser in parsers}

    def make(self, random: Random) -> Case:
        """An input for one of the parsers."""
        parser = random.choice(list(self._parsers.values()))
        return Case(NAME, parser.made(random), {"kind": parser.name})

    def run(self, case: Case) -> Outcome:
        """Read it."""
        found = self._parsers[case.facts["kind"]].read(case.content)
        return Outcome(found.label, f"{case.facts['kind']} {found.detail}")

    def shrinks(self, case: Case) -> bool:
        """All but state files, which are read too slowly."""
        return bool(case.facts["kind"] != state.STATE)

    def close(self) -> None:
        """Nothing is open."""


def open_target(folder: Path) -> Parsers:
    """The target, what it needs compiled and read."""
    logging.disable(logging.WARNING)  # records that are passed over are logged
    found = Parsers([*frames.parsers(), *texts.parsers(folder), *events.parsers(folder), *state.parsers(folder)])
    for number in range(200):
        case = found.make(Random(number))
        if case.facts["kind"] in ("frames", "images", "index"):
            found.run(case)
    return found
