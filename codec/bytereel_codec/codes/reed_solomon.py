"""Reed-Solomon code over GF(256), interleaved: every column of a matrix of 255 rows is a codeword of its own.

RS(255, 255 - parity), systematic: the field's polynomial is x^8 + x^4 + x^3 + x^2 + 1 (0x11D), the generator is the
product of x - 2^i for 0 <= i < parity, row 0 holds the highest power, the last `parity` rows the parity bytes. A
column with e wrong bytes and f lost ones comes back if 2 e + f <= parity; beyond that it is known to be wrong almost
always, not always: a checksum has the last word. Pure functions over a range of columns; callers split the columns
between threads.

A remainder of `parity` bytes lies in whole 64-bit words, highest power in the lowest byte of word 0. Eight rows are
taken in one step (as in CRC by slices), so a remainder moves by whole words. The number of words comes as a tuple of
that length: a tuple's length is a constant to the compiler, and the inner loops unroll.

Source: R. E. Blahut, Algebraic Codes for Data Transmission (2003), chapter 6; FORMAT.md section 15.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.codes.erasure import multiply
from bytereel_codec.codes.reed_solomon_kernels import EXP, LOG, PARITY_MAX, ROOT_WORDS, ROWS, correct_columns

Matrix = npt.NDArray[np.uint8]
Remainders = npt.NDArray[np.uint64]
PARITY_MIN = 2
SLICES = 8
_BLOCK_COLUMNS = 256
_RUN_COLUMNS = 4096


@dataclass(frozen=True, slots=True)
class CorrectionReport:
    """What became of columns: `corrected` int16[columns], bytes lost or changed in each, -1 where it failed."""

    corrected: npt.NDArray[np.int16]

    @property
    def failed(self) -> npt.NDArray[np.intp]:
        """The columns that were not corrected, counted from the first one asked for."""
        return np.flatnonzero(self.corrected < 0)

    @property
    def bytes_corrected(self) -> int:
        """Bytes filled or changed in all the other columns."""
        return int(self.corrected[self.corrected > 0].sum())


def encode(matrix: Matrix, parity: int, first: int = 0, last: int | None = None) -> None:
    """Fill the parity rows of the columns `first` to `last` (all) in place.

    Shapes: `matrix` uint8[255, width], C order; `parity` even, 2 to 128.
    """
    last = checked(matrix, parity, first, last)
    encode_columns(matrix, parity, division_table(parity), words_of(parity), first, last)


def correct(
    matrix: Matrix,
    parity: int,
    lost: npt.NDArray[np.bool_] | Matrix | None = None,
    margin: Matrix | None = None,
    first: int = 0,
    last: int | None = None,
) -> CorrectionReport:
    """Correct the columns `first` to `last` (all) in place; a column that fails stays as it was.

    Shapes: `matrix` uint8[255, width], C order; `parity` as it was encoded; `lost` bool or uint8[255, width], other
    than 0 where a byte is known to be lost (what stands there does not matter); `margin` uint8[255, width], how sure a
    byte is, 0 least.

    Each column is first taken with its errors and known losses, up to the code's bound. If that fails and there is a
    `margin`, the least certain bytes are erased too, ever more of them. What is guessed there must leave 2 parity
    bytes over (1 from 5 errors on, none from 8 on): with none left, nearly every word would have a codeword in reach.
    """
    last = checked(matrix, parity, first, last)
    words, division = words_of(parity), division_table(parity)
    left = np.empty((min(_RUN_COLUMNS, last - first), len(words)), np.uint64)

    def remainders(start: int, stop: int) -> Remainders:
        take_remainders(matrix, parity, division, words, start, stop, left.reshape(-1))
        return left[: stop - start]

    return correct_by(remainders, _RUN_COLUMNS, matrix, parity, lost, margin, first, last)


def correct_by(
    remainders: Callable[[int, int], Remainders],
    run_columns: int,
    matrix: Matrix,
    parity: int,
    lost: npt.NDArray[np.bool_] | Matrix | None,
    margin: Matrix | None,
    first: int,
    last: int,
) -> CorrectionReport:
    """`correct`, by what gives the remainders uint64[stop - start, words] of the columns `start` to `stop`.

    It is asked for runs of `run_columns`; a result is used up when it is asked again.
    """
    none = np.zeros((0, 0), np.uint8)
    gone = none if lost is None else np.ascontiguousarray(lost).view(np.uint8)
    sure = none if margin is None else np.ascontiguousarray(margin)
    assert gone is none or gone.shape == matrix.shape, "the kernels check no bounds"
    assert sure is none or (sure.shape == matrix.shape and sure.dtype == np.uint8), "the kernels check no bounds"
    tables = (_syndrome_table(parity), _root_table())
    corrected = np.empty(last - first, np.int16)
    for start in range(first, last, run_columns):
        stop = min(start + run_columns, last)
        left, target = remainders(start, stop), corrected[start - first : stop - first]
        correct_columns(matrix, parity, start, left, tables, gone, sure, target)
    return CorrectionReport(corrected)


def checked(matrix: Matrix, parity: int, first: int, last: int | None) -> int:
    """Where the columns end, once all of it is within the bounds that the kernels do not check."""
    assert PARITY_MIN <= parity <= PARITY_MAX and parity % 2 == 0, parity
    assert matrix.dtype == np.uint8 and matrix.ndim == 2 and matrix.shape[0] == ROWS and matrix.flags.c_contiguous
    last = matrix.shape[1] if last is None else last
    assert 0 <= first <= last <= matrix.shape[1], "the kernels check no bounds"
    return last


def words_of(parity: int) -> tuple[int, ...]:
    """A tuple as long as a remainder has words: 1, 2, 4, 8 or 16, so that few lengths are compiled."""
    words = 1
    while 8 * words < parity:
        words *= 2
    return (0,) * words


@lru_cache(maxsize=1)
def _products() -> Matrix:
    """uint8[256, 256]: the product of any two field elements."""
    products: Matrix = EXP[LOG[:, None] + LOG[None, :]]
    return products


@lru_cache(maxsize=16)
def division_table(parity: int) -> npt.NDArray[np.uint64]:
    """uint64[8 * 256 * words]: the remainder of value times x^(parity + 7 - slice), for every slice and value."""
    generator = [1]
    for i in range(parity):
        root = int(EXP[i])
        generator = [a ^ multiply(b, root) for a, b in zip([*generator, 0], [0, *generator], strict=True)]
    low = np.array(generator[1:], np.uint8)
    powers = [low]
    for _ in range(SLICES - 1):
        top = powers[-1]
        powers.append(np.append(top[1:], np.uint8(0)) ^ _products()[top[0]][low])
    table = np.zeros((SLICES, 256, 8 * len(words_of(parity))), np.uint8)
    for part, power in enumerate(reversed(powers)):
        table[part, :, :parity] = _products()[:, power]
    return table.view("<u8").astype(np.uint64).reshape(-1)


@lru_cache(maxsize=16)
def _syndrome_table(parity: int) -> npt.NDArray[np.uint64]:
    """uint64[parity * 32 * words]: all the syndromes of each byte of a remainder, its low half, then its high half."""
    byte, syndrome = np.arange(parity)[:, None], np.arange(parity)[None, :]
    table = np.zeros((parity, 32, 8 * len(words_of(parity))), np.uint8)
    table[:, :, :parity] = _halves(EXP[(parity - 1 - byte) * syndrome % 255])
    return table.view(np.uint64).reshape(-1)


@lru_cache(maxsize=1)
def _root_table() -> npt.NDArray[np.uint64]:
    """uint64[(PARITY_MAX + 1) * 32 * 32]: each coefficient's part of a locator's value at every row, by halves."""
    coefficient, row = np.arange(PARITY_MAX + 1)[:, None], np.arange(ROWS)[None, :]
    table = np.zeros((PARITY_MAX + 1, 32, 8 * ROOT_WORDS), np.uint8)
    table[:, :, :ROWS] = _halves(EXP[coefficient * (row + 1) % 255])
    return table.view(np.uint64).reshape(-1)


def _halves(factors: Matrix) -> Matrix:
    """uint8[n, 32, m] from uint8[n, m]: the factors times 0 to 15, then times 0, 16 to 240."""
    values = np.concatenate([np.arange(16), 16 * np.arange(16)])
    products: Matrix = _products()[values[None, :, None], factors[:, None, :]]
    return products


@njit(cache=True, nogil=True)
def _divide(matrix, rows, table, words, first, last, registers):  # type: ignore[no-untyped-def]
    """registers[c] = rows 0 to `rows` of column first + c, times x^parity, modulo the generator."""
    count, size, wide = last - first, len(words), np.uint64(len(words))
    registers[: count * size] = np.uint64(0)
    head = rows % SLICES
    for row in range(head):
        line, part = matrix[row, first:last], table[(SLICES - head + row) * 256 * size :]
        for c in range(count):
            for k in range(size):
                registers[c * size + k] ^= part[np.uint64(line[c]) * wide + np.uint64(k)]
    for row in range(head, rows, SLICES):
        r0, r1 = matrix[row, first:last], matrix[row + 1, first:last]
        r2, r3 = matrix[row + 2, first:last], matrix[row + 3, first:last]
        r4, r5 = matrix[row + 4, first:last], matrix[row + 5, first:last]
        r6, r7 = matrix[row + 6, first:last], matrix[row + 7, first:last]
        for c in range(count):
            word = registers[c * size]
            i0 = np.uint64(np.uint8(word) ^ r0[c]) * wide
            i1 = np.uint64(np.uint8(word >> np.uint64(8)) ^ r1[c]) * wide + np.uint64(256) * wide
            i2 = np.uint64(np.uint8(word >> np.uint64(16)) ^ r2[c]) * wide + np.uint64(512) * wide
            i3 = np.uint64(np.uint8(word >> np.uint64(24)) ^ r3[c]) * wide + np.uint64(768) * wide
            i4 = np.uint64(np.uint8(word >> np.uint64(32)) ^ r4[c]) * wide + np.uint64(1024) * wide
            i5 = np.uint64(np.uint8(word >> np.uint64(40)) ^ r5[c]) * wide + np.uint64(1280) * wide
            i6 = np.uint64(np.uint8(word >> np.uint64(48)) ^ r6[c]) * wide + np.uint64(1536) * wide
            i7 = np.uint64(np.uint8(word >> np.uint64(56)) ^ r7[c]) * wide + np.uint64(1792) * wide
            for k in range(size):
                j = np.uint64(k)
                total = table[i0 + j] ^ table[i1 + j] ^ table[i2 + j] ^ table[i3 + j]
                total ^= table[i4 + j] ^ table[i5 + j] ^ table[i6 + j] ^ table[i7 + j]
                if k + 1 < size:
                    total ^= registers[c * size + k + 1]
                registers[c * size + k] = total


@njit(cache=True, nogil=True)
def encode_columns(matrix, parity, table, words, first, last):  # type: ignore[no-untyped-def]
    """Fill the parity rows of the columns `first` to `last` of `matrix` uint8[255, width].

    `table` uint64[8 * 256 * words]: see `division_table`.
    """
    rows, size = ROWS - parity, len(words)
    registers = np.empty(_BLOCK_COLUMNS * size, np.uint64)
    for start in range(first, last, _BLOCK_COLUMNS):
        stop = min(start + _BLOCK_COLUMNS, last)
        _divide(matrix, rows, table, words, start, stop, registers)
        for i in range(parity):
            line, shift = matrix[rows + i, start:stop], np.uint64(8 * (i % 8))
            for c in range(stop - start):
                line[c] = np.uint8(registers[c * size + i // 8] >> shift)


@njit(cache=True, nogil=True)
def take_remainders(matrix, parity, table, words, first, last, out):  # type: ignore[no-untyped-def]
    """out[c * words] ... = what column first + c leaves when divided by the generator: zero for a codeword.

    Shapes: as for `encode_columns`; `out` uint64[>= (last - first) * words].
    """
    rows, size = ROWS - parity, len(words)
    for start in range(first, last, _BLOCK_COLUMNS):
        stop = min(start + _BLOCK_COLUMNS, last)
        registers = out[(start - first) * size : (stop - first) * size]
        _divide(matrix, rows, table, words, start, stop, registers)
        for i in range(parity):
            line, shift = matrix[rows + i, start:stop], np.uint64(8 * (i % 8))
            for c in range(stop - start):
                registers[c * size + i // 8] ^= np.uint64(line[c]) << shift
