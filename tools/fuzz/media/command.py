"""A command of `bytereel` in this process, and what the processes that it starts take.

Foreign containers are parsed in children that the codec forks from a server of its own, which lives as long as this
process: a process for each command would start a server for each.
"""

import io
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytereel.cli.main import run

_SAMPLE_SECONDS = 0.01
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with: its code, what it printed, the most memory and the core seconds of its children."""

    code: int
    out: str
    err: str
    children_bytes: int
    children_seconds: float

    @property
    def error(self) -> Mapping[str, Any]:
        """The error that it told, empty where it told none."""
        for line in reversed(self.err.splitlines()):
            if line.startswith('{"error":'):
                told: Mapping[str, Any] = json.loads(line)["error"]
                return told
        return {}


def command(folder: Path, arguments: Sequence[str]) -> Answer:
    """Run `bytereel` with the arguments in `folder`. A bug propagates."""
    out, err = io.StringIO(), io.StringIO()
    with _Children() as children, chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = int(run(arguments))
    return Answer(code, out.getvalue(), err.getvalue(), children.peak_bytes, children.core_seconds)


class _Children:
    """Watches the processes that this one starts, and theirs, by looking every 10 ms. Source: proc(5)."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.core_seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Children":
        self.core_seconds = -_core_seconds()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.core_seconds += _core_seconds()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            for server in _children_of(os.getpid()):
                for child in _children_of(server):
                    self.peak_bytes = max(self.peak_bytes, _peak_bytes(child))


def _children_of(process: int) -> Iterator[int]:
    """The processes that a process has started and not waited for."""
    try:
        for listed in Path(f"/proc/{process}/task").glob("*/children"):
            yield from map(int, listed.read_text("ascii").split())
    except OSError:
        return  # it has ended


def _peak_bytes(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    _, found, rest = status.partition("VmHWM:")
    return int(rest.split()[0]) << 10 if found else 0


def _core_seconds() -> float:
    """What the children of this process's children took that have ended: fields 16 and 17 of their parents' `stat`."""
    ticks = 0
    for server in _children_of(os.getpid()):
        try:
            fields = Path(f"/proc/{server}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[13]) + int(fields[14])
    return ticks / _TICKS_PER_SECOND
