"""The kernels that correct the columns of a Reed-Solomon matrix, one after another, from what each leaves as remainder.

Row r of a column stands for the power 254 - r, so its locator is X = 2^(254 - r); syndrome i is the column's value at
2^i. All functions release the GIL and allocate a few small buffers a call, none a column; `reed_solomon` checks bounds.

Source: R. E. Blahut, Algebraic Codes for Data Transmission (2003), 6.3, 7.2, 7.4 and 7.5; G. D. Forney, Generalized
Minimum Distance Decoding (1966); FORMAT.md section 15.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.codes.erasure import multiply

ROWS = 255
PARITY_MAX = 128
ROOT_WORDS = 32  # a byte for every row


def _field() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The powers of 2, twice over and then zeros, and the logarithms; that of 0 leads into the zeros."""
    powers, logs = np.zeros(1021, np.uint8), np.full(256, 510, np.int64)
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logs[value] = exponent
        value = multiply(value, 2)
    return powers, logs


EXP, LOG = _field()

# Parity that a guess must leave over, by errors found: by chance about one word in 256^spared * errors! decodes.
_SPARED = np.array([2] * 5 + [1] * 3 + [0] * (PARITY_MAX // 2 - 7), np.int64)


class _Scratch(NamedTuple):
    """Buffers of one call, used anew for every column.

    `rows` are the erased ones, then those found in error; `values` what to add there; `erased` is 1 at erased rows;
    `ranked` are the rows that are not erased, least certain first.
    """

    syndromes: npt.NDArray[np.uint8]
    shifted: npt.NDArray[np.uint8]
    erasure_locator: npt.NDArray[np.uint8]
    error_locator: npt.NDArray[np.uint8]
    older: npt.NDArray[np.uint8]
    saved: npt.NDArray[np.uint8]
    locator: npt.NDArray[np.uint8]
    evaluated: npt.NDArray[np.uint64]
    logs: npt.NDArray[np.int64]
    values: npt.NDArray[np.uint8]
    erased: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    ranked: npt.NDArray[np.int64]
    histogram: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _new_scratch(words):  # type: ignore[no-untyped-def]
    small, large = np.zeros((8, 256), np.uint8), np.zeros((3, 256), np.int64)
    locators = (small[0], small[1], small[2], small[3], small[4], small[5])
    evaluated, logs = np.zeros(ROOT_WORDS, np.uint64), np.zeros(512, np.int64)
    return _Scratch(words.view(np.uint8), *locators, evaluated, logs, small[6], small[7], large[0], large[1], large[2])


@njit(cache=True, nogil=True)
def _take_syndromes(remainder, parity, table, out):  # type: ignore[no-untyped-def]
    """out = the syndromes of a column that leaves `remainder`; `table` has a row for every half of every byte."""
    size = remainder.size
    out[:size] = np.uint64(0)
    for i in range(parity):
        value = np.int64(remainder[i // 8] >> np.uint64(8 * (i % 8))) & 255
        low, high = (32 * i + (value & 15)) * size, (32 * i + 16 + (value >> 4)) * size
        for k in range(size):
            out[k] ^= table[low + k] ^ table[high + k]


@njit(cache=True, nogil=True)
def _locate_erasures(rows, count, out):  # type: ignore[no-untyped-def]
    """out = the product of 1 - X x over the first `count` rows; shape uint8[> count]."""
    out[0] = 1
    for n in range(count):
        log = ROWS - 1 - rows[n]
        out[n + 1] = 0
        for k in range(n + 1, 0, -1):
            out[k] ^= EXP[LOG[out[k - 1]] + log]


@njit(cache=True, nogil=True)
def _convolve(a, a_count, b, first, last, out):  # type: ignore[no-untyped-def]
    """out[first:last] = those coefficients of a[:a_count] times b; b is read up to last - 1."""
    for i in range(first, last):
        total = np.uint8(0)
        for k in range(min(a_count, i + 1)):
            total ^= EXP[LOG[a[k]] + LOG[b[i - k]]]
        out[i] = total


@njit(cache=True, nogil=True)
def _locate_errors(sequence, locator, older, saved):  # type: ignore[no-untyped-def]
    """Berlekamp and Massey: the shortest recursion of `sequence` into `locator`; its length, or -1 if over half."""
    locator[:] = 0
    older[:] = 0
    locator[0] = older[0] = 1
    length, older_length, gap, older_log = 0, 0, 1, 0
    for i in range(sequence.size):
        wrong = sequence[i]
        for k in range(1, length + 1):
            wrong ^= EXP[LOG[locator[k]] + LOG[sequence[i - k]]]
        if wrong == 0:
            gap += 1
            continue
        for k in range(length + 1):
            saved[k] = locator[k]
        factor = (LOG[wrong] + 255 - older_log) % 255
        for k in range(older_length + 1):
            locator[k + gap] ^= EXP[LOG[older[k]] + factor]
        if 2 * length <= i:
            for k in range(length + 1):
                older[k] = saved[k]
            length, older_length, gap, older_log = i + 1 - length, length, 1, LOG[wrong]
            if 2 * length > sequence.size:
                return -1
        else:
            gap += 1
    return length


@njit(cache=True, nogil=True)
def _find_roots(scratch, errors, erasures, table):  # type: ignore[no-untyped-def]
    """The rows, none of them erased, where the error locator is zero, into `scratch.rows` behind the erased ones.

    Returns how many there are. All rows are evaluated at once: `table` uint64[(PARITY_MAX + 1) * 32 * 32] holds a byte
    for each row, for every half of every coefficient.
    """
    evaluated, found = scratch.evaluated, 0
    evaluated[:] = np.uint64(0x0101010101010101)
    for k in range(1, errors + 1):
        value = np.int64(scratch.error_locator[k])
        low, high = (32 * k + (value & 15)) * ROOT_WORDS, (32 * k + 16 + (value >> 4)) * ROOT_WORDS
        for w in range(ROOT_WORDS):
            evaluated[w] ^= table[low + w] ^ table[high + w]
    at_row = evaluated.view(np.uint8)
    for w in range(ROOT_WORDS):
        word = evaluated[w]
        if (word - np.uint64(0x0101010101010101)) & ~word & np.uint64(0x8080808080808080) == 0:
            continue
        for row in range(8 * w, min(8 * w + 8, ROWS)):
            if at_row[row] == 0 and scratch.erased[row] == 0 and found < errors:
                scratch.rows[erasures + found] = row
                found += 1
    return found


@njit(cache=True, nogil=True)
def _evaluate(logs, step, first, last, stride):  # type: ignore[no-untyped-def]
    """The value at 2^step of the polynomial whose terms first, first + stride, ... have these logarithms."""
    total, power, leap = np.uint8(0), (first * step) % 255, (stride * step) % 255
    for k in range(first, last, stride):
        total ^= EXP[logs[k] + power]
        power += leap
        if power >= 255:
            power -= 255
    return total


@njit(cache=True, nogil=True)
def _find_values(scratch, count):  # type: ignore[no-untyped-def]
    """Forney: what to add in each of the `count` rows that `scratch.locator` locates; False if there is no answer."""
    _convolve(scratch.locator, count + 1, scratch.syndromes, 0, count, scratch.shifted)
    evaluator, derivative = scratch.logs[:256], scratch.logs[256:]
    scratch.shifted[count] = 0
    for k in range(count + 1):
        evaluator[k], derivative[k] = LOG[scratch.shifted[k]], LOG[scratch.locator[k]]
    for n in range(count):
        step = (scratch.rows[n] + 1) % 255
        bottom = _evaluate(derivative, step, 1, count + 1, 2)
        if bottom == 0:
            return False
        scratch.values[n] = EXP[LOG[_evaluate(evaluator, step, 0, count, 1)] + 255 - LOG[bottom]]
    return True


@njit(cache=True, nogil=True)
def _solve(scratch, parity, erasures, guessed, root_table):  # type: ignore[no-untyped-def]
    """Errors and erasures: fill `scratch.rows` and `scratch.values`; how many, or -1 if no codeword is in reach.

    `guessed` is 1 if some of the erasures are guesses, else 0.
    """
    _locate_erasures(scratch.rows, erasures, scratch.erasure_locator)
    _convolve(scratch.erasure_locator, erasures + 1, scratch.syndromes, erasures, parity, scratch.shifted)
    sequence = scratch.shifted[erasures:parity]
    errors = _locate_errors(sequence, scratch.error_locator, scratch.older, scratch.saved)
    if errors < 0 or 2 * errors + guessed * _SPARED[errors] > parity - erasures:
        return -1
    if _find_roots(scratch, errors, erasures, root_table) < errors:
        return -1
    count = erasures + errors
    for k in range(erasures + 1, count + 1):
        scratch.erasure_locator[k] = 0
    _convolve(scratch.error_locator, errors + 1, scratch.erasure_locator, 0, count + 1, scratch.locator)
    return count if _find_values(scratch, count) else -1


@njit(cache=True, nogil=True)
def _rank(margin, column, scratch):  # type: ignore[no-untyped-def]
    """Sort the rows that are not erased into `scratch.ranked`, least certain first."""
    histogram = scratch.histogram
    histogram[:] = 0
    for row in range(ROWS):
        histogram[margin[row, column]] += 1 - np.int64(scratch.erased[row])
    place = 0
    for value in range(256):
        place += histogram[value]
        histogram[value] = place - histogram[value]
    for row in range(ROWS):
        if scratch.erased[row] == 0:
            value = margin[row, column]
            scratch.ranked[histogram[value]] = row
            histogram[value] += 1


@njit(cache=True, nogil=True)
def _solve_guessing(scratch, parity, lost, margin, column, root_table):  # type: ignore[no-untyped-def]
    """Erase 1/8, 2/8 ... 7/8 of what parity is left, least certain bytes first, until `_solve` has an answer."""
    _rank(margin, column, scratch)
    erased = 0
    for eighths in range(1, 8):
        wanted = (parity - lost) * eighths // 16 * 2
        if wanted == erased:
            continue
        erased = wanted
        for n in range(erased):
            scratch.rows[lost + n] = scratch.ranked[n]
            scratch.erased[scratch.ranked[n]] = 1
        count = _solve(scratch, parity, lost + erased, 1, root_table)
        if count >= 0:
            return count
    return -1


@njit(cache=True, nogil=True)
def _apply(scratch, count, lost, matrix, column):  # type: ignore[no-untyped-def]
    """Add the values; the number of bytes that were lost or have changed."""
    corrected = lost
    for n in range(count):
        matrix[scratch.rows[n], column] ^= scratch.values[n]
        if n >= lost and scratch.values[n] != 0:
            corrected += 1
    return corrected


@njit(cache=True, nogil=True)
def _count_lost(lost, first, counts):  # type: ignore[no-untyped-def]
    for row in range(lost.shape[0]):
        line = lost[row, first : first + counts.size]
        for c in range(counts.size):
            counts[c] += np.int16(line[c] != 0)


@njit(cache=True, nogil=True)
def _mark_lost(lost, column, count, scratch):  # type: ignore[no-untyped-def]
    found = 0
    for row in range(ROWS):
        scratch.erased[row] = 0
        if found < count and lost[row, column] != 0:
            scratch.rows[found] = row
            scratch.erased[row] = 1
            found += 1


@njit(cache=True, nogil=True)
def correct_columns(matrix, parity, first, remainders, tables, lost, margin, corrected):  # type: ignore[no-untyped-def]
    """Correct column first + c of `matrix` uint8[255, width], which leaves remainders[c], for every c; in place.

    Shapes: `remainders` uint64[columns, words]; `tables` those of `reed_solomon` for syndromes and for roots; `lost`
    and `margin` uint8[255, width], or uint8[0, 0] for none; `corrected` int16[columns] is filled: lost and changed
    bytes, or -1 for a column that was left as it was.
    """
    words = np.zeros(PARITY_MAX // 8, np.uint64)
    scratch = _new_scratch(words)
    corrected[:] = 0
    _count_lost(lost, first, corrected)
    for c in range(corrected.size):
        count, column = np.int64(corrected[c]), first + c
        if count > parity:
            corrected[c] = -1
        elif remainders[c].any():
            _take_syndromes(remainders[c], parity, tables[0], words)
            _mark_lost(lost, column, count, scratch)
            solved = _solve(scratch, parity, count, 0, tables[1])
            if solved < 0 and margin.size > 0:
                solved = _solve_guessing(scratch, parity, count, margin, column, tables[1])
            corrected[c] = -1 if solved < 0 else _apply(scratch, solved, count, matrix, column)
