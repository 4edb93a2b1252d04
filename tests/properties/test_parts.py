"""How parts are planned, and the CRC32C of a whole from those of its parts."""

import crc32c
import pytest
from bytereel.adapters.s3.crc import crc_in, header_of
from bytereel.adapters.s3.parts import (
    LATER_PART_BYTES,
    MIB,
    OBJECT_BYTES_MAX,
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    PARTS_MAX,
    cut,
    plan_pieces,
    stream_part_bytes,
)
from bytereel.conversions.archive import ArchiveConversion
from bytereel.errors import Permanent
from bytereel_codec.codes.crc import crc32c_combine
from bytereel_codec.reel.layout import layout_for
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = st.one_of(
    st.integers(0, 3 * MIB),
    st.integers(PART_BYTES_MIN - 2, PART_BYTES_MIN + 2),
    st.integers(0, 64 * MIB),
    st.integers(PART_BYTES_MAX - 2, 3 * PART_BYTES_MAX),
)


def require_a_plan(head_bytes, part_sizes, tail_bytes):
    """The law of every plan: all bytes once and in order, parts that S3 takes, only parts copied; returns it."""
    pieces = plan_pieces(head_bytes, part_sizes, tail_bytes)
    sizes = (head_bytes, *part_sizes, tail_bytes)
    expected = [(source, 0, size) for source, size in enumerate(sizes) if size]
    joined = []
    for span in (span for piece in pieces for span in piece.spans):
        if joined and joined[-1][0] == span.source and joined[-1][2] == span.start:
            joined[-1] = (span.source, joined[-1][1], span.end)
        else:
            joined.append((span.source, span.start, span.end))
    assert joined == expected
    assert len(pieces) <= PARTS_MAX
    for piece in pieces[:-1]:
        assert PART_BYTES_MIN <= piece.size_bytes <= PART_BYTES_MAX
    for piece in pieces:
        if piece.copied:
            (span,) = piece.spans
            assert 1 <= span.source <= len(part_sizes)
            assert part_sizes[span.source - 1] >= PART_BYTES_MIN
    return pieces


def gathered_bytes(pieces):
    return sum(piece.size_bytes for piece in pieces if not piece.copied)


@given(st.integers(0, 20 * MIB), st.lists(SIZES, max_size=40), st.integers(0, 20 * MIB))
def test_every_plan_keeps_the_limits_of_s3(head_bytes, part_sizes, tail_bytes):
    pieces = require_a_plan(head_bytes, part_sizes, tail_bytes)
    assert all(piece.size_bytes < 16 * MIB for piece in pieces if not piece.copied)


@given(
    st.integers(0, PART_BYTES_MIN),
    st.lists(st.integers(2 * PART_BYTES_MIN, PART_BYTES_MAX), max_size=40),
    st.integers(0, PART_BYTES_MIN),
)
def test_of_big_parts_only_what_fills_up_the_head_moves(head_bytes, part_sizes, tail_bytes):
    pieces = require_a_plan(head_bytes, part_sizes, tail_bytes)
    assert gathered_bytes(pieces) <= PART_BYTES_MIN + head_bytes + tail_bytes


@settings(deadline=None, max_examples=40)
@given(st.integers(1, OBJECT_BYTES_MAX), st.integers(0, 100), st.integers(0, 4 * MIB))
def test_what_is_planned_can_be_composed_and_moves_little_and_what_cannot_is_known_before(size, parity, head_bytes):
    source = Sized(size)
    plan = ArchiveConversion(parity_percent=parity).plan(source, "a.bin", "archive")
    assert len(plan.segments) <= PARTS_MAX - 2
    if plan.output_bytes > OBJECT_BYTES_MAX:
        return
    share = plan.output_bytes / len(plan.segments)
    pieces = require_a_plan(head_bytes, [int(share)] * len(plan.segments), head_bytes)
    if share >= 2 * PART_BYTES_MIN:
        assert gathered_bytes(pieces) <= 2 * PART_BYTES_MIN + 2 * head_bytes


class Sized:
    """A source that is only its size: planning looks at nothing else."""

    def __init__(self, size: int) -> None:
        self.size_bytes = size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        raise AssertionError("planning reads nothing")


