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

from bytereel_codec.channel.modulation import PALETTES, Family, Modulation
from bytereel_codec.channel.raster import CHROMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.cells_kernels import (
    draw_chroma,
    draw_luma,
    measure_chroma,
    measure_luma,
    pack,
    unpack,
)
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.palettes import (
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
from bytereel_codec.errors import Permanent

_BITS = (2, 4, 6, 8)
_SIDES = (1, 3)
_SAMPLE_CELLS = 1024


class Cells:
    """Bytes to coloured cells and back. Not for use by two threads at once.

    Raises: Permanent `modulation.unknown`. Source: FORMAT.md section 18.
    """

    def __init__(self, raster: Raster, modulation: Modulation) -> None:
        side, palette = modulation.side, modulation.palette
        if modulation.family != Family.CELLS or modulation.first not in _BITS or side not in _SIDES:
            raise Permanent("modulation.unknown", "no such cells", first=modulation.first, second=modulation.second)
        if side == 1 and PALETTES[palette] == "ega":
            raise Permanent("modulation.unknown", "cells of one pixel have no colour of their own", hint="take yuv")
        self.raster = raster
        self.bits, self.side = modulation.first, side
        self.top, self.bottom = raster.first_row * 16, raster.last_row * 16
        self.rows, self.columns = (self.bottom - self.top) // side, raster.width // side
        self.cells = self.rows * self.columns
        self.picture_bytes = self.cells * self.bits // 8
        name = "grey" if side == 1 else PALETTES[palette]
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
        unpack(content, self.bits, self._symbols)
        symbols = self._symbols[: self.cells].reshape(self.rows, self.columns)
        if self.side == 1:
            np.take(self.colours[:, 0], symbols, out=picture.y[self.top : self.bottom], mode="clip")
            return
        draw_luma(symbols, self.colours, picture.y[self.top : self.bottom])
        half = slice(self.top // 2, self.bottom // 2)
        draw_chroma(symbols, self.colours, picture.u[half], picture.v[half], self._lines)

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
        pack(self._entries, self.bits, content, margin)

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
        measure_luma(y[self.top : self.bottom], self._sums, levels[0])
        measure_chroma(u[half], self._rest, self._sums, levels[1])
        measure_chroma(v[half], self._rest, self._sums, levels[2])

    def _sample(self) -> Levels:
        """Some of the cells as they were measured: int16[3, n]."""
        return np.ascontiguousarray(self._levels[:, :: step_between_samples(self.cells)])

    def _pixels(self, area: Bytes) -> Levels:
        """Some of the pixels of the data area, as measured cells: int16[3, n]."""
        values = area.reshape(-1)[:: step_between_samples(area.size)]
        sample = np.full((3, values.size), CHROMA_REST * CHROMA_UNIT, np.int16)
        np.multiply(values, LUMA_UNIT, out=sample[0], dtype=np.int16)
        return sample

    def _direct(self, fitted: Fit) -> Entries:
        """The nearest table for pixels as they were read: uint16[256]."""
        index = np.floor(np.arange(256) * fitted[0, 0] + fitted[0, 1] + 0.5).clip(0, 255).astype(np.int64)
        table: Entries = self._nearest.table[index]
        return table


def step_between_samples(cells: int) -> int:
    """The distance of sampled cells: odd, so that they lie in many columns."""
    return max(1, cells // _SAMPLE_CELLS) | 1
