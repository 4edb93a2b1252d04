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

from bytereel.adapters.sqlite.schema import prepare
from bytereel.errors import BytereelError, Integrity, Permanent, Temporary

BUSY_SECONDS = 30.0

RETRY_SECONDS = (0.0002, 0.002)

BEGIN_WRITE = "BEGIN IMMEDIATE"
WAIT_NOT = "PRAGMA busy_timeout = 0"
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
)

BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
CLOSED_CODES = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})


class Database:
    """The state file of one home; creates the file and its tables when they are absent.

    Raises: Temporary `state.busy`, `store.full`, `state.unavailable`; Integrity `state.damaged`; Permanent
    `state.unreadable`, `state.newer_version` - from the constructor and from every transaction.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._local = threading.local()
        with self.writing() as connection:
            prepare(connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one SELECT, which sees one state of the database."""
        with self._translated():
            yield self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The only write transaction: committed at the end, rolled back when anything is raised."""
        with self._translated():
            connection = self._connection()
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Wait for the write lock in short random steps.

        SQLite's own waiting grows to 100 ms a step, which starves a process among busy ones for seconds.
        """
        deadline = time.monotonic() + self._busy_seconds
        connection.execute(WAIT_NOT)
        try:
            while True:
                try:
                    connection.execute(BEGIN_WRITE)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF not in BUSY_CODES or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(*RETRY_SECONDS))  # noqa: S311 - spreads the waiters
                else:
                    return
        finally:
            connection.execute(f"PRAGMA busy_timeout = {self._busy_seconds * 1000:.0f}")

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "process", None) != os.getpid():
            # The parent's connection is kept, unused: SQLite forbids even to close it in the child.
            self._local.inherited = getattr(self._local, "connection", None)
            self._local.connection = self._open()
            self._local.process = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None)
        for pragma in PRAGMAS:
            connection.execute(pragma)
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
        if code in DAMAGED_CODES:
            return Integrity(
                "state.damaged",
                f"{path!r} is damaged: {error}",
                hint="keep it aside for inspection and restore a copy",
                path=path,
            )
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
