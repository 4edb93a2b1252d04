"""`Cells` on a card: a thread takes a group of 2 x 2 cells, or a byte, or a cell of one pixel.

What a picture's range, gain and offset were is found on the CPU, from the sample of cells that `Cells` takes.

Source: FORMAT.md section 18.
"""

from typing import Any

import numpy as np
from numba import cuda, int16

from bytereel_codec.channel.cuda.link import Link
from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.raster import CHROMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.cells import Cells, step_between_samples
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.palettes import FIXED, UNITS, Fit, Levels, fit


class CudaCells(Cells):
    """`Cells`, drawn and read by a card: the same pictures, bytes and margins. Raises: as `Cells`."""

    def __init__(self, raster: Raster, modulation: Modulation) -> None:
        super().__init__(raster, modulation)
        self._link = link = Link()
        height, width = self.side * self.rows, self.side * self.columns
        self._y = link.room((height, width))
        self._half = [link.room(((height + 1) // 2, (width + 1) // 2)) for _ in range(2 if self.side == 3 else 0)]
        self._content, self._margin = link.room(self.picture_bytes), link.room(self.picture_bytes)
        self._colours = link.sent(self.colours)
        self._table = link.sent(self._nearest.table)
        self._read = link.room(self.cells, np.uint16)
        self._measured = link.room((3, self.rows, self.columns) if self.side == 3 else (3, 1, 1), np.int16)

    def render(self, content: Bytes, picture: Picture) -> None:
        """As `Cells.render`."""
        self._check(picture, content)
        link, pairs = self._link, (self.columns + 1) // 2
        link.send(content, self._content)
        if self.side == 1:
            _draw_pixels[link.over(self.columns, self.rows)](self._content, self.bits, self._colours, self._y)
        else:
            launch = link.over(pairs, (self.rows + 1) // 2)
            _draw_groups[launch](self._content, self.bits, self._colours, self.rows, self.columns, self._y, *self._half)
        for on_card, area in zip((self._y, *self._half), self._areas(picture), strict=False):
            link.fetch(on_card, area)

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """As `Cells.demodulate`."""
        self._check(picture, content, margin)
        link, launch = self._link, self._link.over(self.columns, self.rows)
        parts = self._areas(picture)
        for on_card, area in zip((self._y, *self._half), parts, strict=False):
            link.send(area, on_card)
        if self.side == 1:
            fitted = fit(self._pixels(parts[0]), self._nearest, self.colours)
            _look_up[launch](self._y, link.sent(self._direct(fitted)), self._read)
        else:
            _measure[link.over((self.columns + 1) // 2, (self.rows + 1) // 2)](self._y, *self._half, self._measured)
            fitted = fit(self._taken(), self._nearest, self.colours)
            self._classify(fitted, launch)
        _pack[link.along(self.picture_bytes)](self._read, self.bits, self._content, self._margin)
        link.fetch(self._content, content)
        link.fetch(self._margin, margin)

    def _areas(self, picture: Picture) -> list[Bytes]:
        """The parts of the planes that cells cover: views."""
        top, half = self.top, self.top // 2
        height, width = self.side * self.rows, self.side * self.columns
        chroma = (slice(half, half + (height + 1) // 2), slice((width + 1) // 2))
        return [picture.y[top : top + height, :width], picture.u[chroma], picture.v[chroma]]

    def _taken(self) -> Levels:
        """The sample that `Cells` takes of its cells: int16[3, n]."""
        step = step_between_samples(self.cells)
        sample = np.empty((3, -(-self.cells // step)), np.int16)
        on_card = self._link.room(sample.shape, np.int16)
        _take[self._link.along(sample.shape[1])](self._measured, step, on_card)
        self._link.fetch(on_card, sample)
        return sample

    def _classify(self, fitted: Fit, launch: Any) -> None:
        """As `palettes.classify`."""
        scale = self._link.sent(np.rint(fitted[:, 0] * FIXED / UNITS).astype(np.int32))
        offset = self._link.sent(np.rint((fitted[:, 1] + 0.5) * FIXED).astype(np.int32))
        luma, chroma = self._nearest.luma_bits, self._nearest.chroma_bits
        _classify[launch](self._measured, scale, offset, self._table, luma, chroma, self._read)


@cuda.jit(device=True)
def _symbol(content, bits, cell):  # type: ignore[no-untyped-def]
    """The symbol of a cell: bits from the most significant one on, zeros behind the last byte."""
    bit = cell * bits
    at = bit >> 3
    word = np.int64(content[at]) << 8 if at < content.size else 0
    word |= np.int64(content[at + 1]) if at + 1 < content.size else 0
    return word >> (16 - bits - (bit & 7)) & ((1 << bits) - 1)


@cuda.jit(cache=True)
def _draw_pixels(content, bits, colours, y):  # type: ignore[no-untyped-def]
    """A thread a cell of one pixel."""
    x, row = cuda.grid(2)
    if x < y.shape[1] and row < y.shape[0]:
        y[row, x] = colours[_symbol(content, bits, row * y.shape[1] + x), 0]


@cuda.jit(device=True)
def _draw_chroma(colours, channel, symbols, row, x, plane):  # type: ignore[no-untyped-def]
    """The 3 x 3 chroma samples of a group from its four symbols, -1 for a cell that is none."""
    value = cuda.local.array(4, int16)
    for i in range(4):
        value[i] = colours[symbols[i], channel] if symbols[i] >= 0 else CHROMA_REST
    for j in range(3):
        if 3 * x + j < plane.shape[1]:
            upper = value[j // 2] if j != 1 else (value[0] + value[1] + 1) >> 1
            lower = value[2 + j // 2] if j != 1 else (value[2] + value[3] + 1) >> 1
            plane[3 * row, 3 * x + j] = upper
            plane[3 * row + 1, 3 * x + j] = (upper + lower + 1) >> 1
            if 3 * row + 2 < plane.shape[0]:
                plane[3 * row + 2, 3 * x + j] = lower


@cuda.jit(cache=True)
def _draw_groups(content, bits, colours, rows, columns, y, u, v):  # type: ignore[no-untyped-def]
    """A thread a group of 2 x 2 cells of 3 x 3 pixels."""
    x, row = cuda.grid(2)
    if 2 * x < columns and 2 * row < rows:
        symbols = cuda.local.array(4, int16)
        for i in range(4):
            cell_row, cell = 2 * row + i // 2, 2 * x + i % 2
            symbols[i] = -1
            if cell_row < rows and cell < columns:
                symbols[i] = _symbol(content, bits, cell_row * columns + cell)
                for place in range(9):
                    y[3 * cell_row + place // 3, 3 * cell + place % 3] = colours[symbols[i], 0]
        _draw_chroma(colours, 1, symbols, row, x, u)
        _draw_chroma(colours, 2, symbols, row, x, v)


@cuda.jit(device=True)
def _sample_at(plane, row, x):  # type: ignore[no-untyped-def]
    """A chroma sample; at rest outside the cells."""
    return np.int64(plane[row, x]) if row < plane.shape[0] and x < plane.shape[1] else CHROMA_REST


@cuda.jit(device=True)
def _measure_chroma(plane, row, x, levels):  # type: ignore[no-untyped-def]
    """As `cells_kernels.measure_chroma`, for one group; `levels` int16[rows, columns]."""
    for i in range(4):
        down, right = i // 2 * 2, i % 2 * 2
        if 2 * row + i // 2 < levels.shape[0] and 2 * x + i % 2 < levels.shape[1]:
            total = 0
            for j in range(3):
                near = _sample_at(plane, 3 * row + down, 3 * x + j)
                middle, far = (
                    _sample_at(plane, 3 * row + 1, 3 * x + j),
                    _sample_at(plane, 3 * row + 2 - down, 3 * x + j),
                )
                weight = 2 if j == 1 else (7 if j == right else -1)
                total += weight * (7 * near + 2 * middle - far)
            levels[2 * row + i // 2, 2 * x + i % 2] = total


@cuda.jit(cache=True)
def _measure(y, u, v, levels):  # type: ignore[no-untyped-def]
    """A thread a group of 2 x 2 cells: their luma, weights 1 2 1, 2 2 2, 1 2 1, and their chroma."""
    x, row = cuda.grid(2)
    if 2 * x < levels.shape[2] and 2 * row < levels.shape[1]:
        for i in range(4):
            cell_row, cell = 2 * row + i // 2, 2 * x + i % 2
            if cell_row < levels.shape[1] and cell < levels.shape[2]:
                total = np.int64(0)
                for place in range(9):
                    is_corner = place % 2 == 0 and place != 4
                    total += (1 if is_corner else 2) * np.int64(y[3 * cell_row + place // 3, 3 * cell + place % 3])
                levels[0, cell_row, cell] = total
        _measure_chroma(u, row, x, levels[1])
        _measure_chroma(v, row, x, levels[2])


@cuda.jit(cache=True)
def _take(levels, step, out):  # type: ignore[no-untyped-def]
    """A thread a sampled cell."""
    i = cuda.grid(1)
    if i < out.shape[1]:
        row, cell = i * step // levels.shape[2], i * step % levels.shape[2]
        for channel in range(3):
            out[channel, i] = levels[channel, row, cell]


@cuda.jit(device=True)
def _scaled(level, scale, offset, shift):  # type: ignore[no-untyped-def]
    """As `palettes._scaled`."""
    value = np.int32(np.int32(np.int32(level) * scale) + offset) >> 16
    return (0 if value < 0 else (255 if value > 255 else value)) >> shift


@cuda.jit(cache=True)
def _classify(levels, scale, offset, table, luma_bits, chroma_bits, entries):  # type: ignore[no-untyped-def]
    """A thread a cell: as `palettes._classify`."""
    x, row = cuda.grid(2)
    if x < levels.shape[2] and row < levels.shape[1]:
        y = _scaled(levels[0, row, x], scale[0], offset[0], 8 - luma_bits)
        u = _scaled(levels[1, row, x], scale[1], offset[1], 8 - chroma_bits)
        v = _scaled(levels[2, row, x], scale[2], offset[2], 8 - chroma_bits)
        entries[row * levels.shape[2] + x] = table[(y << chroma_bits | u) << chroma_bits | v]


@cuda.jit(cache=True)
def _look_up(y, direct, entries):  # type: ignore[no-untyped-def]
    """A thread a cell of one pixel."""
    x, row = cuda.grid(2)
    if x < y.shape[1] and row < y.shape[0]:
        entries[row * y.shape[1] + x] = direct[y[row, x]]


@cuda.jit(cache=True)
def _pack(entries, bits, content, margin):  # type: ignore[no-untyped-def]
    """A thread a byte: as `cells_kernels.pack`."""
    i = cuda.grid(1)
    if i < content.size:
        first, last = i * 8 // bits, (i * 8 + 7) // bits
        word, smallest = np.int64(0), np.int64(0xFFFF)
        for cell in range(first, last + 1):
            word = word << bits | np.int64(entries[cell]) & ((1 << bits) - 1)
            smallest = np.int64(entries[cell]) if entries[cell] < smallest else smallest
        content[i] = np.uint8(word >> ((last + 1) * bits - (i * 8 + 8)) & 255)
        margin[i] = np.uint8(smallest >> 8)
