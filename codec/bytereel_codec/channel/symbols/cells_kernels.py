"""Passes over the cells of a picture, compiled: drawn, measured, and their symbols packed."""

import numpy as np
from numba import njit

from bytereel_codec.channel.raster import CHROMA_REST


@njit(cache=True, nogil=True)
def unpack(content, bits, symbols):  # type: ignore[no-untyped-def]
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
def pack(entries, bits, content, margin):  # type: ignore[no-untyped-def]
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
def draw_luma(symbols, colours, plane):  # type: ignore[no-untyped-def]
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
def draw_chroma(symbols, colours, u, v, lines):  # type: ignore[no-untyped-def]
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
def measure_luma(plane, sums, levels):  # type: ignore[no-untyped-def]
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
def measure_chroma(plane, rest, sums, levels):  # type: ignore[no-untyped-def]
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
