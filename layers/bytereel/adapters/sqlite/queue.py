"""The queue as one SQLite table, every method one short transaction."""

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from bytereel.adapters.sqlite.columns import json_of
from bytereel.adapters.sqlite.database import Database
from bytereel.model import Message
from bytereel.ports.clock import Clock

INSERT_MESSAGE = "INSERT INTO messages (queue, body, free_at) VALUES (?, ?, ?)"
SELECT_FREE = """SELECT id, body, deliveries FROM messages INDEXED BY messages_by_time
    WHERE queue = ? AND free_at <= ? ORDER BY free_at, id LIMIT 1"""
ANY_FREE = "SELECT 1 FROM messages INDEXED BY messages_by_time WHERE queue = ? AND free_at <= ? LIMIT 1"
TAKE_MESSAGE = "UPDATE messages SET free_at = ?, deliveries = ?, receipt = ?, owner = ? WHERE id = ?"
EXTEND_MESSAGE = "UPDATE messages SET free_at = ? WHERE id = ? AND receipt = ? AND owner != ''"
DELETE_MESSAGE = "DELETE FROM messages WHERE id = ? AND receipt = ? AND owner != ''"
FREE_MESSAGE = """UPDATE messages SET free_at = ?, receipt = '', owner = ''
    WHERE id = ? AND receipt = ? AND owner != ''"""
FREE_OWNER = "UPDATE messages SET free_at = ?, receipt = '', owner = '' WHERE owner = ? AND owner != ''"
COUNT_MESSAGES = "SELECT count(*) FROM messages INDEXED BY messages_by_time WHERE queue = ?"
INSERT_DEAD = """INSERT INTO dead_letters (id, queue, body, deliveries, reason, buried_at)
    VALUES (?, ?, ?, ?, ?, ?)"""
SELECT_DEAD = "SELECT id, queue, body, deliveries, reason FROM dead_letters ORDER BY number LIMIT ?"
DELETE_DEAD = "DELETE FROM dead_letters WHERE buried_at < ?"


class SqliteQueue:
    """Messages of all queues in one table; one message is handed to one owner at a time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """See `Queue.send`."""
        with self.database.writing() as connection:
            self.send_within(connection, queue, bodies, delay_seconds=delay_seconds)

    def send_within(
        self,
        connection: sqlite3.Connection,
        queue: str,
        bodies: Sequence[Mapping[str, Any]],
        *,
        delay_seconds: float = 0.0,
    ) -> None:
        """Send as part of the caller's write transaction: the bodies are durable when that is."""
        free_at = self._clock.now() + delay_seconds
        connection.executemany(INSERT_MESSAGE, [(queue, json.dumps(body), free_at) for body in bodies])

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """See `Queue.lease`. Looks without a lock first, so that idle workers do not stand in the way."""
        assert owner, "an owner's name tells a held message from a free one"
        now = self._clock.now()
        with self.database.reading() as connection:
            free = any(connection.execute(ANY_FREE, (queue, now)).fetchone() for queue in queues)
            if not free and not self.database.is_set_back(connection):
                return None
        with self.database.writing() as connection:
            for queue in queues:
                row = connection.execute(SELECT_FREE, (queue, now)).fetchone()
                if row is not None:
                    return self._take(connection, queue, row, owner, now + lease_seconds)
        return None

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """See `Queue.extend`."""
        return self._change(EXTEND_MESSAGE, (self._clock.now() + lease_seconds, *_lease_of(message))) == 1

    def acknowledge(self, message: Message) -> None:
        """See `Queue.acknowledge`."""
        self._change(DELETE_MESSAGE, _lease_of(message))

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """See `Queue.release`."""
        self._change(FREE_MESSAGE, (self._clock.now() + delay_seconds, *_lease_of(message)))

    def bury(self, message: Message, reason: str) -> None:
        """See `Queue.bury`."""
        with self.database.writing() as connection:
            if connection.execute(DELETE_MESSAGE, _lease_of(message)).rowcount == 1:
                letter = (message.id, message.queue, json.dumps(message.body), message.deliveries, json.dumps(reason))
                connection.execute(INSERT_DEAD, (*letter, self._clock.now()))

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """See `Queue.dead`."""
        with self.database.reading() as connection:
            rows = connection.execute(SELECT_DEAD, (limit,)).fetchall()
        return [
            (Message(number, queue, json_of("dead_letters", body), deliveries, ""), json_of("dead_letters", reason))
            for number, queue, body, deliveries, reason in rows
        ]

    def forget_dead(self, before: float) -> int:
        """See `Queue.forget_dead`. What was forgotten, here and before, leaves the write-ahead log too."""
        forgotten = self._change(DELETE_DEAD, (before,))
        self.database.drop_history()
        return forgotten

    def size(self, queue: str) -> int:
        """See `Queue.size`."""
        with self.database.reading() as connection:
            count: int = connection.execute(COUNT_MESSAGES, (queue,)).fetchone()[0]
            return count

    def release_owner(self, owner: str) -> int:
        """See `OwnerLeases.release_owner`: messages."""
        return self._change(FREE_OWNER, (self._clock.now(), owner))

    def _change(self, statement: str, values: Sequence[Any]) -> int:
        with self.database.writing() as connection:
            return connection.execute(statement, values).rowcount

    def _take(
        self, connection: sqlite3.Connection, queue: str, row: tuple[int, str, int], owner: str, free_at: float
    ) -> Message:
        number, body, earlier = row
        receipt = secrets.token_hex(8)  # by chance: another state of this home gave its messages the same numbers
        connection.execute(TAKE_MESSAGE, (free_at, earlier + 1, receipt, owner, number))
        return Message(str(number), queue, json_of("messages", body), earlier + 1, receipt)


def _lease_of(message: Message) -> tuple[int, str]:
    return int(message.id), message.receipt
