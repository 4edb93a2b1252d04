"""`Dct8` on a card: a thread takes a block.

Source: ITU-T H.264 (08/2021) 8.5.13 8 x 8 residual blocks; FORMAT.md section 16.
"""

import numpy as np
from numba import cuda, int16

from bytereel_codec.channel.cuda.link import Link
from bytereel_codec.channel.cuda.signs import BYTES_BEHIND, SignReader, bits_at, draw_block
from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.raster import LUMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.dct8 import VERTICAL, Dct8, eight_of, even_half, odd_half
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.transforms import areas, block_table, check_buffer, coefficients_of, quantiser_step
from bytereel_codec.channel.symbols.transforms_kernels import COEFFICIENTS_MAX

_LINES = 8 * VERTICAL
_READ = [places[0] for places in coefficients_of(8, COEFFICIENTS_MAX)]
_PLACES = np.array(
    [_READ.index((v, h)) if (v, h) in _READ else COEFFICIENTS_MAX for v in range(VERTICAL) for h in range(VERTICAL)]
)
"""Which bit is the sign of the coefficient (v, h): int64[5 * v + h], COEFFICIENTS_MAX where none is."""


class CudaDct8(Dct8):
    """`Dct8`, drawn and read by a card: the same pictures, bytes and margins. Raises: as `Dct8`."""

    def __init__(self, raster: Raster, modulation: Modulation, quantiser: int | None = None) -> None:
        super().__init__(raster, modulation, quantiser)
        self._link = link = Link()
        self._luma = link.room((16 * (raster.last_row - raster.first_row), 2 * raster.columns), np.uint64)
        self._content = link.room(self.picture_bytes + BYTES_BEHIND)
        self._signs = SignReader(link, raster, self._layout)
        if quantiser is not None:
            table = block_table(8, self._first, quantiser_step(quantiser), LUMA_REST)
            self._blocks_there_are = link.sent(table.view(np.uint64))

    def render(self, content: Bytes, picture: Picture) -> None:
        """As `Dct8.render`."""
        if self._quantiser is None:
            raise ValueError("drawing needs the quantiser")
        check_buffer(content, self.picture_bytes)
        part, link, y = areas(self.raster, picture)[0], self._link, self._luma
        link.send(content, self._content[: self.picture_bytes])
        launch = link.over(y.shape[1], y.shape[0] // 8)
        _draw[launch](self._content, self._first, self._blocks_there_are, y)
        link.fetch(y, part)

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """As `Dct8.demodulate`."""
        check_buffer(content, self.picture_bytes)
        check_buffer(margin, self.picture_bytes)
        link, y = self._link, self._luma
        link.send(areas(self.raster, picture)[0], y)
        _analyse[link.over(self.raster.columns, y.shape[0] // 4)](y, self._signs.coefficients)
        step = None if self._quantiser is None else quantiser_step(self._quantiser)
        self._signs.read(None if step is None else (step, step), content, margin)


@cuda.jit(cache=True)
def _draw(content, first, table, y):  # type: ignore[no-untyped-def]
    """A thread a block: `table` uint64[2^first, 8], `y` uint64[16 * rows, 2 * columns]."""
    x, row = cuda.grid(2)
    if x < y.shape[1] and row < y.shape[0] // 8:
        at = (row // 2 * (y.shape[1] // 2) + x // 2) * (first // 2)
        draw_block(table, bits_at(content, at, (row % 2 * 2 + x % 2) * first, first), y, 8 * row, x)


@cuda.jit(device=True)
def _transform_columns(y, top, x, rows):  # type: ignore[no-untyped-def]
    """The vertical transform of the block at word `x`: `rows` int16[5 * 8], as `dct8._transform_columns`."""
    for i in range(8):
        shift = np.uint64(8 * i)
        a, b = np.int16(y[top, x] >> shift & np.uint64(255)), np.int16(y[top + 1, x] >> shift & np.uint64(255))
        c, d = np.int16(y[top + 2, x] >> shift & np.uint64(255)), np.int16(y[top + 3, x] >> shift & np.uint64(255))
        e, f = np.int16(y[top + 4, x] >> shift & np.uint64(255)), np.int16(y[top + 5, x] >> shift & np.uint64(255))
        g, h = np.int16(y[top + 6, x] >> shift & np.uint64(255)), np.int16(y[top + 7, x] >> shift & np.uint64(255))
        even, odd = even_half(a + h, b + g, c + f, d + e), odd_half(a - h, b - g, c - f, d - e)
        rows[i] = even[0] - 64 * LUMA_REST
        rows[8 + i], rows[16 + i], rows[24 + i], rows[32 + i] = odd[0], even[1], odd[1], even[2]


@cuda.jit(cache=True)
def _analyse(y, coefficients):  # type: ignore[no-untyped-def]
    """A thread a block: macroblock columns in x; rows and their 4 blocks in y."""
    x, index = cuda.grid(2)
    if x < y.shape[1] // 2 and index < y.shape[0] // 4:
        row, block = index // 4, index % 4
        rows = cuda.local.array(_LINES, int16)
        _transform_columns(y, 16 * row + block // 2 * 8, 2 * x + block % 2, rows)
        macroblock = row * (y.shape[1] // 2) + x
        for v in range(VERTICAL):
            line = eight_of(rows, 8 * v)
            for h in range(VERTICAL):
                bit = _PLACES[VERTICAL * v + h]
                if bit < COEFFICIENTS_MAX:
                    coefficients[block * COEFFICIENTS_MAX + bit, macroblock] = line[h]
