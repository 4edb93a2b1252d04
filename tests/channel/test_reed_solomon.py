"""The Reed-Solomon code against another implementation, up to its bound and beyond."""

import threading

import numpy as np
import pytest
from bytereel_codec.codes.erasure import multiply
from bytereel_codec.codes.reed_solomon import correct, encode
from hypothesis import given, settings
from hypothesis import strategies as st
from reedsolo import ReedSolomonError, RSCodec

ROWS = 255

parities = st.integers(1, 64).map(lambda half: 2 * half)
seeds = st.integers(0, 2**32)


def encoded(rng: np.random.Generator, parity: int, width: int) -> np.ndarray:
    matrix = rng.integers(0, 256, (ROWS, width), dtype=np.uint8)
    encode(matrix, parity)
    return matrix


def damage(matrix: np.ndarray, column: int, rows: np.ndarray, rng: np.random.Generator) -> None:
    """Change every one of these bytes."""
    matrix[rows, column] ^= rng.integers(1, 256, len(rows), dtype=np.uint8)


def is_codeword(column: np.ndarray, parity: int) -> bool:
    """Whether the generator's roots are the column's, by Horner's rule."""
    root = 1
    for _ in range(parity):
        value = 0
        for byte in column:
            value = multiply(value, root) ^ int(byte)
        if value:
            return False
        root = multiply(root, 2)
    return True


@settings(max_examples=40, deadline=None)
@given(parities, st.integers(1, 5), seeds)
def test_parity_is_what_reedsolo_makes(parity, width, seed):
    matrix = encoded(np.random.default_rng(seed), parity, width)
    peer = RSCodec(parity)
    for column in range(width):
        data = matrix[: ROWS - parity, column].tobytes()
        assert matrix[:, column].tobytes() == bytes(peer.encode(data))


