"""Bytes as the signs of 8 x 8 transform coefficients of luma: few bits a picture, which outlive scaling.

Of each macroblock, in raster order: its 4 blocks in raster order, `first` bits each (an even number, 2 to 16;
`transforms.coefficients_of` says of which coefficients). Bits fill bytes least significant first, first / 2 bytes a
macroblock. Chroma is left alone.

Reading takes H.264's 8 x 8 integer transform, whose signs are those of the DCT; a coefficient of exactly 0 reads as 1.

Source: ITU-T H.264 (08/2021) 8.5.13 8 x 8 residual blocks; FORMAT.md section 16.
"""

from functools import lru_cache

import numpy as np
from numba import njit

from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.raster import LUMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.transforms import (
    BitLayout,
    areas,
    bit_layout,
    block_table,
    check_buffer,
    check_raster,
    coefficients_of,
    gains,
    mean_amplitudes,
    quantiser_step,
    whole_words,
)
from bytereel_codec.channel.symbols.transforms_kernels import (
    BLOCK,
    COEFFICIENTS_MAX,
    COLUMNS_MAX,
    LANES,
    LINE,
    MEASURED_ROWS,
    collect,
    row_content,
    scatter2,
    unpack,
    weigh,
)
from bytereel_codec.errors import Permanent

_BASIS = (
    (8, 8, 8, 8, 8, 8, 8, 8),
    (12, 10, 6, 3, -3, -6, -10, -12),
    (8, 4, -4, -8, -8, -4, 4, 8),
    (10, -3, -12, -6, 6, 12, 3, -10),
    (8, -8, -8, 8, 8, -8, -8, 8),
)
"""The first rows of the integer transform; the coefficients that are read need no more."""
_SHIFT = 7
"""What the reader's coefficients are scaled down by, to fit 16 bits with 3 to spare."""
VERTICAL = 5
_WIDTH = 16 * COLUMNS_MAX + 32


class Dct8:
    """The modulator of `Family.DCT8`. `quantiser` is the own encoder's luma QP, 0 to 51; reading can do without it.

    Without it margins are relative to the mean absolute coefficient in every fourth row of macroblocks.
    Raises: Permanent `modulation.unknown`, `quantiser.range`, `geometry.unknown`.
    """

    def __init__(self, raster: Raster, modulation: Modulation, quantiser: int | None = None) -> None:
        check_raster(raster, quantiser)
        first = modulation.first
        if first not in range(2, COEFFICIENTS_MAX + 1, 2) or modulation.second != 0:
            raise Permanent(
                "modulation.unknown", f"there are no blocks with {first} and {modulation.second} coefficients"
            )
        self.raster = raster
        self.picture_bytes = raster.macroblocks * first // 2
        self._first, self._quantiser = first, quantiser
        self._layout = _layout(first)
        self._scattered = np.zeros(4 * BLOCK, np.int16)
        self._rows = np.zeros(VERTICAL * _WIDTH, np.int16)
        self._line = np.zeros(COEFFICIENTS_MAX * LINE, np.int16)
        self._work = np.zeros(len(self._layout.lines) * LANES, np.uint16)
        self._numbers = np.zeros(4 * COLUMNS_MAX, np.uint32)
        self._tail = np.zeros(raster.columns * len(self._layout.lines) + 7, np.uint8)

    def render(self, content: Bytes, picture: Picture) -> None:
        """Draw `content` uint8[picture_bytes] in the data area of `picture`, and nothing else.

        Raises: ValueError without a quantiser or with another size; Permanent `picture.size`.
        """
        if self._quantiser is None:
            raise ValueError("drawing needs the quantiser")
        check_buffer(content, self.picture_bytes)
        part = areas(self.raster, picture)[0]
        drawn = whole_words(part)
        table = block_table(8, self._first, quantiser_step(self._quantiser), LUMA_REST).view(np.uint64)
        content = np.require(content, np.uint8, "W")
        _render(content, self._first, table, self._tail, self._numbers, drawn.view(np.uint64))
        if drawn is not part:
            part[:] = drawn

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """Read `content` uint8[picture_bytes] and how sure each byte is: `margin` uint8[picture_bytes].

        Raises: ValueError with a buffer of another size; Permanent `picture.size`.
        """
        check_buffer(content, self.picture_bytes)
        check_buffer(margin, self.picture_bytes)
        y = np.require(areas(self.raster, picture)[0], np.uint8, ["C", "W"])
        work = (self._layout.lines, self._layout.scales, self._rows, self._line, self._scattered)
        if self._quantiser is None:
            sums = np.zeros(len(self._layout.lines))
            _measure(y, *work, sums)
            nominal = mean_amplitudes(self._layout, sums, self.raster)[0]
        else:
            nominal = quantiser_step(self._quantiser)
        _demodulate(y, *work, gains(self._layout, nominal, nominal), self._work, content, margin)


@lru_cache(maxsize=8)
def _layout(first: int) -> BitLayout:
    norms = [sum(value**2 for value in row) ** 0.5 for row in _BASIS]
    scan = [places[0] for places in coefficients_of(8, COEFFICIENTS_MAX)]
    return bit_layout([(i, first) for i in range(4)], [norms[v] * norms[h] / 2**_SHIFT for v, h in scan], 4 * first)


@njit(cache=True, nogil=True)
def _draw(numbers, table, plane, top):  # type: ignore[no-untyped-def]
    """Draw a row of blocks at pixel row `top`: `numbers` uint32[blocks], `plane` uint64[height, blocks]."""
    for i in range(8):
        row = plane[top + i]
        for x in range(row.size):
            row[x] = table[numbers[x], i]


