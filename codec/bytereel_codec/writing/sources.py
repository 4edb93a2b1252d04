"""Where `encode_file` takes its segments from: a file that can be sought, a folder, or a stream that is read once.

A feed hands out segments to several threads; each is read by the thread that takes it.
"""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bytereel_codec.files.names import cut_name, source_name
from bytereel_codec.files.ranged import BytesReader, FileReader, RangedReader, read_fully
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reel.layout import Layout, require_frames

if TYPE_CHECKING:
    from bytereel_codec.files.folder.stream import StreamReport

_SMALL_STREAM_BYTES = 8 << 20
_HASHED_BYTES = 1 << 20
_OF_OTHERS, _OF_THE_OWNER = 0o066, 0o600


@dataclass(frozen=True, slots=True)
class SourceSegment:
    """Segment `index`: bytes `[start, end)` of `reader`; `last` when nothing follows."""

    index: int
    reader: RangedReader
    start: int
    end: int
    last: bool


class Feed(Protocol):
    """Gives out the segments of a source in order."""

    def next(self, buffer: bytearray) -> SourceSegment | None:
        """The next segment, None at the end. A stream's bytes are put in `buffer`, the caller's own."""

    def source_bytes(self) -> int:
        """The size of the source; for a stream only once `next` gave None."""

    def sha256(self) -> str | None:
        """The plain SHA-256 (hex) of the whole source, if it was asked for; once `next` gave None."""


class FileFeed:
    """The segments of a regular file."""

    def __init__(self, reader: FileReader, layout: Layout, *, hashed: bool = False) -> None:
        """With `hashed` a thread of its own reads the file from start to end, beside the workers."""
        self._hashing = ThreadPoolExecutor(1).submit(_sha256_of, reader) if hashed else None
        self._reader = reader
        self._layout = layout
        self._lock = threading.Lock()
        self._index = 0

    def next(self, buffer: bytearray) -> SourceSegment | None:
        """The next range of the file."""
        del buffer
        with self._lock:
            index, self._index = self._index, self._index + 1
        if index >= self._layout.segments:
            return None
        start, end = self._layout.segment_range(index)
        return SourceSegment(index, self._reader, start, end, index == self._layout.segments - 1)

    def source_bytes(self) -> int:
        """The size when the file was opened."""
        return self._reader.size_bytes

    def sha256(self) -> str | None:
        """The digest, waited for."""
        return self._hashing.result() if self._hashing else None


class StreamFeed:
    """The segments of a stream, read one at a time under a lock, one byte ahead to know the last."""

    def __init__(self, stream: BinaryIO, layout: Layout, start: bytes = b"", *, hashed: bool = False) -> None:
        self._digest = hashlib.sha256() if hashed else None
        self._stream = stream
        self._segment_bytes = layout.segment_span_bytes
        self._segment_frames = layout.frames_per_segment
        self._ahead = start
        self._lock = threading.Lock()
        self._index = 0
        self._size = 0
        self._ended = False

    def next(self, buffer: bytearray) -> SourceSegment | None:
        """The next bytes of the stream, in `buffer`."""
        with self._lock:
            if self._ended:
                return None
            wanted = self._segment_bytes + 1
            if len(buffer) < wanted:
                buffer.extend(bytes(wanted - len(buffer)))
            view = memoryview(buffer)
            known = min(len(self._ahead), wanted)  # what was read to learn the size may be many segments
            view[:known] = self._ahead[:known]
            count = known + read_fully(self._stream, view[known:wanted])
            self._ended = count < wanted
            length = min(count, self._segment_bytes)
            self._ahead = bytes(view[length:count]) + self._ahead[known:]
            index, self._index = self._index, self._index + 1
            require_frames(self._index * self._segment_frames)
            self._size += length
            if self._digest is not None:
                self._digest.update(view[:length])
            return SourceSegment(index, BytesReader(view[:length]), 0, length, self._ended) if length else None

    def source_bytes(self) -> int:
        """How many bytes came."""
        return self._size

    def sha256(self) -> str | None:
        """The digest of the bytes that came."""
        return self._digest.hexdigest() if self._digest else None


def _sha256_of(reader: FileReader) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_HASHED_BYTES))
    for offset in range(0, reader.size_bytes, _HASHED_BYTES):
        digest.update(buffer[: reader.read_into(offset, buffer)])
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source: what its leader says so far, its size where known.

    `feed(layout, hashed)` gives out its segments; `check` raises when the source changed since it was opened. `mode`:
    the permission bits that a copy of it may have at most, None where nothing says so. `notes`, once all was read: what
    of it does not go into the reel.
    """

    leader: Leader
    size: int | None
    feed: Callable[[Layout, bool], Feed]
    check: Callable[[], None] = lambda: None
    mode: int | None = None
    notes: Callable[[], tuple[str, ...]] = tuple


@contextmanager
def opened_source(source: str, name: str | None, leader: Leader, *, keep_mode: bool = True) -> Iterator[Source]:
    """A file, a folder as its tar stream, or standard input (`-`); `name` goes before the source's own.

    With `keep_mode` the leader of a file has the file's permission bits.

    Raises: Permanent `source.missing`, `source.unreadable`, `source.not_a_file`.
    """
    leader = replace(leader, name=cut_name(name or source_name(source)))
    if source == "-":
        yield _stream_source(leader, sys.stdin.buffer)
        return
    if Path(source).is_dir():
        from bytereel_codec.files.folder.stream import folder_stream  # tar: not loaded for a file

        with folder_stream(Path(source)) as stream:
            opened = _stream_source(replace(leader, kind="folder"), stream.stream)
            mode = Path(source).stat().st_mode if keep_mode else None
            yield replace(opened, check=stream.check, mode=_of_copies(mode), notes=lambda: _notes_of(stream.report))
    else:
        with FileReader(source) as reader:
            yield Source(
                replace(leader, mode=reader.mode if keep_mode else None),
                reader.size_bytes,
                lambda layout, hashed: FileFeed(reader, layout, hashed=hashed),
                reader.check_unchanged,
                _of_copies(reader.mode if keep_mode else None),
            )


def _notes_of(report: "StreamReport") -> tuple[str, ...]:
    """What of a folder does not go into its reel."""
    notes = []
    if report.left_out:
        notes.append(f"left out, as they are no files: {report.left_out} devices, sockets or pipes")
    if report.without_attributes:
        notes.append(f"not kept: {report.without_attributes} access lists or other attributes that are not users' own")
    return tuple(notes)


def _of_copies(mode: int | None) -> int | None:
    """The permissions of a copy: for others no more than the original has, for the owner what it takes."""
    return None if mode is None else mode & _OF_OTHERS | _OF_THE_OWNER


def _stream_source(leader: Leader, stream: BinaryIO) -> Source:
    """A stream that ends within the first 8 MiB has a known size, and so a geometry that suits it."""
    start = bytearray(_SMALL_STREAM_BYTES)
    count = read_fully(stream, memoryview(start))
    size = count if count < len(start) else None
    return Source(leader, size, lambda layout, hashed: StreamFeed(stream, layout, bytes(start[:count]), hashed=hashed))
