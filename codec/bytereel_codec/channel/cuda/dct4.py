"""`Dct4` on a card. Reading: a thread takes a luma block, or the four blocks of a macroblock in a chroma plane.

Source: ITU-T H.264 (08/2021) 8.5.11 chroma DC, 8.5.12 4 x 4 residual blocks; FORMAT.md section 16.
"""

import numpy as np
from numba import cuda, int16

from bytereel_codec.channel.cuda.link import Link
from bytereel_codec.channel.cuda.signs import BYTES_BEHIND, SignReader, bits_at, draw_block
from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.dct4 import Dct4, tables
from bytereel_codec.channel.symbols.dct4_kernels import butterfly
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.transforms import areas, check_buffer, chroma_quantiser, quantiser_step, zigzag
from bytereel_codec.channel.symbols.transforms_kernels import COEFFICIENTS_MAX

_POSITIONS = np.array([zigzag(4).index((v, h)) for h in range(4) for v in range(4)])
"""Where the coefficient of vertical frequency v and horizontal frequency h stands in order: int64[4 * h + v]."""


class CudaDct4(Dct4):
    """`Dct4`, drawn and read by a card: the same pictures, bytes and margins. Raises: as `Dct4`."""

    def __init__(self, raster: Raster, modulation: Modulation, quantiser: int | None = None) -> None:
        super().__init__(raster, modulation, quantiser)
        self._link = link = Link()
        rows, columns = raster.last_row - raster.first_row, raster.columns
        self._luma = link.room((16 * rows, 4 * columns), np.uint32)
        self._chroma = [link.room((8 * rows, 2 * columns), np.uint32) for _ in range(2 if self._second else 0)]
        self._content = link.room(self.picture_bytes + BYTES_BEHIND)
        self._signs = SignReader(link, raster, self._layout)
        if quantiser is not None:
            self._blocks_there_are = [
                link.sent(table.view(np.uint32).reshape(-1, 4))
                for table in tables(self._first, self._second, quantiser)
            ]

    def render(self, content: Bytes, picture: Picture) -> None:
        """As `Dct4.render`."""
        if self._quantiser is None:
            raise ValueError("drawing needs the quantiser")
        check_buffer(content, self.picture_bytes)
        parts, link, width = areas(self.raster, picture), self._link, len(self._layout.lines)
        link.send(content, self._content[: self.picture_bytes])
        luma, chroma = self._blocks_there_are
        shape = (self._luma.shape[1], self._luma.shape[0] // 4)
        _draw_luma[link.over(*shape)](self._content, self._first, width, luma, self._luma)
        for number, plane in enumerate(self._chroma):
            bit, shape = 16 * self._first + 4 * number * self._second, (plane.shape[1], plane.shape[0] // 4)
            _draw_chroma[link.over(*shape)](self._content, bit, self._second, width, chroma, plane)
        for plane, part in zip((self._luma, *self._chroma), parts, strict=False):
            link.fetch(plane, part)

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """As `Dct4.demodulate`."""
        check_buffer(content, self.picture_bytes)
        check_buffer(margin, self.picture_bytes)
        link, columns, read = self._link, self.raster.columns, self._signs.coefficients
        for plane, part in zip((self._luma, *self._chroma), areas(self.raster, picture), strict=False):
            link.send(part, plane)
        _analyse_luma[link.over(columns, self._luma.shape[0])](self._luma, read)
        for number, plane in enumerate(self._chroma):
            _analyse_chroma[link.over(columns, plane.shape[0] // 8)](plane, 16 + 4 * number, read)
        quantiser = self._quantiser
        known = None
        if quantiser is not None:
            known = quantiser_step(quantiser), quantiser_step(chroma_quantiser(quantiser))
        self._signs.read(known, content, margin)


@cuda.jit(cache=True)
def _draw_luma(content, first, width, table, y):  # type: ignore[no-untyped-def]
    """A thread a block: `table` uint32[2^first, 4], `y` uint32[16 * rows, 4 * columns]."""
    x, row = cuda.grid(2)
    if x < y.shape[1] and row < y.shape[0] // 4:
        macroblock = row // 4 * (y.shape[1] // 4) + x // 4
        block = row % 4 * 4 + x % 4
        draw_block(table, bits_at(content, macroblock * width, block * first, first), y, 4 * row, x)


@cuda.jit(cache=True)
def _draw_chroma(content, bit, second, width, table, plane):  # type: ignore[no-untyped-def]
    """A thread a block: as `_draw_luma`, the first bits of a macroblock's four blocks making their DC levels."""
    x, row = cuda.grid(2)
    if x < plane.shape[1] and row < plane.shape[0] // 4:
        at = (row // 2 * (plane.shape[1] // 2) + x // 2) * width
        right, lower = 1 - 2 * (x % 2), 1 - 2 * (row % 2)
        level = 0 if x % 2 + row % 2 == 0 else 2
        level += bits_at(content, at, bit, 1) + right * bits_at(content, at, bit + second, 1)
        level += lower * bits_at(content, at, bit + 2 * second, 1)
        level += right * lower * bits_at(content, at, bit + 3 * second, 1)
        others = bits_at(content, at, bit + (row % 2 * 2 + x % 2) * second, second) >> 1
        draw_block(table, (level << (second - 1)) + others, plane, 4 * row, x)


@cuda.jit(device=True)
def _analyse(plane, top, x, rest, slot, macroblock, coefficients):  # type: ignore[no-untyped-def]
    """The coefficients of the block at pixel row `top` and word `x` of `plane`, into the slots from `slot` on."""
    rows = cuda.local.array(16, int16)
    for i in range(4):
        word = np.int64(plane[top + i, x])
        a, b, c, d = butterfly(
            np.int16(word & 255), np.int16(word >> 8 & 255), np.int16(word >> 16 & 255), np.int16(word >> 24)
        )
        rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3] = a, b, c, d
    for h in range(4):
        column = butterfly(rows[h], rows[4 + h], rows[8 + h], rows[12 + h])
        for v in range(4):
            coefficients[slot + _POSITIONS[4 * h + v], macroblock] = column[v] - (rest if v + h == 0 else 0)


@cuda.jit(cache=True)
def _analyse_luma(y, coefficients):  # type: ignore[no-untyped-def]
    """A thread a block: macroblock columns in x; rows and their 16 blocks in y."""
    x, index = cuda.grid(2)
    if x < y.shape[1] // 4 and index < y.shape[0]:
        row, block = index // 16, index % 16
        macroblock, top = row * (y.shape[1] // 4) + x, 16 * row + block // 4 * 4
        slot = block * COEFFICIENTS_MAX
        _analyse(y, top, 4 * x + block % 4, 16 * LUMA_REST, slot, macroblock, coefficients)


@cuda.jit(cache=True)
def _analyse_chroma(plane, block, coefficients):  # type: ignore[no-untyped-def]
    """A thread a macroblock, its four blocks from number `block` on: at last as `dct4._join_chroma`."""
    x, row = cuda.grid(2)
    if x < plane.shape[1] // 2 and row < plane.shape[0] // 8:
        macroblock, slot = row * (plane.shape[1] // 2) + x, block * COEFFICIENTS_MAX
        for i in range(4):
            top, at = 8 * row + i // 2 * 4, slot + i * COEFFICIENTS_MAX
            _analyse(plane, top, 2 * x + i % 2, 16 * CHROMA_REST, at, macroblock, coefficients)
        a = np.int64(coefficients[slot, macroblock])
        b = np.int64(coefficients[slot + COEFFICIENTS_MAX, macroblock])
        c = np.int64(coefficients[slot + 2 * COEFFICIENTS_MAX, macroblock])
        d = np.int64(coefficients[slot + 3 * COEFFICIENTS_MAX, macroblock])
        coefficients[slot, macroblock] = (a + b + c + d) >> 1
        coefficients[slot + COEFFICIENTS_MAX, macroblock] = (a - b + c - d) >> 1
        coefficients[slot + 2 * COEFFICIENTS_MAX, macroblock] = (a + b - c - d) >> 1
        coefficients[slot + 3 * COEFFICIENTS_MAX, macroblock] = (a - b - c + d) >> 1
