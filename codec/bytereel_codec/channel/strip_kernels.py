"""The kernels that look for strips in a picture: cells measured, parted into dark and light ones, their CRC checked.

They know where cells stand and which bits every header of a raster has, not what a header says: `strip` parses it. All
functions release the GIL and allocate a few small buffers a search, none a rectangle.

Source: FORMAT.md section 14.
"""

import hashlib
import math

import crc32c
import numpy as np
from numba import njit

STRIP_BYTES = 16
STRIP_CELLS = 8 * STRIP_BYTES
STRIP_MASK = hashlib.shake_128(b"bytereel strip mask").digest(STRIP_BYTES)
BODY_BYTES = STRIP_BYTES - 4
CODE_BYTE = 7  # holds the raster's code in its low four bits
_CONTRAST_MIN = 8.0  # between light and dark, in steps of luma; below it there is no strip
_MARGIN = 0.125  # of a cell, on each side, that is not read: ringing is strongest there
_SAMPLES_MIN = 8  # pixels a side of a cell that are read, where it has as many; fewer than twice that
_CRC_TABLE = np.array([crc32c.crc32c(bytes([i])) ^ crc32c.crc32c(b"\x00") for i in range(256)], np.uint32)
_MASK = np.frombuffer(STRIP_MASK, np.uint8)


@njit(cache=True, nogil=True)
def _first_and_end(low, high, size):  # type: ignore[no-untyped-def]
    """The pixels of 0..size that lie in the inner part of low..high; of all of it, where that is outside or tiny."""
    margin = (high - low) * _MARGIN
    for inset in (margin, 0.0):
        first = max(0, math.floor(low + inset + 0.5))
        end = min(size, math.floor(high - inset + 0.5))
        if end > first:
            return first, end
    return 0, 0


@njit(cache=True, nogil=True)
def _measure(plane, cells, rect, chosen, sums, counts):  # type: ignore[no-untyped-def]
    """Sum up the pixels of some cells: `sums`, `counts` float64[3, 128] for both strips, the upper, the lower one."""
    scale_x, scale_y = rect[2] / cells.raster_width, rect[3] / cells.raster_height
    for cell in chosen:
        left = rect[0] + (cells.x + cell % cells.a_row * cells.width) * scale_x
        x, x_end = _first_and_end(left, left + cells.width * scale_x, plane.shape[1])
        step = max(1, (x_end - x) // _SAMPLES_MIN)
        for strip in range(2):
            row = (cells.lower if strip else cells.upper) + cell // cells.a_row * cells.height
            y, y_end = _first_and_end(rect[1] + row * scale_y, rect[1] + (row + cells.height) * scale_y, plane.shape[0])
            total, count = np.uint32(0), 0
            for j in range(y, y_end, max(1, (y_end - y) // _SAMPLES_MIN)):
                for i in range(x, x_end, step):
                    total = np.uint32(total + np.uint32(plane[j, i]))
                    count += 1
            sums[1 + strip, cell], counts[1 + strip, cell] = total, count
        sums[0, cell] = sums[1, cell] + sums[2, cell]
        counts[0, cell] = counts[1, cell] + counts[2, cell]


@njit(cache=True, nogil=True)
def _is_likely(sums, counts, light, dark):  # type: ignore[no-untyped-def]
    """Whether some strip has all cells of `light` lighter than those of `dark`, which no header goes without."""
    for strip in range(3):
        lightest_dark, darkest_light = -1.0, 256.0
        for cell in dark:
            lightest_dark = max(lightest_dark, sums[strip, cell] / max(1.0, counts[strip, cell]))
        for cell in light:
            darkest_light = min(darkest_light, sums[strip, cell] / max(1.0, counts[strip, cell]))
        if darkest_light > lightest_dark:
            return True
    return False


@njit(cache=True, nogil=True)
def _split(means, levels):  # type: ignore[no-untyped-def]
    """Part the means into dark and light ones, whose averages go to `levels`; return the threshold between them."""
    threshold = (means.min() + means.max()) / 2
    levels[:] = threshold
    for _ in range(4):
        is_light = means > threshold
        if is_light.any() and not is_light.all():
            levels[0], levels[1] = means[~is_light].mean(), means[is_light].mean()
            threshold = (levels[0] + levels[1]) / 2
    return threshold


@njit(cache=True, nogil=True)
def _is_header(means, threshold, code, raw):  # type: ignore[no-untyped-def]
    """Write the cells' bits to `raw` uint8[16]; whether their CRC is right and they name the raster of that code."""
    register = np.uint32(0xFFFFFFFF)
    for i in range(STRIP_BYTES):
        value = 0
        for bit in range(8):
            value = value << 1 | (1 if means[8 * i + bit] > threshold else 0)
        raw[i] = value
        if i < BODY_BYTES:
            register = _CRC_TABLE[(register ^ (value ^ _MASK[i])) & 255] ^ (register >> 8)
    register = ~register & 0xFFFFFFFF
    for i in range(4):
        if (raw[BODY_BYTES + i] ^ _MASK[BODY_BYTES + i]) != (register >> (24 - 8 * i)) & 255:
            return False
    return ((raw[CODE_BYTE] ^ _MASK[CODE_BYTE]) & 15) == code


@njit(cache=True, nogil=True)
def search_rects(plane, cells, light, dark, rects, raw, levels):  # type: ignore[no-untyped-def]
    """The index of the first of `rects` that holds a header, which goes to `raw`; -1 when none does.

    A few cells whose bits are known, `light` and `dark`, tell most rectangles that hold none.
    """
    sums, counts = np.empty((3, STRIP_CELLS)), np.empty((3, STRIP_CELLS))
    means, known, every = np.empty(STRIP_CELLS), np.concatenate((light, dark)), np.arange(STRIP_CELLS)
    for index in range(rects.shape[0]):
        _measure(plane, cells, rects[index], known, sums, counts)
        if not _is_likely(sums, counts, light, dark):
            continue
        _measure(plane, cells, rects[index], every, sums, counts)
        for strip in range(3):
            if counts[strip].min() == 0:
                continue
            for cell in range(STRIP_CELLS):
                means[cell] = sums[strip, cell] / counts[strip, cell]
            threshold = _split(means, levels)
            if levels[1] - levels[0] >= _CONTRAST_MIN and _is_header(means, threshold, cells.raster_code, raw):
                return index
    return -1
