"""Strips: the header's bytes to the letter, strict parsing, and cells that can be read whatever happened to them."""

import struct
from dataclasses import replace

import crc32c
import numpy as np
import numpy.typing as npt
import pytest
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, RASTERS, Picture, Raster
from bytereel_codec.channel.strip import StripHeader, draw, parse_strip, read
from bytereel_codec.channel.strip_kernels import STRIP_BYTES, STRIP_MASK
from bytereel_codec.frame.kinds import Kind
from hypothesis import given, settings
from hypothesis import strategies as st

ALL_RASTERS = list(RASTERS.values())
CELL_PLACES = {  # x of the first cell, cells a row, width and height of a cell, y of the lower strip; by FORMAT.md
    "144p": (0, 32, 8, 8, 112),
    "360p": (64, 64, 8, 8, 336),
    "480p": (160, 64, 8, 8, 464),
    "720p": (128, 128, 8, 16, 704),
    "1080p": (448, 128, 8, 16, 1056),
    "1440p": (256, 128, 16, 16, 1424),
    "2160p": (896, 128, 16, 16, 2144),
}
DCT = Modulation(Family.DCT4, 16, 12, 8)


def modulations() -> st.SearchStrategy[Modulation]:
    codes = st.one_of(
        st.tuples(st.integers(1, 64).map(lambda half: 2 * half), st.just(Code.REED_SOLOMON)),
        st.tuples(st.integers(1, 255), st.just(Code.XOR)),
    )
    symbols = st.one_of(
        st.tuples(st.just(Family.DCT4), st.integers(1, 16), st.integers(0, 16)),
        st.tuples(st.just(Family.DCT8), st.integers(1, 8).map(lambda half: 2 * half), st.just(0)),
        st.tuples(st.just(Family.CELLS), st.sampled_from((2, 4, 6, 8)), st.sampled_from((2, 6, 7))),
    )
    return st.builds(lambda symbol, code: Modulation(*symbol, *code), symbols, codes)


@st.composite
def headers(make, rasters=tuple(ALL_RASTERS)) -> StripHeader:  # type: ignore[no-untyped-def]
    raster, kind = make(st.sampled_from(rasters)), make(st.sampled_from(list(Kind)))
    pictures = make(st.integers(1, 255))
    return StripHeader(
        mark=make(st.binary(min_size=2, max_size=2)),
        kind=kind,
        number=make(st.integers(0, 1 if kind == Kind.LEADER else (1 << 22) - 1)),
        picture=make(st.integers(0, pictures - 1)),
        pictures=pictures,
        raster=raster,
        modulation=make(modulations()),
        rows=make(st.integers(1, raster.rows_max)),
    )


def header_for(raster: Raster, **changes: object) -> StripHeader:
    return replace(
        StripHeader(b"\x5a\xc3", Kind.DATA, 1234567, 5, 200, raster, DCT, raster.rows_max),
        **changes,  # type: ignore[arg-type]
    )


def noisy(raster: Raster, header: StripHeader | None, seed: int = 1) -> Picture:
    """A picture whose data area is noise, with its strips."""
    picture, rng = raster.grey(), np.random.default_rng(seed)
    area = picture.y[16 * raster.first_row : 16 * raster.last_row]
    area += rng.integers(-40, 41, area.shape).astype(np.int8).view(np.uint8)
    if header is not None:
        draw(header, picture, raster)
    return picture


def masked(body: bytes) -> bytes:
    packed = body + struct.pack(">I", crc32c.crc32c(body))
    return bytes(a ^ b for a, b in zip(packed, STRIP_MASK, strict=True))


def altered(plane: npt.NDArray[np.uint8], gain: float, offset: float, sigma: float) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    return np.clip(plane * gain + offset + rng.normal(0, sigma, plane.shape) + 0.5, 0, 255).astype(np.uint8)


