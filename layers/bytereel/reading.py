"""Stored objects as the codec reads them: a source by range, a fragment with what is known of it."""

from bytereel.conversions import FinishedSegment
from bytereel.model import WORK, ObjectRef, Segment
from bytereel.ports import ObjectStore


class ObjectReader:
    """An object as a `RangedReader`; where `ref` names a version, the store refuses to read any other."""

    def __init__(self, objects: ObjectStore, ref: ObjectRef, size_bytes: int) -> None:
        self._objects = objects
        self._ref = ref
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; fewer bytes only at the end. Raises: as `ObjectStore.read_into`."""
        return self._objects.read_into(self._ref, offset, buffer)


def finished_segment(objects: ObjectStore, segment: Segment) -> FinishedSegment:
    """A done segment as a conversion sees it."""
    fragment = ObjectReader(objects, ObjectRef(WORK, segment.fragment_key), segment.fragment_bytes)
    return FinishedSegment(segment.index, segment.stage, segment.fragment_bytes, segment.result["conversion"], fragment)
