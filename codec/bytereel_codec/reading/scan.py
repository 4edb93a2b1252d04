"""Finding the frames of a reel by their own marks, in any container that keeps NAL units whole.

Every picture starts with the masked magic of its frame header, so a reel is found in MP4, fragmented MP4, Matroska or a
raw stream, cut or joined, without reading the container. The first pass jumps from header to header; a *thorough* pass
looks at every byte, for reels in which bytes were lost or added.

Memory is bounded: at most `FRAMES_MAX` frames are noted, `COPIES_MAX` places for each.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import RangedReader, read_range
from bytereel_codec.frame.geometry import DATA_FRAMES_MAX
from bytereel_codec.frame.header import MASKED_MAGIC, Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.video.macroblocks import HEADER_BYTES, MACROBLOCK_BYTES
from bytereel_codec.video.picture import HEADER_WINDOW_BYTES, FrameLoader, PictureReader, smallest_coded_bytes

FRAMES_MAX = 2 * DATA_FRAMES_MAX + 2
COPIES_MAX = 3
REELS_MAX = 64
_WINDOW_BYTES = 4 << 10
_WINDOW_BYTES_MAX = 4 << 20

FrameKey = tuple[Kind, int, int]


@dataclass(slots=True)
class ReelFrames:
    """Where the frames of one reel lie: for each the positions of its first sample, in order of the file.

    `first` is the first header seen, the one whose reel-wide values count. `segments` is how many data segments there
    are, None where nothing in the reel says so; `sealed` is None while only parity frames were seen.
    `last_segment_frames` is how many frames the last segment has, where that is known from elsewhere;
    `highest_segment` and its frames are of the highest data segment seen.
    """

    first: FrameHeader
    places: dict[FrameKey, tuple[int, ...]] = field(default_factory=dict)
    segments: int | None = None
    groups: int = 0
    columns: int = 0
    last_segment_frames: int | None = None
    compressed: bool = False
    sealed: bool | None = None
    highest_segment: int = -1
    highest_segment_frames: int = 0

    def note(self, header: FrameHeader, position: int) -> bool:
        """Take in a frame; False when it contradicts the frames before it or is one copy too many."""
        if not self._agrees(header):
            return False
        key = (header.kind, header.segment, header.frame)
        known = self.places.get(key, ())
        if len(known) >= COPIES_MAX:
            return False
        if position not in known:
            self.places[key] = (*known, position)
        self.segments = _segments_stated(header) or self.segments
        if header.columns:
            self.groups, self.columns = header.groups, header.columns
        if header.kind != Kind.PARITY:
            self.sealed = bool(self.sealed) or bool(header.flags & Flag.SEALED)
        if header.kind == Kind.DATA:
            self.compressed |= bool(header.flags & Flag.COMPRESSED)
            if header.segment > self.highest_segment:
                self.highest_segment, self.highest_segment_frames = header.segment, header.frames
        return True

    def _agrees(self, header: FrameHeader) -> bool:
        first, stated = self.first, _segments_stated(header)
        same_layout = (header.span_bytes, header.frames_per_segment) == (first.span_bytes, first.frames_per_segment)
        same_end = not stated or self.segments in (None, stated)
        same_parity = (
            not header.columns
            or not self.columns
            or (header.groups, header.columns)
            == (
                self.groups,
                self.columns,
            )
        )
        return same_layout and same_end and same_parity

    def data_segments(self) -> int:
        """How many data segments the reel had, as far as can be told: what headers say, else what is there."""
        if self.segments is not None:
            return self.segments
        return 1 + self.highest_segment

    def frames_in(self, segment: int) -> int:
        """How many frames that data segment had, as far as can be told."""
        if segment == self.data_segments() - 1:
            if self.last_segment_frames is not None:
                return self.last_segment_frames
            if segment == self.highest_segment:
                return self.highest_segment_frames
        return self.first.frames_per_segment

    def is_complete(self) -> bool:
        """Whether every data frame was seen (not yet that each is intact)."""
        return all(
            (Kind.DATA, segment, frame) in self.places
            for segment in range(self.data_segments())
            for frame in range(self.frames_in(segment))
        )

    def within_reach(self) -> Mapping[int, Collection[int]]:
        """The data frames that were seen or that parity may bring back, by segment: no more than the file holds frames.

        What a header states may be far more than is there; a loop over this is bounded by the file.
        """
        reach: defaultdict[int, set[int]] = defaultdict(set)
        seen: Counter[tuple[int, int]] = Counter()
        sums: Counter[tuple[int, int]] = Counter()
        segments, groups = self.data_segments(), max(1, self.groups)
        for kind, segment, frame in self.places:
            if kind == Kind.DATA and segment < segments:
                reach[segment].add(frame)
                seen[segment % groups, frame] += 1
            elif kind == Kind.PARITY:
                sums[segment % groups, frame] += 1
        for (group, frame), columns in sums.items():
            members = range(group, segments, groups)
            if len(members) - seen[group, frame] <= columns + 1:  # the last segment may end before this frame
                for segment in members:
                    reach[segment].add(frame)
        return reach


def _segments_stated(header: FrameHeader) -> int:
    """How many data segments the header says that the reel has; 0 where it does not."""
    if header.kind == Kind.DATA and header.flags & Flag.REEL_END:
        return header.segments or header.segment + 1
    return header.segments


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
        wanted = min(window, end - position)
        content = read_range(reader, position, wanted)
        if len(content) < wanted:
            end = position + len(content)  # the file was cut while it is read
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


def is_readable(reader: RangedReader) -> bool:
    """Whether any frame can be read as it stands, or all are of one macroblock.

    Another encoder may keep a picture's first macroblock as samples, and with it a whole header, but never the rest.
    """
    loader = FrameLoader()
    larger = False
    for place, header in find_frames(reader):
        if HEADER_BYTES + header.length > MACROBLOCK_BYTES:
            larger = True
            found = loader.frame_at(reader, place)
            if found is not None and found.payload is not None:
                return True
    return not larger


def frames_of_reel(reader: RangedReader, reel_id: bytes | None = None, *, thorough: bool = False) -> ReelFrames:
    """The frames of the one reel in the file, or of the one named (`reel_id` may be its first bytes).

    Raises: Permanent `reel.none`, `reel.several`, `reel.not_here`, and those of `index_reels`.
    """
    reels = index_reels(reader, thorough=thorough)
    if not reels and not thorough:
        reels = index_reels(reader, thorough=True)
    if not reels:
        raise no_reel()
    ids = [found for found in reels if found.startswith(reel_id or b"")]
    if not ids:
        raise Permanent(
            "reel.not_here",
            "the file does not hold the reel that was asked for",
            hint="it holds " + ", ".join(found.hex() for found in reels),
        )
    if len(ids) > 1:
        raise Permanent(
            "reel.several",
            f"the file holds {len(ids)} reels",
            hint="choose one with --reel: " + ", ".join(found.hex()[:12] for found in ids),
        )
    return reels[ids[0]]


def no_reel() -> Permanent:
    """The error for a file without a single frame of ours."""
    return Permanent(
        "reel.none",
        "the file is no reel: it holds no bytereel frame",
        hint="was it encoded again? archive must keep its pictures as they are; of other profiles `bytereel channel` "
        "shows what is left",
    )
