"""Stored objects as the codec reads them, and walks over all objects or segments, page by page."""

from collections.abc import Iterator
from dataclasses import dataclass

from bytereel.conversions import FinishedSegment
from bytereel.model import WORK, ObjectInfo, ObjectRef, Segment
from bytereel.ports import JobTable, ObjectStore


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """An object as a `RangedReader`; where `ref` names a version, the store refuses to read any other.

    Two readers of the same version in the same store are equal.
    """

    objects: ObjectStore
    ref: ObjectRef
    size_bytes: int

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; fewer bytes only at the end. Raises: as `ObjectStore.read_into`."""
        return self.objects.read_into(self.ref, offset, buffer)


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
