"""Parsers of the format: frame headers, leaders, strips, segment indexes, frames among other bytes.

Laws: only the errors of the families come out; what was taken is, written again, what it was read from.
"""

import struct
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from random import Random

import crc32c
import numpy as np
from bytereel_codec.bursts.reader import images_in
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.channel.strip import StripHeader, parse_strip
from bytereel_codec.channel.strip_kernels import BODY_BYTES, STRIP_BYTES, STRIP_MASK
from bytereel_codec.errors import BytereelError
from bytereel_codec.files.names import FILE_NAME_BYTES_MAX, cut_name, safe_name
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import Flag, FrameHeader, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.frame.whitening import HEADER_MASK, masked
from bytereel_codec.reading.index import read_index
from bytereel_codec.reading.scan import find_frames, is_readable
from bytereel_codec.video.boxes import box, parse_segment_index, segment_index
from bytereel_codec.video.picture import PictureReader

from tools.fuzz.mutate import NUMBERS, mutated, mutated_json
from tools.fuzz.parsers.parser import Parser, changed_from, require
from tools.fuzz.target import Outcome, outcome_of, refusal

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"
_SPAN = GEOMETRIES["144p"].span_bytes
# Where the fields of a packed header stand: offset and size. Source: FORMAT.md section 3.
_FIELDS = ((8, 1), (9, 1), (10, 1), (11, 1), (12, 8), (20, 8), *((at, 4) for at in range(28, 56, 4)), (56, 2), (58, 2),
           (60, 1), (61, 1), (62, 2), (64, 4))  # fmt: skip


@lru_cache(maxsize=1)
def small_vectors() -> tuple[bytes, ...]:
    """The frozen vectors of up to 30 KiB."""
    return tuple(path.read_bytes() for path in sorted(VECTORS.glob("*.mp4")) if path.stat().st_size < 30 << 10)


def _header(random: Random) -> bytes:
    """A packed header with odd numbers in it, its checksum mostly mended."""
    kind = random.choice(list(Kind))
    header = FrameHeader(kind, Flag.NONE, random.randbytes(16), 0, 0, 1, 1, _SPAN, segments=1, groups=1, columns=1)
    packed = bytearray(header.pack())
    for _ in range(random.randint(1, 5)):
        at, size = random.choice(_FIELDS)
        number = random.choice((*NUMBERS, _SPAN, random.getrandbits(8 * size))) & (1 << 8 * size) - 1
        packed[at : at + size] = number.to_bytes(size, "big")
    if random.random() < 0.1:
        packed = bytearray(mutated(random, bytes(packed))[:HEADER_BYTES].ljust(HEADER_BYTES, b"\x00"))
    if random.random() < 0.85:
        packed[-4:] = crc32c.crc32c(bytes(packed[:-4])).to_bytes(4, "big")
    return bytes(packed)


def _read_header(content: bytes) -> Outcome:
    try:
        header = parse_header(content)
    except BytereelError as error:
        require(error.error_id == "reel.newer_format", "header_error", error.error_id)
        return refusal(error)
    if header is None:
        return Outcome("nothing")
    require(header.pack() == content, "header_round_trip", f"{header} was read from other bytes")
    return Outcome("read", f"{header.kind.name} {header.flags}")


def _leader(random: Random) -> bytes:
    leader = asdict(Leader("x", "file", "archive", 5, 1, "0" * 64, "0" * 64, 0.5, 1, "2026", "x"))
    return mutated_json(random, leader)


def _read_leader(content: bytes) -> Outcome:
    try:
        leader = Leader.from_bytes(content)
    except BytereelError as error:
        return refusal(error)
    require(Leader.from_bytes(leader.to_bytes()) == leader, "leader_round_trip", f"{leader} comes back otherwise")
    for name in (safe_name(leader.name), safe_name(cut_name(leader.name))):
        size = len(name.encode("utf-8", "surrogateescape"))
        safe = name not in ("", ".", "..") and not {"/", "\x00"} & set(name) and size <= FILE_NAME_BYTES_MAX
        require(safe, "leader_name", f"{name!r} is no safe name")
    return Outcome("read", leader.kind)


