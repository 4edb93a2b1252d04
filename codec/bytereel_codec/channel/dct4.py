"""Bytes as the signs of 4 x 4 transform coefficients, luma and chroma: the densest grid that H.264 itself has.

Of each macroblock, in raster order: its 16 luma blocks in raster order, `first` bits each; then, if `second` is not 0,
its 4 Cb blocks and its 4 Cr blocks, `second` bits each. Bits fill bytes least significant first, 2 * first + second
bytes a macroblock. The first bits of a chroma plane's four blocks are not their DC coefficients but those of the
2 x 2 transform of these: DC = H d H / 2 with H = [[1, 1], [1, -1]]. Without `second`, chroma is left alone.

Reading takes H.264's integer transform, whose signs are those of the DCT and whose values fit 16 bits; a coefficient
of exactly 0 reads as 1.

Source: ITU-T H.264 (08/2021) 8.5.11 chroma DC, 8.5.12 4 x 4 residual blocks; FORMAT.md section 16.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.modulator import Bytes
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Raster
from bytereel_codec.channel.transforms import (
    MEASURED_ROWS,
    Layout,
    areas,
    block_table,
    check_buffer,
    check_raster,
    chroma_quantiser,
    contributions,
    gains,
    layout,
    mean_amplitudes,
    pixels,
    quantiser_step,
    signed_sums,
    whole_words,
    zigzag,
)
from bytereel_codec.channel.transforms_kernels import (
    BLOCK,
    COEFFICIENTS_MAX,
    COLUMNS_MAX,
    LANES,
    LINE,
    collect,
    row_content,
    scatter2,
    scatter4,
    unpack,
    weigh,
)
from bytereel_codec.errors import Permanent

Words = npt.NDArray[np.uint64]

_DC_LEVELS = 5
_NORMS = (2.0, 10**0.5, 2.0, 10**0.5)


class Dct4:
    """The modulator of `Family.DCT4`. `quantiser` is the own encoder's luma QP, 0 to 51; reading can do without it.

    Without it margins are relative to the mean absolute coefficient of luma, and of chroma, in every fourth row.
    Raises: Permanent `modulation.unknown`, `quantiser.range`, `geometry.unknown`.
    """

    def __init__(self, raster: Raster, modulation: Modulation, quantiser: int | None = None) -> None:
        check_raster(raster, quantiser)
        first, second = modulation.first, modulation.second
        if not (1 <= first <= COEFFICIENTS_MAX and 0 <= second <= COEFFICIENTS_MAX):
            raise Permanent("modulation.unknown", f"there are no blocks with {first} and {second} coefficients")
        self.raster = raster
        self.picture_bytes = raster.macroblocks * (2 * first + second)
        self._first, self._second, self._quantiser = first, second, quantiser
        self._layout = _layout(first, second)
        self._scattered = np.zeros((16 + 8) * BLOCK, np.int16)
        self._line = np.zeros(COEFFICIENTS_MAX * LINE, np.int16)
        self._work = np.zeros(len(self._layout.lines) * LANES, np.uint16)
        self._tail = np.zeros(raster.columns * len(self._layout.lines) + 7, np.uint8)
        self._numbers = np.zeros(4 * COLUMNS_MAX, np.uint32)
        self._blocks = np.zeros(8 * COLUMNS_MAX, np.uint64)

    def render(self, content: Bytes, picture: Picture) -> None:
        """Draw `content` uint8[picture_bytes] in the data area of `picture`, and nothing else.

        Raises: ValueError without a quantiser or with another size; Permanent `picture.size`.
        """
        if self._quantiser is None:
            raise ValueError("drawing needs the quantiser")
        check_buffer(content, self.picture_bytes)
        content = np.require(content, np.uint8, "W")
        luma, chroma = tables(self._first, self._second, self._quantiser)
        parts = areas(self.raster, picture)
        drawn = [whole_words(part) for part in parts]
        y, u, v = (plane.view(np.uint32) for plane in drawn)
        first, second, width = self._first, self._second, len(self._layout.lines)
        work = (self._tail, self._numbers, self._blocks)
        _render_luma(content, first, width, luma, *work, y)
        if second:
            _render_chroma(content, 16 * first, second, width, chroma, *work, u)
            _render_chroma(content, 16 * first + 4 * second, second, width, chroma, *work, v)
        for part, plane in zip(parts[: 3 if self._second else 1], drawn, strict=False):
            if plane is not part:
                part[:] = plane

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """Read `content` uint8[picture_bytes] and how sure each byte is: `margin` uint8[picture_bytes].

        Raises: ValueError with a buffer of another size; Permanent `picture.size`.
        """
        check_buffer(content, self.picture_bytes)
        check_buffer(margin, self.picture_bytes)
        y, u, v = (np.require(plane, np.uint8, ["C", "W"]) for plane in areas(self.raster, picture))
        work = (self._layout.lines, self._layout.scales, self._line, self._scattered)
        if self._quantiser is None:
            sums = np.zeros(len(self._layout.lines))
            _measure(y, u, v, self._second > 0, *work, sums)
            nominal = mean_amplitudes(self._layout, sums, self.raster)
        else:
            nominal = quantiser_step(self._quantiser), quantiser_step(chroma_quantiser(self._quantiser))
        gain = gains(self._layout, *nominal)
        _demodulate(y, u, v, self._second > 0, *work, gain, self._work, content, margin)


@lru_cache(maxsize=8)
def _layout(first: int, second: int) -> Layout:
    scan = zigzag(4)
    norms = [_NORMS[v] * _NORMS[h] for v, h in scan]
    blocks = [(block, first) for block in range(16)] + [(block, second) for block in range(16, 24)]
    return layout(blocks, norms, 16 * first)


@lru_cache(maxsize=4)
def tables(first: int, second: int, quantiser: int) -> tuple[Words, Words]:
    """Every block as two words of 8 pixels: luma uint64[2 * 2^first]; chroma uint64[2 * 5 * 2^(second - 1)].

    A chroma block's number is its DC level (-2 to 2 times the amplitude, counted from 0) times 2^(second - 1), and
    the bits of its other coefficients.
    """
    luma = block_table(4, first, quantiser_step(quantiser), LUMA_REST)
    parts = contributions(4, max(second, 1), quantiser_step(chroma_quantiser(quantiser)))
    levels = np.arange(_DC_LEVELS)[:, None, None] - _DC_LEVELS // 2
    chroma = pixels(levels * parts[0] + signed_sums(parts[1:]), CHROMA_REST)
    return luma.ravel().view(np.uint64), chroma.ravel().view(np.uint64)


@njit(cache=True, nogil=True)
def _draw(numbers, table, blocks, words, plane, top):  # type: ignore[no-untyped-def]
    """Draw a row of blocks at pixel row `top`: `numbers` uint32[blocks], `plane` uint32[height, blocks].

    `table` uint64[2 * blocks there are]; `blocks` uint64 and `words` uint32 are the same room. Whole blocks first, rows
    of pixels then: twice as fast as pixel rows straight from the table.
    """
    first, second, third, fourth = plane[top], plane[top + 1], plane[top + 2], plane[top + 3]
    for x in range(first.size):
        at = np.uint64(numbers[x]) * np.uint64(2)
        upper, lower = table[at], table[at + np.uint64(1)]
        blocks[2 * x] = upper
        blocks[2 * x + 1] = lower
    for x in range(first.size):
        first[x] = words[4 * x]
        second[x] = words[4 * x + 1]
        third[x] = words[4 * x + 2]
        fourth[x] = words[4 * x + 3]


@njit(cache=True, nogil=True)
def _level_chroma(upper, lower, count):  # type: ignore[no-untyped-def]
    """Turn the first bits of each macroblock's four blocks into DC levels: `upper`, `lower` uint32[2 * macroblocks]."""
    one, two, shift = np.uint32(1), np.uint32(2), np.uint32(count)
    for x in range(upper.size // 2):
        a, b, c, d = upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]
        p, q, r, s = np.uint32(a & one), np.uint32(b & one), np.uint32(c & one), np.uint32(d & one)
        upper[2 * x] = np.uint32(np.uint32(p + q + r + s) << shift) + np.uint32(a >> one)
        upper[2 * x + 1] = np.uint32(np.uint32(p - q + r - s + two) << shift) + np.uint32(b >> one)
        lower[2 * x] = np.uint32(np.uint32(p + q - r - s + two) << shift) + np.uint32(c >> one)
        lower[2 * x + 1] = np.uint32(np.uint32(p - q - r + s + two) << shift) + np.uint32(d >> one)


