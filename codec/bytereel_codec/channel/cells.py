"""Cells: squares of 3 x 3 pixels or single pixels, each in one colour of a palette.

The data area is cut into cells from its top left, floor(width / side) a row, in raster order; pixels left over are not
touched. Bytes become symbols most significant bits first; a last symbol that the bytes do not fill ends in zero bits,
and cells without any data are symbol 0. A chroma sample that lies in two cells or four is their mean: each pair is
averaged first in x, then in y, halves rounded up; what lies outside the cells counts as at rest.

Reading: a cell's luma is a mean weighted to its cross, its chroma the one that explains best the 3 x 3 chroma samples
of its group of 2 x 2 cells; then a table names the nearest colour. Range, gain and offset are found from the picture's
own colours.

Source: FORMAT.md section 18.
"""

import numpy as np
from numba import njit

from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.modulator import Bytes
from bytereel_codec.channel.palettes import (
    CHROMA_UNIT,
    LUMA_UNIT,
    Entries,
    Fit,
    Levels,
    classify,
    colours_of,
    fit,
    nearest_table,
)
from bytereel_codec.channel.raster import CHROMA_REST, Picture, Raster
from bytereel_codec.errors import Permanent

_BITS = (2, 4, 6, 8)
_SIDES = (1, 3)
_PALETTES = ("yuv", "ega")
_SAMPLE_CELLS = 1024


