"""`open_reel`: a reel as a seekable binary file, and `inspect`: what a reel says of itself.

A read touches only the pictures that hold its bytes: where they lie is told by the segment index in front of the reel;
where that is missing or wrong, by a pass over the headers. Bursts are looked up by their strips (`burst_video`).
"""

import io
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytereel_codec.channel.raster import Raster
from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.ranged import FileReader, RangedReader, read_range
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import Geometry, geometry_of_span
from bytereel_codec.frame.header import FORMAT_VERSION, Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.opening import fully_indexed, opened_reel, reel_in_bursts
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_reader import Block, ReelReader
from bytereel_codec.reading.scan import FrameKey, ReelFrames, find_frames, no_reel
from bytereel_codec.reel.layout import Layout
from bytereel_codec.video.boxes import parse_segment_index

_HEAD_BYTES = 16 << 10
_HEAD_BYTES_MAX = 1 << 20
_PICTURE_BYTES_MIN = 512  # the smallest geometry's filler, one macroblock, and its boxes take more
_LEADERS = 2


class _Index:
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


def reel_of(reader: RangedReader, secret: Secret | None) -> Reel:
    """The reel in a ranged reader, its frames found by the index where that is right."""
    first, index = _read_index(reader)
    if first is None:
        reel = reel_in_bursts(reader, secret, part=True)
        if reel is not None:
            return reel
    if first is None or index is None or not index.fits(reader.size_bytes):
        return fully_indexed(reader, secret)
    frames = ReelFrames(first, sealed=bool(first.flags & Flag.SEALED))
    reel = Reel(reader, frames, secret, locate=index.locate)
    leader = ReelReader(reel).leader()
    geometry = geometry_of_span(first.span_bytes)
    if leader is None or leader.size_bytes is None or geometry is None:
        return fully_indexed(reader, secret)
    layout = Layout(geometry, first.frames_per_segment, leader.size_bytes)
    if layout.frames + _LEADERS > index.pictures:
        return fully_indexed(reader, secret)
    frames.segments = layout.segments
    frames.last_segment_frames = layout.frames_in(layout.segments - 1) if layout.segments else 0
    return reel


def _read_index(reader: RangedReader) -> tuple[FrameHeader | None, _Index | None]:
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
    return found[1], _Index(reader, *parsed, found[1])


class ReelFile(io.RawIOBase):
    """The original of a reel as a seekable, read-only file. One thread at a time.

    Raises on reading: Integrity `reel.damaged` for bytes that are lost and that parity does not bring back.
    """

    def __init__(self, reel: Reel, size: int, closes: ExitStack) -> None:
        self._reader = ReelReader(reel)
        self._reel = reel
        self._size = size
        self._position = 0
        self._block: Block | None = None
        self._closes = closes

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    @property
    def size_bytes(self) -> int:
        """The size of the original."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill from the one picture that holds the position."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._size or not view:
            return 0
        block = self._block_at(self._position)
        start = self._position - block.offset
        part = block.content[start : start + len(view)]
        if not part:
            raise Integrity(
                "reel.bad_size",
                "the reel ends before the size its leader states",
                expected=self._size,
                actual=self._position,
            )
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _block_at(self, position: int) -> Block:
        span = self._reel.span_bytes
        if self._block is None or not self._block.offset <= position < self._block.offset + span:
            self._block = None
            self._block = self._reader.block(*divmod(position // span, self._reel.frames_per_segment))
        return self._block

    def close(self) -> None:
        """Close the reel's file, if `open_reel` opened it."""
        self._closes.close()
        super().close()


def open_reel(reel: Path | str | RangedReader, secret: Secret | None = None) -> io.BufferedReader:
    """The original inside a reel as a seekable binary file; `reel` is a path or anything that reads by range.

    Raises: Permanent `reel.none`, `reel.sealed`, `reel.wrong_key`, `source.missing`.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(FileReader(reel)) if isinstance(reel, Path | str) else reel
        opened = stack.enter_context(closing(reel_of(reader, secret)))
        frames = ReelReader(opened)
        size = frames.source_bytes(frames.leader())
        return io.BufferedReader(ReelFile(opened, size, stack.pop_all()), buffer_size=64 << 10)


@dataclass(frozen=True, slots=True)
class ReelDescription:
    """What a reel says of itself. `leader` is None where it cannot be read: `locked` says why."""

    reel_id: str
    format_version: int
    reel_bytes: int
    geometry: str
    width: int
    height: int
    frames_per_segment: int
    segments: int
    frames_found: int
    frames_missing: int
    parity_groups: int
    parity_columns: int
    sealed: bool
    compressed: bool
    leader: Leader | None
    locked: str = ""
    symbols: str = ""
    protection: str = ""


def inspect(source: Path | str, secret: Secret | None = None, reel_id: bytes | None = None) -> ReelDescription:
    """What a reel says of itself, from its headers and leader; a video of bursts is read whole for it.

    Raises: Permanent `reel.none`, `reel.several`, `reel.newer_format`, `source.missing`.
    """
    with opened_reel(source, None, reel_id) as reel:
        frames = reel.frames
        leader, locked = _leader_or_why(Reel(reel.reader, frames, secret))
        shown = _shown(reel)
        last = reel.segments - 1
        expected = reel.frames_per_segment * last + frames.frames_in(last) if reel.segments else 0
        found = sum(1 for kind, _, _ in frames.places if kind == Kind.DATA)
        reel_bytes = reel.reader.size_bytes if str(source) == "-" else Path(source).stat().st_size
        return ReelDescription(
            reel.reel_id.hex(),
            FORMAT_VERSION,
            reel_bytes,
            shown.name,
            shown.width,
            shown.height,
            reel.frames_per_segment,
            reel.segments,
            found,
            expected - found,
            frames.groups,
            frames.columns,
            reel.sealed,
            frames.compressed,
            leader,
            locked,
            *_channel_of(reel),
        )


def _shown(reel: Reel) -> Geometry | Raster:
    """The size of the reel's pictures."""
    if reel.channel is not None:
        return reel.channel.placement.raster
    geometry = geometry_of_span(reel.span_bytes)
    if geometry is None:  # frames of bursts that stand in the file's bytes, outside of any picture
        raise no_reel()
    return geometry


def _channel_of(reel: Reel) -> tuple[str, str]:
    """What the pictures' symbols are and what protects them; nothing for pictures of samples."""
    strip = reel.channel.strip if reel.channel else None
    if strip is None:
        return "", ""
    return strip.modulation.symbols, strip.modulation.protection if strip.kind != Kind.LEADER else ""


def _leader_or_why(reel: Reel) -> tuple[Leader | None, str]:
    try:
        leader = ReelReader(reel).leader()
    except (Permanent, Integrity) as error:
        return None, error.message
    return leader, "" if leader else "no leader is left in the file"
