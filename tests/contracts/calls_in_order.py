"""What a program asks of the kernel and of SQLite to make things durable, in the order in which it asks.

A test cannot cut the power. It can see that bytes are synced before a name leads to them, that a name is synced before
anybody is told of it, and that nothing is written to a file behind its sync.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMING = ("rename", "replace", "link")


@dataclass(frozen=True)
class Call:
    """One call: `write`, `sync` or `name` of the file with that inode, or a statement of `sql`.

    Of a `name`, `folder` is the inode of the folder that it stands in.
    """

    kind: str
    inode: int = 0
    folder: int = 0
    sql: str = ""


@dataclass
class Calls:
    """The calls so far."""

    made: list[Call] = field(default_factory=list)

    def named(self, path: Path) -> int:
        """The place of the last call that gave the file at `path` its name."""
        return self._last(lambda call: call.kind == "name" and call.inode == path.stat().st_ino)

    def statement(self, start: str) -> int:
        """The place of the last SQL statement that starts so."""
        return self._last(lambda call: call.sql.startswith(start))

    def after(self, place: int, start: str) -> int:
        """The place of the first SQL statement behind a place that starts so."""
        return next(n for n, call in enumerate(self.made) if n > place and call.sql.startswith(start))

    def require_durable(self, path: Path, *, before: int | None = None) -> None:
        """Assert that the file's bytes were synced before it had its name, and its name then; all `before` a place."""
        name = self.named(path)
        inode, folder = self.made[name].inode, self.made[name].folder
        content = [n for n, call in enumerate(self.made[:name]) if (call.kind, call.inode) == ("sync", inode)]
        assert content, f"{path} has its name and was not synced before"
        writes = [n for n, call in enumerate(self.made) if (call.kind, call.inode) == ("write", inode)]
        assert max(writes, default=-1) < content[-1], f"{path} was written to behind its last sync"
        names = [n for n, call in enumerate(self.made) if n > name and (call.kind, call.inode) == ("sync", folder)]
        assert names, f"the folder of {path} was not synced behind the name"
        assert before is None or names[0] < before, f"the name of {path} was synced too late"

    def synced(self, inode: int) -> int:
        """The place of the first sync of that file."""
        found = [n for n, call in enumerate(self.made) if (call.kind, call.inode) == ("sync", inode)]
        assert found, f"nothing synced the file {inode}"
        return found[0]

    def _last(self, wanted: Callable[[Call], bool]) -> int:
        return max(n for n, call in enumerate(self.made) if wanted(call))

    def note(self, call: Call) -> None:
        self.made.append(call)


@contextmanager
def calls_in_order(connections: Sequence[sqlite3.Connection] = ()) -> Iterator[Calls]:
    """Record the calls of this process while the context lasts, and the statements of those connections."""
    calls = Calls()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _about_descriptor(calls, "sync", os.fsync))
        patch.setattr(os, "fdatasync", _about_descriptor(calls, "sync", os.fdatasync))
        for name in ("write", "pwrite", "writev", "pwritev", "ftruncate"):
            patch.setattr(os, name, _about_descriptor(calls, "write", getattr(os, name)))
        for name in NAMING:
            patch.setattr(os, name, _naming(calls, getattr(os, name)))
        for connection in connections:
            connection.set_trace_callback(lambda sql: calls.note(Call("sql", sql=sql)))
        try:
            yield calls
        finally:
            for connection in connections:
                connection.set_trace_callback(None)


def _about_descriptor(calls: Calls, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(descriptor: int, *rest: Any) -> Any:
        outcome = real(descriptor, *rest)
        calls.note(Call(kind, os.fstat(descriptor).st_ino))
        return outcome

    return call


def _naming(calls: Calls, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(source: Any, target: Any, **options: Any) -> None:
        real(source, target, **options)
        within = options.get("dst_dir_fd")
        named = os.stat(target, dir_fd=within, follow_symlinks=False)
        above = Path(target).parent
        calls.note(Call("name", named.st_ino, os.stat(above, dir_fd=within).st_ino))

    return call
