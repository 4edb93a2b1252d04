"""The passes between bytes, block numbers and coefficients that the DCT families share, compiled.

Coefficients on the way back are *scattered*: int16, the macroblocks of one row side by side (what a vector
unit wants), one such line for each coefficient, COEFFICIENTS_MAX lines for each block of the macroblock.
"""

import numpy as np
from numba import njit

COLUMNS_MAX = 240
"""Macroblocks in a row: 3840 pixels."""
LANES = 288
"""Length of a scattered line: whole vectors of 32, and no power of two, whose lines would share places in the cache."""
_VECTOR = 32
COEFFICIENTS_MAX = 16
BLOCK = COEFFICIENTS_MAX * LANES
"""Length of a block's scattered coefficients."""
LINE = 4 * COLUMNS_MAX + 32
"""Length of a line of one coefficient of all the blocks side by side, before it is scattered."""
GAIN_ONE = 4096
MEASURED_ROWS = 4
"""One row of macroblocks in so many is measured where nobody told the amplitude."""


@njit(cache=True, nogil=True)
def row_content(content, row, size, tail):  # type: ignore[no-untyped-def]
    """The `size` bytes of macroblock row `row` and at least 7 more: `content` from there on, or a copy in `tail`."""
    part = content[row * size :]
    if part.size >= size + 7:
        return part
    for i in range(size):
        tail[i] = part[i]
    return tail


