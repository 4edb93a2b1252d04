"""The tables of the embedded state, and the version that says who may open them.

The columns of jobs and segments stand in the order of the fields of `Job` and `Segment`. Text that may hold a
file name is kept as JSON or as bytes: a name that is not valid UTF-8 has no form as SQLite text.
"""

import sqlite3

from bytereel.errors import Permanent

SCHEMA_VERSION = 2

SCHEMA = (
    """CREATE TABLE jobs (
        id TEXT NOT NULL PRIMARY KEY, source TEXT NOT NULL, source_bytes INTEGER NOT NULL,
        conversion TEXT NOT NULL, profile TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL,
        updated_at REAL NOT NULL, plan TEXT, segments_total INTEGER NOT NULL, segments_done INTEGER NOT NULL,
        stage INTEGER NOT NULL, stage_remaining INTEGER NOT NULL, reason TEXT NOT NULL,
        result TEXT NOT NULL)""",
    "CREATE INDEX jobs_by_creation ON jobs (created_at, id)",
    "CREATE INDEX jobs_by_state_and_creation ON jobs (state, created_at, id)",
    "CREATE INDEX jobs_by_state_and_update ON jobs (state, updated_at, id)",
    """CREATE TABLE segments (
        job_id TEXT NOT NULL, number INTEGER NOT NULL, stage INTEGER NOT NULL, start_byte INTEGER NOT NULL,
        end_byte INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, owner TEXT NOT NULL,
        lease_until REAL NOT NULL, fragment_key TEXT NOT NULL, fragment_bytes INTEGER NOT NULL,
        result TEXT NOT NULL, PRIMARY KEY (job_id, number)) WITHOUT ROWID""",
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
)

UPGRADES = {
    1: (
        "ALTER TABLE dead_letters ADD COLUMN buried_at REAL NOT NULL DEFAULT 0",
        "UPDATE dead_letters SET buried_at = CAST(strftime('%s', 'now') AS REAL)",
        "CREATE INDEX dead_letters_by_time ON dead_letters (buried_at)",
    ),
}
"""What makes a database of an earlier version one of the next."""

READ_VERSION = "PRAGMA user_version"
WRITE_VERSION = f"PRAGMA user_version = {SCHEMA_VERSION}"


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables of an empty database, or bring an older one up to date; call inside a write transaction.

    Raises: Permanent `state.newer_version` when a newer bytereel wrote the database.
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
    statements = [each for old in range(version, SCHEMA_VERSION) for each in UPGRADES[old]] if version else SCHEMA
    for statement in statements:
        connection.execute(statement)
    connection.execute(WRITE_VERSION)