class Cells:
    """Bytes to coloured cells and back. Not for use by two threads at once.

    Raises: Permanent `modulation.unknown`. Source: FORMAT.md section 18.
    """

    def __init__(self, raster: Raster, modulation: Modulation) -> None:
        side, palette = modulation.side, modulation.palette
        if modulation.family != Family.CELLS or modulation.first not in _BITS or side not in _SIDES:
            raise Permanent("modulation.unknown", "no such cells", first=modulation.first, second=modulation.second)
        if side == 1 and _PALETTES[palette] == "ega":
            raise Permanent("modulation.unknown", "cells of one pixel have no colour of their own", hint="take yuv")
        self.raster = raster
        self.bits, self.side = modulation.first, side
        self.top, self.bottom = raster.first_row * 16, raster.last_row * 16
        self.rows, self.columns = (self.bottom - self.top) // side, raster.width // side
        self.cells = self.rows * self.columns
        self.picture_bytes = self.cells * self.bits // 8
        name = "grey" if side == 1 else _PALETTES[palette]
        self.colours, self._nearest = colours_of(self.bits, name), nearest_table(self.bits, name)
        self._symbols = np.zeros(-(-self.cells // 4) * 4, np.uint8)
        self._entries = np.zeros(self._symbols.size, np.uint16)
        self._lines = np.full((2, 2, 3 * (self.columns // 2 + 1)), CHROMA_REST, np.uint8)
        self._levels = np.empty((3, self.cells if self.side == 3 else 0), np.int16)
        self._sums = np.empty((2, 3 * self.columns + 3), np.int16)
        self._rest = np.full(self.raster.width // 2, CHROMA_REST, np.uint8)

    def render(self, content: Bytes, picture: Picture) -> None:
        """Draw `content` uint8[picture_bytes] in the data area of `picture`, and nothing else.

        Raises: Permanent `picture.shape`.
        """
        self._check(picture, content)
        _unpack(content, self.bits, self._symbols)
        symbols = self._symbols[: self.cells].reshape(self.rows, self.columns)
        if self.side == 1:
            np.take(self.colours[:, 0], symbols, out=picture.y[self.top : self.bottom], mode="clip")
            return
        _draw_luma(symbols, self.colours, picture.y[self.top : self.bottom])
        half = slice(self.top // 2, self.bottom // 2)
        _draw_chroma(symbols, self.colours, picture.u[half], picture.v[half], self._lines)

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """Read `content` uint8[picture_bytes] and how sure each byte is: `margin` uint8[picture_bytes].

        Raises: Permanent `picture.shape`.
        """
        self._check(picture, content, margin)
        y, u, v = (np.ascontiguousarray(plane) for plane in picture)
        entries = self._entries[: self.cells]
        if self.side == 1:
            area = y[self.top : self.bottom]
            fitted = fit(self._pixels(area), self._nearest, self.colours)
            np.take(self._direct(fitted), area.reshape(-1), out=entries, mode="clip")
        else:
            self._measure(y, u, v)
            fitted = fit(self._sample(), self._nearest, self.colours)
            classify(self._levels, fitted, self._nearest, entries)
        _pack(self._entries, self.bits, content, margin)

    def _check(self, picture: Picture, *contents: Bytes) -> None:
        """Raises: Permanent `picture.shape`. The kernels check no bounds."""
        height, width = self.raster.height, self.raster.width
        wanted = (height, width), (height // 2, width // 2), (height // 2, width // 2)
        planes_fit = all(p.shape == shape and p.dtype == np.uint8 for p, shape in zip(picture, wanted, strict=True))
        if not planes_fit or any(c.shape != (self.picture_bytes,) or c.dtype != np.uint8 for c in contents):
            raise Permanent(
                "picture.shape",
                "the picture or its bytes have another size than the geometry's",
                expected=[list(shape) for shape in wanted] + [self.picture_bytes],
                actual=[list(array.shape) for array in (*picture, *contents)],
            )

    def _measure(self, y: Bytes, u: Bytes, v: Bytes) -> None:
        """Fill the levels int16[3, cells]: luma in 1 / 14, chroma in 1 / 64."""
        half = slice(self.top // 2, self.bottom // 2)
        levels = self._levels.reshape(3, self.rows, self.columns)
        _measure_luma(y[self.top : self.bottom], self._sums, levels[0])
        _measure_chroma(u[half], self._rest, self._sums, levels[1])
        _measure_chroma(v[half], self._rest, self._sums, levels[2])

    def _sample(self) -> Levels:
        """Some of the cells as they were measured: int16[3, n]."""
        return np.ascontiguousarray(self._levels[:, :: _step(self.cells)])

    def _pixels(self, area: Bytes) -> Levels:
        """Some of the pixels of the data area, as measured cells: int16[3, n]."""
        values = area.reshape(-1)[:: _step(area.size)]
        sample = np.full((3, values.size), CHROMA_REST * CHROMA_UNIT, np.int16)
        np.multiply(values, LUMA_UNIT, out=sample[0], dtype=np.int16)
        return sample

    def _direct(self, fitted: Fit) -> Entries:
        """The nearest table for pixels as they were read: uint16[256]."""
        index = np.floor(np.arange(256) * fitted[0, 0] + fitted[0, 1] + 0.5).clip(0, 255).astype(np.int64)
        table: Entries = self._nearest.table[index]
        return table


def _step(cells: int) -> int:
    """The distance of sampled cells: odd, so that they lie in many columns."""
    return max(1, cells // _SAMPLE_CELLS) | 1


@njit(cache=True, nogil=True)
def _unpack(content, bits, symbols):  # type: ignore[no-untyped-def]
    """Symbols of `bits` bits from bytes, most significant first; zeros behind the last byte."""
    count = content.size
    symbols[count * 8 // bits :] = 0
    if bits == 8:
        symbols[:count] = content
    elif bits == 4:
        for i in range(count):
            symbols[2 * i] = content[i] >> 4
            symbols[2 * i + 1] = content[i] & 15
    elif bits == 2:
        for i in range(count):
            for part in range(4):
                symbols[4 * i + part] = content[i] >> (6 - 2 * part) & 3
    else:
        for i in range((count + 2) // 3):
            word = np.uint32(0)
            for part in range(3):
                word = np.uint32(word << 8 | (content[3 * i + part] if 3 * i + part < count else 0))
            for part in range(4):
                symbols[4 * i + part] = np.uint8(word >> np.uint32(18 - 6 * part) & np.uint32(63))


@njit(cache=True, nogil=True)
def _pack(entries, bits, content, margin):  # type: ignore[no-untyped-def]
    """Bytes and their smallest margins from table entries, `margin` << 8 | symbol each."""
    eight, low = np.uint16(8), np.uint16(255)
    if bits == 8:
        for i in range(content.size):
            content[i] = np.uint8(entries[i] & low)
            margin[i] = np.uint8(entries[i] >> eight)
    elif bits == 4:
        for i in range(content.size):
            first, second = np.uint16(entries[2 * i]), np.uint16(entries[2 * i + 1])
            content[i] = np.uint8(np.uint16(first << np.uint16(4)) | np.uint16(second & low))
            margin[i] = np.uint8(np.uint16(min(first, second)) >> eight)
    elif bits == 2:
        for i in range(content.size):
            word, smallest = np.uint16(0), np.uint16(0xFFFF)
            for part in range(4):
                entry = np.uint16(entries[4 * i + part])
                word = np.uint16(np.uint16(word << np.uint16(2)) | np.uint16(entry & low))
                smallest = min(smallest, entry)
            content[i] = np.uint8(word)
            margin[i] = np.uint8(smallest >> eight)
    else:
        for i in range(content.size):
            at, shift = i * 8 // 6, 4 - i * 8 % 6
            first, second = np.uint16(entries[at]), np.uint16(entries[at + 1])
            content[i] = np.uint8(((first & 63) << 6 | (second & 63)) >> shift & 255)
            margin[i] = np.uint8(np.uint16(min(first, second)) >> eight)


@njit(cache=True, nogil=True)
def _draw_luma(symbols, colours, plane):  # type: ignore[no-untyped-def]
    """Luma of cells of 3 x 3 pixels: one line of each row, then its two copies."""
    luma = colours[:, 0].copy()
    width = 3 * symbols.shape[1]
    for row in range(symbols.shape[0]):
        line, source = plane[3 * row], symbols[row]
        for i in range(source.size):
            value = luma[source[i]]
            line[3 * i] = value
            line[3 * i + 1] = value
            line[3 * i + 2] = value
        for copy in range(1, 3):
            target = plane[3 * row + copy]
            for i in range(width):
                target[i] = line[i]


@njit(cache=True, nogil=True)
def _draw_line(symbols, values, line):  # type: ignore[no-untyped-def]
    """One chroma line through a row of cells: each pair's first, mean and second."""
    pairs = symbols.size // 2
    for pair in range(pairs):
        first, second = values[symbols[2 * pair]], values[symbols[2 * pair + 1]]
        line[3 * pair] = first
        line[3 * pair + 1] = np.uint8((np.uint16(first) + np.uint16(second) + np.uint16(1)) >> 1)
        line[3 * pair + 2] = second
    if symbols.size % 2:
        last = values[symbols[-1]]
        line[3 * pairs] = last
        line[3 * pairs + 1] = (last + CHROMA_REST + 1) >> 1


@njit(cache=True, nogil=True)
def _draw_chroma(symbols, colours, u, v, lines):  # type: ignore[no-untyped-def]
    """Chroma of cells of 3 x 3 pixels, two rows of cells at a time: upper line, the mean of both, lower line."""
    rows = symbols.shape[0]
    width, height = (3 * symbols.shape[1] + 1) // 2, (3 * rows + 1) // 2
    for channel in range(2):
        plane, values = (v, colours[:, 2].copy()) if channel else (u, colours[:, 1].copy())
        upper, lower = lines[0, channel], lines[1, channel]
        for pair in range((rows + 1) // 2):
            _draw_line(symbols[2 * pair], values, upper)
            if 2 * pair + 1 < rows:
                _draw_line(symbols[2 * pair + 1], values, lower)
            else:
                lower[:] = CHROMA_REST
            for i in range(width):
                plane[3 * pair, i] = upper[i]
            for i in range(width):
                plane[3 * pair + 1, i] = np.uint8((np.uint16(upper[i]) + np.uint16(lower[i]) + np.uint16(1)) >> 1)
            if 3 * pair + 2 < height:
                for i in range(width):
                    plane[3 * pair + 2, i] = lower[i]


@njit(cache=True, nogil=True)
def _measure_luma(plane, sums, levels):  # type: ignore[no-untyped-def]
    """Each cell's luma, weights 1 2 1, 2 2 2, 1 2 1."""
    rows, columns = levels.shape
    outer, inner = sums[0], sums[1]
    for row in range(rows):
        above, middle, below = plane[3 * row], plane[3 * row + 1], plane[3 * row + 2]
        for x in range(3 * columns):
            ends = np.int16(np.int16(above[x]) + np.int16(below[x]))
            twice = np.int16(np.int16(middle[x]) * np.int16(2))
            outer[x] = np.int16(ends + twice)
            inner[x] = np.int16(np.int16(ends * np.int16(2)) + twice)
        line = levels[row]
        for i in range(columns):
            line[i] = outer[3 * i] + inner[3 * i + 1] + outer[3 * i + 2]


@njit(cache=True, nogil=True)
def _measure_chroma(plane, rest, sums, levels):  # type: ignore[no-untyped-def]
    """Each cell's chroma: weights 7 2 -1 in x and in y from its own corner of the group's 3 x 3 samples."""
    rows, columns = levels.shape
    width = min((3 * columns + 1) // 2, plane.shape[1])
    used = 3 * ((columns + 1) // 2)
    upper, lower = sums[0, :used], sums[1, :used]
    for pair in range((rows + 1) // 2):
        whole = 2 * pair + 1 < rows
        first, second, third = plane[3 * pair], plane[3 * pair + 1], plane[3 * pair + 2] if whole else rest
        upper[:] = 8 * CHROMA_REST
        lower[:] = 8 * CHROMA_REST
        for x in range(width):
            a, b, c = np.int16(first[x]), np.int16(second[x]), np.int16(third[x])
            upper[x] = np.int16(np.int16(7) * a + np.int16(2) * b - c)
            lower[x] = np.int16(np.int16(7) * c + np.int16(2) * b - a)
        _measure_line(upper, levels[2 * pair])
        if whole:
            _measure_line(lower, levels[2 * pair + 1])


@njit(cache=True, nogil=True)
def _measure_line(sums, line):  # type: ignore[no-untyped-def]
    """The horizontal half of the chroma weights."""
    for pair in range(line.size // 2):
        a, b, c = sums[3 * pair], sums[3 * pair + 1], sums[3 * pair + 2]
        line[2 * pair] = 7 * a + 2 * b - c
        line[2 * pair + 1] = 7 * c + 2 * b - a
    if line.size % 2:
        start = 3 * (line.size // 2)
        line[-1] = 7 * sums[start] + 2 * sums[start + 1] - sums[start + 2]
