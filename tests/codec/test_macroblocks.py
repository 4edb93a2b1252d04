"""The kernels against a plain reading of the standard: I_PCM macroblocks, emulation prevention, and their bounds."""

import random
import shutil

import crc32c
import numpy as np
import pytest
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import whitening_shift
from bytereel_codec.frame.sizes import (
    GROUP_MACROBLOCKS,
    HEADER_BYTES,
    MACROBLOCK_BYTES,
    MACROBLOCK_CODED_BYTES,
    WHITENING_BYTES,
)
from bytereel_codec.frame.whitening import NO_WHITENING, whitening_table
from bytereel_codec.video.h264 import slice_start
from bytereel_codec.video.macroblocks_compiled import CompiledCoder, library
from bytereel_codec.video.macroblocks_numpy import NumpyCoder
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, FrameLoader, PictureReader, PictureWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from reels import FORGED_ID, SMALL, forged_header

PLAIN = NO_WHITENING
SENTINEL = 0xA5
ALPHABETS = [b"\x00", b"\x00\x03", b"\x00\x01\x02\x03\x04", bytes(range(256))]


def coded_by_the_book(image: bytes, before: bytes) -> bytes:
    """`image` as I_PCM macroblocks behind the slice header `before`. Source: ITU-T H.264 7.3.5, 7.4.1."""
    image += bytes(-len(image) % MACROBLOCK_BYTES)
    blocks = [image[i : i + MACROBLOCK_BYTES] for i in range(0, len(image), MACROBLOCK_BYTES)]
    out = bytearray(before)
    for value in b"\x0d\x00".join(blocks):
        if out[-2:] == b"\x00\x00" and value <= 3:
            out.append(3)
        out.append(value)
    return bytes(out[len(before) :])


CODERS = [NumpyCoder, CompiledCoder] if library() else [NumpyCoder]
both = pytest.mark.parametrize("coder", [coder() for coder in CODERS], ids=lambda coder: type(coder).__name__)


def test_the_compiled_way_is_there_where_there_is_a_compiler():
    assert library() is not None or shutil.which("cc") is None


def written(coder, image: bytes, table: np.ndarray, shift: int, before: bytes, stream: np.ndarray) -> int:
    padded = np.frombuffer(image + bytes(-len(image) % MACROBLOCK_BYTES), np.uint8)
    stream[: len(before)] = np.frombuffer(before, np.uint8)
    return int(coder.write(padded, len(image), table, shift, stream, len(before)))


images = st.builds(
    lambda seed, alphabet, size: bytes(random.Random(seed).choices(alphabet, k=size)),
    st.integers(0, 2**32),
    st.sampled_from(ALPHABETS),
    st.integers(HEADER_BYTES, 4 * MACROBLOCK_BYTES + 1),
)


@both
@settings(max_examples=150, deadline=None)
@given(images, st.sampled_from([slice_start(0), slice_start(1), b"\x65\x00\x00", b"\x65\x01\x00"]), st.data())
def test_writing_follows_the_book_and_reading_inverts_it(coder, image, before, data):
    whitened = data.draw(st.booleans())
    table = whitening_table(FORGED_ID) if whitened else PLAIN
    shift = data.draw(st.integers(0, 65535))
    stream = np.full(len(before) + 10 * 581 + 2, SENTINEL, np.uint8)
    end = written(coder, image, table, shift, before, stream)
    mask = bytes(HEADER_BYTES) + bytes(table[(shift + i) % WHITENING_BYTES] for i in range(HEADER_BYTES, 4 * 384 + 384))
    padded = image + bytes(-len(image) % MACROBLOCK_BYTES)
    masked = bytes(a ^ b for a, b in zip(padded, mask, strict=False))
    assert stream[len(before) : end].tobytes() == coded_by_the_book(masked, before)
    back = np.full(len(padded) + 7, SENTINEL, np.uint8)
    assert coder.read(stream, len(before), end, len(image), table, shift, back) == end
    assert back[: len(padded)].tobytes() == padded
    assert (back[len(padded) :] == SENTINEL).all(), "nothing is written behind the last macroblock"
    for cut in (end - 1, len(before) + 1, len(before)):
        assert coder.read(stream, len(before), cut, len(image), table, shift, back) == -1


@both
def test_the_worst_case_takes_three_bytes_for_two(coder):
    image = bytes(3 * MACROBLOCK_BYTES)
    stream = np.full(3 * 581 + 64, SENTINEL, np.uint8)
    end = written(coder, image, PLAIN, 0, b"\x65\x88", stream)
    assert end - 2 <= 3 * 579
    assert stream[2:end].tobytes() == coded_by_the_book(image, b"\x65\x88")


@both
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("macroblocks", [GROUP_MACROBLOCKS, GROUP_MACROBLOCKS + 1, 2 * GROUP_MACROBLOCKS + 3])
def test_groups_of_macroblocks_join_without_a_seam(coder, macroblocks, alphabet):
    """Zeros across the border of two groups take prevention bytes as others do, whatever was before."""
    draw = random.Random(macroblocks)
    for tail in (1, 2, 3, 4):
        image = bytearray(draw.choices(alphabet, k=macroblocks * MACROBLOCK_BYTES))
        for border in range(GROUP_MACROBLOCKS, macroblocks, GROUP_MACROBLOCKS):
            image[border * MACROBLOCK_BYTES - tail : border * MACROBLOCK_BYTES] = bytes(tail)
        stream = np.full(macroblocks * 581 + 64, SENTINEL, np.uint8)
        end = written(coder, bytes(image), PLAIN, 0, slice_start(0), stream)
        assert stream[len(slice_start(0)) : end].tobytes() == coded_by_the_book(bytes(image), slice_start(0))
        back = np.empty(len(image), np.uint8)
        assert coder.read(stream, len(slice_start(0)), end, len(image), PLAIN, 0, back) == end
        assert back.tobytes() == image


