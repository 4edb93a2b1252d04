"""A range of the source to the chunks of one segment. Needs nothing of any other segment.

Source: FORMAT.md sections 7 and 8.
"""

import hashlib
from collections.abc import Generator

from bytereel_codec.channel.device import Device
from bytereel_codec.files.ranged import RangedReader, read_exactly
from bytereel_codec.frame.envelope import Envelope
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import DIGEST_BYTES
from bytereel_codec.reel.parameters import ReelParameters, SegmentFacts
from bytereel_codec.writing.frame_writer import Keep, frame_writer


class SegmentWriter:
    """Writes segments of one reel, with buffers of about three pictures, or a burst. One thread at a time."""

    def __init__(
        self, parameters: ReelParameters, envelope: Envelope, keep: Keep | None = None, device: Device = Device.CPU
    ) -> None:
        """`keep` takes each frame's image of a burst too, as it stands in it; it has to be safe for several threads."""
        self._parameters = parameters
        self._envelope = envelope
        self._frames = frame_writer(parameters.geometry, parameters.reel_id, keep, device)

    def write(
        self, index: int, source: RangedReader, start: int, end: int, *, last: bool
    ) -> Generator[memoryview, None, SegmentFacts]:
        """Yield the chunks for `source[start:end]` as segment `index`; return its facts.

        A chunk is good until the next is asked for. Raises: Integrity `source.short`.
        """
        self._frames.begin()
        span = self._parameters.geometry.span_bytes
        frames = -(-(end - start) // span)
        digest = hashlib.sha256()
        sizes = []
        for frame in range(frames):
            length = min(span, end - start - frame * span)
            block = self._frames.payload[: length + DIGEST_BYTES]
            read_exactly(source, start + frame * span, block[:length])
            digest.update(block[:length])
            flags = Flag.NONE
            if frame == frames - 1:
                flags = Flag.SEGMENT_END | (Flag.REEL_END if last else Flag.NONE)
                block[length:] = digest.digest()
            else:
                block = block[:length]
            header = self._parameters.header(Kind.DATA, index, frame, frames, flags)
            number = 1 + index * self._parameters.frames_per_segment + frame
            chunk = self._framed(header, block, number)
            sizes.append(len(chunk))
            yield chunk
        return SegmentFacts(digest.digest(), tuple(sizes))

    def leader(self, content: bytes, *, frame: int, final: bool, number: int) -> bytes:
        """The chunk of a leader (`frame` 0 in front, 1 at the end), the reel's frame of that number."""
        self._frames.begin()
        header = self._parameters.header(Kind.LEADER, 0, frame, 2, Flag.FINAL if final else Flag.NONE)
        block = self._frames.payload[: len(content)]
        block[:] = content
        return bytes(self._framed(header, block, number, compress=False))

    def init_section(self, pictures: int | None) -> bytes:
        """`ftyp` and `moov` of the reel; `pictures` None where their number is not known."""
        return self._frames.init_section(pictures)

    def _framed(self, header: FrameHeader, block: memoryview, number: int, *, compress: bool = True) -> memoryview:
        closed: bytes | None = None
        if compress and self._parameters.compress:
            closed = self._envelope.compressed(block)
        if closed is not None:
            header = header.with_flag(Flag.COMPRESSED)
        if self._envelope.sealed:
            closed = self._envelope.seal(block if closed is None else closed, header)
        if closed is None:
            return self._frames.write(header, len(block), number)
        self._frames.payload[: len(closed)] = closed
        return self._frames.write(header, len(closed), number)