@given(headers())
def test_a_header_comes_back_from_its_bytes(header: StripHeader) -> None:
    assert len(header.pack()) == STRIP_BYTES
    assert parse_strip(header.pack()) == header


def test_the_bytes_are_those_of_the_format() -> None:
    header = header_for(RASTERS["1080p"], kind=Kind.PARITY, modulation=Modulation(Family.CELLS, 4, 6, 31, Code.XOR))
    number = 2 << 22 | 1234567
    fields = (5, 200, 2 << 6 | 1 << 5 | 0 << 4 | 4, 4, 6, 31, 65)
    assert header.pack() == masked(b"\x5a\xc3" + number.to_bytes(3, "big") + bytes(fields))
    assert STRIP_MASK.hex() == "f3afe9dd16720099de9ee396a597943c"


@given(headers(), st.sets(st.integers(0, 8 * STRIP_BYTES - 1), min_size=1, max_size=5))
def test_up_to_five_wrong_bits_are_noticed(header: StripHeader, wrong: set[int]) -> None:
    bits = np.unpackbits(np.frombuffer(header.pack(), np.uint8))
    bits[list(wrong)] ^= 1
    assert parse_strip(np.packbits(bits).tobytes()) is None


BODY = b"ab" + (1 << 22 | 7).to_bytes(3, "big") + bytes((0, 1, 4, 16, 16, 8, 65))
OUT_OF_BOUNDS = {
    "a kind that does not exist": (2, b"\xc0"),
    "a leader that is neither first nor last": (2, b"\x00\x00\x02"),
    "a picture behind the last": (5, b"\x01\x01"),
    "no pictures": (5, b"\x00\x00"),
    "a raster that does not exist": (7, b"\x07"),
    "a version that does not exist": (7, b"\x14"),
    "a family that does not exist": (7, b"\xc4"),
    "no luma coefficients": (8, b"\x00"),
    "too many luma coefficients": (8, b"\x11"),
    "too many chroma coefficients": (9, b"\x11"),
    "a bit that is not used": (8, b"\x30"),
    "DCT8 with chroma": (7, b"\x44\x06\x02"),
    "DCT8 with an odd number": (7, b"\x44\x05\x00"),
    "eight colours": (7, b"\x84\x03\x06"),
    "cells of two pixels": (7, b"\x84\x04\x04"),
    "odd parity": (10, b"\x09"),
    "no parity": (10, b"\x00"),
    "more parity than data": (10, b"\x82"),
    "no blocks a group": (7, b"\x24\x10\x10\x00"),
    "no rows": (11, b"\x00"),
    "more rows than the picture has": (11, b"\x42"),
}


