"""Bytes as signs of transform coefficients, held against plain matrices: pictures, bytes, margins and bad shapes."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.raster import RASTERS, Picture, Raster
from bytereel_codec.channel.symbols.dct4 import Dct4
from bytereel_codec.channel.symbols.dct8 import Dct8
from bytereel_codec.channel.symbols.modulator import MARGIN_NOMINAL, Modulator
from bytereel_codec.errors import Permanent
from hypothesis import given, settings
from hypothesis import strategies as st

Bytes = npt.NDArray[np.uint8]

RASTER = RASTERS["144p"]
TALL = Raster("tall", 9, 64, 16 * 9 + 8)
PARTLY = Raster("partly", 9, 128, 144, rows_used=2)
CLEAN = [(16, 16, 34), (8, 8, 41), (6, 6, 46), (4, 4, 46)]
CHROMA_QUANTISERS = dict(
    zip(range(30, 52), (29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, *[37] * 3, *[38] * 3, *[39] * 4), strict=True)
)
SCAN4 = "00 01 10 20 11 02 03 12 21 30 31 22 13 23 32 33"
SCAN8 = "00 01 10 20 11 02 03 12 21 30 40 31 22 13 04 05 14"


def made(first: int, second: int, quantiser: int | None, raster: Raster = RASTER) -> Dct4:
    return Dct4(raster, Modulation(Family.DCT4, first, second, 8), quantiser)


def made8(first: int, quantiser: int | None, raster: Raster = RASTER) -> Dct8:
    return Dct8(raster, Modulation(Family.DCT8, first, 0, 8), quantiser)


def random_bytes(modulator: Modulator, seed: int = 1) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, modulator.picture_bytes, dtype=np.uint8)


def drawn(modulator: Modulator, content: Bytes) -> Picture:
    picture = modulator.raster.grey()
    modulator.render(content, picture)
    return picture


def read(modulator: Modulator, picture: Picture) -> tuple[Bytes, Bytes]:
    content, margin = np.zeros(modulator.picture_bytes, np.uint8), np.zeros(modulator.picture_bytes, np.uint8)
    modulator.demodulate(picture, content, margin)
    return content, margin


def matrix(size: int) -> npt.NDArray[np.float64]:
    rows = [[np.cos(np.pi * k * (x + 0.5) / size) for x in range(size)] for k in range(size)]
    return np.array([np.array(row) / np.linalg.norm(row) for row in rows])


def scan(size: int) -> list[tuple[int, int]]:
    return [(int(pair[0]), int(pair[1])) for pair in (SCAN4 if size == 4 else SCAN8).split()]


def step(quantiser: int) -> float:
    return 2 ** ((quantiser - 4) / 6)


def blocks(picture: Picture, raster: Raster, size: int, first: int, second: int) -> Iterator[tuple[Bytes, int, int]]:
    """The blocks in the order of their bits, as views, with their plane and how many bits they have."""
    for row in range(raster.first_row, raster.last_row):
        for column in range(raster.columns):
            for index, (plane, side, count) in enumerate(
                zip(picture, (16, 8, 8), (first, second, second), strict=True)
            ):
                part = plane[row * side : (row + 1) * side, column * side : (column + 1) * side]
                for y in range(0, side if count else 0, size):
                    for x in range(0, side, size):
                        yield part[y : y + size, x : x + size], index, count


def coefficients_of_bits(content: Bytes, family: int, first: int, second: int) -> list[list[float]]:
    """+-1 for each bit of each block; in chroma, the DC is that of the 2 x 2 transform."""
    bits = np.unpackbits(content, bitorder="little").astype(float) * 2 - 1
    counts = [first] * (16 if family == 4 else 4) + [second] * (8 if second else 0)
    signs, at = [], 0
    while at < bits.size:
        macroblock = []
        for count in counts:
            macroblock.append(list(bits[at : at + count]))
            at += count
        for plane in (16, 20) if second else ():
            a, b, c, d = (macroblock[plane + i][0] for i in range(4))
            sums = (a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)
            for i in range(4):
                macroblock[plane + i][0] = sums[i] / 2
        signs += macroblock
    return signs


def plainly_drawn(raster: Raster, size: int, content: Bytes, first: int, second: int, quantiser: int) -> Picture:
    picture, basis, order = raster.grey(), matrix(size), scan(size)
    chroma = CHROMA_QUANTISERS.get(quantiser, quantiser)
    signs = coefficients_of_bits(content, size, first, second)
    for (block, plane, _), values in zip(blocks(picture, raster, size, first, second), signs, strict=True):
        total = np.zeros((size, size))
        if (size, first) == (8, 16):
            values = [*values[:15], values[14], values[15]]  # noqa: PLW2901 - position 15 repeats position 14
        for value, (v, h) in zip(values, order, strict=False):
            one = np.outer(basis[v], basis[h]) * step(chroma if plane else quantiser)
            total += value * np.floor(one * 32 + 0.5)
        block[:] = np.clip((126, 128, 128)[plane] + np.floor(total / 32 + 0.5), 0, 255)
    return picture


def plainly_read(raster: Raster, size: int, picture: Picture, first: int, second: int) -> Bytes:
    basis, order = matrix(size), scan(size)
    found = []
    for block, plane, count in blocks(picture, raster, size, first, second):
        coefficients = basis @ (block.astype(float) - (126, 128, 128)[plane]) @ basis.T
        places = [*order[:15], order[16]] if (size, count) == (8, 16) else order[:count]
        found.append([coefficients[v, h] for v, h in places])
    for at in range(0, len(found) if second else 0, 24):
        for plane in (16, 20):
            a, b, c, d = (found[at + plane + i][0] for i in range(4))
            for i, value in enumerate((a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)):
                found[at + plane + i][0] = value
    bits = np.array([value >= 0 for block in found for value in block], np.uint8)
    return np.packbits(bits, bitorder="little")


@settings(max_examples=60, deadline=None)
@given(first=st.integers(1, 16), second=st.integers(0, 16), quantiser=st.integers(20, 34), seed=st.integers(0, 99))
def test_every_number_of_coefficients_comes_back(first: int, second: int, quantiser: int, seed: int) -> None:
    modulator = made(first, second, quantiser)
    content = random_bytes(modulator, seed)
    found, margin = read(modulator, drawn(modulator, content))
    assert np.array_equal(found, content)
    assert margin.min() > 0


@pytest.mark.parametrize("second", range(17))
def test_all_numbers_of_luma_coefficients_with_one_of_chroma_come_back(second: int) -> None:
    for first in range(1, 17):
        modulator = made(first, second, 30, TALL)
        content = random_bytes(modulator)
        assert np.array_equal(read(modulator, drawn(modulator, content))[0], content)


@pytest.mark.parametrize(("first", "second", "quantiser"), CLEAN)
@pytest.mark.parametrize("raster", RASTERS.values(), ids=lambda r: r.name)
def test_what_the_profiles_use_comes_back_in_every_raster(
    raster: Raster, first: int, second: int, quantiser: int
) -> None:
    modulator = made(first, second, quantiser, raster)
    content = random_bytes(modulator)
    found, margin = read(modulator, drawn(modulator, content))
    assert np.array_equal(found, content)
    assert margin.min() > MARGIN_NOMINAL // 3


@pytest.mark.parametrize("first", range(2, 17, 2))
@pytest.mark.parametrize("quantiser", [30, 40])
def test_every_number_of_coefficients_of_8_x_8_comes_back(first: int, quantiser: int) -> None:
    modulator = made8(first, quantiser)
    content = random_bytes(modulator)
    assert np.array_equal(read(modulator, drawn(modulator, content))[0], content)


@pytest.mark.parametrize("raster", RASTERS.values(), ids=lambda r: r.name)
def test_the_stream_setting_comes_back_in_every_raster(raster: Raster) -> None:
    modulator = made8(6, 48, raster)
    content = random_bytes(modulator)
    found, margin = read(modulator, drawn(modulator, content))
    assert np.array_equal(found, content)
    assert margin.min() > MARGIN_NOMINAL // 2


@settings(max_examples=25, deadline=None)
@given(first=st.integers(1, 16), second=st.integers(0, 16), quantiser=st.integers(0, 51), seed=st.integers(0, 99))
def test_plain_matrices_draw_the_same_picture(first: int, second: int, quantiser: int, seed: int) -> None:
    modulator = made(first, second, quantiser, PARTLY)
    content = random_bytes(modulator, seed)
    picture = drawn(modulator, content)
    plain = plainly_drawn(PARTLY, 4, content, first, second, quantiser)
    for ours, theirs in zip(picture, plain, strict=True):
        assert np.array_equal(ours, theirs)


@settings(max_examples=15, deadline=None)
@given(first=st.sampled_from(range(2, 17, 2)), quantiser=st.integers(0, 51), seed=st.integers(0, 99))
def test_plain_matrices_draw_the_same_picture_of_8_x_8(first: int, quantiser: int, seed: int) -> None:
    modulator = made8(first, quantiser, PARTLY)
    content = random_bytes(modulator, seed)
    assert np.array_equal(drawn(modulator, content).y, plainly_drawn(PARTLY, 8, content, first, 0, quantiser).y)


@pytest.mark.parametrize(("first", "second", "quantiser"), [*CLEAN, (5, 3, 40), (1, 0, 30)])
def test_plain_matrices_read_the_same_bytes(first: int, second: int, quantiser: int) -> None:
    modulator = made(first, second, quantiser)
    content = random_bytes(modulator)
    picture = drawn(modulator, content)
    assert np.array_equal(plainly_read(RASTER, 4, picture, first, second), content)


def test_plain_matrices_read_the_same_bytes_of_8_x_8() -> None:
    modulator = made8(10, 46)
    content = random_bytes(modulator)
    assert np.array_equal(plainly_read(RASTER, 8, drawn(modulator, content), 10, 0), content)


@pytest.mark.parametrize("raster", [RASTER, TALL, PARTLY, RASTERS["360p"]], ids=lambda r: r.name)
@pytest.mark.parametrize("kind", ["4x4", "4x4 luma", "8x8"])
def test_nothing_outside_the_data_area_is_drawn(raster: Raster, kind: str) -> None:
    modulator = made8(6, 48, raster) if kind == "8x8" else made(16, 16 if kind == "4x4" else 0, 34, raster)
    random = np.random.default_rng(3)
    before = Picture(*(random.integers(0, 256, plane.shape, dtype=np.uint8) for plane in raster.grey()))
    picture = Picture(*(plane.copy() for plane in before))
    modulator.render(random_bytes(modulator), picture)
    for ours, theirs, side in zip(picture, before, (16, 8, 8), strict=True):
        inside = slice(raster.first_row * side, raster.last_row * side) if side == 16 or kind == "4x4" else slice(0, 0)
        assert not np.array_equal(ours[inside], theirs[inside]) or inside == slice(0, 0)
        ours[inside] = theirs[inside]
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("kind", ["4x4", "8x8"])
def test_gain_and_a_small_offset_change_no_byte(kind: str, told: bool) -> None:
    writer: Modulator = made(6, 6, 40) if kind == "4x4" else made8(6, 44)
    quantiser = (40 if kind == "4x4" else 44) if told else None
    reader: Modulator = made(6, 6, quantiser) if kind == "4x4" else made8(6, quantiser)
    content = random_bytes(writer)
    rests = (126, 128, 128)
    squeezed = Picture(
        *(np.rint(r + 1 + 0.7 * (p.astype(float) - r)).astype(np.uint8)
          for p, r in zip(drawn(writer, content), rests, strict=True))
    )  # fmt: skip
    found, margin = read(reader, squeezed)
    assert np.array_equal(found, content)
    whole = read(reader, drawn(writer, content))[1]
    ratio = np.median(margin) / np.median(whole)
    assert 0.55 < ratio < 0.8 if told else 0.8 < ratio < 1.1


@pytest.mark.parametrize(("first", "second", "quantiser"), [(2, 2, 34), (4, 4, 40), (1, 0, 34)])
@pytest.mark.parametrize("told", [True, False])
def test_margins_are_nominal_as_written(first: int, second: int, quantiser: int, told: bool) -> None:
    modulator = made(first, second, quantiser)
    picture = drawn(modulator, random_bytes(modulator))
    margin = read(modulator if told else made(first, second, None), picture)[1]
    assert abs(int(np.median(margin)) - MARGIN_NOMINAL) <= 8
    assert margin.min() > 0.85 * MARGIN_NOMINAL
    assert margin.max() < 1.15 * MARGIN_NOMINAL


@pytest.mark.parametrize("told", [True, False])
def test_margins_of_8_x_8_are_nominal_as_written(told: bool) -> None:
    modulator = made8(6, 44)
    margin = read(modulator if told else made8(6, None), drawn(modulator, random_bytes(modulator)))[1]
    assert abs(int(np.median(margin)) - MARGIN_NOMINAL) <= 8
    assert margin.min() > 0.85 * MARGIN_NOMINAL


def test_a_margin_is_that_of_the_least_certain_bit() -> None:
    """One coefficient of one block is made smaller: the byte it is in is the only one less sure."""
    modulator = made(8, 8, 40)
    content = random_bytes(modulator)
    picture, basis = drawn(modulator, content), matrix(4)
    before = read(modulator, picture)[1]
    row, column = 16 * RASTER.first_row + 4, 16 * 3 + 8
    block = picture.y[row : row + 4, column : column + 4]
    v, h = scan(4)[2]
    wrong = 0.6 * np.sign((basis @ (block.astype(float) - 126) @ basis.T)[v, h]) * step(40)
    block[:] = np.clip(np.rint(block - wrong * np.outer(basis[v], basis[h])), 0, 255)
    found, after = read(modulator, picture)
    less_sure = np.flatnonzero(after.astype(int) < before.astype(int) - 20)
    assert list(less_sure) == [3 * 24 + 6]
    assert after[less_sure[0]] < 0.6 * MARGIN_NOMINAL
    assert np.array_equal(found, content)


@pytest.mark.parametrize("quantiser", [34, None])
def test_a_noisy_macroblock_is_less_sure(quantiser: int | None) -> None:
    writer, reader = made(16, 16, 34), made(16, 16, quantiser)
    picture = drawn(writer, random_bytes(writer))
    y, x = 16 * RASTER.first_row + 16, 32
    noise = np.random.default_rng(5).normal(0, 12, (16, 16))
    picture.y[y : y + 16, x : x + 16] = np.clip(picture.y[y : y + 16, x : x + 16] + noise, 0, 255)
    margin = read(reader, picture)[1].reshape(-1, 48)[:, :32]
    noisy = RASTER.columns + 2
    others = np.delete(margin, noisy, axis=0)
    assert np.median(margin[noisy]) < 0.8 * np.median(others)


def test_a_grey_picture_has_no_margin() -> None:
    for quantiser in (34, None):
        assert read(made(16, 16, quantiser), RASTER.grey())[1].max() == 0
        assert read(made8(6, quantiser), RASTER.grey())[1].max() == 0


def test_extreme_pictures_do_not_overflow() -> None:
    for quantiser in (0, 51, None):
        for modulator in (made(16, 16, quantiser), made8(16, quantiser)):
            for value, expected in ((0, 0), (255, 1)):
                picture = Picture(*(np.full_like(plane, value) for plane in RASTER.grey()))
                content, _ = read(modulator, picture)
                assert np.unpackbits(content[:1], bitorder="little")[0] == expected
            random = np.random.default_rng(1)
            noise = Picture(*(random.integers(0, 2, p.shape, dtype=np.uint8) * 255 for p in RASTER.grey()))
            size, first, second = (4, 16, 16) if isinstance(modulator, Dct4) else (8, 16, 0)
            content, _ = read(modulator, noise)
            plain = plainly_read(RASTER, size, noise, first, second)
            assert np.unpackbits(content ^ plain).mean() < 0.06


@pytest.mark.parametrize("kind", ["4x4", "8x8"])
def test_planes_with_wider_rows_and_odd_addresses_are_the_same(kind: str) -> None:
    modulator: Modulator = made(6, 6, 46) if kind == "4x4" else made8(6, 48)
    content = random_bytes(modulator)
    plain = drawn(modulator, content)
    wide = Picture(*(np.full((p.shape[0], p.shape[1] + 37), 7, np.uint8) for p in plain))
    views = Picture(*(plane[:, 5:-32] for plane in wide))
    for view, grey in zip(views, RASTER.grey(), strict=True):
        view[:] = grey
    modulator.render(content, views)
    for view, plane, room in zip(views, plain, wide, strict=True):
        assert np.array_equal(view, plane)
        assert (room[:, :5] == 7).all() and (room[:, -32:] == 7).all()
    assert np.array_equal(read(modulator, views)[0], content)
    assert np.array_equal(read(modulator, views)[1], read(modulator, plain)[1])


def test_bytes_and_planes_that_cannot_be_written_are_read() -> None:
    modulator = made(6, 6, 46)
    content = random_bytes(modulator)
    content.flags.writeable = False
    picture = drawn(modulator, content)
    for plane in picture:
        plane.flags.writeable = False
    assert np.array_equal(read(modulator, picture)[0], content)
    with pytest.raises(ValueError, match="read-only"):
        modulator.render(content, picture)


@pytest.mark.parametrize("kind", ["4x4", "8x8"])
def test_hostile_shapes_are_refused(kind: str) -> None:
    modulator: Modulator = made(6, 6, 46) if kind == "4x4" else made8(6, 48)
    content, picture = random_bytes(modulator), RASTER.grey()
    bad_pictures = [
        RASTERS["360p"].grey(),
        Picture(picture.y[:-1], picture.u, picture.v),
        Picture(picture.y, picture.u[:, :-1], picture.v),
        Picture(picture.y, picture.u, picture.y),
        Picture(picture.y.astype(np.uint16), picture.u, picture.v),  # type: ignore[arg-type]
        Picture(picture.y.ravel(), picture.u, picture.v),
    ]
    for bad in bad_pictures:
        with pytest.raises(Permanent, match="stands where") as caught:
            modulator.render(content, bad)
        assert caught.value.error_id == "picture.size"
        with pytest.raises(Permanent):
            modulator.demodulate(bad, content, content.copy())
    longer = np.zeros(content.size + 1, np.uint8)
    for wrong in (content[:-1], longer, content.reshape(1, -1), content.astype(np.int8), np.repeat(content, 2)[::2]):
        with pytest.raises(ValueError, match="buffer"):
            modulator.render(wrong, picture)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="buffer"):
            modulator.demodulate(picture, wrong, content)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="buffer"):
            modulator.demodulate(picture, content, wrong)  # type: ignore[arg-type]


def test_drawing_without_a_quantiser_is_refused() -> None:
    for modulator in (made(6, 6, None), made8(6, None)):
        with pytest.raises(ValueError, match="quantiser"):
            modulator.render(random_bytes(modulator), RASTER.grey())


@pytest.mark.parametrize(("first", "second"), [(0, 0), (17, 0), (-1, 4), (4, 17), (4, -1)])
def test_numbers_of_coefficients_that_do_not_exist_are_refused(first: int, second: int) -> None:
    with pytest.raises(Permanent) as caught:
        made(first, second, 40)
    assert caught.value.error_id == "modulation.unknown"


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (18, 0), (6, 1)])
def test_numbers_of_coefficients_of_8_x_8_that_do_not_exist_are_refused(first: int, second: int) -> None:
    with pytest.raises(Permanent) as caught:
        Dct8(RASTER, Modulation(Family.DCT8, first, second, 8), 40)
    assert caught.value.error_id == "modulation.unknown"


@pytest.mark.parametrize("quantiser", [-1, 52])
def test_quantisers_that_do_not_exist_are_refused(quantiser: int) -> None:
    for build in (lambda: made(6, 6, quantiser), lambda: made8(6, quantiser)):
        with pytest.raises(Permanent) as caught:
            build()
        assert caught.value.error_id == "quantiser.range"


def test_pictures_wider_than_any_raster_are_refused() -> None:
    with pytest.raises(Permanent):
        made(6, 6, 40, Raster("wide", 9, 3856, 2160))
