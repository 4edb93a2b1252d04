"""The kept list of changes that `tools.mutants` tries, read from the TOML files beside this one.

The list has a table for each file of the code, `[[file]]`: its `path`, the `tests` that ought to notice, and its
changes, `[[file.change]]`: `what` is no longer done, the `old` text and the `new` one in its place. A change may name
`tests` of its own, and may state why no test can notice it: `survives`.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
_FILE_KEYS = {"path", "tests", "change"}
_CHANGE_KEYS = {"what", "old", "new", "tests", "survives"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one file, and the tests that ought to notice it."""

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""

    def __str__(self) -> str:
        wing, _, *inner = self.file.split("/")
        return f"{'/'.join((wing, *inner))}: {self.what}"

    @property
    def is_compiled(self) -> bool:
        """Whether numba compiles what is in the file."""
        return "numba" in (ROOT / self.file).read_text("utf-8")


def load_changes(folder: Path = FOLDER) -> list[Change]:
    """Every change, in the order of the files. Raises: ValueError for a key that is unknown, or one that is absent."""
    return [change for path in sorted(folder.glob("*.toml")) for change in _changes_in(path)]


def _changes_in(path: Path) -> Iterator[Change]:
    for file in tomllib.loads(path.read_text("utf-8"))["file"]:
        _require(path, file, _FILE_KEYS, optional={"tests"})
        for change in file["change"]:
            _require(path, change, _CHANGE_KEYS, optional={"tests", "survives"})
            tests = tuple(change.get("tests") or file["tests"])
            said = change["what"], change["old"], change["new"]
            yield Change(file["path"], *said, tests, change.get("survives", ""))


def _require(path: Path, table: Mapping[str, Any], keys: set[str], optional: set[str]) -> None:
    wrong = (table.keys() - keys) | (keys - optional - table.keys())
    if wrong:
        raise ValueError(f"{path.name}: {', '.join(sorted(wrong))} in {dict(table)}")


def why_stale(change: Change, root: Path = ROOT) -> str:
    """Why the change can no longer be made; empty where it can."""
    path = root / change.file
    if not path.is_file():
        return f"there is no {change.file}"
    count = path.read_text("utf-8").count(change.old)
    if count != 1:
        return f"its text stands {count} times in the file"
    if change.old == change.new:
        return "it changes nothing"
    gone = [test for test in change.tests if not _is_there(root, test)]
    return f"there is no {', '.join(gone)}" if gone else ""


def _is_there(root: Path, test: str) -> bool:
    """Whether a test file exists, or one that holds the function or class named behind `::`."""
    path, _, name = test.partition("::")
    if not (root / path).is_file():
        return False
    text = (root / path).read_text("utf-8")
    return all(f"def {each}(" in text or f"class {each}:" in text for each in name.split("::") if each)
