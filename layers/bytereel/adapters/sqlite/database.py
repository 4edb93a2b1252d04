"""One SQLite file, opened once a thread and process: transactions, and the translation of its errors.

Commits are durable on return (WAL with full sync). A connection is never shared: after a fork the child opens
its own, and leaves the parent's alone, as SQLite demands. Source: sqlite.org/howtocorrupt.html, section 2.6.
"""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.sqlite import set_back
from bytereel.adapters.sqlite.schema import READ_VERSION, prepare
from bytereel.adapters.sqlite.standing import Standing
from bytereel.errors import BytereelError, Integrity, Permanent, Temporary
from bytereel.ports.clock import Clock

BUSY_SECONDS = 30.0

RETRY_SECONDS = (0.0002, 0.002)

BEGIN_WRITE = "BEGIN IMMEDIATE"
FORGET_PAGES = "PRAGMA shrink_memory"
SELECT_ID = "SELECT id FROM home"
EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",  # what was deleted or written over is overwritten with zeros, not left in free space
)

BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGED_WORDS = ("Could not decode to UTF-8", "unsupported file format", "no such table", "no such column")
"""How SQLite's words begin, as it has no code for it, where text is no UTF-8, or the file is another's database."""
CLOSED_CODES = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})


class PatientConnection(sqlite3.Connection):
    """A connection that waits for locks in short random steps.

    SQLite's own waiting grows to 100 ms a step, which starves a process among busy ones for seconds.
    """

    busy_seconds = BUSY_SECONDS

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        """See `sqlite3.Connection.execute`. Raises: OperationalError when it was locked for `busy_seconds`."""
        try:
            return super().execute(*statement)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        deadline = time.monotonic() + self.busy_seconds
        while True:
            time.sleep(random.uniform(*RETRY_SECONDS))  # noqa: S311 - spreads the waiters
            try:
                return super().execute(*statement)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise

    def execute_at_once(self, statement: str) -> sqlite3.Cursor:
        """The same without waiting."""
        return super().execute(statement)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in BUSY_CODES


class Database:
    """The state file of one home; creates the file and its tables when they are absent.

    Every writer notes what the clock says, and mends the stored times where it was set back. A file that is no longer
    the one that was opened first is never written to, and no other is opened in its place: who uses it has to end.

    Raises: Temporary `state.busy`, `store.full`, `state.unavailable`; Integrity `state.damaged`, `state.replaced`;
    Permanent `state.unreadable`, `state.newer_version` - from the constructor and from every transaction.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._busy_seconds = busy_seconds
        self._local = threading.local()
        self._standing = Standing(path)
        self._anchors: dict[int, sqlite3.Connection] = {}
        self._id = ""
        with self._transaction() as connection:
            prepare(connection)
        with self._translated():
            self._id = self._stored_id(self._connection())

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one SELECT, which sees one state of the database."""
        with self._translated():
            connection = self._connection()
            self._standing.check_lately()
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The only write transaction: committed at the end, rolled back when anything is raised."""
        with self._transaction() as connection:
            self._check_id(connection)
            set_back.see(connection, self._clock.now())
            yield connection

    def check(self) -> None:
        """Make sure that this is still the state that was opened, by reading it anew. Raises: as every transaction."""
        with self.reading() as connection:
            self._standing.check()
            connection.execute(FORGET_PAGES)
            self._check_id(connection)

    def is_set_back(self, connection: sqlite3.Connection) -> bool:
        """Whether the next writer will find that the clock was set back."""
        return set_back.is_set_back(connection, self._clock.now())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction on files that are the same before and after: what a ghost took does not count as done."""
        with self._translated():
            connection = self._connection()
            self._standing.check_lately()
            connection.execute(BEGIN_WRITE)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._standing.check()

    def _check_id(self, connection: sqlite3.Connection) -> None:
        if self._stored_id(connection) != self._id:
            raise self._standing.another()

    def _stored_id(self, connection: sqlite3.Connection) -> str:
        row = connection.execute(SELECT_ID).fetchone()
        return str(row[0]) if row else ""

    def drop_history(self) -> bool:
        """Empty the write-ahead log, which keeps earlier versions of rows; False while another reads or writes.

        Nothing is waited for: whoever calls again later, or closes the file last, empties it then.
        """
        with self._translated():
            connection = self._connection()
            self._standing.check()
            try:
                busy, _, _ = connection.execute_at_once(EMPTY_LOG).fetchone()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                busy = True
        return not busy

    def _connection(self) -> PatientConnection:
        if getattr(self._local, "process", None) != os.getpid():
            # The parent's connection is kept, unused: SQLite forbids even to close it in the child.
            self._local.inherited = getattr(self._local, "connection", None)
            self._local.connection = self._open()
            self._local.process = os.getpid()
        connection: PatientConnection = self._local.connection
        return connection

    def _open(self) -> PatientConnection:
        """A new connection to the file that was opened first; only the first one of all may create it.

        The first one of a process is kept for good.
        """
        if self._id:
            self._standing.check()
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, factory=PatientConnection)
        connection.busy_seconds = self._busy_seconds
        for pragma in PRAGMAS:
            connection.execute(pragma)
        connection.execute(READ_VERSION).fetchone()  # this makes the log and its index, where they are absent
        self._standing.check()
        if self._anchors.setdefault(os.getpid(), connection) is connection:
            self._standing.hold()
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            translated = self._translation(error)
            if translated is None:
                raise
            raise translated from error
        except MemoryError as error:  # SQLite's own too: a damaged file may ask for any amount
            raise Temporary(
                "state.unavailable",
                f"{str(self.path)!r} cannot be used just now: it takes more memory than there is",
                path=str(self.path),
            ) from error
        except UnicodeDecodeError as error:  # SQLite's own words, of a file that holds no UTF-8
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> Integrity:
        return Integrity(
            "state.damaged",
            f"{str(self.path)!r} is damaged: {error}",
            hint="keep it aside for inspection and restore a copy",
            path=str(self.path),
        )

    def _translation(self, error: sqlite3.DatabaseError) -> BytereelError | None:
        """The family of an SQLite error, or None for one that only a bug gives."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        path = str(self.path)
        if code in BUSY_CODES:
            return Temporary(
                "state.busy",
                f"{path!r} was locked for longer than {self._busy_seconds:g} s",
                hint="is another program holding it open?",
                path=path,
            )
        if code == sqlite3.SQLITE_FULL:
            return Temporary(
                "store.full",
                f"no space is left for {path!r}",
                hint="free some space, then try again (a job: `bytereel retry`)",
                path=path,
            )
        if code in DAMAGED_CODES or str(error).startswith(DAMAGED_WORDS):
            return self._damaged(error)
        if code in CLOSED_CODES:
            return Permanent(
                "state.unreadable",
                f"{path!r} cannot be used: {error}",
                hint="check the permissions of the file and its folder",
                path=path,
            )
        if code == sqlite3.SQLITE_IOERR:
            return Temporary("state.unavailable", f"{path!r} cannot be used just now: {error}", path=path)
        return None