@njit(cache=True, nogil=True)
def _render(content, first, table, tail, numbers, y):  # type: ignore[no-untyped-def]
    columns, width = y.shape[1] // 2, first // 2
    upper, lower = numbers[: 2 * columns], numbers[2 * columns :]
    for row in range(y.shape[0] // 16):
        part = row_content(content, row, columns * width, tail)
        unpack(part, width, 0, first, columns, upper, lower, 2)
        _draw(upper, table, y, row * 16)
        _draw(lower, table, y, row * 16 + 8)


@njit(cache=True, nogil=True)
def even_half(a, b, c, d):  # type: ignore[no-untyped-def]
    """Coefficients 0, 2 and 4 from the sums of mirrored values, the outermost first."""
    outer, inner = a + d, b + c
    return 8 * (outer + inner), 8 * (a - d) + 4 * (b - c), 8 * (outer - inner)


@njit(cache=True, nogil=True)
def odd_half(a, b, c, d):  # type: ignore[no-untyped-def]
    """Coefficients 1 and 3 from the differences of mirrored values, the outermost first."""
    return 12 * a + 10 * b + 6 * c + 3 * d, 10 * a - 3 * b - 12 * c - 6 * d


@njit(cache=True, nogil=True)
def _transform_columns(y, top, rows):  # type: ignore[no-untyped-def]
    """The vertical transform of eight rows of pixels: `rows` int16[5 * _WIDTH], one line for each coefficient."""
    a, b, c, d = y[top], y[top + 1], y[top + 2], y[top + 3]
    e, f, g, h = y[top + 4], y[top + 5], y[top + 6], y[top + 7]
    for x in range(a.size):
        p, q, r, s = np.int16(a[x]), np.int16(b[x]), np.int16(c[x]), np.int16(d[x])
        w, v, u, t = np.int16(e[x]), np.int16(f[x]), np.int16(g[x]), np.int16(h[x])
        zero, second, fourth = even_half(p + t, q + u, r + v, s + w)
        first, third = odd_half(p - t, q - u, r - v, s - w)
        rows[x] = np.int16(zero - 64 * LUMA_REST)
        rows[_WIDTH + x] = np.int16(first)
        rows[2 * _WIDTH + x] = np.int16(second)
        rows[3 * _WIDTH + x] = np.int16(third)
        rows[4 * _WIDTH + x] = np.int16(fourth)


@njit(cache=True, nogil=True)
def eight_of(rows, at):  # type: ignore[no-untyped-def]
    """The horizontal transform of `rows[at : at + 8]`, scaled down: coefficients 0 to 4."""
    a, b, c, d = np.int32(rows[at]), np.int32(rows[at + 1]), np.int32(rows[at + 2]), np.int32(rows[at + 3])
    e, f, g, h = np.int32(rows[at + 4]), np.int32(rows[at + 5]), np.int32(rows[at + 6]), np.int32(rows[at + 7])
    even, odd = even_half(a + h, b + g, c + f, d + e), odd_half(a - h, b - g, c - f, d - e)
    p, r, t = np.int16(even[0] >> _SHIFT), np.int16(even[1] >> _SHIFT), np.int16(even[2] >> _SHIFT)
    q, s = np.int16(odd[0] >> _SHIFT), np.int16(odd[1] >> _SHIFT)
    return p, q, r, s, t


@njit(cache=True, nogil=True)
def _transform_rows(rows, blocks, line):  # type: ignore[no-untyped-def]
    """The coefficients of a row of `blocks` blocks in zig-zag order: `line` int16[16 * LINE]."""
    for x in range(blocks):
        p, q, r, s, t = eight_of(rows, 8 * x)
        line[x], line[LINE + x], line[5 * LINE + x] = p, q, r
        line[6 * LINE + x], line[14 * LINE + x] = s, t
    for x in range(blocks):
        p, q, r, s, t = eight_of(rows, _WIDTH + 8 * x)
        line[2 * LINE + x], line[4 * LINE + x], line[7 * LINE + x], line[13 * LINE + x] = p, q, r, s
        line[15 * LINE + x] = t
    for x in range(blocks):
        p, q, r, _, _ = eight_of(rows, 2 * _WIDTH + 8 * x)
        line[3 * LINE + x], line[8 * LINE + x], line[12 * LINE + x] = p, q, r
    for x in range(blocks):
        p, q, _, _, _ = eight_of(rows, 3 * _WIDTH + 8 * x)
        line[9 * LINE + x], line[11 * LINE + x] = p, q
    for x in range(blocks):
        p, _, _, _, _ = eight_of(rows, 4 * _WIDTH + 8 * x)
        line[10 * LINE + x] = p


@njit(cache=True, nogil=True)
def _analyse(y, row, rows, line, scattered):  # type: ignore[no-untyped-def]
    """The scattered coefficients of macroblock row `row`."""
    for i in range(2):
        _transform_columns(y, row * 16 + i * 8, rows)
        _transform_rows(rows, y.shape[1] // 8, line)
        scatter2(line, y.shape[1] // 16, scattered[2 * i * BLOCK :])


@njit(cache=True, nogil=True)
def _measure(y, lines, scales, rows, line, scattered, sums):  # type: ignore[no-untyped-def]
    for row in range(0, y.shape[0] // 16, MEASURED_ROWS):
        _analyse(y, row, rows, line, scattered)
        weigh(scattered, lines, scales, y.shape[1] // 16, sums)


@njit(cache=True, nogil=True)
def _demodulate(y, lines, scales, rows, line, scattered, gain, work, content, margin):  # type: ignore[no-untyped-def]
    size = lines.shape[0] * (y.shape[1] // 16)
    for row in range(y.shape[0] // 16):
        _analyse(y, row, rows, line, scattered)
        part, sure = content[row * size : (row + 1) * size], margin[row * size : (row + 1) * size]
        collect(scattered, lines, scales, gain, work, part, sure)
