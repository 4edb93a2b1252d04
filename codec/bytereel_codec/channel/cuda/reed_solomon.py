"""The Reed-Solomon code on a card: parity bytes and remainders; what is not clean is corrected on the CPU.

`encode` and `correct` do what those of `channel.reed_solomon` do, by the same tables, to the last byte. Dividing every
codeword by the generator is nearly all the work where few codewords are damaged, and that is what the card does, a
thread a column. Solving for errors and erasures branches differently in every column: `correct_columns` stays with it.

Memory: on the card, a run of columns, their remainders and the tables, about 20 MB.
Source: R. E. Blahut, Algebraic Codes for Data Transmission (2003), chapter 6; FORMAT.md section 15.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, uint64

from bytereel_codec.channel.cuda.link import Link
from bytereel_codec.codes.reed_solomon import (
    SLICES,
    CorrectionReport,
    Matrix,
    Remainders,
    checked,
    correct_by,
    division_table,
    words_of,
)
from bytereel_codec.codes.reed_solomon_kernels import ROWS

_RUN_COLUMNS = 1 << 16

Kernel = Callable[..., Any]


def encode(matrix: Matrix, parity: int, first: int = 0, last: int | None = None) -> None:
    """As `channel.reed_solomon.encode`."""
    last = checked(matrix, parity, first, last)
    rows = ROWS - parity
    divider = _Divider(parity)
    for start in range(first, last, _RUN_COLUMNS):
        stop = min(start + _RUN_COLUMNS, last)
        matrix[rows:, start:stop] = divider.parity(matrix[:rows, start:stop])


def correct(
    matrix: Matrix,
    parity: int,
    lost: npt.NDArray[np.bool_] | Matrix | None = None,
    margin: Matrix | None = None,
    first: int = 0,
    last: int | None = None,
) -> CorrectionReport:
    """As `channel.reed_solomon.correct`."""
    last = checked(matrix, parity, first, last)
    divider = _Divider(parity)

    def remainders(start: int, stop: int) -> Remainders:
        return divider.remainders(matrix[:, start:stop])

    return correct_by(remainders, _RUN_COLUMNS, matrix, parity, lost, margin, first, last)


class _Divider:
    """Divides columns by the generator. Not for use by two threads at once."""

    def __init__(self, parity: int) -> None:
        self._parity, self._words, self._link = parity, len(words_of(parity)), Link()
        self._table = self._link.sent(division_table(parity).reshape(-1, self._words))

    def parity(self, data: Matrix) -> Matrix:
        """The parity rows uint8[parity, columns] that belong to `data` uint8[255 - parity, columns]."""
        found = np.empty((self._parity, data.shape[1]), np.uint8)
        self._divided(_parity_kernel(self._words), data, found)
        return found

    def remainders(self, matrix: Matrix) -> Remainders:
        """What the columns of `matrix` uint8[255, columns] leave: uint64[columns, words]."""
        found = np.empty((matrix.shape[1], self._words), np.uint64)
        self._divided(_remainder_kernel(self._words), matrix, found)
        return found

    def _divided(self, kernel: Kernel, matrix: Matrix, found: npt.NDArray[Any]) -> None:
        link = self._link
        result, rows = link.room(found.shape, found.dtype), ROWS - self._parity
        kernel[link.along(matrix.shape[1])](link.sent(matrix), rows, self._table, result)  # type: ignore[index]
        link.fetch(result, found)


@cuda.jit(device=True)
def _divide(matrix, column, rows, table, registers):  # type: ignore[no-untyped-def]
    """`registers` uint64[words] = rows 0 to `rows` of `column` times x^parity, modulo the generator.

    `table` uint64[8 * 256, words]: see `reed_solomon.division_table`. As `reed_solomon._divide`.
    """
    words = len(registers)
    for k in range(words):
        registers[k] = np.uint64(0)
    head = rows % SLICES
    for row in range(head):
        at = (SLICES - head + row) * 256 + np.int64(matrix[row, column])
        for k in range(words):
            registers[k] ^= table[at, k]
    for row in range(head, rows, SLICES):
        word = registers[0]
        for k in range(words):
            registers[k] = registers[k + 1] if k + 1 < words else np.uint64(0)
        for i in range(SLICES):
            value = np.int64(word >> np.uint64(8 * i) & np.uint64(255)) ^ np.int64(matrix[row + i, column])
            for k in range(words):
                registers[k] ^= table[i * 256 + value, k]


@lru_cache(maxsize=5)
def _parity_kernel(words: int) -> Kernel:
    """The kernel for remainders of so many words: their number is a constant to the compiler, as registers have no
    addresses."""

    @cuda.jit
    def kernel(matrix, rows, table, out):  # type: ignore[no-untyped-def]
        """out uint8[parity, columns]: a thread a column."""
        column = cuda.grid(1)
        registers = cuda.local.array(words, uint64)
        if column < out.shape[1]:
            _divide(matrix, column, rows, table, registers)
            for k in range(words):
                for i in range(8):
                    if 8 * k + i < out.shape[0]:
                        out[8 * k + i, column] = np.uint8(registers[k] >> np.uint64(8 * i) & np.uint64(255))

    return kernel  # type: ignore[no-any-return]


@lru_cache(maxsize=5)
def _remainder_kernel(words: int) -> Kernel:
    """As `_parity_kernel`."""

    @cuda.jit
    def kernel(matrix, rows, table, out):  # type: ignore[no-untyped-def]
        """out uint64[columns, words]: a thread a column."""
        column = cuda.grid(1)
        registers = cuda.local.array(words, uint64)
        if column < out.shape[0]:
            _divide(matrix, column, rows, table, registers)
            for k in range(words):
                for i in range(8):
                    row = rows + 8 * k + i
                    if row < matrix.shape[0]:
                        registers[k] ^= np.uint64(matrix[row, column]) << np.uint64(8 * i)
                out[column, k] = registers[k]

    return kernel  # type: ignore[no-any-return]
