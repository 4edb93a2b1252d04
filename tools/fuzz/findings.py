"""The folder of findings: of every failure its first input, made smaller, what it broke, and how to run it again."""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from tools.fuzz.case import SUFFIX, Case
from tools.fuzz.examine import Failure, examine, short_digest
from tools.fuzz.minimise import minimised
from tools.fuzz.target import Target

_MINIMISE_SECONDS = 20.0
_TAR_BLOCK_BYTES = 512
_STEPS = {"tar": _TAR_BLOCK_BYTES}


@dataclass(frozen=True, slots=True)
class Finding:
    """A failure as it lies in the folder; `path` is its case."""

    target: str
    failure: Failure
    path: Path
    number: int

    @property
    def command(self) -> str:
        """What runs it again."""
        return f"python -m tools.fuzz --replay {shlex.quote(str(self.path))}"


def keep(folder: Path, target: Target, case: Case, failure: Failure, number: int) -> None:
    """Write the case and what it broke, unless a failure of its signature lies there; several processes may call."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, case.target, failure.signature)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return
    _write(path, case, failure, number)
    if failure.shrinks and target.shrinks(case):
        _write(path, _smaller(target, case, failure), failure, number)


def path_of(folder: Path, target: str, signature: str) -> Path:
    """Where the case of a failure lies."""
    return folder / f"{target}-{short_digest(signature)}{SUFFIX}"


def read_findings(folder: Path, target: str) -> list[Finding]:
    """What was kept for a target, in the order of names."""
    found = []
    for path in sorted(folder.glob(f"{target}-*{SUFFIX}")):
        told = json.loads(path.with_suffix(".json").read_text("ascii"))
        failure = Failure(told["kind"], told["signature"], told["message"])
        found.append(Finding(target, failure, path, told["number"]))
    return found


def _write(path: Path, case: Case, failure: Failure, number: int) -> None:
    path.write_bytes(case.to_bytes())
    told = {
        "kind": failure.kind,
        "signature": failure.signature,
        "number": number,
        "facts": dict(case.facts),
        "bytes": len(case.content),
        "replay": Finding(case.target, failure, path, number).command,
        "message": failure.message,
    }
    path.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n", "ascii")


def _smaller(target: Target, case: Case, failure: Failure) -> Case:
    def fails(content: bytes) -> bool:
        again = examine(target, case.with_content(content)).failure
        return again is not None and again.signature == failure.signature

    if not fails(case.content):
        return case  # it does not fail again: all of it is kept
    step = _STEPS.get(case.target, 1)
    return case.with_content(minimised(case.content, fails, seconds=_MINIMISE_SECONDS, step=step))
