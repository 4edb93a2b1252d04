"""`open_reel`: a reel as a seekable binary file.

A read touches only the pictures that hold its bytes: where they lie is told by the segment index in front of the reel;
where that is missing or wrong, by a pass over the headers. Bursts are looked up by their strips (`burst_video`).
"""

import io
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO

from bytereel_codec.errors import Integrity
from bytereel_codec.files.ranged import FileReader, RangedReader, SeekableFile, SeekableReader
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.reading.contents import contents_of
from bytereel_codec.reading.opening import open_reel_in
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.reading.reel_reader import Block, ReelReader


class ReelFile(SeekableFile):
    """The original of a reel as a seekable, read-only file. One thread at a time.

    Raises on reading: Integrity `reel.damaged` for bytes that are lost and that parity does not bring back.
    """

    def __init__(self, reel: Reel, size: int, closes: ExitStack) -> None:
        super().__init__(size)
        self._reader = ReelReader(reel)
        self._reel = reel
        self._block: Block | None = None
        self._closes = closes

    def readinto(self, buffer: Any, /) -> int:
        """Fill from the one picture that holds the position."""
        view = memoryview(buffer).cast("B")
        if self._position >= self.size_bytes or not view:
            return 0
        block = self._block_at(self._position)
        start = self._position - block.offset
        part = block.content[start : start + len(view)]
        if not part:
            raise Integrity(
                "reel.bad_size",
                "the reel ends before the size its leader states",
                expected=self.size_bytes,
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


def _reader_of(reel: RangedReader | BinaryIO) -> RangedReader:
    return reel if hasattr(reel, "read_into") else SeekableReader(reel)  # type: ignore[return-value]


def open_reel(
    reel: Path | str | RangedReader | BinaryIO, secret: Secret | None = None, *, allow_unsealed: bool = False
) -> io.BufferedReader:
    """The original inside a reel as a seekable binary file.

    `reel` is a path, any seekable binary file (which stays open, and is the reel's while it is read), or anything that
    reads by range.

    With a secret, a reel that is not sealed is refused, unless `allow_unsealed`. Raises: Permanent `reel.none`,
    `reel.sealed`, `reel.unsealed`, `reel.wrong_key`, `source.missing`; Integrity `reel.unproved`, `reel.cut_off`.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(FileReader(reel)) if isinstance(reel, Path | str) else _reader_of(reel)
        how = Opening(secret, allow_unsealed=allow_unsealed, part=True)
        opened = stack.enter_context(closing(open_reel_in(reader, how)))
        contents = contents_of(opened)
        contents.require_all()
        return io.BufferedReader(ReelFile(opened, contents.size_bytes, stack.pop_all()), buffer_size=64 << 10)
