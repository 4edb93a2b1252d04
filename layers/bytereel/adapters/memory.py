"""Objects, jobs and queue in memory, for tests and simulation: one lock each, nothing survives the process.

They keep the contracts of `ports.py` as the durable adapters do, and pass the same suite.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import crc32c

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.keys import check_key
from bytereel.adapters.memory_jobs import MemoryJobs, as_stored
from bytereel.errors import Integrity, Permanent
from bytereel.model import Message, ObjectInfo, ObjectRef
from bytereel.ports import Buffer, Clock, Part

__all__ = ["MemoryJobs", "MemoryObjects", "MemoryQueue"]


class MemoryObjects:
    """Objects as bytes in a dict; every put has a version of its own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._versions = itertools.count(1)
        self._objects: dict[tuple[str, str], tuple[ObjectInfo, bytes]] = {}

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        check_key(ref)
        found = self._objects.get((ref.bucket, ref.key))
        if found is None or (ref.version and ref.version != found[0].ref.version):
            return None
        return found[0]

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """See `ObjectStore.read_into`."""
        content = self._content(ref)[offset : offset + len(buffer)]
        buffer[: len(content)] = content
        return len(content)

    def put(self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False) -> ObjectInfo:
        """See `ObjectStore.put`."""
        check_key(ref)
        content = bytearray()
        for chunk in chunks:
            content += chunk
        with self._lock:
            if if_absent and (ref.bucket, ref.key) in self._objects:
                raise Permanent(
                    "object.exists", f"{ref.bucket}/{ref.key} exists already", bucket=ref.bucket, key=ref.key
                )
            stored = replace(ref, version=f"v{next(self._versions)}")
            info = ObjectInfo(stored, len(content), self._clock.now())
            self._objects[ref.bucket, ref.key] = (info, bytes(content))
        return info

    def compose(self, ref: ObjectRef, head: Buffer, parts: Sequence[Part], tail: Buffer) -> ObjectInfo:
        """See `ObjectStore.compose`."""
        return self.put(ref, itertools.chain([head], map(self._checked, parts), [tail]))

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """See `ObjectStore.list`."""
        with self._lock:
            found = [
                info
                for (place, key), (info, _) in self._objects.items()
                if place == bucket and key.startswith(prefix) and key > after
            ]
        return sorted(found, key=lambda info: info.ref.key)[:limit]

    def delete(self, ref: ObjectRef) -> None:
        """See `ObjectStore.delete`."""
        check_key(ref)
        with self._lock:
            self._objects.pop((ref.bucket, ref.key), None)

    def _content(self, ref: ObjectRef) -> bytes:
        check_key(ref)
        found = self._objects.get((ref.bucket, ref.key))
        if found is None:
            raise Permanent("object.missing", f"{ref.bucket}/{ref.key} does not exist", bucket=ref.bucket, key=ref.key)
        if ref.version and ref.version != found[0].ref.version:
            raise Permanent(
                "object.changed",
                f"{ref.bucket}/{ref.key} was replaced",
                bucket=ref.bucket,
                key=ref.key,
                expected=ref.version,
                actual=found[0].ref.version,
            )
        return found[1]

    def _checked(self, part: Part) -> bytes:
        content = self._content(part.ref)
        actual = crc32c.crc32c(content)
        if len(content) != part.size_bytes or actual != part.crc32c:
            raise Integrity(
                "object.damaged",
                f"{part.ref.bucket}/{part.ref.key} is not what was written",
                bucket=part.ref.bucket,
                key=part.ref.key,
                expected=[part.size_bytes, part.crc32c],
                actual=[len(content), actual],
            )
        return content


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


class MemoryQueue:
    """Queues as one dict of entries, every method under one lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._dead: list[tuple[Message, str]] = []

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
                self._dead.append((replace(message, receipt=""), reason))

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """See `Queue.dead`."""
        with self._lock:
            return self._dead[:limit]

    def size(self, queue: str) -> int:
        """See `Queue.size`."""
        with self._lock:
            return sum(entry.queue == queue for entry in self._entries.values())

    def release_owner(self, owner: str) -> int:
        """See `Queue.release_owner`."""
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
