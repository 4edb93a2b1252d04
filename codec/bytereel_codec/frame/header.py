"""The frame header: 128 bytes in front of every picture's payload. Packs and parses; decides nothing.

Parsing is strict: a value out of its bounds makes the header invalid, so no later code meets a hostile count.
Source: FORMAT.md section 3.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntFlag

import crc32c

from bytereel_codec.errors import Permanent
from bytereel_codec.frame.geometry import (
    DATA_FRAMES_MAX,
    FRAME_BYTES_MAX,
    FRAME_RESERVED_BYTES,
    SEGMENT_FRAMES_MAX,
    geometry_of_span,
)
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.frame.whitening import HEADER_MASK, masked

FORMAT_VERSION = 1
MAGIC = b"BYTEREEL"
MASKED_MAGIC = bytes(a ^ b for a, b in zip(MAGIC, HEADER_MASK, strict=False))
SEGMENTS_MAX = 1 << 24
SCRYPT_LOG2_N_MAX = 18
ROWS_MAX = 255  # data and parity segments of one parity group

_LAYOUT = struct.Struct(">8sBBBB16sIIIIIIIHHBB2xI")
_SEALED_PREFIX_BYTES = 48
_REEL_ID = slice(12, 28)
assert _LAYOUT.size == 68


class Flag(IntFlag):
    """How its payload is to be read."""

    NONE = 0
    COMPRESSED = 1
    SEALED = 2
    SEGMENT_END = 4
    REEL_END = 8
    FINAL = 16


_FLAGS_OF = {
    Kind.LEADER: Flag.COMPRESSED | Flag.SEALED | Flag.FINAL,
    Kind.DATA: Flag.COMPRESSED | Flag.SEALED | Flag.SEGMENT_END | Flag.REEL_END,
    Kind.PARITY: Flag.NONE,
}


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """What a header of another version of the format tells: its reel's id, and the version."""

    reel_id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame's header. `segment` is a data segment's index, or a parity column's; a leader has frame 0 or 1.

    `segments` counts data segments, 0 while a stream has not ended. `groups` and `columns` describe the parity and are
    0 in frames written before it was known. `scrypt_log2_n` is 0 for a key file or an open reel.
    """

    kind: Kind
    flags: Flag
    reel_id: bytes
    segment: int
    frame: int
    frames: int
    frames_per_segment: int
    span_bytes: int
    length: int = 0
    segments: int = 0
    groups: int = 0
    columns: int = 0
    profile: int = 0
    scrypt_log2_n: int = 0
    payload_crc: int = 0

    def pack(self) -> bytes:
        """The 128 bytes, not masked, with the header's own CRC32C at the end."""
        body = _LAYOUT.pack(
            MAGIC,
            FORMAT_VERSION,
            self.kind,
            self.profile,
            self.flags,
            self.reel_id,
            self.segment,
            self.frame,
            self.frames,
            self.frames_per_segment,
            self.span_bytes,
            self.length,
            self.segments,
            self.groups,
            self.columns,
            self.scrypt_log2_n,
            0,
            self.payload_crc,
        ).ljust(HEADER_BYTES - 4, b"\x00")
        return body + crc32c.crc32c(body).to_bytes(4, "big")

    def bound_part(self) -> bytes:
        """The bytes that the seal of the payload is bound to: everything known before sealing."""
        return self.pack()[:_SEALED_PREFIX_BYTES]

    def with_flag(self, flag: Flag) -> "FrameHeader":
        """The same header with one more flag."""
        return replace(self, flags=self.flags | flag)

    def closed_over(self, length: int, payload_crc: int) -> "FrameHeader":
        """The same header for a payload of that length and CRC32C."""
        return replace(self, length=length, payload_crc=payload_crc)


def whitening_shift(packed: bytes | bytearray | memoryview) -> int:
    """Where in the whitening table the image's byte 0 stands: the low 16 bits of the header's CRC32C."""
    return int.from_bytes(packed[HEADER_BYTES - 2 : HEADER_BYTES], "big")


def is_intact(packed: bytes) -> bool:
    """Whether 128 unmasked bytes are a header of any version: magic and checksum stand in the same places in all."""
    return packed[:8] == MAGIC and crc32c.crc32c(packed[:-4]) == int.from_bytes(packed[-4:], "big")


