"""Objects in memory, for tests and simulation: one lock, nothing survives the process."""

import hashlib
import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import crc32c

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.keys import check_key
from bytereel.adapters.object_errors import changed, damaged, exists, missing
from bytereel.model import ObjectInfo, ObjectRef
from bytereel.ports.clock import Clock
from bytereel.ports.objects import Buffer, Part


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

    def put(
        self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False, mode: int | None = None
    ) -> ObjectInfo:
        """See `ObjectStore.put`."""
        check_key(ref)
        content = bytearray()
        for chunk in chunks:
            content += chunk
        with self._lock:
            if if_absent and (ref.bucket, ref.key) in self._objects:
                raise exists(ref)
            stored = replace(ref, version=f"v{next(self._versions)}")
            info = ObjectInfo(stored, len(content), self._clock.now(), mode)
            self._objects[ref.bucket, ref.key] = (info, bytes(content))
        return info

    def compose(
        self,
        ref: ObjectRef,
        head: Buffer,
        parts: Sequence[Part],
        tail: Buffer,
        *,
        mode: int | None = None,
        sha256: bool = False,
    ) -> ObjectInfo:
        """See `ObjectStore.compose`."""
        content = b"".join([bytes(head), *map(self._checked, parts), bytes(tail)])
        stored = self.put(ref, [content], mode=mode)
        return replace(stored, sha256=hashlib.sha256(content).hexdigest()) if sha256 else stored

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """See `ObjectStore.list`."""
        with self._lock:
            found = [
                info
                for (holder, key), (info, _) in self._objects.items()
                if holder == bucket and key.startswith(prefix) and key > after
            ]
        return sorted(found, key=lambda info: info.ref.key)[:limit]

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """See `ObjectStore.delete_all`."""
        for ref in refs:
            self.delete(ref)

    def delete(self, ref: ObjectRef) -> None:
        """See `ObjectStore.delete`."""
        check_key(ref)
        with self._lock:
            self._objects.pop((ref.bucket, ref.key), None)

    def _content(self, ref: ObjectRef) -> bytes:
        check_key(ref)
        found = self._objects.get((ref.bucket, ref.key))
        if found is None:
            raise missing(ref)
        if ref.version and ref.version != found[0].ref.version:
            raise changed(ref, found[0].ref.version)
        return found[1]

    def _checked(self, part: Part) -> bytes:
        content = self._content(part.ref)
        actual = crc32c.crc32c(content)
        if len(content) != part.size_bytes or actual != part.crc32c:
            raise damaged(part, size_bytes=len(content), crc32c=actual)
        return content
