"""Stored objects as the codec reads them, or as small records; walks over all objects or segments, page by page."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bytereel_codec.files.ranged import RangedReader

from bytereel.conversions.protocol import FinishedSegment
from bytereel.model import WORK, ObjectInfo, ObjectRef, Segment
from bytereel.ports.jobs import JobTable
from bytereel.ports.objects import ObjectStore

_kept = threading.local()


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """An object as a `RangedReader`; where `ref` names a version, the store refuses to read any other.

    Two readers of the same version in the same store are equal. `mode`: as in `ObjectInfo`, where it was looked up.
    """

    objects: ObjectStore
    ref: ObjectRef
    size_bytes: int
    mode: int | None = field(default=None, compare=False)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; fewer bytes only at the end. Raises: as `ObjectStore.read_into`."""
        return self.objects.read_into(self.ref, offset, buffer)


class AheadReader:
    """A range of a source, read from its start to its end in larger pieces than it is asked for. For one thread.

    A store that answers over a network is asked a few times instead of once a picture, and never beyond the range.
    At most one is in use in a thread: the next one takes over its memory.
    """

    def __init__(self, source: RangedReader, start: int, end: int, piece_bytes: int) -> None:
        self._source = source
        self._end = min(end, source.size_bytes)
        self._piece = _piece_of_thread(min(piece_bytes, max(0, self._end - start)))
        self._held_start = self._held_end = start
        self.size_bytes = source.size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; what lies outside the range, or before what was read, is read as it is."""
        done = 0
        while done < len(buffer):
            at = offset + done
            if not self._held_start <= at < self._held_end and not self._fetch(at):
                return done + self._source.read_into(at, buffer[done:])
            held = self._piece[at - self._held_start : self._held_end - self._held_start]
            count = min(len(held), len(buffer) - done)
            buffer[done : done + count] = held[:count]
            done += count
        return done

    def _fetch(self, at: int) -> bool:
        """Hold the piece from `at` on; False where that is not what comes next in the range."""
        if at != self._held_end or at >= self._end:
            return False
        count = self._source.read_into(at, self._piece[: self._end - at])
        self._held_start, self._held_end = at, at + count
        return count > 0


def _piece_of_thread(size: int) -> memoryview:
    """This thread's memory for pieces: made once, as touching new memory costs as much as a request saves."""
    kept: bytearray = getattr(_kept, "piece", bytearray())
    if len(kept) < size:
        kept = _kept.piece = bytearray(size)
    return memoryview(kept)[:size]


def finished_segment(objects: ObjectStore, segment: Segment) -> FinishedSegment:
    """A done segment as a conversion sees it."""
    fragment = ObjectReader(objects, ObjectRef(WORK, segment.fragment_key), segment.fragment_bytes)
    return FinishedSegment(segment.index, segment.stage, segment.fragment_bytes, segment.result["conversion"], fragment)


def every_object(objects: ObjectStore, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
    """Every object of a bucket whose key starts with `prefix`, in key order."""
    after = ""
    while page := objects.list(bucket, prefix, after=after):
        yield from page
        after = page[-1].ref.key


def every_segment(jobs: JobTable, job_id: str) -> Iterator[Segment]:
    """All segments of a job in index order."""
    after = -1
    while page := jobs.segments(job_id, after=after):
        yield from page
        after = page[-1].index


def record_in(objects: ObjectStore, where: ObjectRef, bytes_max: int) -> Mapping[str, Any]:
    """The JSON object that lies there; empty where there is none, or something else. Raises: as the store does."""
    info = objects.stat(where)
    if info is None or info.size_bytes > bytes_max:
        return {}
    content = bytearray(info.size_bytes)
    objects.read_into(where, 0, memoryview(content))
    try:
        record = json.loads(content)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
