"""What becomes of stored times when the clock is set back: nobody waits for a time that was never meant.

The latest time that a writer had on the clock is kept in the state. A writer whose clock says clearly less knows that
it was set back, since then and whoever ran meanwhile, and by how much. Then, in its own transaction: what is to come
(the end of a lease, of a delay) comes as much earlier, and what is past (made, updated, buried) is no later than now.
A clock that is set forward needs nothing of the kind: leases end early, and whoever held one is fenced off.
"""

import logging
import sqlite3

from bytereel.adapters.sqlite.columns import damaged

log = logging.getLogger(__name__)

BACK_SECONDS_MIN = 1.0
"""A clock set back by less is waited for."""
STEP_SECONDS = 0.5
"""How much later it must be for the latest time to be stored again: not at every write."""

ENDS = {"messages": ("free_at",), "segments": ("lease_until",)}
MOMENTS = {"jobs": ("created_at", "updated_at"), "dead_letters": ("buried_at",)}

SEEN_AT = "SELECT seen_at FROM clock"
SEE = "UPDATE clock SET seen_at = ?"
SHIFTS = tuple(
    f"UPDATE {table} SET {column} = {column} - :back WHERE {column} > :now"  # noqa: S608 - our own names
    for table, columns in ENDS.items()
    for column in columns
)
CUTS = tuple(
    f"UPDATE {table} SET {column} = :now WHERE {column} > :now"  # noqa: S608 - our own names
    for table, columns in MOMENTS.items()
    for column in columns
)


def is_set_back(connection: sqlite3.Connection, now: float) -> bool:
    """Whether the clock says less than it did to an earlier writer."""
    return _seen_at(connection) - now >= BACK_SECONDS_MIN


def see(connection: sqlite3.Connection, now: float) -> None:
    """Note what the clock says, and mend the stored times where it was set back; call inside a write transaction."""
    back_seconds = _seen_at(connection) - now
    if back_seconds >= BACK_SECONDS_MIN:
        for statement in (*SHIFTS, *CUTS):
            connection.execute(statement, {"back": back_seconds, "now": now})
        log.warning("the clock was set back by %.1f s: what was to come comes as much earlier", back_seconds)
    elif -back_seconds < STEP_SECONDS:
        return
    connection.execute(SEE, (now,))


def _seen_at(connection: sqlite3.Connection) -> float:
    row = connection.execute(SEEN_AT).fetchone()
    try:
        return float(row[0])
    except (TypeError, ValueError) as error:
        raise damaged("clock", error) from error
