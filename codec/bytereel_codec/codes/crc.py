"""The CRC32C of a whole from those of its pieces, without the bytes.

A CRC is a remainder in GF(2)[x]: appending n bytes multiplies what stood before by x^(8n).
Source: zlib 1.3, crc32.c (`multmodp`, `x2nmodp`, `crc32_combine`), with the polynomial of RFC 3720 section 12.1.
"""

from functools import lru_cache

POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31  # x^0: the bits are reflected
_X = 1 << 30


def crc32c_combine(first: int, second: int, second_bytes: int) -> int:
    """The CRC32C of A + B from those of A and B, and the length of B."""
    return _times(_power(8 * second_bytes), first) ^ second


@lru_cache(maxsize=256)
def _power(exponent: int) -> int:
    """x^exponent modulo the polynomial, by squaring; fragments of a reel share a few lengths."""
    result, square = _ONE, _X
    while exponent:
        if exponent & 1:
            result = _times(square, result)
        square = _times(square, square)
        exponent >>= 1
    return result


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo the CRC's, all reflected."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = (b >> 1) ^ POLYNOMIAL if b & 1 else b >> 1
    return product
