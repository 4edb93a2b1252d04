"""Erasure code over GF(256): any `n` lost rows of a stripe come back from `n` parity rows. Knows no frames.

Parity row c is the sum over data rows i of 1 / (x_c + y_i) times row i, with x_c = 255 - c and y_i = i (a Cauchy
matrix: every square part of it has an inverse). The field's polynomial is x^8 + x^4 + x^3 + x^2 + 1 (0x11D).

Source: Blömer et al., An XOR-Based Erasure-Resilient Coding Scheme (1995); FORMAT.md section 9.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

Row = npt.NDArray[np.uint8]

_POLYNOMIAL = 0x11D


def _tables() -> tuple[list[int], list[int]]:
    exponents, logarithms = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logarithms[value] = power
        value = value << 1 ^ (_POLYNOMIAL if value & 0x80 else 0)
    return exponents, logarithms


_EXP, _LOG = _tables()


def multiply(a: int, b: int) -> int:
    """The product of two field elements."""
    return _EXP[_LOG[a] + _LOG[b]] if a and b else 0


def inverse(a: int) -> int:
    """The inverse of a field element other than 0."""
    return _EXP[255 - _LOG[a]]


def coefficient(column: int, row: int) -> int:
    """What data row `row` is multiplied with in parity row `column`; row + column < 255."""
    return inverse((255 - column) ^ row)


@njit(cache=True, nogil=True)
def _accumulate(target, source, factor):  # type: ignore[no-untyped-def]
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


def accumulate(target: Row, source: Row, factor: int) -> None:
    """target[:source.size] ^= factor * source. Shapes: uint8[n], `target` at least as long."""
    assert len(source) <= len(target), "the kernel checks no bounds"
    _accumulate(target, source, np.uint8(factor))


def recover(lost: Sequence[int], sums: Mapping[int, Row]) -> dict[int, Row]:
    """The lost data rows, from as many parity rows.

    `sums` maps a column to its parity row minus all the data rows that are there: what the lost rows alone add to it.
    The arrays are used up. Shapes: uint8[n], all of one length.
    """
    columns = sorted(sums)[: len(lost)]
    assert len(columns) == len(lost)
    matrix = [[coefficient(column, row) for row in lost] for column in columns]
    rows = [sums[column] for column in columns]
    for pivot in range(len(lost)):  # Gauss-Jordan; a Cauchy matrix never has a zero pivot
        scale = inverse(matrix[pivot][pivot])
        matrix[pivot] = [multiply(scale, value) for value in matrix[pivot]]
        rows[pivot] = _scaled(rows[pivot], scale)
        for other in range(len(lost)):
            factor = matrix[other][pivot]
            if other != pivot and factor:
                matrix[other] = [a ^ multiply(factor, b) for a, b in zip(matrix[other], matrix[pivot], strict=True)]
                accumulate(rows[other], rows[pivot], factor)
    return dict(zip(lost, rows, strict=True))


def _scaled(row: Row, factor: int) -> Row:
    target = np.zeros_like(row)
    accumulate(target, row, factor)
    return target
