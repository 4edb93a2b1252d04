"""Queues in memory, for tests and simulation: one lock, nothing survives the process."""

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bytereel.adapters.memory.jobs import as_stored
from bytereel.model import Message
from bytereel.ports.clock import Clock


@dataclass(slots=True)
class _Entry:
    """A message in its queue; `free_at` ends its lease or delay, `receipt` is empty when nobody holds it."""

    id: int
    queue: str
    body: Mapping[str, Any]
    free_at: float
    deliveries: int = 0
    receipt: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class _DeadLetter:
    message: Message
    reason: str
    buried_at: float


class MemoryQueue:
    """Queues as one dict of entries, every method under one lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._dead: list[_DeadLetter] = []

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """See `Queue.send`."""
        with self._lock:
            free_at = self._clock.now() + delay_seconds
            for body in bodies:
                entry = _Entry(next(self._ids), queue, as_stored(body), free_at)
                self._entries[entry.id] = entry

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """See `Queue.lease`."""
        with self._lock:
            now = self._clock.now()
            for queue in queues:
                waiting = (each for each in self._entries.values() if each.queue == queue)
                entry = min(waiting, key=lambda each: (each.free_at, each.id), default=None)
                if entry is not None and entry.free_at <= now:
                    return self._taken(entry, owner, now + lease_seconds)
            return None

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """See `Queue.extend`."""
        with self._lock:
            entry = self._held(message)
            if entry is not None:
                entry.free_at = self._clock.now() + lease_seconds
            return entry is not None

    def acknowledge(self, message: Message) -> None:
        """See `Queue.acknowledge`."""
        with self._lock:
            entry = self._held(message)
            if entry is not None:
                del self._entries[entry.id]

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """See `Queue.release`."""
        with self._lock:
            entry = self._held(message)
            if entry is not None:
                self._free(entry, self._clock.now() + delay_seconds)

    def bury(self, message: Message, reason: str) -> None:
        """See `Queue.bury`."""
        with self._lock:
            entry = self._held(message)
            if entry is not None:
                del self._entries[entry.id]
                self._dead.append(_DeadLetter(replace(message, receipt=""), reason, self._clock.now()))

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """See `Queue.dead`."""
        with self._lock:
            return [(letter.message, letter.reason) for letter in self._dead[:limit]]

    def forget_dead(self, before: float) -> int:
        """See `Queue.forget_dead`."""
        with self._lock:
            kept = [letter for letter in self._dead if letter.buried_at >= before]
            forgotten = len(self._dead) - len(kept)
            self._dead = kept
            return forgotten

    def size(self, queue: str) -> int:
        """See `Queue.size`."""
        with self._lock:
            return sum(entry.queue == queue for entry in self._entries.values())

    def release_owner(self, owner: str) -> int:
        """See `OwnerLeases.release_owner`: messages."""
        with self._lock:
            held = [entry for entry in self._entries.values() if entry.receipt and entry.owner == owner]
            for entry in held:
                self._free(entry, self._clock.now())
            return len(held)

    def _taken(self, entry: _Entry, owner: str, free_at: float) -> Message:
        entry.deliveries += 1
        entry.free_at, entry.owner, entry.receipt = free_at, owner, f"{entry.id}.{entry.deliveries}"
        return Message(str(entry.id), entry.queue, as_stored(entry.body), entry.deliveries, entry.receipt)

    def _free(self, entry: _Entry, free_at: float) -> None:
        entry.free_at, entry.owner, entry.receipt = free_at, "", ""

    def _held(self, message: Message) -> _Entry | None:
        entry = self._entries.get(int(message.id))
        return entry if entry is not None and entry.receipt == message.receipt != "" else None
