"""The fixed sequences that make every payload look random. No secrecy: only the envelope hides anything.

Source: FORMAT.md section 4.
"""

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bytereel_codec.macroblocks import HEADER_BYTES, MACROBLOCK_BYTES, WHITENING_BYTES

HEADER_MASK = hashlib.shake_128(b"bytereel header mask").digest(HEADER_BYTES)


@lru_cache(maxsize=4)
def whitening_table(reel_id: bytes) -> npt.NDArray[np.uint8]:
    """uint8[65536 + 384]: the sequence of a reel, its first 384 bytes repeated at the end."""
    table = hashlib.shake_128(b"bytereel whitening" + reel_id).digest(WHITENING_BYTES)
    return np.frombuffer(table + table[:MACROBLOCK_BYTES], np.uint8)


def masked(header: bytes) -> bytes:
    """The header XOR its fixed mask; its own inverse."""
    return (int.from_bytes(header, "big") ^ int.from_bytes(HEADER_MASK, "big")).to_bytes(HEADER_BYTES, "big")
