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
from bytereel_codec.channel.reed_solomon import (
    _SLICES,
    CorrectionReport,
    Matrix,
    _checked,
    _division_table,
    _root_table,
    _syndrome_table,
    _words,
)
from bytereel_codec.channel.reed_solomon_kernels import ROWS, correct_columns

_RUN_COLUMNS = 1 << 16

Kernel = Callable[..., Any]


def encode(matrix: Matrix, parity: int, first: int = 0, last: int | None = None) -> None:
    """As `channel.reed_solomon.encode`."""
    last = _checked(matrix, parity, first, last)
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
    last = _checked(matrix, parity, first, last)
    none = np.zeros((0, 0), np.uint8)
    gone = none if lost is None else np.ascontiguousarray(lost).view(np.uint8)
    sure = none if margin is None else np.ascontiguousarray(margin)
    assert gone is none or gone.shape == matrix.shape, "the kernels check no bounds"
    assert sure is none or (sure.shape == matrix.shape and sure.dtype == np.uint8), "the kernels check no bounds"
    divider, tables = _Divider(parity), (_syndrome_table(parity), _root_table())
    corrected = np.empty(last - first, np.int16)
    for start in range(first, last, _RUN_COLUMNS):
        stop = min(start + _RUN_COLUMNS, last)
        left = divider.remainders(matrix[:, start:stop])
        correct_columns(matrix, parity, start, left, tables, gone, sure, corrected[start - first : stop - first])
    return CorrectionReport(corrected)


class _Divider:
    """Divides columns by the generator. Not for use by two threads at once."""

    def __init__(self, parity: int) -> None:
        self._parity, self._words, self._link = parity, len(_words(parity)), Link()
        self._table = self._link.sent(_division_table(parity).reshape(-1, self._words))

    def parity(self, data: Matrix) -> Matrix:
        """The parity rows uint8[parity, columns] that belong to `data` uint8[255 - parity, columns]."""
        found = np.empty((self._parity, data.shape[1]), np.uint8)
        self._divided(_parity_kernel(self._words), data, found)
        return found

    def remainders(self, matrix: Matrix) -> npt.NDArray[np.uint64]:
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

    `table` uint64[8 * 256, words]: see `reed_solomon._division_table`. As `reed_solomon._divide`.
    """
    words = len(registers)
    for k in range(words):
        registers[k] = np.uint64(0)
    head = rows % _SLICES
    for row in range(head):
        at = (_SLICES - head + row) * 256 + np.int64(matrix[row, column])
        for k in range(words):
            registers[k] ^= table[at, k]
    for row in range(head, rows, _SLICES):
        word = registers[0]
        for k in range(words):
            registers[k] = registers[k + 1] if k + 1 < words else np.uint64(0)
        for i in range(_SLICES):
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
