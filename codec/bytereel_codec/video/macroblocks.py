"""The kernels between bytes and I_PCM macroblocks: one pass that whitens, copies and escapes, and its inverse.

A picture's bytes (its *image*: frame header, then payload) fill macroblocks in decoding order, 384 bytes each: 256
luma, 64 Cb, 64 Cr samples. In the stream a macroblock is `0D 00` (mb_type ue(25) and alignment) and its samples; the
first one's type ends the slice header, which the caller writes. `00 00 0x` (x <= 3) takes an emulation prevention
byte. The image's first `HEADER_BYTES` are not whitened here: the header carries a fixed mask of its own.

All functions release the GIL and allocate nothing. They are compiled on first use and kept in numba's cache.

Source: ITU-T H.264 (08/2021) 7.3.5 macroblock layer, 7.4.1 emulation prevention; FORMAT.md sections 3 to 5.
"""

import numpy as np
from numba import njit

from bytereel_codec.frame.sizes import HEADER_BYTES, MACROBLOCK_BYTES, MACROBLOCK_CODED_BYTES, WHITENING_BYTES


@njit(cache=True, nogil=True)
def _has_zero_pair(stream, start):  # type: ignore[no-untyped-def]
    """Whether two neighbours are both zero within `stream[start:start + 388]`, a macroblock and the 2 bytes before.

    The fixed length and the eight-bit arithmetic are what lets the compiler use whole vectors (80 GB/s for 2 GB/s).
    """
    left = stream[start : start + MACROBLOCK_CODED_BYTES + 1]
    right = stream[start + 1 : start + MACROBLOCK_CODED_BYTES + 2]
    found = np.uint8(0)
    for i in range(MACROBLOCK_CODED_BYTES + 1):
        found = np.uint8(found | np.uint8(np.uint8(left[i] | right[i]) == np.uint8(0)))
    return found != 0


@njit(cache=True, nogil=True)
def _escape(raw, count, stream, position):  # type: ignore[no-untyped-def]
    """Write `raw[:count]` at `stream[position:]` with emulation prevention; return the end."""
    zeros = 0
    if stream[position - 1] == 0:
        zeros = 2 if stream[position - 2] == 0 else 1
    for i in range(count):
        value = raw[i]
        if zeros == 2 and value <= 3:
            stream[position] = 3
            position += 1
            zeros = 0
        stream[position] = value
        position += 1
        zeros = zeros + 1 if value == 0 else 0
    return position


@njit(cache=True, nogil=True)
def write_macroblocks(image, length, table, shift, stream, position, raw):  # type: ignore[no-untyped-def]
    """Write `image[:length]` as I_PCM macroblocks at `stream[position:]`; return the end position.

    Shapes: `image` uint8[>= length rounded up to 384], zero behind `length`; `table` uint8[WHITENING_BYTES + 384],
    its last 384 bytes the first again; `shift` the table index for image byte 0; `stream` uint8[position + 579 a
    macroblock], holding the slice header with the first macroblock's type just before `position`; `raw` uint8[386].
    """
    count = (length + MACROBLOCK_BYTES - 1) // MACROBLOCK_BYTES
    for block in range(count):
        start = position
        if block > 0:
            stream[position] = 0x0D
            stream[position + 1] = 0x00
            position += 2
        source = image[block * MACROBLOCK_BYTES : (block + 1) * MACROBLOCK_BYTES]
        first = (shift + block * MACROBLOCK_BYTES) & (WHITENING_BYTES - 1)
        mask = table[first : first + MACROBLOCK_BYTES]
        target = stream[position : position + MACROBLOCK_BYTES]
        for i in range(MACROBLOCK_BYTES):
            target[i] = source[i] ^ mask[i]
        if block == 0:
            for i in range(HEADER_BYTES):
                target[i] = source[i]
        position += MACROBLOCK_BYTES
        if _has_zero_pair(stream, start - 2):
            size = position - start
            for i in range(size):
                raw[i] = stream[start + i]
            position = _escape(raw, size, stream, start)
    return position


@njit(cache=True, nogil=True)
def _unescape(stream, position, end, count, raw):  # type: ignore[no-untyped-def]
    """Read `count` bytes from `stream[position:end]` into `raw` without prevention bytes; return the end, or -1."""
    zeros = 0
    if position >= 2 and stream[position - 1] == 0:
        zeros = 2 if stream[position - 2] == 0 else 1
    done = 0
    while done < count:
        if position >= end:
            return -1
        value = stream[position]
        position += 1
        if zeros == 2 and value == 3:
            zeros = 0
            continue
        raw[done] = value
        done += 1
        zeros = zeros + 1 if value == 0 else 0
    return position


@njit(cache=True, nogil=True)
def read_header(stream, position, end, raw):  # type: ignore[no-untyped-def]
    """Read the masked frame header at `stream[position:end]` into `raw` uint8[>= 128]; return the end, or -1."""
    return _unescape(stream, position, end, HEADER_BYTES, raw)


@njit(cache=True, nogil=True)
def read_macroblocks(stream, position, end, length, table, shift, image, raw):  # type: ignore[no-untyped-def]
    """Undo `write_macroblocks`: fill `image[:length]`, return the end position in `stream[:end]`, or -1.

    -1: the stream ends early, or something other than an I_PCM macroblock stands where one must. Shapes as there;
    `image` has room for whole macroblocks. The first 128 bytes stay masked.
    """
    count = (length + MACROBLOCK_BYTES - 1) // MACROBLOCK_BYTES
    for block in range(count):
        skip = 2 if block > 0 else 0
        size = skip + MACROBLOCK_BYTES
        stop = position + size
        target = image[block * MACROBLOCK_BYTES : (block + 1) * MACROBLOCK_BYTES]
        first = (shift + block * MACROBLOCK_BYTES) & (WHITENING_BYTES - 1)
        mask = table[first : first + MACROBLOCK_BYTES]
        if position >= 2 and position + MACROBLOCK_CODED_BYTES <= end and not _has_zero_pair(stream, position - 2):
            source = stream[position:stop]
            position = stop
        else:
            position = _unescape(stream, position, end, size, raw)
            if position < 0:
                return -1
            source = raw[:size]
        if skip == 2 and (source[0] != 0x0D or source[1] != 0x00):
            return -1
        samples = source[skip:]
        for i in range(MACROBLOCK_BYTES):
            target[i] = samples[i] ^ mask[i]
        if block == 0:
            for i in range(HEADER_BYTES):
                target[i] = samples[i]
    return position


def warm_up() -> None:
    """Compile the kernels, or load them from the cache: the first file after this is not kept waiting."""
    image, stream = np.zeros(MACROBLOCK_BYTES, np.uint8), np.full(2 * WHITENING_BYTES, 0xFF, np.uint8)
    table, raw = stream[: WHITENING_BYTES + MACROBLOCK_BYTES].copy(), np.empty(MACROBLOCK_CODED_BYTES, np.uint8)
    end = write_macroblocks(image, HEADER_BYTES + 1, table, 0, stream, 2, raw)
    read_header(stream, 2, end, raw)
    read_macroblocks(stream, 2, end, HEADER_BYTES + 1, table, 0, image, raw)
