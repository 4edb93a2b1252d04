"""Stored objects as the codec reads them: a source by range, a fragment with what is known of it."""

from dataclasses import dataclass

from bytereel.conversions import FinishedSegment
from bytereel.model import WORK, ObjectRef, Segment
from bytereel.ports import ObjectStore


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
