"""The kernel of the erasure code, compiled on first use and kept in numba's cache. It releases the GIL."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def accumulate(target, source, factor):  # type: ignore[no-untyped-def]
    """target ^= factor * source, byte by byte, for as long as the source is: shift and add on whole vectors."""
    for block in range(0, source.size, 4096):
        part = source[block : block + 4096]
        out = target[block : block + part.size]
        for i in range(part.size):
            value = part[i]
            total = np.uint8(0)
            for bit in range(8):
                total ^= np.uint8(value * np.uint8((factor >> bit) & 1))
                value = np.uint8(np.uint8(value << 1) ^ np.uint8(np.uint8(value >> 7) * np.uint8(0x1D)))
            out[i] ^= total