@njit(cache=True, nogil=True)
def _render_luma(content, first, width, table, tail, numbers, blocks, y):  # type: ignore[no-untyped-def]
    columns, words = y.shape[1] // 4, blocks.view(np.uint32)
    for row in range(y.shape[0] // 16):
        part = row_content(content, row, columns * width, tail)
        for i in range(4):
            unpack(part, width, i * 4 * first, first, columns, numbers, numbers[2:], 4)
            _draw(numbers, table, blocks, words, y, row * 16 + i * 4)


@njit(cache=True, nogil=True)
def _render_chroma(content, bit, second, width, table, tail, numbers, blocks, plane):  # type: ignore[no-untyped-def]
    """Draw one chroma plane, whose bits begin at bit `bit` of a macroblock."""
    columns, words = plane.shape[1] // 2, blocks.view(np.uint32)
    upper, lower = numbers[: 2 * columns], numbers[2 * columns :]
    for row in range(plane.shape[0] // 8):
        part = row_content(content, row, columns * width, tail)
        unpack(part, width, bit, second, columns, upper, lower, 2)
        _level_chroma(upper, lower, second - 1)
        _draw(upper, table, blocks, words, plane, row * 8)
        _draw(lower, table, blocks, words, plane, row * 8 + 4)


@njit(cache=True, nogil=True)
def butterfly(a, b, c, d):  # type: ignore[no-untyped-def]
    """The integer transform of four int16."""
    outer, inner, e, f = np.int16(a + d), np.int16(b + c), np.int16(a - d), np.int16(b - c)
    second, fourth = np.int16(np.int16(e + e) + f), np.int16(e - np.int16(f + f))
    return np.int16(outer + inner), second, np.int16(outer - inner), fourth


@njit(cache=True, nogil=True)
def _four(row, x):  # type: ignore[no-untyped-def]
    """The transform of pixels 4x to 4x + 3."""
    i = 4 * x
    return butterfly(np.int16(row[i]), np.int16(row[i + 1]), np.int16(row[i + 2]), np.int16(row[i + 3]))


@njit(cache=True, nogil=True)
def _transform(plane, row, rest, line):  # type: ignore[no-untyped-def]
    """The coefficients of the row of blocks at pixel row `row` of `plane`: `line` int16[16 * LINE].

    One dimension and strides the compiler knows, in place of two and strides it must load, make it 10 x as fast.
    """
    first, second, third, fourth = plane[row], plane[row + 1], plane[row + 2], plane[row + 3]
    for x in range(first.size // 4):
        a0, a1, a2, a3 = _four(first, x)
        b0, b1, b2, b3 = _four(second, x)
        c0, c1, c2, c3 = _four(third, x)
        d0, d1, d2, d3 = _four(fourth, x)
        p0, p1, p2, p3 = butterfly(a0, b0, c0, d0)
        q0, q1, q2, q3 = butterfly(a1, b1, c1, d1)
        r0, r1, r2, r3 = butterfly(a2, b2, c2, d2)
        s0, s1, s2, s3 = butterfly(a3, b3, c3, d3)
        line[x] = np.int16(p0 - rest)
        line[LINE + x] = q0
        line[2 * LINE + x] = p1
        line[3 * LINE + x] = p2
        line[4 * LINE + x] = q1
        line[5 * LINE + x] = r0
        line[6 * LINE + x] = s0
        line[7 * LINE + x] = r1
        line[8 * LINE + x] = q2
        line[9 * LINE + x] = p3
        line[10 * LINE + x] = q3
        line[11 * LINE + x] = r2
        line[12 * LINE + x] = s1
        line[13 * LINE + x] = s2
        line[14 * LINE + x] = r3
        line[15 * LINE + x] = s3


@njit(cache=True, nogil=True)
def _join_chroma(blocks, columns):  # type: ignore[no-untyped-def]
    """Turn the DC of each macroblock's four blocks into the four bits' coefficients, halved: within 16 bits."""
    for x in range(columns):
        a, b, c, d = blocks[x], blocks[BLOCK + x], blocks[2 * BLOCK + x], blocks[3 * BLOCK + x]
        top, bottom, left, right = np.int16(a + b), np.int16(c + d), np.int16(a - b), np.int16(c - d)
        blocks[x] = np.int16(top + bottom) >> np.int16(1)
        blocks[BLOCK + x] = np.int16(left + right) >> np.int16(1)
        blocks[2 * BLOCK + x] = np.int16(top - bottom) >> np.int16(1)
        blocks[3 * BLOCK + x] = np.int16(left - right) >> np.int16(1)


@njit(cache=True, nogil=True)
def _analyse(y, u, v, row, has_chroma, line, scattered):  # type: ignore[no-untyped-def]
    """The scattered coefficients of macroblock row `row`."""
    columns = y.shape[1] // 16
    for i in range(4):
        _transform(y, row * 16 + i * 4, np.int16(16 * LUMA_REST), line)
        scatter4(line, columns, scattered[4 * i * BLOCK :])
    if has_chroma:
        for i in range(4):
            _transform(u if i < 2 else v, row * 8 + i % 2 * 4, np.int16(16 * CHROMA_REST), line)
            scatter2(line, columns, scattered[(16 + 2 * i) * BLOCK :])
        _join_chroma(scattered[16 * BLOCK : 20 * BLOCK], columns)
        _join_chroma(scattered[20 * BLOCK :], columns)


@njit(cache=True, nogil=True)
def _measure(y, u, v, has_chroma, lines, scales, line, scattered, sums):  # type: ignore[no-untyped-def]
    for row in range(0, y.shape[0] // 16, MEASURED_ROWS):
        _analyse(y, u, v, row, has_chroma, line, scattered)
        weigh(scattered, lines, scales, y.shape[1] // 16, sums)


@njit(cache=True, nogil=True)
def _demodulate(  # type: ignore[no-untyped-def]
    y, u, v, has_chroma, lines, scales, line, scattered, gain, work, content, margin
):
    size = lines.shape[0] * (y.shape[1] // 16)
    for row in range(y.shape[0] // 16):
        _analyse(y, u, v, row, has_chroma, line, scattered)
        part, sure = content[row * size : (row + 1) * size], margin[row * size : (row + 1) * size]
        collect(scattered, lines, scales, gain, work, part, sure)
