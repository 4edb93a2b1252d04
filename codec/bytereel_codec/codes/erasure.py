"""Erasure code over GF(256): any `n` lost rows of a stripe come back from `n` parity rows. Knows no frames.

Parity row c is the sum over data rows i of 1 / (x_c + y_i) times row i, with x_c = 255 - c and y_i = i (a Cauchy
matrix: every square part of it has an inverse). The field's polynomial is x^8 + x^4 + x^3 + x^2 + 1 (0x11D).

Source: Blömer et al., An XOR-Based Erasure-Resilient Coding Scheme (1995); FORMAT.md section 9.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.uint8]
Factors = tuple[int, ...]

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


def accumulate(target: Row, source: Row, factor: int) -> None:
    """target[:source.size] ^= factor * source. Shapes: uint8[n], `target` at least as long."""
    from bytereel_codec.codes.erasure_kernels import accumulate as kernel  # not loaded where nothing has parity

    assert len(source) <= len(target), "the kernel checks no bounds"
    kernel(target, source, np.uint8(factor))


@lru_cache(maxsize=512)
def recovery_factors(lost: tuple[int, ...], columns: tuple[int, ...], row: int, rows: int) -> tuple[Factors, Factors]:
    """What to multiply parity and data rows with so that their sum is the lost row `row`.

    `lost` are all data rows that are gone, `columns` as many parity rows. Returns the factors of those parity rows, in
    order, and those of data rows 0 to `rows` - 1: 0 for one that is lost. The inverse of a Cauchy matrix is known
    element by element, so nothing is eliminated.

    Source: Knuth, The Art of Computer Programming 1, 1.2.3, exercise 41.
    """
    assert len(lost) == len(columns)
    assert row in lost
    points = [255 - column for column in columns]
    weights = []
    for point in points:
        above = _product(point ^ other for other in lost if other != row)
        above = multiply(above, _product(other ^ row for other in points))
        below = _product(point ^ other for other in points if other != point)
        below = multiply(below, _product(row ^ other for other in lost if other != row))
        weights.append(multiply(above, inverse(below)))
    gone = frozenset(lost)
    data = [0 if index in gone else _sum_of(weights, columns, index) for index in range(rows)]
    return tuple(weights), tuple(data)


def _product(values: Iterable[int]) -> int:
    return reduce(multiply, values, 1)


def _sum_of(weights: Sequence[int], columns: Sequence[int], row: int) -> int:
    """The factor of a data row that is there: it is taken out of each parity row by its own coefficient."""
    total = 0
    for weight, column in zip(weights, columns, strict=True):
        total ^= multiply(weight, coefficient(column, row))
    return total
