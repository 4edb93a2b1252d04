"""The segment index in front of a reel, as the way from a frame to its place.

Source: FORMAT.md section 6.
"""

from bytereel_codec.errors import Integrity
from bytereel_codec.files.ranged import RangedReader, read_range
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.frames import FrameKey
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.boxes import parse_segment_index

_HEAD_BYTES = 16 << 10
_HEAD_BYTES_MAX = 1 << 20
# Headers passed by on the way from where a reference leads, in all: an index that leads far from the frames that are
# asked for is given up, as a pass over all headers costs less. One of segments takes half a segment for each frame.
_WALKS, _WALK_MIN = 8, 4096
_PICTURE_BYTES_MIN = 512  # the smallest geometry's filler, one macroblock, and its boxes take more


class SegmentIndex:
    """The segment index of a reel, as the way from a frame to its place."""

    def __init__(self, reader: RangedReader, start: int, references: list[tuple[int, int]], first: FrameHeader) -> None:
        self._reader = reader
        self._first = first
        self._starts: list[tuple[int, int]] = []
        picture = 0
        for size, pictures in references:
            self._starts.append((picture, start))
            picture, start = picture + pictures, start + size
        self._end = start
        self.pictures = picture
        self._walk = _WALKS * picture + _WALK_MIN

    def fits(self, size: int) -> bool:
        """Whether the index can be that of a file of that size: it ends with it, and no picture is impossibly small."""
        return self._end == size and self.pictures * _PICTURE_BYTES_MIN <= size

    def locate(self, key: FrameKey) -> int | None:
        """Where the frame's first sample lies, None when the index does not lead there."""
        kind, segment, frame = key
        picture = 1 + segment * self._first.frames_per_segment + frame
        if kind == Kind.LEADER:
            picture = 0 if frame == 0 else self.pictures - 1
        if kind == Kind.PARITY or not 0 <= picture < self.pictures:
            return None
        number, start = self._entry(picture)
        self._walk -= picture - number
        if self._walk < 0:
            return None
        for _, (place, header) in zip(range(picture - number + 1), find_frames(self._reader, start), strict=False):
            if (header.kind, header.segment, header.frame, header.reel_id) == (*key, self._first.reel_id):
                return place
        return None

    def _entry(self, picture: int) -> tuple[int, int]:
        low, high = 0, len(self._starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts[middle][0] <= picture else (low, middle)
        return self._starts[low]


def read_index(reader: RangedReader) -> tuple[FrameHeader | None, SegmentIndex | None]:
    """The header of the first frame and the index in front of it; None for what is not there or damaged."""
    size = _HEAD_BYTES
    while True:
        head = bytes(read_range(reader, 0, size))
        try:
            parsed = parse_segment_index(head)
        except Integrity:
            return None, None  # a damaged index is no loss: every frame has marks of its own
        if parsed is not None or len(head) < size or size >= _HEAD_BYTES_MAX or b"sidx" not in head[:_HEAD_BYTES]:
            break
        size *= 4
    if parsed is None:
        return None, None
    found = next(find_frames(reader, parsed[0], parsed[0] + _HEAD_BYTES_MAX), None)
    if found is None:
        return None, None
    return found[1], SegmentIndex(reader, *parsed, found[1])
