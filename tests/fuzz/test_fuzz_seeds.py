"""Inputs that once broke a law, run again: `make fuzz` found them, and they are kept for good.

A case that breaks a law still is listed in `OPEN` with the reason; when it is mended, its test says that it passes, and
the line goes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.fuzz.case import SUFFIX, Case
from tools.fuzz.examine import examine
from tools.fuzz.place import working_folder
from tools.fuzz.target import Target, load_target

FOLDER = Path(__file__).parents[1] / "fuzz_seeds"
OPEN: dict[str, str] = {}
SEEDS = sorted(FOLDER.glob(f"*{SUFFIX}"))
FOLDER_BYTES_MAX = 2 << 20


class Targets:
    """Each target, opened when the first case of it is run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Target] = {}

    def named(self, name: str) -> Target:
        if name not in self._open:
            (self._folder / name).mkdir()
            self._open[name] = load_target(name, self._folder / name)
        return self._open[name]

    def close(self) -> None:
        for target in self._open.values():
            target.close()


@pytest.fixture(scope="module")
def targets() -> Iterator[Targets]:
    with working_folder() as folder:
        found = Targets(folder)
        yield found
        found.close()


def cases() -> Iterator[object]:
    for path in SEEDS:
        reason = OPEN.get(path.stem)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", list(cases()))
def test_what_was_found_once_is_found_no_more(path: Path, targets: Targets) -> None:
    case = Case.from_bytes(path.read_bytes())
    failure = examine(targets.named(case.target), case).failure
    assert failure is None, f"{failure.signature}: python -m tools.fuzz --replay {path}"


def test_seeds_are_there_and_small() -> None:
    assert SEEDS
    assert sum(path.stat().st_size for path in SEEDS) < FOLDER_BYTES_MAX
    assert set(OPEN) <= {path.stem for path in SEEDS}
