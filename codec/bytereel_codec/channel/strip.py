"""The strips of a data picture: its header in 128 light and dark cells, drawn above the data area and again below it.

Sixteen bytes: mark 2 (the first of the reel's id), kind 2 bits and number 22 bits, picture 1, pictures 1, modulation
4, rows 1, CRC32C 4, all big-endian, XOR a fixed mask. Bits from the most significant one of byte 0 on, a cell each, row
by row. A cell is many times larger and stronger than any symbol of the data area, so the header outlives the payload:
gain, offset, scale and a misplacement of a quarter of a cell do not matter, nor does the loss of one strip.

Parsing is strict: a value out of its bounds makes the header invalid, so no later code meets a hostile count.

Source: FORMAT.md section 14.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import crc32c
import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Plane, Raster, raster_of_code
from bytereel_codec.header import Kind

STRIP_BYTES = 16
STRIP_CELLS = 8 * STRIP_BYTES
STRIP_AMPLITUDE = 64
STRIP_MASK = hashlib.shake_128(b"bytereel strip mask").digest(STRIP_BYTES)
MARK_BYTES = 2
NUMBER_MAX = (1 << 22) - 1
_BODY_BYTES = STRIP_BYTES - 4
_CODE_BYTE = 7  # holds the raster's code in its low four bits
_VERSION = 0
_PARITY_MAX = 128
_CONTRAST_MIN = 8.0  # between light and dark, in steps of luma; below it there is no strip
_MARGIN = 0.125  # of a cell, on each side, that is not read: ringing is strongest there
_SAMPLES_MIN = 8  # pixels a side of a cell that are read, where it has as many; fewer than twice that

Rects = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StripHeader:
    """What a picture says of itself. `raster` is the full one, `rows` the macroblock rows that carry data.

    `number` counts bursts (data, parity); a leader's is 0 in front and 1 at the end. `picture` counts from 0 within the
    burst of `pictures` (1 to 255).
    """

    mark: bytes
    kind: Kind
    number: int
    picture: int
    pictures: int
    raster: Raster
    modulation: Modulation
    rows: int

    def pack(self) -> bytes:
        """The 16 bytes as the cells show them. The header has to be within its bounds."""
        assert _in_bounds(self), self
        shape, code = self.modulation, self.modulation.family << 6 | self.modulation.code << 5 | _VERSION << 4
        body = (
            self.mark
            + (self.kind << 22 | self.number).to_bytes(3, "big")
            + bytes((self.picture, self.pictures))
            + bytes((code | self.raster.code, shape.first, shape.second, shape.parity, self.rows))
        )
        return _masked(body + crc32c.crc32c(body).to_bytes(4, "big"))


def parse_strip(raw: bytes) -> StripHeader | None:
    """The header in the 16 bytes that the cells show, or None when they are damaged or out of bounds."""
    packed = _masked(raw)
    if crc32c.crc32c(packed[:_BODY_BYTES]) != int.from_bytes(packed[_BODY_BYTES:], "big"):
        return None
    kind, number = packed[2] >> 6, int.from_bytes(packed[2:5], "big") & NUMBER_MAX
    picture, pictures, codes, first, second, parity, rows = packed[5:_BODY_BYTES]
    raster, family, version = raster_of_code(codes & 15), codes >> 6, codes >> 4 & 1
    if raster is None or kind > Kind.PARITY or family > Family.CELLS or version != _VERSION:
        return None
    modulation = Modulation(Family(family), first, second, parity, Code(codes >> 5 & 1))
    header = StripHeader(packed[:MARK_BYTES], Kind(kind), number, picture, pictures, raster, modulation, rows)
    return header if _in_bounds(header) else None


def _masked(raw: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(raw, STRIP_MASK, strict=True))


def _in_bounds(header: StripHeader) -> bool:
    return (
        len(header.mark) == MARK_BYTES
        and 0 <= header.number <= (1 if header.kind == Kind.LEADER else NUMBER_MAX)
        and 0 <= header.picture < header.pictures <= 255
        and 0 < header.rows <= header.raster.rows_max
        and header.raster.rows_used is None
        and _is_modulation(header.modulation)
    )


def _is_modulation(modulation: Modulation) -> bool:
    """Whether readers for it exist: see `Modulation` for the bounds."""
    first, second, parity = modulation.first, modulation.second, modulation.parity
    if modulation.code == Code.XOR and not 0 < parity <= 255:
        return False
    if modulation.code == Code.REED_SOLOMON and (not 2 <= parity <= _PARITY_MAX or parity % 2):
        return False
    if modulation.family == Family.CELLS:
        return first in (2, 4, 6, 8) and second >> 1 in (1, 3)
    if modulation.family == Family.DCT8:
        return 2 <= first <= 16 and first % 2 == 0 and second == 0
    return 1 <= first <= 16 and 0 <= second <= 16


class Cells(NamedTuple):
    """Where a raster's cells stand, in its pixels: `x` the left end of both strips, `upper` and `lower` their tops."""

    x: int
    upper: int
    lower: int
    a_row: int
    rows: int
    width: int
    height: int
    raster_width: int
    raster_height: int
    raster_code: int


