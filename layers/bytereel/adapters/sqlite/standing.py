"""Whether the files that are open are still the ones that stand under their names.

SQLite goes on with a file that was deleted or renamed, as if nothing had happened: what it commits is gone with it,
and whoever opens the name next sees another database. The write-ahead log and its index are such files too. So names
are looked up before a transaction and after it. Only `stat` is used: to open and close the file here would drop the
locks of the whole process. Source: sqlite.org/howtocorrupt.html, sections 2.2 and 4.
"""

import os
import time
from pathlib import Path

from bytereel.errors import BytereelError, Integrity, Permanent, Temporary

COMPANIONS = ("-wal", "-shm")

LATELY_SECONDS = 0.002
"""A look costs three calls of the system, and a small job some fifty looks."""

_Identity = tuple[int, int]


class Standing:
    """The state file of one home, from the first time that it was opened on.

    Safe for several threads, and after a fork: as long as a process has a connection open, its log and index stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._companions = [self._path + suffix for suffix in COMPANIONS]
        self._file: _Identity | None = None
        self._size_bytes = 0
        self._checked_at = float("-inf")
        self._known: dict[int, list[_Identity]] = {}

    def hold(self) -> None:
        """Take the log and its index for those of this process, which keeps a connection open from now on."""
        self._known[os.getpid()] = self._found_companions()

    def check(self) -> None:
        """Make sure that all is as it was when it was opened, or held.

        Raises: Integrity `state.replaced`; Permanent `state.unreadable`; Temporary `state.unavailable`.
        """
        self._check_file()
        known = self._known.get(os.getpid())
        if known is not None and self._found_companions() != known:
            raise self._replaced("its log is another")
        self._checked_at = time.monotonic()

    def check_lately(self) -> None:
        """The same before a transaction, where a look a moment ago will do: the one after it tells of a ghost."""
        if time.monotonic() - self._checked_at > LATELY_SECONDS:
            self.check()

    def another(self) -> Integrity:
        """The error for a file that was overwritten with another home's state."""
        return self._replaced("it holds another state")

    def _check_file(self) -> None:
        least_bytes = self._size_bytes  # before the look: another thread may see it grow, and note that, in between
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - asked twice a transaction: no time for a Path
        except OSError as error:
            raise self._refusal(error) from error
        if self._file is None:
            self._file = stat.st_dev, stat.st_ino
        if (stat.st_dev, stat.st_ino) != self._file:
            raise self._replaced("another file has its name now")
        if stat.st_size < least_bytes:
            raise self._replaced("it is shorter than it was")
        self._size_bytes = stat.st_size

    def _found_companions(self) -> list[_Identity]:
        try:
            stats = [os.stat(path) for path in self._companions]  # noqa: PTH116
        except OSError as error:
            raise self._refusal(error) from error
        return [(stat.st_dev, stat.st_ino) for stat in stats]

    def _refusal(self, error: OSError) -> BytereelError:
        path = self._path
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._replaced(f"{error.filename!r} is gone")
        if isinstance(error, PermissionError):
            return Permanent(
                "state.unreadable",
                f"{path!r} cannot be used: {error.strerror}",
                hint="check the permissions of the file and its folder",
                path=path,
            )
        return Temporary("state.unavailable", f"{path!r} cannot be used just now: {error.strerror}", path=path)

    def _replaced(self, why: str) -> Integrity:
        return Integrity(
            "state.replaced",
            f"{self._path!r} was deleted, moved or changed by somebody else while it was in use: {why}",
            hint="put the file back, or start anew without it: what lies in the inbox is taken in again",
            path=self._path,
        )
