"""The few ISO BMFF boxes that a reel needs, written byte by byte; and the reading of its segment index.

A fragment is a run of chunks (`moof` + `mdat`): of one picture each, or of a whole burst. Times are in units of 1/1000
picture.
Source: ISO/IEC 14496-12:2022 clauses 8 (moov, moof), 8.16.3 (sidx); 14496-15 (avcC); CMAF ISO/IEC 23000-19.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from bytereel_codec.errors import Integrity

FRAME_TICKS = 1000
SIDX_REFERENCES_MAX = 65535
_SYNC_SAMPLE = 0x02000000
_OTHER_SAMPLE = 0x01010000
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """What the init section says of the video: pixels, pictures a second, H.264 parameter sets without start codes."""

    width: int
    height: int
    frames_per_second: int
    sps: bytes
    pps: bytes


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """A picture as coded: NAL units with their lengths in front; `shown` is its place in the order of showing."""

    content: bytes
    shown: int
    sync: bool


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of that four-letter kind."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def free(size: int) -> bytes:
    """A `free` box of exactly that many bytes (at least 8)."""
    return box(b"free", bytes(size - 8))


def init_section(track: VideoTrack, pictures: int | None) -> bytes:
    """`ftyp` and `moov`. `pictures` is the whole number of pictures, None where it is not known.

    The size does not depend on the number.
    """
    duration = 0 if pictures is None else pictures * FRAME_TICKS
    timescale = track.frames_per_second * FRAME_TICKS
    w, h, sps, pps = track.width, track.height, track.sps, track.pps
    avcc = box(
        b"avcC",
        bytes([1, *sps[1:4], 0xFF, 0xE1]),
        struct.pack(">H", len(sps)),
        sps,
        b"\x01",
        struct.pack(">H", len(pps)),
        pps,
        b"\xfd\xf8\xf8\x00",
    )
    avc1 = box(
        b"avc1", struct.pack(">6xH16xHHIIIH32sHh", 1, w, h, 0x480000, 0x480000, 0, 1, b"\x08bytereel", 24, -1), avcc
    )
    tables = b"".join(
        (
            _full(b"stsd", 0, 0, struct.pack(">I", 1), avc1),
            _full(b"stts", 0, 0, bytes(4)),
            _full(b"stsc", 0, 0, bytes(4)),
            _full(b"stsz", 0, 0, bytes(8)),
            _full(b"stco", 0, 0, bytes(4)),
        )
    )
    minf = box(
        b"minf",
        _full(b"vmhd", 0, 1, bytes(8)),
        box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1))),
        box(b"stbl", tables),
    )
    mdia = box(
        b"mdia",
        _full(b"mdhd", 1, 0, struct.pack(">QQIQHH", 0, 0, timescale, 0, 0x55C4, 0)),
        _full(b"hdlr", 0, 0, struct.pack(">4x4s12x", b"vide"), b"bytereel\x00"),
        minf,
    )
    tkhd = _full(
        b"tkhd",
        1,
        3,
        struct.pack(">QQI4xQ8xhhhH", 0, 0, 1, 0, 0, 0, 0, 0),
        _MATRIX,
        struct.pack(">II", w << 16, h << 16),
    )
    mvhd = _full(
        b"mvhd",
        1,
        0,
        struct.pack(">QQIQIH10x", 0, 0, timescale, 0, 0x10000, 0x100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", 2),
    )
    mvex = box(
        b"mvex",
        _full(b"mehd", 1, 0, struct.pack(">Q", duration)),
        _full(b"trex", 0, 0, struct.pack(">IIIII", 1, 1, FRAME_TICKS, 0, _SYNC_SAMPLE)),
    )
    ftyp = box(b"ftyp", b"iso6", bytes(4), b"iso6", b"cmfc", b"avc1", b"mp41")
    return ftyp + box(b"moov", mvhd, box(b"trak", tkhd, mdia), mvex)


def chunk_start(picture: int, sample_bytes: int) -> bytes:
    """`moof` and the head of `mdat` for the reel's picture of that number. The size is always `CHUNK_START_BYTES`."""
    trun = _full(b"trun", 0, 0x000201, struct.pack(">IiI", 1, CHUNK_START_BYTES, sample_bytes))
    traf = box(
        b"traf",
        _full(b"tfhd", 0, 0x020000, struct.pack(">I", 1)),
        _full(b"tfdt", 1, 0, struct.pack(">Q", picture * FRAME_TICKS)),
        trun,
    )
    moof = box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", (picture + 1) & 0xFFFFFFFF)), traf)
    return moof + struct.pack(">I4s", 8 + sample_bytes, b"mdat")