@lru_cache(maxsize=64)
def cells_of(raster: Raster) -> Cells:
    """The cells of a raster."""
    if raster.width < 512:
        a_row, width, height = 32, 8, 8
    elif raster.width < 1024:
        a_row, width, height = 64, 8, 8
    else:
        a_row, width, height = STRIP_CELLS, 8 if raster.width < 2048 else 16, 16
    x, rows = (raster.width - a_row * width) // 32 * 16, STRIP_CELLS // a_row
    lower = 16 * raster.lower_strip_row
    return Cells(x, 0, lower, a_row, rows, width, height, raster.width, raster.height, raster.code)


def signs(header: StripHeader) -> npt.NDArray[np.float64]:
    """float64[128]: 1 for a light cell, -1 for a dark one."""
    return np.where(np.unpackbits(np.frombuffer(header.pack(), np.uint8)) == 1, 1.0, -1.0)


def draw(header: StripHeader, picture: Picture, raster: Raster, amplitude: int = STRIP_AMPLITUDE) -> None:
    """Draw both strips of `header` in `picture`, of the size of `raster`; what they do not fill comes to rest.

    `amplitude`: steps of luma from rest to light, 8 to 120.
    """
    assert header.raster.code == raster.code
    cells = cells_of(raster)
    luma = (LUMA_REST + amplitude * signs(header)).astype(np.uint8).reshape(cells.rows, cells.a_row)
    drawn = luma.repeat(cells.height, axis=0).repeat(cells.width, axis=1)
    for top in (cells.upper, cells.lower):
        bottom = top + 16 * raster.strip_rows
        picture.y[top:bottom] = LUMA_REST
        picture.u[top // 2 : bottom // 2] = CHROMA_REST
        picture.v[top // 2 : bottom // 2] = CHROMA_REST
        picture.y[top : top + drawn.shape[0], cells.x : cells.x + drawn.shape[1]] = drawn


@lru_cache(maxsize=16)
def _known_cells(raster_code: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The light and the dark ones of the cells that are the same in every header of a raster: its code, bits unused."""
    fixed, value = bytearray(STRIP_BYTES), bytearray(STRIP_BYTES)
    fixed[_CODE_BYTE : _CODE_BYTE + 3] = 0x1F, 0xE0, 0xE0
    value[_CODE_BYTE] = _VERSION << 4 | raster_code
    shown = np.unpackbits(np.frombuffer(_masked(bytes(value)), np.uint8))
    is_fixed = np.unpackbits(np.frombuffer(fixed, np.uint8)) == 1
    return np.flatnonzero(is_fixed & (shown == 1)), np.flatnonzero(is_fixed & (shown == 0))


class Reading(NamedTuple):
    """A header read, which of the rectangles it was found in, and the luma of dark and light cells."""

    header: StripHeader
    rect: int
    dark: float
    light: float


def search(y_plane: Plane, raster: Raster, rects: Rects) -> Reading | None:
    """The first of `rects` in which the strips of `raster` can be read, as a picture that fills the rectangle has them.

    `rects` float64[n, 4]: x, y, width, height in pixels of `y_plane` uint8[any, any], not necessarily within it.
    """
    raw, levels = np.empty(STRIP_BYTES, np.uint8), np.empty(2)
    index = _search(y_plane, cells_of(raster), *_known_cells(raster.code), rects, raw, levels)
    header = parse_strip(raw.tobytes()) if index >= 0 else None
    return Reading(header, index, float(levels[0]), float(levels[1])) if header else None


def read(y_plane: Plane, raster: Raster, dx: int = 0, dy: int = 0) -> StripHeader | None:
    """The header of a picture of `raster` that stands `dx`, `dy` pixels right, down in `y_plane` (negative: cut off).

    Both strips together, then each alone. None where none of them gives a valid header that names this raster.
    """
    reading = search(y_plane, raster, np.array([[dx, dy, raster.width, raster.height]], np.float64))
    return reading.header if reading else None


_CRC_TABLE = np.array([crc32c.crc32c(bytes([i])) ^ crc32c.crc32c(b"\x00") for i in range(256)], np.uint32)
_MASK = np.frombuffer(STRIP_MASK, np.uint8)


@njit(cache=True, nogil=True)
def _first_and_end(low, high, size):  # type: ignore[no-untyped-def]
    """The pixels of 0..size that lie in the inner part of low..high; of all of it, where that is outside or tiny."""
    margin = (high - low) * _MARGIN
    for inset in (margin, 0.0):
        first = max(0, math.floor(low + inset + 0.5))
        end = min(size, math.floor(high - inset + 0.5))
        if end > first:
            return first, end
    return 0, 0


@njit(cache=True, nogil=True)
def _measure(plane, cells, rect, chosen, sums, counts):  # type: ignore[no-untyped-def]
    """Sum up the pixels of some cells: `sums`, `counts` float64[3, 128] for both strips, the upper, the lower one."""
    scale_x, scale_y = rect[2] / cells.raster_width, rect[3] / cells.raster_height
    for cell in chosen:
        left = rect[0] + (cells.x + cell % cells.a_row * cells.width) * scale_x
        x, x_end = _first_and_end(left, left + cells.width * scale_x, plane.shape[1])
        step = max(1, (x_end - x) // _SAMPLES_MIN)
        for strip in range(2):
            row = (cells.lower if strip else cells.upper) + cell // cells.a_row * cells.height
            y, y_end = _first_and_end(rect[1] + row * scale_y, rect[1] + (row + cells.height) * scale_y, plane.shape[0])
            total, count = np.uint32(0), 0
            for j in range(y, y_end, max(1, (y_end - y) // _SAMPLES_MIN)):
                for i in range(x, x_end, step):
                    total = np.uint32(total + np.uint32(plane[j, i]))
                    count += 1
            sums[1 + strip, cell], counts[1 + strip, cell] = total, count
        sums[0, cell] = sums[1, cell] + sums[2, cell]
        counts[0, cell] = counts[1, cell] + counts[2, cell]


@njit(cache=True, nogil=True)
def _is_likely(sums, counts, light, dark):  # type: ignore[no-untyped-def]
    """Whether some strip has all cells of `light` lighter than those of `dark`, which no header goes without."""
    for strip in range(3):
        lightest_dark, darkest_light = -1.0, 256.0
        for cell in dark:
            lightest_dark = max(lightest_dark, sums[strip, cell] / max(1.0, counts[strip, cell]))
        for cell in light:
            darkest_light = min(darkest_light, sums[strip, cell] / max(1.0, counts[strip, cell]))
        if darkest_light > lightest_dark:
            return True
    return False


@njit(cache=True, nogil=True)
def _split(means, levels):  # type: ignore[no-untyped-def]
    """Part the means into dark and light ones, whose averages go to `levels`; return the threshold between them."""
    threshold = (means.min() + means.max()) / 2
    levels[:] = threshold
    for _ in range(4):
        is_light = means > threshold
        if is_light.any() and not is_light.all():
            levels[0], levels[1] = means[~is_light].mean(), means[is_light].mean()
            threshold = (levels[0] + levels[1]) / 2
    return threshold


@njit(cache=True, nogil=True)
def _is_header(means, threshold, code, raw):  # type: ignore[no-untyped-def]
    """Write the cells' bits to `raw` uint8[16]; whether their CRC is right and they name the raster of that code."""
    register = np.uint32(0xFFFFFFFF)
    for i in range(STRIP_BYTES):
        value = 0
        for bit in range(8):
            value = value << 1 | (1 if means[8 * i + bit] > threshold else 0)
        raw[i] = value
        if i < _BODY_BYTES:
            register = _CRC_TABLE[(register ^ (value ^ _MASK[i])) & 255] ^ (register >> 8)
    register = ~register & 0xFFFFFFFF
    for i in range(4):
        if (raw[_BODY_BYTES + i] ^ _MASK[_BODY_BYTES + i]) != (register >> (24 - 8 * i)) & 255:
            return False
    return ((raw[_CODE_BYTE] ^ _MASK[_CODE_BYTE]) & 15) == code


@njit(cache=True, nogil=True)
def _search(plane, cells, light, dark, rects, raw, levels):  # type: ignore[no-untyped-def]
    """The index of the first of `rects` that holds a header, which goes to `raw`; -1 when none does.

    A few cells whose bits are known, `light` and `dark`, tell most rectangles that hold none.
    """
    sums, counts = np.empty((3, STRIP_CELLS)), np.empty((3, STRIP_CELLS))
    means, known, every = np.empty(STRIP_CELLS), np.concatenate((light, dark)), np.arange(STRIP_CELLS)
    for index in range(rects.shape[0]):
        _measure(plane, cells, rects[index], known, sums, counts)
        if not _is_likely(sums, counts, light, dark):
            continue
        _measure(plane, cells, rects[index], every, sums, counts)
        for strip in range(3):
            if counts[strip].min() == 0:
                continue
            for cell in range(STRIP_CELLS):
                means[cell] = sums[strip, cell] / counts[strip, cell]
            threshold = _split(means, levels)
            if levels[1] - levels[0] >= _CONTRAST_MIN and _is_header(means, threshold, cells.raster_code, raw):
                return index
    return -1
