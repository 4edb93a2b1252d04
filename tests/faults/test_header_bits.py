"""Every bit of a frame's header turned, one at a time, in a reel: the frame is never taken for another than it is."""

from collections.abc import Iterator
from pathlib import Path

import crc32c
import pytest
from bytereel_codec import Permanent, Secret, verify
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.header import Flag, FrameHeader, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, FrameLoader
from reels import SPAN, Chunk, chunks_of, forged, forged_header, made, obeys_the_law

BITS = 8 * HEADER_BYTES
FIELDS_BYTES = 68
BOUND_BYTES = 48
"""The fields that stand first in a header: the seal of a frame is bound to them. Source: FORMAT.md sections 3 and 7."""
KEY = Secret(key=b"k" * 32)
CONTENT = b"".join(b"frame %d " % number * (SPAN // 8) for number in range(4))[: 3 * SPAN + 100]
REEL = made(CONTENT)
FRAMES = {"leader in front": (Kind.LEADER, 0), "data": (Kind.DATA, 1), "last data": (Kind.DATA, 3)}


def flips(reel: bytes, chunk: Chunk) -> Iterator[bytes]:
    """The reel with each bit of that frame's header turned as it stands in the stream, prevention bytes too."""
    start = chunk.start + FIRST_SAMPLE_OFFSET
    for position in range(start, start + coded_header_bytes(reel, start)):
        for bit in range(8):
            yield reel[:position] + bytes([reel[position] ^ 1 << bit]) + reel[position + 1 :]


def coded_header_bytes(reel: bytes, start: int) -> int:
    """How many bytes of the stream a header takes: behind two zeros stands a 3 that does not count."""
    count = zeros = 0
    for position in range(start, len(reel)):
        if zeros >= 2 and reel[position] == 3:
            zeros = 0
            continue
        zeros = zeros + 1 if reel[position] == 0 else 0
        count += 1
        if count == HEADER_BYTES:
            return position + 1 - start
    raise AssertionError("the reel ends within the header")


def chunk_of(reel: bytes, kind: Kind, number: int) -> Chunk:
    """The frame of that kind and number, counted through the segments."""
    return [chunk for chunk in chunks_of(reel) if chunk.header.kind == kind][number]


def test_no_header_with_one_bit_turned_is_a_header() -> None:
    packed = forged_header(flags=Flag.SEGMENT_END, segments=3, segment=1, length=77, payload_crc=0xDEADBEEF).pack()
    assert parse_header(packed) is not None
    whole = int.from_bytes(packed, "big")
    for bit in range(BITS):
        assert parse_header((whole ^ 1 << bit).to_bytes(HEADER_BYTES, "big")) is None, bit


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_whose_header_has_a_bit_turned_is_not_found_and_no_other_appears(name: str) -> None:
    turned = chunk_of(REEL, *FRAMES[name])
    others = [header for _, header in find_frames(BytesReader(REEL)) if header != turned.header]
    count = 0
    for reel in flips(REEL, turned):
        count += 1
        for thorough in (False, True):
            assert [header for _, header in find_frames(BytesReader(reel), thorough=thorough)] == others, count
    assert count >= BITS


@pytest.mark.slow
def test_a_reel_with_a_bit_of_a_header_turned_loses_that_frame_and_nothing_else(tmp_path: Path) -> None:
    turned = chunk_of(REEL, *FRAMES["data"])
    path = tmp_path / "reel"
    for number, reel in enumerate(flips(REEL, turned)):
        path.write_bytes(reel)
        report = verify(path)
        assert report.lost == ((SPAN, 2 * SPAN),), number
        assert report.source_bytes == len(CONTENT), number


def mended(header: FrameHeader, bit: int) -> bytes:
    """The packed header with a bit turned and its CRC32C made to fit, as an attacker would."""
    body = (int.from_bytes(header.pack(), "big") ^ 1 << BITS - 1 - bit).to_bytes(HEADER_BYTES, "big")[:-4]
    return body + crc32c.crc32c(body).to_bytes(4, "big")


SEALED = made(CONTENT, secret=KEY)


def test_a_sealed_frame_whose_header_was_altered_and_its_checksum_mended_is_never_other_content() -> None:
    chunk = chunk_of(SEALED, Kind.DATA, 1)
    payload = bytes(FrameLoader().frame_at(BytesReader(SEALED), chunk.start + FIRST_SAMPLE_OFFSET).payload)
    believed = set()
    for bit in range(8 * FIELDS_BYTES):
        header = parse(mended(chunk.header, bit))
        if header is not None:
            altered = SEALED[: chunk.start] + forged(header, payload) + SEALED[chunk.end :]
            if obeys_the_law(altered, CONTENT, KEY) == "whole":
                believed.add(bit)
    assert min(believed, default=8 * BOUND_BYTES) >= 8 * BOUND_BYTES, "what the seal is bound to"


def parse(packed: bytes) -> FrameHeader | None:
    """The header, None for one out of its bounds or of another version."""
    try:
        return parse_header(packed)
    except Permanent:
        return None
