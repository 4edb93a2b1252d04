"""The fixed sequences that make every payload look random. No secrecy: only the envelope hides anything.

Source: FORMAT.md section 4.
"""

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bytereel_codec.frame.sizes import GROUP_MACROBLOCKS, HEADER_BYTES, MACROBLOCK_BYTES, WHITENING_BYTES

TABLE_BYTES = WHITENING_BYTES + GROUP_MACROBLOCKS * MACROBLOCK_BYTES
NO_WHITENING = np.zeros(TABLE_BYTES, np.uint8)
"""A table for images that are whitened already."""
HEADER_MASK = hashlib.shake_128(b"bytereel header mask").digest(HEADER_BYTES)


@lru_cache(maxsize=4)
def whitening_table(reel_id: bytes) -> npt.NDArray[np.uint8]:
    """uint8[65536 + a group of macroblocks]: the sequence of a reel, repeated, so that a group's is in one piece."""
    table = np.frombuffer(hashlib.shake_128(b"bytereel whitening" + reel_id).digest(WHITENING_BYTES), np.uint8)
    return np.resize(table, TABLE_BYTES)


def masked(header: bytes) -> bytes:
    """The header XOR its fixed mask; its own inverse."""
    return (int.from_bytes(header, "big") ^ int.from_bytes(HEADER_MASK, "big")).to_bytes(HEADER_BYTES, "big")


def whitened(image: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8], packed: bytes) -> None:
    """Whiten a frame's image (or undo it) in place, its header excepted. `packed` is the header, not masked.

    Shapes: `image` uint8[n]; `table` as `whitening_table` gives it.
    """
    position = HEADER_BYTES
    shift = int.from_bytes(packed[HEADER_BYTES - 2 : HEADER_BYTES], "big")
    while position < len(image):
        start = (shift + position) % WHITENING_BYTES
        count = min(len(image) - position, WHITENING_BYTES - start)
        image[position : position + count] ^= table[start : start + count]
        position += count