def _strip(random: Random) -> bytes:
    raster = RASTERS[random.choice(list(RASTERS))]
    modulation = Modulation(Family.DCT4, 8, 4, 32)
    header = StripHeader(b"ab", random.choice(list(Kind)), random.randint(0, 1), 0, 8, raster, modulation, 1)
    body = bytearray(a ^ b for a, b in zip(header.pack(), STRIP_MASK, strict=True))[:BODY_BYTES]
    for _ in range(random.randint(1, 4)):
        body[random.randrange(BODY_BYTES)] = random.choice((0, 1, 255, 128, random.randrange(256)))
    checksum = crc32c.crc32c(bytes(body)) ^ (random.random() < 0.1)
    packed = bytes(body) + checksum.to_bytes(4, "big")
    return bytes(a ^ b for a, b in zip(packed, STRIP_MASK, strict=True))


def _read_strip(content: bytes) -> Outcome:
    if len(content) != STRIP_BYTES:
        return Outcome("no strip")
    header = parse_strip(content)
    if header is None:
        return Outcome("nothing")
    require(header.pack() == content, "strip_round_trip", f"{header} was read from other bytes")
    shape = header.shape
    sound = 0 <= shape.data_bytes <= shape.total_bytes and shape.total_bytes == shape.picture_bytes * shape.pictures
    require(sound, "strip_shape", f"{shape} holds {shape.data_bytes} of {shape.total_bytes} bytes")
    return Outcome("read", f"{header.kind.name} {header.modulation.symbols}")


def _index(random: Random) -> bytes:
    references = [(random.choice(NUMBERS) & 0x7FFFFFFF, random.choice((0, 1, 2, 4_000_000))) for _ in range(5)]
    sidx = bytearray(segment_index(8, references))
    struct.pack_into(">I", sidx, random.choice((0, 8, 16, 36)), random.choice(NUMBERS) & 0xFFFFFFFF)
    reel = random.choice(small_vectors())
    content = random.choice((b"", box(b"ftyp", b"iso6"))) + bytes(sidx) + reel[: random.randint(0, len(reel))]
    return mutated(random, content) if random.random() < 0.5 else content


def _read_index(content: bytes) -> Outcome:
    read_index(BytesReader(content))  # takes a damaged index for none
    return outcome_of(parse_segment_index, content)


def _read_frames(content: bytes) -> Outcome:
    """Frames as the search finds them: in order, inside the file, each readable again where it was found."""
    coded, reader = np.frombuffer(content, np.uint8), PictureReader()
    found = 0
    try:
        for thorough in (False, True):
            places = [place for place, _ in find_frames(BytesReader(content), thorough=thorough)]
            require(places == sorted(set(places)), "search_order", f"places {places[:9]}")
            for place in places:
                require(reader.frame(coded, place) is not None, "search_frame", f"no frame is at {place}")
            found = max(found, len(places))
        is_readable(BytesReader(content))
    except BytereelError as error:
        return refusal(error)
    return Outcome("read" if found else "nothing", str(found))


def _images(random: Random) -> bytes:
    """The frames of a burst in a row, changed."""
    images = b"".join(masked(_header(random)) + random.randbytes(random.randint(0, 40)) for _ in range(3))
    return mutated(random, images) if random.random() < 0.7 else images


def _read_images(content: bytes) -> Outcome:
    data = np.frombuffer(content, np.uint8)
    try:
        sizes = [len(image) for image in images_in(data)]
    except BytereelError as error:
        return refusal(error)
    require(sum(sizes) <= len(content), "images_overlap", f"images of {sizes} in {len(content)} bytes")
    return Outcome("read" if sizes else "nothing", str(len(sizes)))


def parsers() -> Iterator[Parser]:
    """Those of the format."""
    marks = (HEADER_MASK[:8], b"\x00\x00\x01", b"\x00\x00\x03", b"sidx", b"moof", b"mdat", bytes(386))
    yield Parser("header", _header, _read_header)
    yield Parser("leader", _leader, _read_leader)
    yield Parser("strip", _strip, _read_strip)
    yield Parser("index", _index, _read_index)
    yield Parser("frames", changed_from(small_vectors(), marks), _read_frames)
    yield Parser("images", _images, _read_images)
