"""A target for tests of the fuzzing itself: what a case does to the process stands in its content."""

import os
import signal
import time
from mmap import PAGESIZE, mmap
from pathlib import Path
from random import Random

from tools.fuzz.case import Case
from tools.fuzz.target import LawBroken, Limits, Outcome

NAME = "tests.fuzz.toy_target"
MODES = ("fine", "fine", "fine", "bug", "law", "crash", "hang")
GROWTH_BYTES = 32 << 20
CORE_SECONDS = 0.3


class Toy:
    name = NAME
    limits = Limits(core_seconds=CORE_SECONDS, growth_bytes=GROWTH_BYTES)

    def make(self, random: Random) -> Case:
        mode = random.choice(MODES)
        return Case(NAME, random.randbytes(30) + mode.encode() + random.randbytes(30), {"kind": mode})

    def run(self, case: Case) -> Outcome:
        if b"crash" in case.content:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"hang" in case.content:
            time.sleep(60)
        if b"bug" in case.content:
            raise ZeroDivisionError("a bug")
        if b"law" in case.content:
            raise LawBroken("toy_law", "it does not hold")
        if b"memory" in case.content:
            return Outcome("kept", str(touched(int(case.facts["bytes"]))))
        if b"slow" in case.content:
            end = time.process_time() + float(case.facts["seconds"])
            while time.process_time() < end:
                continue
        return Outcome("fine")

    def shrinks(self, case: Case) -> bool:
        return case.facts.get("kind") != "whole"

    def close(self) -> None:
        """Nothing is open."""


def open_target(folder: Path) -> Toy:
    assert folder.is_dir()
    return Toy()


def touched(size: int) -> int:
    """Take that many bytes of memory anew from the system: what the heap has in reserve would hide them."""
    with mmap(-1, size) as pages:
        for offset in range(0, size, PAGESIZE):
            pages[offset] = 1
        return len(pages)