def parse_header(packed: bytes) -> FrameHeader | None:
    """The header in 128 unmasked bytes, or None when they are damaged, out of bounds, or of another version."""
    if not is_intact(packed) or packed[8] != FORMAT_VERSION:
        return None
    (
        _,
        _,
        kind,
        profile,
        flags,
        reel_id,
        segment,
        frame,
        frames,
        per_segment,
        span,
        length,
        segments,
        groups,
        columns,
        log2_n,
        _,
        payload_crc,
    ) = _LAYOUT.unpack_from(packed)
    if kind > Kind.PARITY or flags > 31 or any(packed[61:64]) or any(packed[_LAYOUT.size : -4]):
        return None
    header = FrameHeader(
        Kind(kind),
        Flag(flags),
        reel_id,
        segment,
        frame,
        frames,
        per_segment,
        span,
        length,
        segments,
        groups,
        columns,
        profile,
        log2_n,
        payload_crc,
    )
    return header if _in_bounds(header) else None


def parse_masked(raw: bytes) -> FrameHeader | None:
    """As `parse_header`, for the 128 bytes as they stand in a picture."""
    return parse_header(masked(raw))


def other_version(raw: bytes) -> OtherVersion | None:
    """What an intact header of another version tells, from the 128 bytes as they stand in a picture; else None."""
    packed = masked(raw)
    if packed[8] == FORMAT_VERSION or not is_intact(packed):
        return None
    return OtherVersion(packed[_REEL_ID], packed[8])


def newer_format(version: int) -> Permanent:
    """The error for a reel of a version that this code does not know."""
    return Permanent(
        "reel.newer_format",
        f"the reel is of format version {version}, this is version {FORMAT_VERSION}",
        hint="update bytereel",
        expected=FORMAT_VERSION,
        actual=version,
    )


def _in_bounds(header: FrameHeader) -> bool:
    return (
        _is_span(header)
        and header.length <= header.span_bytes + FRAME_RESERVED_BYTES - HEADER_BYTES
        and 0 < header.frames_per_segment <= SEGMENT_FRAMES_MAX
        and 0 < header.frames <= (2 if header.kind == Kind.LEADER else header.frames_per_segment)
        and header.frame < header.frames
        and header.segment < SEGMENTS_MAX
        and header.segments <= SEGMENTS_MAX
        and (header.kind != Kind.LEADER or header.segment == 0)
        and _are_flags_of_kind(header)
        and _is_in_reach(header)
        and _is_parity_shape(header)
        and header.scrypt_log2_n <= SCRYPT_LOG2_N_MAX
    )


def _are_flags_of_kind(header: FrameHeader) -> bool:
    """Whether a frame of its kind, at its place in the segment, can have these flags."""
    if header.flags & ~_FLAGS_OF[header.kind]:
        return False
    if header.kind != Kind.DATA:
        return True
    is_last = header.frame == header.frames - 1
    return is_last == bool(header.flags & Flag.SEGMENT_END) and (is_last or not header.flags & Flag.REEL_END)


def _is_in_reach(header: FrameHeader) -> bool:
    """Whether a reel can have that many segments, and a data frame its place among them."""
    per_segment = header.frames_per_segment
    if (header.segments - 1) * per_segment >= DATA_FRAMES_MAX:
        return False
    if header.kind != Kind.DATA:
        return True
    is_near = header.segment * per_segment + header.frame < DATA_FRAMES_MAX
    return is_near and (header.segments == 0 or _fits_the_count(header))


def _fits_the_count(header: FrameHeader) -> bool:
    """Whether a data frame can stand where it says in a reel of as many segments as it says."""
    if header.segment >= header.segments:
        return False
    if header.segment < header.segments - 1:
        return header.frames == header.frames_per_segment and not header.flags & Flag.REEL_END
    return bool(header.flags & Flag.SEGMENT_END) == bool(header.flags & Flag.REEL_END)


def _is_span(header: FrameHeader) -> bool:
    """Whether frames can be of that size: those of `archive` fill a picture, the others share a burst."""
    if header.profile == 0:
        return geometry_of_span(header.span_bytes) is not None
    return 0 < header.span_bytes <= FRAME_BYTES_MAX - FRAME_RESERVED_BYTES


def _is_parity_shape(header: FrameHeader) -> bool:
    """Whether the parity stated is none at all, or groups of at most 255 rows over segments that are counted."""
    if header.columns == 0 or header.groups == 0:
        return header.columns == header.groups == 0 and header.kind != Kind.PARITY
    return can_have_parity(header.segments, header.groups, header.columns) and (
        header.kind != Kind.PARITY or header.segment < header.groups * header.columns
    )


def can_have_parity(segments: int, groups: int, columns: int) -> bool:
    """Whether a reel of that many data segments can have so many groups, each with so many columns: FORMAT.md 9."""
    rows = -(-segments // groups)
    return rows > 0 and rows + columns <= ROWS_MAX
