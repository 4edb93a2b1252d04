"""Dead letters on SQS: a queue of them beside each queue, read by receiving and showing again.

SQS has no listing. Who looks at the letters hides them from others who look, for half a minute at most. Letters are
counted within a minute: the newest may be missing until then. A queue of letters has no redrive policy, so that
looking never moves them on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bytereel.adapters.sqs.calls import BATCH_MAX, TEXT_BYTES_MAX, VISIBLE, Received, SqsCalls
from bytereel.errors import Permanent
from bytereel.events import body_of
from bytereel.model import Message

LETTERS_MAX = 1000
"""How many letters of one queue are looked at in one call."""

LOOK_SECONDS = 30.0
WAIT_SECONDS = 1
"""A look that waits asks all of SQS' servers, and not a few of them."""

REASON_CHARACTERS_MAX = 1000
TEXT_CHARACTERS_MAX = 20_000
"""How much is kept of a text that nobody can read; at 12 bytes for an escaped character it fits into a message."""

REASON = "reason"
DELIVERIES = "deliveries"


class SqsLetters:
    """The dead letters of the road's queues, whose names start with `prefix`."""

    def __init__(self, calls: SqsCalls, prefix: str, queues: Sequence[str]) -> None:
        self._calls = calls
        self._prefix = prefix
        self._queues = queues
        self._receptions: dict[str, int] = {}

    def add(self, queue: str, body: Mapping[str, Any], deliveries: int, reason: str) -> None:
        """Keep a body with its reason, of which the first thousand characters stay.

        A body that others sent may be larger than what can be sent on: the beginning of its text is kept instead.
        """
        text = json.dumps(body)
        if len(text) > TEXT_BYTES_MAX:
            text = json.dumps(unreadable(text))
        notes = {REASON: json.dumps(reason[:REASON_CHARACTERS_MAX]), DELIVERIES: str(deliveries)}
        self._calls.send_noted(dead_name_of(self._prefix, queue), text, notes)

    def oldest(self, limit: int) -> Sequence[tuple[Message, str]]:
        """Up to `limit` letters of all queues with their reasons, oldest first."""
        found: list[tuple[float, Message, str]] = []
        for queue in self._queues:
            with self._looking_at(queue) as letters:
                found += [(letter.sent_at, *self._read(queue, letter)) for letter in letters]
        found.sort(key=lambda each: each[0])
        return [(message, reason) for _, message, reason in found[:limit]]

    def forget(self, before: float) -> int:
        """Remove the letters sent before the time `before`, of those that can be seen; return how many."""
        forgotten = 0
        for queue in self._queues:
            with self._looking_at(queue) as letters:
                old = [letter for letter in letters if letter.sent_at < before]
                forgotten += sum(
                    self._calls.delete(dead_name_of(self._prefix, queue), letter.receipt) for letter in old
                )
        return forgotten

    @contextmanager
    def _looking_at(self, queue: str) -> Iterator[Sequence[Received]]:
        """The letters of a queue, hidden from others while the context lasts."""
        name = dead_name_of(self._prefix, queue)
        expected = min(LETTERS_MAX, self._calls.count(name, [VISIBLE]))
        found: dict[str, Received] = {}
        try:
            while len(found) < expected:
                page = self._calls.receive(
                    name, count_max=BATCH_MAX, held_seconds=LOOK_SECONDS, wait_seconds=WAIT_SECONDS
                )
                fresh = {letter.id: letter for letter in page if letter.id not in found}
                found.update(fresh)
                if not fresh:
                    break
            yield list(found.values())
        finally:
            self._calls.show(name, [letter.receipt for letter in found.values()])

    def _read(self, queue: str, letter: Received) -> tuple[Message, str]:
        """A letter and its reason; one that SQS itself moved here brings none."""
        try:
            body: Mapping[str, Any] = body_of(letter.text)
        except Permanent:
            body = unreadable(letter.text)
        deliveries = letter.notes.get(DELIVERIES, "")
        if REASON in letter.notes and deliveries.isdecimal():
            return Message(letter.id, queue, body, int(deliveries), ""), _reason_in(letter.notes[REASON])
        number = self._receptions_max(queue)
        return Message(letter.id, queue, body, number, ""), f"received {number} times without an answer"

    def _receptions_max(self, queue: str) -> int:
        if queue not in self._receptions:
            self._receptions[queue] = self._calls.receptions_max(name_of(self._prefix, queue))
        return self._receptions[queue]


def name_of(prefix: str, queue: str) -> str:
    """What SQS calls a queue of the road."""
    return f"{prefix}-{queue}"


def dead_name_of(prefix: str, queue: str) -> str:
    """What SQS calls the dead letters of a queue of the road."""
    return f"{prefix}-{queue}-dead"


def unreadable(text: str) -> Mapping[str, Any]:
    """A body that stands for a text which is none."""
    return {"text": text[:TEXT_CHARACTERS_MAX]}


def _reason_in(note: str) -> str:
    try:
        reason = json.loads(note)
    except ValueError:
        return note
    return reason if isinstance(reason, str) else note
