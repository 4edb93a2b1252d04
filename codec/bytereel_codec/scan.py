"""Finding the frames of a reel by their own marks, in any container that keeps NAL units whole.

Every picture starts with the masked magic of its frame header, so a reel is found in MP4, fragmented MP4, Matroska or a
raw stream, cut or joined, without reading the container. The first pass jumps from header to header; a *thorough* pass
looks at every byte, for reels in which bytes were lost or added.

Memory is bounded: at most `FRAMES_MAX` frames are noted, `COPIES_MAX` places for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bytereel_codec.errors import Permanent
from bytereel_codec.header import MASKED_MAGIC, Flag, FrameHeader, Kind
from bytereel_codec.picture import HEADER_WINDOW_BYTES, PictureReader, smallest_coded_bytes
from bytereel_codec.ranged import RangedReader, read_range

FRAMES_MAX = 1 << 20
COPIES_MAX = 3
REELS_MAX = 64
_WINDOW_BYTES = 4 << 10
_WINDOW_BYTES_MAX = 4 << 20

FrameKey = tuple[Kind, int, int]


@dataclass(slots=True)
class ReelFrames:
    """Where the frames of one reel lie: for each the positions of its first sample, in order of the file.

    `first` is the first header seen, the one whose reel-wide values count. `frames_in` keeps how many frames a
    segment has, `segments` how many data segments, None where nothing in the reel says so.
    """

    first: FrameHeader
    places: dict[FrameKey, tuple[int, ...]] = field(default_factory=dict)
    segments: int | None = None
    groups: int = 0
    columns: int = 0
    last_segment_frames: int | None = None
    compressed: bool = False

    def note(self, header: FrameHeader, position: int) -> bool:
        """Take in a frame; False when it contradicts the reel (another layout) or is one copy too many."""
        if (header.span_bytes, header.frames_per_segment) != (self.first.span_bytes, self.first.frames_per_segment):
            return False
        key = (header.kind, header.segment, header.frame)
        known = self.places.get(key, ())
        if len(known) >= COPIES_MAX:
            return False
        if position not in known:
            self.places[key] = (*known, position)
        if header.segments:
            self.segments = self.segments or header.segments
        if header.columns:
            self.groups, self.columns = header.groups, header.columns
        if header.kind == Kind.DATA:
            self._note_end(header)
            self.compressed |= bool(header.flags & Flag.COMPRESSED)
        return True

    def _note_end(self, header: FrameHeader) -> None:
        if header.flags & Flag.REEL_END:
            self.segments = self.segments or header.segment + 1
        if self.segments == header.segment + 1:
            self.last_segment_frames = header.frames

    def data_segments(self) -> int:
        """How many data segments the reel had, as far as can be told: what headers say, else what is there."""
        if self.segments is not None:
            return self.segments
        return 1 + max((segment for kind, segment, _ in self.places if kind == Kind.DATA), default=-1)

    def frames_in(self, segment: int) -> int:
        """How many frames that data segment had, as far as can be told."""
        if segment == self.data_segments() - 1:
            if self.last_segment_frames is not None:
                return self.last_segment_frames
            return 1 + max(
                (f for kind, s, f in self.places if kind == Kind.DATA and s == segment),
                default=self.first.frames_per_segment - 1,
            )
        return self.first.frames_per_segment


def find_frames(
    reader: RangedReader, start: int = 0, end: int | None = None, *, thorough: bool = False
) -> Iterator[tuple[int, FrameHeader]]:
    """Every frame with an intact header from `start` on: the position of its first sample, and the header.

    Raises: Permanent `reel.newer_format`.
    """
    pictures = PictureReader()
    end = reader.size_bytes if end is None else min(end, reader.size_bytes)
    position, window = start, _WINDOW_BYTES
    while position + len(MASKED_MAGIC) <= end:
        content = read_range(reader, position, min(window, end - position))
        found = content.find(MASKED_MAGIC)
        if found < 0:
            position += max(1, len(content) - len(MASKED_MAGIC) + 1)
            window = min(2 * window, _WINDOW_BYTES_MAX)
            continue
        place = position + found
        coded = content[found:]
        if len(coded) < HEADER_WINDOW_BYTES:
            coded = read_range(reader, place, HEADER_WINDOW_BYTES)
        header = pictures.header(np.frombuffer(coded, np.uint8), 0)
        position = place + len(MASKED_MAGIC)
        window = _WINDOW_BYTES
        if header is not None:
            yield place, header
            if not thorough:
                position = place + smallest_coded_bytes(header)


def index_reels(reader: RangedReader, *, thorough: bool = False) -> dict[bytes, ReelFrames]:
    """Every reel in the file by its id, in order of appearance.

    Raises: Permanent `reel.too_many_frames`, `reel.too_many_reels`, `reel.newer_format`.
    """
    reels: dict[bytes, ReelFrames] = {}
    count = 0
    for place, header in find_frames(reader, thorough=thorough):
        if header.reel_id not in reels:
            if len(reels) >= REELS_MAX:
                raise Permanent(
                    "reel.too_many_reels", f"the file holds more than {REELS_MAX} reels", expected=REELS_MAX
                )
            reels[header.reel_id] = ReelFrames(header)
        if reels[header.reel_id].note(header, place):
            count += 1
        if count > FRAMES_MAX:
            raise Permanent(
                "reel.too_many_frames", f"the file holds more than {FRAMES_MAX} frames", expected=FRAMES_MAX
            )
    return reels


def is_reel(reader: RangedReader) -> bool:
    """Whether the file holds any frame at all, looking at every byte before saying no."""
    return next(find_frames(reader), None) is not None
