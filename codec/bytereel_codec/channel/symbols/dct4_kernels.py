"""What `Dct4` draws and reads with, compiled.

Source: ITU-T H.264 (08/2021) 8.5.11 chroma DC, 8.5.12 4 x 4 residual blocks; FORMAT.md section 16.
"""

import numpy as np
from numba import njit

from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST
from bytereel_codec.channel.symbols.transforms_kernels import (
    BLOCK,
    LINE,
    MEASURED_ROWS,
    collect,
    row_content,
    scatter2,
    scatter4,
    unpack,
    weigh,
    word_at,
)


@njit(cache=True, nogil=True)
def _gather_luma(content, width, bit, count, columns, table, blocks):  # type: ignore[no-untyped-def]
    """Four drawn blocks of each of `columns` macroblocks, side by side: `blocks` uint64[8 * macroblocks].

    As `unpack`, but a number goes straight to its block in `table`: that makes drawing a quarter faster.
    """
    mask, shift, step = np.uint64((1 << count) - 1), np.uint64(bit & 7), np.uint64(count)
    at, to, one, two = np.uint64(bit >> 3), np.uint64(0), np.uint64(1), np.uint64(2)
    for _ in range(columns):
        word = word_at(content, at) >> shift
        a, b = two * (word & mask), two * (word >> step & mask)
        c, d = two * (word >> np.uint64(2 * count) & mask), two * (word >> np.uint64(3 * count) & mask)
        blocks[to], blocks[to + one] = table[a], table[a + one]
        blocks[to + np.uint64(2)], blocks[to + np.uint64(3)] = table[b], table[b + one]
        blocks[to + np.uint64(4)], blocks[to + np.uint64(5)] = table[c], table[c + one]
        blocks[to + np.uint64(6)], blocks[to + np.uint64(7)] = table[d], table[d + one]
        at += np.uint64(width)
        to += np.uint64(8)


@njit(cache=True, nogil=True)
def _gather(numbers, count, table, blocks):  # type: ignore[no-untyped-def]
    """The drawn blocks of `count` numbers uint32, side by side: `blocks` uint64[2 * blocks]."""
    for x in range(count):
        at = np.uint64(numbers[x]) * np.uint64(2)
        upper, lower = table[at], table[at + np.uint64(1)]
        blocks[2 * x] = upper
        blocks[2 * x + 1] = lower


@njit(cache=True, nogil=True)
def _spread(words, plane, top):  # type: ignore[no-untyped-def]
    """Blocks side by side, `words` uint32[4 * blocks], to pixel row `top` of `plane` uint32[height, blocks].

    Whole blocks from the table first, rows of pixels then: twice as fast as pixel rows straight from the table.
    """
    first, second, third, fourth = plane[top], plane[top + 1], plane[top + 2], plane[top + 3]
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
def render_luma(content, first, width, table, tail, blocks, y):  # type: ignore[no-untyped-def]
    """Draw the luma plane `y` uint32[height, width / 4]; `table` uint64: see `dct4.tables`; `blocks` is room."""
    columns, words = y.shape[1] // 4, blocks.view(np.uint32)
    for row in range(y.shape[0] // 16):
        part = row_content(content, row, columns * width, tail)
        for i in range(4):
            _gather_luma(part, width, i * 4 * first, first, columns, table, blocks)
            _spread(words, y, row * 16 + i * 4)


@njit(cache=True, nogil=True)
def render_chroma(content, bit, second, width, table, tail, numbers, blocks, plane):  # type: ignore[no-untyped-def]
    """Draw one chroma plane uint32[height, width / 4], whose bits begin at bit `bit` of a macroblock."""
    columns, words = plane.shape[1] // 2, blocks.view(np.uint32)
    upper, lower = numbers[: 2 * columns], numbers[2 * columns :]
    for row in range(plane.shape[0] // 8):
        part = row_content(content, row, columns * width, tail)
        unpack(part, width, bit, second, columns, upper, lower, 2)
        _level_chroma(upper, lower, second - 1)
        _gather(upper, 2 * columns, table, blocks)
        _spread(words, plane, row * 8)
        _gather(lower, 2 * columns, table, blocks)
        _spread(words, plane, row * 8 + 4)


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
def measure(y, u, v, has_chroma, lines, scales, line, scattered, sums):  # type: ignore[no-untyped-def]
    """Add up the strengths of one row of macroblocks in MEASURED_ROWS: see `weigh`."""
    for row in range(0, y.shape[0] // 16, MEASURED_ROWS):
        _analyse(y, u, v, row, has_chroma, line, scattered)
        weigh(scattered, lines, scales, y.shape[1] // 16, sums)


@njit(cache=True, nogil=True)
def demodulate(  # type: ignore[no-untyped-def]
    y, u, v, has_chroma, lines, scales, line, scattered, gain, work, content, margin
):
    """Read the planes, row by row of macroblocks: `content` and `margin` uint8, the other arguments as in `collect`."""
    size = lines.shape[0] * (y.shape[1] // 16)
    for row in range(y.shape[0] // 16):
        _analyse(y, u, v, row, has_chroma, line, scattered)
        part, sure = content[row * size : (row + 1) * size], margin[row * size : (row + 1) * size]
        collect(scattered, lines, scales, gain, work, part, sure)
