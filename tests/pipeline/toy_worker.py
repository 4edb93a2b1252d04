"""The real worker program with a toy conversion: slow enough to be killed, and it notes what it converted."""

import os
import sys
import time
from pathlib import Path

import bytereel.workers.main as program
from toys import Loud


def noting(folder: Path) -> Loud:
    """A conversion that leaves a file for every segment it begins; a source may ask it to end the process."""
    loud = Loud()

    def note(index: int) -> None:
        with (folder / "converted").open("a") as notes:
            notes.write(f"{index}\n")
        time.sleep(0.02)
        if (folder / "poison").exists():
            os.kill(os.getpid(), 9)

    loud.on_convert = note
    return loud


if __name__ == "__main__":
    program.load_conversions = lambda settings: {"archive": noting(settings.home)}
    sys.exit(program.main())
