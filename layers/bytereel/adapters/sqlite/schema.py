"""The tables of the embedded state, and the version that says who may open them.

The columns of jobs and segments stand in `rows.py`. Text that may hold a file name is kept as JSON or as bytes: a
name that is not valid UTF-8 has no form as SQLite text.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from bytereel.adapters.sqlite.rows import JOBS, SEGMENTS
from bytereel.errors import Integrity, Permanent

HOME = (
    "CREATE TABLE home (id TEXT NOT NULL)",
    "INSERT INTO home VALUES (lower(hex(randomblob(16))))",
    "CREATE TABLE clock (seen_at REAL NOT NULL)",
    "INSERT INTO clock SELECT coalesce(max(updated_at), 0) FROM jobs",
)
"""Two tables of one row: a name that no other state has, which is never written again and so has a page of its own,
and the latest time that anybody who wrote had on the clock."""

SCHEMA = (
    JOBS.create,
    "CREATE INDEX jobs_by_creation ON jobs (created_at, id)",
    "CREATE INDEX jobs_by_state_and_creation ON jobs (state, created_at, id)",
    "CREATE INDEX jobs_by_state_and_update ON jobs (state, updated_at, id)",
    SEGMENTS.create,
    "CREATE INDEX segments_by_owner ON segments (owner) WHERE lease_until > 0",
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL, free_at REAL NOT NULL,
        deliveries INTEGER NOT NULL DEFAULT 0, receipt TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX messages_by_time ON messages (queue, free_at, id)",
    "CREATE INDEX messages_by_owner ON messages (owner) WHERE owner != ''",
    """CREATE TABLE dead_letters (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, queue TEXT NOT NULL, body TEXT NOT NULL,
        deliveries INTEGER NOT NULL, reason TEXT NOT NULL, buried_at REAL NOT NULL)""",
    "CREATE INDEX dead_letters_by_time ON dead_letters (buried_at)",
    """CREATE TABLE uploads (
        number INTEGER PRIMARY KEY AUTOINCREMENT, staged TEXT NOT NULL, key BLOB NOT NULL,
        version TEXT NOT NULL)""",
    "CREATE TABLE seen (key BLOB NOT NULL, version TEXT NOT NULL, PRIMARY KEY (key, version)) WITHOUT ROWID",
    *HOME,
)

UPGRADES: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE dead_letters ADD COLUMN buried_at REAL NOT NULL DEFAULT 0",
        "UPDATE dead_letters SET buried_at = CAST(strftime('%s', 'now') AS REAL)",
        "CREATE INDEX dead_letters_by_time ON dead_letters (buried_at)",
    ),
    2: HOME,
}
"""What makes a database of an earlier version one of the next, beside the columns that `rows.py` says came with it."""

SCHEMA_VERSION = max(max(UPGRADES) + 1, JOBS.version, SEGMENTS.version)

COUNT_TABLES = "SELECT count(*) FROM sqlite_master"
READ_VERSION = "PRAGMA user_version"
WRITE_VERSION = f"PRAGMA user_version = {SCHEMA_VERSION}"


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables of an empty database, or bring an older one up to date; call inside a write transaction.

    Raises: Permanent `state.newer_version` when a newer bytereel wrote the database; Integrity `state.damaged`.
    """
    version = connection.execute(READ_VERSION).fetchone()[0]
    if version > SCHEMA_VERSION:
        raise Permanent(
            "state.newer_version",
            "the state of this home was written by a newer bytereel",
            hint="install a newer bytereel, or choose another home",
            expected=SCHEMA_VERSION,
            actual=version,
        )
    if version == SCHEMA_VERSION:
        return
    _check_version(connection, version)
    for statement in _upgrade_from(version) if version else SCHEMA:
        connection.execute(statement)
    connection.execute(WRITE_VERSION)


def _check_version(connection: sqlite3.Connection, version: int) -> None:
    """No database of ours has a version below 1, but for one that is empty."""
    if version < 0 or (version == 0 and connection.execute(COUNT_TABLES).fetchone()[0]):
        raise Integrity(
            "state.damaged",
            f"the state of this home says that it is of version {version}, and holds tables",
            hint="keep the state file aside for inspection and restore a copy",
            actual=version,
        )


def _upgrade_from(version: int) -> Sequence[str]:
    """The statements that bring a database of `version` up to date."""
    return [
        statement
        for old in range(version, SCHEMA_VERSION)
        for statement in (*UPGRADES.get(old, ()), *JOBS.added_in(old + 1), *SEGMENTS.added_in(old + 1))
    ]