@both
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("block", [1, GROUP_MACROBLOCKS, GROUP_MACROBLOCKS + 1])
def test_what_is_no_macroblock_of_samples_is_not_read_as_one(coder, block, at):
    image = b"\x55" * ((GROUP_MACROBLOCKS + 2) * MACROBLOCK_BYTES)
    before = slice_start(0)
    stream = np.full(len(image) * 2, SENTINEL, np.uint8)
    end = written(coder, image, PLAIN, 0, before, stream)
    stream[len(before) + block * MACROBLOCK_CODED_BYTES - 2 + at] ^= 0x40
    back = np.empty(len(image), np.uint8)
    assert coder.read(stream, len(before), end, len(image), PLAIN, 0, back) == -1


@both
def test_a_shift_near_the_end_of_the_table_goes_on_at_its_start(coder):
    size = (GROUP_MACROBLOCKS + 300) * MACROBLOCK_BYTES
    table = whitening_table(FORGED_ID)
    for shift in (0, 1, 65535, 65536 - 384, 40000):
        stream = np.full(2 * size, SENTINEL, np.uint8)
        end = written(coder, bytes(size), table, shift, slice_start(0), stream)
        mask = np.resize(table[:WHITENING_BYTES], size + shift)[shift:].copy()
        mask[:HEADER_BYTES] = 0
        assert stream[len(slice_start(0)) : end].tobytes() == coded_by_the_book(mask.tobytes(), slice_start(0))


@pytest.mark.parametrize("wanted", [b"\x00", b"\x00\x00\x03", b"\x00\x00\x01"])
def test_a_payload_made_against_the_whitening_fits_and_comes_back(wanted):
    """The shift is part of the header's CRC32C, which covers the payload's: look for a payload that states its own."""
    length = SMALL.picture_bytes - HEADER_BYTES
    table = np.tile(whitening_table(FORGED_ID)[:WHITENING_BYTES], 2)
    hoped = np.frombuffer((wanted * length)[:length], np.uint8)
    writer = PictureWriter(SMALL, FORGED_ID)
    for shift in range(WHITENING_BYTES):
        start = (shift + HEADER_BYTES) % WHITENING_BYTES
        payload = (table[start : start + length] ^ hoped).tobytes()
        packed = forged_header().closed_over(length, crc32c.crc32c(payload)).pack()
        if whitening_shift(packed) == shift:  # for two of three contents there is one; else the last will do
            break
    writer.payload[:length] = payload
    chunk = bytes(writer.write(forged_header(), length, 0))
    assert whitening_shift(packed) != shift or len(chunk) > 1.3 * SMALL.picture_bytes
    found = PictureReader().frame(np.frombuffer(chunk, np.uint8), FIRST_SAMPLE_OFFSET)
    loaded = FrameLoader().frame_at(BytesReader(chunk), FIRST_SAMPLE_OFFSET)
    for frame in (found, loaded):
        assert frame is not None
        assert bytes(frame.payload) == payload


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=str)
def test_the_writer_has_room_for_pictures_of_nothing_but_zeros(geometry):
    writer = PictureWriter(geometry, FORGED_ID)
    writer._table = PLAIN
    length = geometry.picture_bytes - HEADER_BYTES
    writer.payload[:] = bytes(length)
    chunk = writer.write(forged_header(span_bytes=geometry.span_bytes), length, 1)
    assert 1.5 * length < len(chunk) <= len(writer._stream)


zeros_and_threes = st.lists(
    st.sampled_from(
        [b"\x00", b"\x00\x00", b"\x00\x00\x03", b"\x03", b"\x0d\x00", b"\x01", b"\xff" * 100, b"\x55" * 386]
    ),
    max_size=60,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(zeros_and_threes, st.integers(0, 300), st.integers(1, 1200), st.integers(0, 50))
def test_both_ways_read_the_same_of_any_bytes(content, position, length, cut):
    """Of a stream that no encoder would write too."""
    stream = np.frombuffer(content + bytes(2), np.uint8)
    position, end = min(position, len(content)), max(0, len(content) - cut)
    results = []
    for coder in (kind() for kind in CODERS):
        image, raw = np.full(4 * MACROBLOCK_BYTES, SENTINEL, np.uint8), np.full(HEADER_BYTES, SENTINEL, np.uint8)
        found = coder.read(stream, position, end, length, PLAIN, 0, image)
        header = coder.read_header(stream, position, end, raw)
        results.append(
            (found, header, image[:length].tobytes() if found >= 0 else b"", raw.tobytes() if header >= 0 else b"")
        )
    assert all(result == results[0] for result in results)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.integers(-5, 3005))
def test_the_reader_takes_any_bytes_at_any_position(content, position):
    assert PictureReader().frame(np.frombuffer(content, np.uint8), position) is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5))
def test_the_reader_never_calls_a_damaged_payload_intact(cut, changes):
    writer = PictureWriter(SMALL, FORGED_ID)
    payload = bytes(range(256)) * 8
    writer.payload[: len(payload)] = payload
    chunk = bytearray(writer.write(forged_header(), len(payload), 0))
    for place, value in changes:
        chunk[min(place, len(chunk) - 1)] = value
    found = PictureReader().frame(np.frombuffer(bytes(chunk[:cut]), np.uint8), FIRST_SAMPLE_OFFSET)
    assert found is None or found.payload is None or bytes(found.payload) == payload