@njit(cache=True, nogil=True)
def word_at(content, at):  # type: ignore[no-untyped-def]
    """The eight bytes at `at`: the compiler makes one load of it."""
    word = np.uint64(content[at])
    word |= np.uint64(content[at + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(content[at + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(content[at + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(content[at + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(content[at + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(content[at + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(content[at + np.uint64(7)]) << np.uint64(56)
    return word


@njit(cache=True, nogil=True)
def unpack(content, width, bit, count, columns, first, second, stride):  # type: ignore[no-untyped-def]
    """The numbers of four blocks of each of `columns` macroblocks: two in `first`, two in `second`, uint32 both.

    The blocks' bits begin at bit `bit` of the macroblock's `width` bytes, `count` bits each, and do not cross more
    than 64 bits. `content` as `row_content` gives it; macroblock x has elements `stride` * x and the next.
    """
    mask, shift, step = np.uint32((1 << count) - 1), np.uint64(bit & 7), np.uint64(count)
    at, to = np.uint64(bit >> 3), np.uint64(0)
    for _ in range(columns):
        word = word_at(content, at) >> shift
        first[to] = np.uint32(word) & mask
        first[to + np.uint64(1)] = np.uint32(word >> step) & mask
        second[to] = np.uint32(word >> np.uint64(step + step)) & mask
        second[to + np.uint64(1)] = np.uint32(word >> np.uint64(step + step + step)) & mask
        at += np.uint64(width)
        to += np.uint64(stride)


@njit(cache=True, nogil=True)
def scatter4(line, columns, target):  # type: ignore[no-untyped-def]
    """Scatter `line` int16[16 * LINE], four blocks of each macroblock side by side: `target` int16[4 * BLOCK]."""
    for k in range(COEFFICIENTS_MAX):
        source, to = line[k * LINE :], target[k * LANES :]
        for x in range(columns):
            to[x] = source[4 * x]
            to[BLOCK + x] = source[4 * x + 1]
            to[2 * BLOCK + x] = source[4 * x + 2]
            to[3 * BLOCK + x] = source[4 * x + 3]


@njit(cache=True, nogil=True)
def scatter2(line, columns, target):  # type: ignore[no-untyped-def]
    """Scatter `line` int16[16 * LINE], two blocks of each macroblock side by side: `target` int16[2 * BLOCK]."""
    for k in range(COEFFICIENTS_MAX):
        source, to = line[k * LINE :], target[k * LANES :]
        for x in range(columns):
            to[x] = source[2 * x]
            to[BLOCK + x] = source[2 * x + 1]


@njit(cache=True, nogil=True)
def strength_of(coefficient, scale):  # type: ignore[no-untyped-def]
    """A coefficient's absolute value in sixteenths; `scale` as in `transforms.BitLayout`."""
    size = np.uint16(np.uint16(abs(coefficient)) << np.uint16(3))
    return np.uint16((np.uint32(size) * np.uint32(scale)) >> np.uint32(16))


@njit(cache=True, nogil=True)
def sign_of(coefficient, bit):  # type: ignore[no-untyped-def]
    """Bit `bit` set where the coefficient is negative, uint16."""
    return np.uint16(np.uint16(np.uint16(coefficient) >> np.uint16(15)) << np.uint16(bit))


@njit(cache=True, nogil=True)
def _collect_byte(a, b, c, d, e, f, g, h, scales, gain, lanes, work):  # type: ignore[no-untyped-def]
    """One byte of all macroblocks, from its eight lines: the byte and 256 times its margin in `work` uint16."""
    s, t, u, v = scales[0], scales[1], scales[2], scales[3]
    w, y, z, last = scales[4], scales[5], scales[6], scales[7]
    for x in range(lanes):
        signs = sign_of(a[x], 0) | sign_of(b[x], 1) | sign_of(c[x], 2) | sign_of(d[x], 3)
        signs |= sign_of(e[x], 4) | sign_of(f[x], 5) | sign_of(g[x], 6) | sign_of(h[x], 7)
        left = min(strength_of(a[x], s), strength_of(b[x], t), strength_of(c[x], u), strength_of(d[x], v))
        right = min(strength_of(e[x], w), strength_of(f[x], y), strength_of(g[x], z), strength_of(h[x], last))
        margin = np.uint32(np.uint32(min(left, right)) * gain + np.uint32(GAIN_ONE // 2)) >> np.uint32(12)
        value = np.uint16(np.uint16(~np.uint16(signs)) & np.uint16(255))
        work[x] = value | np.uint16(np.uint16(min(margin, np.uint32(255))) << np.uint16(8))


@njit(cache=True, nogil=True)
def collect(scattered, lines, scales, gain, work, content, margin):  # type: ignore[no-untyped-def]
    """The bytes of a row of macroblocks, and their margins, from its scattered coefficients.

    Shapes: `lines`, `scales` as in `transforms.BitLayout`; `gain` uint32[bytes]; `work` uint16[bytes * LANES];
    `content`, `margin` uint8[macroblocks * bytes]. Whole vectors are worked on: lanes behind the last macroblock hold
    anything.
    """
    count = lines.shape[0]
    columns = content.size // count
    lanes = (columns + _VECTOR - 1) // _VECTOR * _VECTOR
    for i in range(count):
        p, q = lines[i], work[i * LANES :]
        a, b, c, d = scattered[p[0] :], scattered[p[1] :], scattered[p[2] :], scattered[p[3] :]
        e, f, g, h = scattered[p[4] :], scattered[p[5] :], scattered[p[6] :], scattered[p[7] :]
        _collect_byte(a, b, c, d, e, f, g, h, scales[i], gain[i], lanes, q)
    for x in range(columns):
        at, values, sure = np.uint64(x), content[x * count : x * count + count], margin[x * count : x * count + count]
        for i in range(count):
            both = work[at]
            values[i] = np.uint8(both)
            sure[i] = np.uint8(both >> np.uint16(8))
            at += np.uint64(LANES)


@njit(cache=True, nogil=True)
def weigh(scattered, lines, scales, columns, sums):  # type: ignore[no-untyped-def]
    """Add the strengths of a row of macroblocks to `sums` float64[bytes], those of a byte's eight bits together."""
    for i in range(lines.shape[0]):
        total = np.uint32(0)
        for bit in range(8):
            line, scale = scattered[lines[i, bit] :], scales[i, bit]
            for x in range(columns):
                total += np.uint32(strength_of(line[x], scale))
        sums[i] += total