CHUNK_START_BYTES = 8 + 16 + 8 + 16 + 20 + 24 + 8


def burst_chunk(picture: int, pictures: Sequence[CodedPicture]) -> bytes:
    """`moof` and `mdat` of pictures in decoding order, the first at that picture's time in the reel."""
    rows = b"".join(
        struct.pack(
            ">IIi",
            len(coded.content),
            _SYNC_SAMPLE if coded.sync else _OTHER_SAMPLE,
            (coded.shown - place) * FRAME_TICKS,
        )
        for place, coded in enumerate(pictures)
    )
    moof_bytes = 8 + 16 + 8 + 16 + 20 + 20 + len(rows)
    trun = _full(b"trun", 1, 0x000E01, struct.pack(">Ii", len(pictures), moof_bytes + 8), rows)
    tfhd = _full(b"tfhd", 0, 0x020000, struct.pack(">I", 1))
    traf = box(b"traf", tfhd, _full(b"tfdt", 1, 0, struct.pack(">Q", picture * FRAME_TICKS)), trun)
    moof = box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", (picture + 1) & 0xFFFFFFFF)), traf)
    assert len(moof) == moof_bytes
    contents = [coded.content for coded in pictures]
    return b"".join((moof, struct.pack(">I4s", 8 + sum(map(len, contents)), b"mdat"), *contents))


def sidx_bytes(references: int) -> int:
    """The size of an index with that many references."""
    return 40 + 12 * references


def segment_index(frames_per_second: int, references: Sequence[tuple[int, int]]) -> bytes:
    """The `sidx` that stands right before the bytes it indexes: a (bytes, pictures) pair for each reference."""
    assert len(references) <= SIDX_REFERENCES_MAX
    rows = b"".join(struct.pack(">III", size, pictures * FRAME_TICKS, 0x90000000) for size, pictures in references)
    head = struct.pack(">IIQQHH", 1, frames_per_second * FRAME_TICKS, 0, 0, 0, len(references))
    return _full(b"sidx", 1, 0, head, rows)


def parse_segment_index(head: bytes) -> tuple[int, list[tuple[int, int]]] | None:
    """From the first bytes of a reel: where its indexed bytes start, and (bytes, pictures) of each reference.

    None when no whole `sidx` as `segment_index` writes it lies in `head`. Raises: Integrity `reel.bad_index`.
    """
    offset = 0
    while offset + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, offset)
        if size < 8:
            return None
        if kind == b"sidx" and offset + size <= len(head) and size >= sidx_bytes(0):
            return offset + size, _references(head[offset : offset + size])
        offset += size
    return None


def _references(sidx: bytes) -> list[tuple[int, int]]:
    version, timescale, _, first, count = struct.unpack_from(">I4xIQQ2xH", sidx, 8)
    if version >> 24 != 1 or first != 0 or timescale == 0 or sidx_bytes(count) != len(sidx):
        raise Integrity("reel.bad_index", "the reel's segment index is damaged", hint="every frame is found without it")
    rows = struct.iter_unpack(">III", sidx[sidx_bytes(0) :])
    return [(size & 0x7FFFFFFF, ticks // FRAME_TICKS) for size, ticks, _ in rows]