@pytest.mark.parametrize("source_bytes", [1 << shift for shift in range(20, 43)] + [int(5 * 2**40 / 1.01)])
def test_a_reel_of_every_size_moves_little(source_bytes):
    layout = layout_for(source_bytes)
    sizes = [end - start for start, end in map(layout.segment_range, range(layout.segments))]
    pieces = require_a_plan(900_000, sizes, 5_000)
    if layout.segment_span_bytes >= 2 * PART_BYTES_MIN:
        assert gathered_bytes(pieces) <= 2 * PART_BYTES_MIN + 905_000


def test_small_and_big_parts_by_turns_fit_in_ten_thousand_pieces():
    require_a_plan(0, [PART_BYTES_MIN, 1] * 10_000, 0)
    require_a_plan(1, [8 * PART_BYTES_MIN, 1, PART_BYTES_MIN] * 7_000, 1)


def test_what_s3_cannot_hold_is_refused():
    for sizes in ([OBJECT_BYTES_MAX, 1], [PART_BYTES_MAX] * 1025):
        with pytest.raises(Permanent) as caught:
            plan_pieces(0, sizes, 0)
        assert caught.value.error_id == "object.too_large"


def test_a_stream_of_5_tib_fits_in_its_parts():
    sizes = [stream_part_bytes(number) for number in range(1, PARTS_MAX + 1)]
    assert sum(sizes) >= OBJECT_BYTES_MAX
    assert max(sizes) == LATER_PART_BYTES
    with pytest.raises(Permanent):
        stream_part_bytes(PARTS_MAX + 1)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_a_stream_is_cut_into_parts_of_the_planned_length(chunks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bytereel.adapters.s3.parts.FIRST_PART_BYTES", 16)
        parts = [(bytes(body), is_last) for body, is_last in cut(chunks, bytearray(b"left over"))]
    assert b"".join(body for body, _ in parts) == b"".join(chunks)
    assert [is_last for _, is_last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(body) == 16 for body, _ in parts[:-1])
    assert len(parts) == 1 or parts[-1][0]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_of_a_whole_follows_from_its_parts(first, second):
    whole = crc32c_combine(crc32c.crc32c(first), crc32c.crc32c(second), len(second))
    assert whole == crc32c.crc32c(first + second)


@given(st.binary(max_size=20), st.integers(0, 1 << 20))
def test_the_crc_of_a_whole_follows_over_long_parts(first, zeros):
    second = bytes(zeros)
    whole = crc32c_combine(crc32c.crc32c(first), crc32c.crc32c(second), zeros)
    assert whole == crc32c.crc32c(first + second)


@given(*[st.integers(0, 2**32 - 1)] * 3, st.integers(0, 5 << 40), st.integers(0, 5 << 40))
def test_it_does_not_matter_in_which_order_parts_are_joined(a, b, c, b_bytes, c_bytes):
    left = crc32c_combine(crc32c_combine(a, b, b_bytes), c, c_bytes)
    right = crc32c_combine(a, crc32c_combine(b, c, c_bytes), b_bytes + c_bytes)
    assert left == right


@given(st.integers(0, 2**32 - 1))
def test_a_crc_is_written_as_s3_writes_it(crc):
    assert crc_in(header_of(crc)) == crc


@pytest.mark.parametrize("header", [None, "", "yZRlqg==-3", "nonsense", "é", "AAAAAAAA"])
def test_a_checksum_of_another_kind_is_none(header):
    assert crc_in(header) is None


def test_the_check_value_of_crc32c():
    assert header_of(crc32c_combine(crc32c.crc32c(b"12345"), crc32c.crc32c(b"6789"), 4)) == header_of(0xE3069283)


def test_the_limits_are_those_of_s3_and_each_is_kept_to_the_last():
    """Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""
    least, most, parts, whole = 5 << 20, 5 << 30, 10_000, 5 << 40
    assert (least, most, parts, whole) == (PART_BYTES_MIN, PART_BYTES_MAX, PARTS_MAX, OBJECT_BYTES_MAX)
    assert [piece.copied for piece in plan_pieces(0, [least], 0)] == [True]
    assert [piece.copied for piece in plan_pieces(0, [least - 1], 0)] == [False]
    assert len(plan_pieces(0, [least] * parts, 0)) == parts
    assert len(plan_pieces(0, [least] * (parts + 1), 0)) < parts
    assert len(plan_pieces(0, [most], 0)) == 1
    assert len(plan_pieces(0, [most + 1], 0)) == 2
    assert plan_pieces(0, [whole], 0)
    with pytest.raises(Permanent):
        plan_pieces(1, [whole], 0)