@pytest.mark.parametrize(("place", "value"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_values_out_of_bounds_are_refused_though_their_checksum_is_right(place: int, value: bytes) -> None:
    assert parse_strip(masked(BODY)) is not None
    assert parse_strip(masked(BODY[:place] + value + BODY[place + len(value) :])) is None


@pytest.mark.parametrize("raster", ALL_RASTERS, ids=lambda raster: raster.name)
def test_cells_stand_where_the_format_says(raster: Raster) -> None:
    header, picture = header_for(raster), noisy(raster, None)
    before = picture.y.copy()
    draw(header, picture, raster)
    bits = np.unpackbits(np.frombuffer(header.pack(), np.uint8))
    x, a_row, width, height, lower = CELL_PLACES[raster.name]
    expected = np.full((16 * raster.strip_rows, raster.width), LUMA_REST)
    for cell, bit in enumerate(bits):
        left, top = x + cell % a_row * width, cell // a_row * height
        expected[top : top + height, left : left + width] = LUMA_REST + (64 if bit else -64)
    assert (picture.y[: len(expected)] == expected).all()
    assert (picture.y[lower : lower + len(expected)] == expected).all()
    assert (picture.y[len(expected) : lower] == before[len(expected) : lower]).all()
    assert (picture.y[lower + len(expected) :] == before[lower + len(expected) :]).all()
    assert (picture.u == CHROMA_REST).all()
    assert (picture.v == CHROMA_REST).all()


@settings(max_examples=60, deadline=None)
@given(headers(ALL_RASTERS[:3]))
def test_a_drawn_header_is_read(header: StripHeader) -> None:
    picture = noisy(header.raster, header)
    assert read(picture.y, header.raster) == header


@pytest.mark.parametrize("raster", ALL_RASTERS, ids=lambda raster: raster.name)
@pytest.mark.parametrize(
    ("gain", "offset", "sigma"), [(1, 0, 0), (0.7, 0, 20), (1.2, 0, 20), (219 / 255, 16, 20), (255 / 219, -18.6, 20)]
)
def test_gain_range_and_noise_do_not_matter(raster: Raster, gain: float, offset: float, sigma: float) -> None:
    header = header_for(raster)
    assert read(altered(noisy(raster, header).y, gain, offset, sigma), raster) == header


@pytest.mark.parametrize("raster", ALL_RASTERS, ids=lambda raster: raster.name)
@pytest.mark.parametrize("destroyed", ["upper", "lower"])
def test_one_strip_is_enough(raster: Raster, destroyed: str) -> None:
    header = header_for(raster)
    picture = noisy(raster, header)
    top = 0 if destroyed == "upper" else 16 * raster.lower_strip_row
    picture.y[top : top + 16 * raster.strip_rows] = np.random.default_rng(3).choice([0, 255], picture.y.shape[1])
    assert read(picture.y, raster) == header


@pytest.mark.parametrize("raster", ALL_RASTERS, ids=lambda raster: raster.name)
@pytest.mark.parametrize(("dx", "dy"), [(-3, -5), (-7, 7), (7, -7), (5, 4), (0, 6)])
def test_a_shifted_picture_is_read_where_it_stands(raster: Raster, dx: int, dy: int) -> None:
    header = header_for(raster)
    plane = noisy(raster, header).y
    shifted = np.full((raster.height + 20, raster.width + 20), 16, np.uint8)
    shifted[10 + dy : 10 + dy + raster.height, 10 + dx : 10 + dx + raster.width] = plane
    cropped = shifted[10:, 10:]
    assert read(cropped, raster, dx, dy) == header


def test_a_strip_wholly_outside_is_skipped_and_both_give_none() -> None:
    raster = RASTERS["720p"]
    header = header_for(raster)
    plane = noisy(raster, header).y
    assert read(plane[20:], raster, 0, -20) == header
    assert read(plane[20:-20], raster, 0, -20) is None


@pytest.mark.parametrize("raster", ALL_RASTERS, ids=lambda raster: raster.name)
def test_grey_black_and_noise_hold_no_header(raster: Raster) -> None:
    rng = np.random.default_rng(5)
    grey = raster.grey().y
    assert read(grey, raster) is None
    assert read(altered(grey, 1, 0, 20), raster) is None
    assert read(np.zeros_like(grey), raster) is None
    assert read(rng.integers(0, 256, grey.shape, np.uint8), raster) is None
    assert read(noisy(raster, None).y, raster) is None


def test_a_header_that_names_another_raster_is_refused() -> None:
    raster = RASTERS["1080p"]
    other = replace(raster, code=RASTERS["2160p"].code)
    plane = noisy(raster, None).y
    picture = Picture(plane, *raster.grey()[1:])
    draw(header_for(other), picture, other)
    assert read(plane, other) is not None
    assert read(plane, raster) is None


def test_cells_of_one_pixel_have_no_palette_of_colours() -> None:
    good = header_for(RASTERS["1080p"], kind=Kind.DATA, modulation=Modulation(Family.CELLS, 4, 2, 32))
    body = bytearray(a ^ b for a, b in zip(good.pack()[:12], STRIP_MASK, strict=False))
    assert parse_strip(masked(bytes(body))) == good
    body[9] = 3
    assert parse_strip(masked(bytes(body))) is None
