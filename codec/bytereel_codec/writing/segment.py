"""A range of the source to the chunks of one segment. Needs nothing of any other segment.

Source: FORMAT.md sections 7 and 8.
"""

import base64
import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from bytereel_codec.channel.device import Device
from bytereel_codec.files.ranged import RangedReader, read_exactly
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reel.layout import AnyGeometry, Layout, geometry_from_dict
from bytereel_codec.writing.frame_writer import Keep, frame_writer

DIGEST_BYTES = 32
REEL_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class ReelParameters:
    """What every worker on a reel must agree on. `segments` is 0 while a stream has not ended."""

    reel_id: bytes
    geometry: AnyGeometry
    frames_per_segment: int
    segments: int = 0
    groups: int = 0
    columns: int = 0
    compress: bool = True
    sealed: bool = False
    scrypt_log2_n: int = 0

    @classmethod
    def drawn(
        cls,
        layout: Layout,
        groups: int,
        columns: int,
        secret: Secret | None,
        random: Callable[[int], bytes],
        *,
        compress: bool = True,
    ) -> "ReelParameters":
        """The parameters of a new reel, its id drawn from `random`."""
        return cls(
            random(REEL_ID_BYTES),
            layout.geometry,
            layout.frames_per_segment,
            layout.segments,
            groups,
            columns,
            compress,
            sealed=secret is not None,
            scrypt_log2_n=secret.scrypt_log2_n if secret else 0,
        )

    @property
    def segment_span_bytes(self) -> int:
        """Bytes of the source in a full segment."""
        return self.geometry.span_bytes * self.frames_per_segment

    def layout(self, source_bytes: int) -> Layout:
        """The layout of a source of that size under these parameters."""
        return Layout(self.geometry, self.frames_per_segment, source_bytes)

    def header(self, kind: Kind, segment: int, frame: int, frames: int, flags: Flag = Flag.NONE) -> FrameHeader:
        """The header of one frame of this reel, its payload still open."""
        if self.sealed and kind != Kind.PARITY:
            flags |= Flag.SEALED
        return FrameHeader(
            kind,
            flags,
            self.reel_id,
            segment,
            frame,
            frames,
            self.frames_per_segment,
            self.geometry.span_bytes,
            segments=self.segments,
            groups=self.groups,
            columns=self.columns,
            profile=self.geometry.profile.number,
            scrypt_log2_n=self.scrypt_log2_n,
        )

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON-able values; holds no secret."""
        return {
            "reel_id": base64.b16encode(self.reel_id).decode().lower(),
            "geometry": self.geometry.to_dict(),
            "frames_per_segment": self.frames_per_segment,
            "segments": self.segments,
            "groups": self.groups,
            "columns": self.columns,
            "compress": self.compress,
            "sealed": self.sealed,
            "scrypt_log2_n": self.scrypt_log2_n,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ReelParameters":
        """The inverse of `to_dict`."""
        named = dict(values)
        named["reel_id"] = bytes.fromhex(named["reel_id"])
        named["geometry"] = geometry_from_dict(named["geometry"])
        return cls(**named)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What is known of a written segment: SHA-256 of its source bytes, and the bytes of each frame's chunk.

    Where frames share one chunk, it counts for the last of them, and the others have 0.
    """

    digest: bytes
    chunk_bytes: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {"sha256": self.digest.hex(), "chunk_bytes": list(self.chunk_bytes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SegmentFacts":
        """The inverse of `to_dict`."""
        return cls(bytes.fromhex(values["sha256"]), tuple(values["chunk_bytes"]))


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