@settings(max_examples=30, deadline=None)
@given(parities, seeds, st.data())
def test_columns_that_reedsolo_wrote_come_back_as_reedsolo_reads_them(parity, seed, data):
    rng = np.random.default_rng(seed)
    peer = RSCodec(parity)
    word = np.frombuffer(bytes(peer.encode(rng.bytes(ROWS - parity))), np.uint8)
    erasures = data.draw(st.integers(0, parity))
    errors = data.draw(st.integers(0, (parity - erasures) // 2))
    rows = rng.permutation(ROWS)[: erasures + errors]
    matrix = word.reshape(ROWS, 1).copy()
    damage(matrix, 0, rows, rng)
    lost = np.zeros(matrix.shape, bool)
    lost[rows[:erasures]] = True
    theirs = peer.decode(bytearray(matrix.tobytes()), erase_pos=[int(row) for row in rows[:erasures]])[1]
    report = correct(matrix, parity, lost)
    assert matrix.tobytes() == bytes(theirs) == word.tobytes()
    assert report.corrected.tolist() == [erasures + errors]


@settings(max_examples=60, deadline=None)
@given(parities, st.integers(1, 700), seeds)
def test_every_mixture_within_the_bound_is_corrected_and_counted(parity, width, seed):
    rng = np.random.default_rng(seed)
    whole = encoded(rng, parity, width)
    matrix, lost, want = whole.copy(), np.zeros(whole.shape, bool), []
    for column in range(width):
        erasures = int(rng.integers(0, parity + 1)) if rng.integers(2) else 0
        errors = int(rng.integers(0, (parity - erasures) // 2 + 1))
        rows = rng.permutation(ROWS)[: erasures + errors]
        damage(matrix, column, rows[erasures:], rng)
        matrix[rows[:erasures], column] = rng.integers(0, 256, erasures)
        lost[rows[:erasures], column] = True
        want.append(erasures + errors)
    report = correct(matrix, parity, lost)
    assert np.array_equal(matrix, whole)
    assert report.corrected.tolist() == want
    assert report.failed.size == 0
    assert report.bytes_corrected == sum(want)


@settings(max_examples=60, deadline=None)
@given(parities, st.integers(0, 128), st.integers(0, 70), st.booleans(), seeds)
def test_beyond_the_bound_a_column_fails_untouched_or_is_a_codeword_within_the_bound(
    parity, erasures, errors, sure, seed
):
    rng = np.random.default_rng(seed)
    matrix = encoded(rng, parity, 8)
    lost, margin = np.zeros(matrix.shape, bool), rng.integers(0, 256, matrix.shape, dtype=np.uint8)
    for column in range(8):
        rows = rng.permutation(ROWS)[: erasures + errors]
        damage(matrix, column, rows, rng)
        lost[rows[:erasures], column] = True
    before = matrix.copy()
    report = correct(matrix, parity, lost, margin if sure else None)
    changed = (matrix != before) & ~lost
    for column, corrected in enumerate(report.corrected):
        if corrected < 0:
            assert np.array_equal(matrix[:, column], before[:, column])
        else:
            assert is_codeword(matrix[:, column], parity)
            assert corrected == erasures + changed[:, column].sum() <= parity
            assert sure or erasures + 2 * changed[:, column].sum() <= parity


@pytest.mark.parametrize("parity", [16, 32, 64, 128])
def test_one_error_beyond_the_bound_fails_and_leaves_the_column(parity):
    rng = np.random.default_rng(parity)
    matrix = encoded(rng, parity, 200)
    for column in range(200):
        damage(matrix, column, rng.permutation(ROWS)[: parity // 2 + 1], rng)
    before = matrix.copy()
    report = correct(matrix, parity)
    assert report.failed.tolist() == list(range(200))
    assert np.array_equal(matrix, before)
    with pytest.raises(ReedSolomonError):
        RSCodec(parity).decode(bytearray(matrix[:, 0].tobytes()))


@pytest.mark.parametrize("parity", [2, 8, 32, 128])
def test_one_erasure_beyond_the_bound_fails_even_where_the_rest_is_a_codeword(parity):
    matrix = np.zeros((ROWS, 3), np.uint8)
    lost = np.zeros(matrix.shape, np.uint8)
    lost[: parity + 1, 0] = 1
    lost[:parity, 1] = 255
    report = correct(matrix, parity, lost)
    assert report.corrected.tolist() == [-1, parity, 0]
    assert report.failed.tolist() == [0]
    assert not matrix.any()


def test_a_run_of_lost_rows_comes_back_beside_stray_errors():
    rng = np.random.default_rng(3)
    whole = encoded(rng, 32, 301)
    matrix, lost = whole.copy(), np.zeros(whole.size, bool)
    lost[70 * 301 + 44 : 86 * 301 + 9] = True
    lost = lost.reshape(whole.shape)
    matrix[lost] = 126
    damage(matrix, 150, np.array([0, 5, 70, 200, 222, 223, 254]), rng)
    report = correct(matrix, 32, lost)
    assert np.array_equal(matrix, whole)
    assert report.corrected[150] == lost[:, 150].sum() + 6
    assert np.array_equal(np.delete(report.corrected, 150), np.delete(lost.sum(axis=0), 150))


@pytest.mark.parametrize("parity", [8, 16, 32, 64])
def test_margins_bring_back_columns_that_errors_alone_do_not(parity):
    rng = np.random.default_rng(parity)
    whole = encoded(rng, parity, 100)
    matrix, margin = whole.copy(), rng.integers(100, 200, whole.shape, dtype=np.uint8)
    errors = parity // 2 + 1
    for column in range(100):
        rows = rng.permutation(ROWS)[: errors + 1]
        margin[rows, column] = rng.integers(0, 90, errors + 1)
        damage(matrix, column, rows[:errors], rng)
    blind = matrix.copy()
    failed = correct(blind, parity).failed
    assert len(failed) >= 90
    report = correct(matrix, parity, None, margin)
    assert np.array_equal(matrix[:, failed], whole[:, failed])
    assert (report.corrected[failed] == errors).all()


@pytest.mark.parametrize("lost_rows", [0, 10, 28, 31, 32])
def test_margins_of_noise_do_not_conjure_up_codewords(lost_rows):
    rng = np.random.default_rng(lost_rows)
    matrix = rng.integers(0, 256, (ROWS, 3000), dtype=np.uint8)
    margin = rng.integers(0, 256, matrix.shape, dtype=np.uint8)
    lost = np.zeros(matrix.shape, np.uint8)
    lost[:lost_rows] = 1
    without = correct(matrix.copy(), 32, lost)
    guessing = correct(matrix, 32, lost, margin)
    assert len(without.failed) - len(guessing.failed) <= 5


@pytest.mark.parametrize("parity", [8, 24, 128])
def test_columns_can_be_split_between_threads(parity):
    rng = np.random.default_rng(parity)
    whole, width = encoded(rng, parity, 9001), 9001
    parts = [(0, 1), (1, 4500), (4500, 4500), (4500, width)]
    again = whole.copy()
    again[ROWS - parity :] = 0
    for first, last in parts:
        encode(again, parity, first, last)
    assert np.array_equal(again, whole)
    matrix = whole.copy()
    rows = rng.integers(0, ROWS, width)
    matrix[rows, np.arange(width)] ^= 0x5A
    reports = {}
    threads = [
        threading.Thread(target=lambda a=a, b=b: reports.update({(a, b): correct(matrix, parity, first=a, last=b)}))
        for a, b in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(matrix, whole)
    assert [reports[part].corrected.tolist() for part in parts] == [[1] * (last - first) for first, last in parts]


def test_columns_outside_the_range_are_left_alone():
    rng = np.random.default_rng(8)
    matrix = encoded(rng, 16, 30)
    matrix[7] ^= 1
    before = matrix.copy()
    report = correct(matrix, 16, None, None, 10, 20)
    assert report.corrected.tolist() == [1] * 10
    assert np.array_equal(np.flatnonzero((matrix != before).any(axis=0)), np.arange(10, 20))
    encode(matrix, 16, 12, 12)
    assert np.array_equal(matrix[:, :10], before[:, :10])
