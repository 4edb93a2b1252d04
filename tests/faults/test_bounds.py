"""Bounds of the codec, each on both sides: the last value that is taken, and the first that is not."""

import random
from pathlib import Path
from typing import Any

import crc32c
import pytest
from bytereel_codec import Integrity, Permanent, open_reel
from bytereel_codec.channel.device import Device
from bytereel_codec.files.ranged import BytesReader, read_exactly
from bytereel_codec.frame.geometry import DATA_FRAMES_MAX, GEOMETRIES
from bytereel_codec.frame.header import ROWS_MAX, Flag, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.libav.formats import PIXEL_FORMATS, PIXELS_MAX, YUV
from bytereel_codec.libav.sandbox.planes import SLOT_BYTES, planes_in
from bytereel_codec.libav.sandbox.wire import WireError
from bytereel_codec.reading.losses import Losses
from bytereel_codec.reading.scan import REELS_MAX, index_reels
from bytereel_codec.reel.layout import layout_for
from bytereel_codec.reel.parameters import ReelParameters
from bytereel_codec.reel.parity import parity_shape
from bytereel_codec.video.boxes import box, parse_segment_index, segment_index
from bytereel_codec.writing.parity_segment import write_parity_segment
from reels import FORGED_ID, SMALL, SPAN, chunks_of, forged, forged_header, made

END = Flag.SEGMENT_END
LENGTH_MAX = SMALL.picture_bytes - HEADER_BYTES
HEADERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"frames": 2, "frames_per_segment": 2, "frame": 1}, {"frame": 2}),
    ({"segment": DATA_FRAMES_MAX - 1}, {"segment": DATA_FRAMES_MAX}),
    ({"segments": DATA_FRAMES_MAX}, {"segments": DATA_FRAMES_MAX + 1}),
    ({"segments": 5, "segment": 4, "flags": END | Flag.REEL_END}, {"segment": 5}),
    ({"segments": 5, "segment": 3}, {"flags": END | Flag.REEL_END}),
    ({"frames": 2, "frames_per_segment": 2, "flags": 0}, {"flags": END}),
    ({"kind": Kind.LEADER, "flags": Flag.FINAL, "frames": 2}, {"flags": Flag.FINAL | END}),
    ({"segments": 200, "groups": 1, "columns": ROWS_MAX - 200}, {"columns": ROWS_MAX - 199}),
    ({"kind": Kind.PARITY, "flags": 0, "segments": 9, "groups": 3, "columns": 2, "segment": 5}, {"segment": 6}),
    ({"flags": END | Flag.SEALED, "scrypt_log2_n": 18}, {"scrypt_log2_n": 19}),
    ({"length": LENGTH_MAX}, {"length": LENGTH_MAX + 1}),
    ({}, {"flags": END | 32}),
]


@pytest.mark.parametrize(("inside", "beyond"), HEADERS)
def test_a_header_at_its_bound_is_taken_and_one_beyond_is_none(inside: dict[str, Any], beyond: dict[str, Any]) -> None:
    values = {"flags": END, **inside}
    assert parse_header(forged_header(**values).pack()) is not None
    assert parse_header(forged_header(**{**values, **beyond}).pack()) is None


@pytest.mark.parametrize("offset", [62, 63, 68, 90, 123])
def test_a_reserved_byte_that_is_not_zero_makes_no_header(offset: int) -> None:
    packed = bytearray(forged_header(flags=END).pack())
    assert packed[offset] == 0
    packed[offset] = 1
    packed[-4:] = crc32c.crc32c(bytes(packed[:-4])).to_bytes(4, "big")
    assert parse_header(bytes(packed)) is None


def test_as_many_reels_in_a_file_are_told_apart_as_are_noted_and_no_more() -> None:
    reels = [forged(forged_header(flags=END, reel_id=b"%016d" % number), b"x") for number in range(REELS_MAX + 1)]
    assert len(index_reels(BytesReader(b"".join(reels[:-1])))) == REELS_MAX
    large = made(bytes(3 * SPAN))
    found = index_reels(BytesReader(b"".join(reels) + large))
    assert len(found) <= REELS_MAX
    assert chunks_of(large)[0].header.reel_id in found, "what has the most frames is noted however late it comes"


def indexed(reel: bytes) -> tuple[bytes, list[tuple[int, int]], int]:
    """What stands before the index, its references, and where it ends."""
    found = parse_segment_index(reel[: 1 << 16])
    assert found is not None
    end, references = found
    return reel[: reel.index(b"sidx") - 4], references, end


@pytest.mark.parametrize("change", ["none", "one picture on", "behind the end", "before the end"])
def test_an_index_that_leads_elsewhere_costs_time_and_no_byte(tmp_path: Path, change: str) -> None:
    content = random.Random(5).randbytes(9 * SPAN)
    reel = made(content, compress=False)
    head, references, end = indexed(reel)
    sizes = [size for size, _ in references]
    if change == "one picture on":
        sizes[0], sizes[1] = sizes[0] + sizes[1], sizes[2]
        sizes[2] = 0
    elif change != "none":
        sizes[-1] += 1000 if change == "behind the end" else -100
    pairs = [(size, pictures) for size, (_, pictures) in zip(sizes, references, strict=True)]
    (tmp_path / "reel").write_bytes(head + segment_index(SMALL.frames_per_second, pairs) + reel[end:])
    with open_reel(tmp_path / "reel") as file:
        for place in (0, 3 * SPAN + 7, 8 * SPAN):
            file.seek(place)
            assert file.read(100) == content[place : place + 100]
        file.seek(0)
        assert file.read() == content


def test_an_index_that_counts_more_than_it_has_is_refused() -> None:
    good = box(b"ftyp") + segment_index(8, [(5, 1), (6, 2)])
    assert parse_segment_index(good) == (len(good), [(5, 1), (6, 2)])
    for count in (1, 3):
        lying = bytearray(good)
        lying[len(good) - 26 : len(good) - 24] = count.to_bytes(2, "big")
        with pytest.raises(Integrity) as raised:
            parse_segment_index(bytes(lying))
        assert raised.value.error_id == "reel.bad_index"


def test_losses_that_touch_are_one_range_in_whatever_order_they_were_noted() -> None:
    losses = Losses()
    for start, end in ((20, 30), (0, 10), (10, 20), (31, 40)):
        losses.note(start, end, "lost")
    assert losses.ranges == ((0, 30), (31, 40))


@pytest.mark.parametrize(("segments", "percent"), [(170, 50.0), (171, 50.0), (254, 0.1), (255, 0.1), (9000, 100.0)])
def test_no_parity_group_has_more_rows_than_the_code_and_none_fewer_than_it_may(segments: int, percent: float) -> None:
    shape = parity_shape(segments, percent)
    rows = -(-segments // shape.groups)
    assert rows + shape.columns <= ROWS_MAX
    assert shape.columns >= rows * percent / 100
    if shape.groups > 1:
        fewer = -(-segments // (shape.groups - 1))
        assert fewer + -(-fewer * round(percent * 1000) // 100_000) > ROWS_MAX, "one group fewer would not do"


def test_a_run_of_lost_segments_spreads_over_the_groups() -> None:
    shape = parity_shape(1000, 10.0)
    assert shape.groups > 1
    of_group = [set(shape.members(group, 1000)) for group in range(shape.groups)]
    assert sorted(segment for members in of_group for segment in members) == list(range(1000))
    for start in range(0, 1000 - shape.segments):
        run = set(range(start, start + shape.segments))
        assert all(len(run & members) <= shape.columns for members in of_group)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
def test_parity_that_is_no_share_is_refused(percent: float) -> None:
    assert parity_shape(4, 100).columns == 4
    assert parity_shape(4, 0).columns == 0
    with pytest.raises(Permanent) as raised:
        parity_shape(4, percent)
    assert raised.value.error_id == "parity.bad_percent"


@pytest.mark.parametrize("percent", [0.0, 10.0, 100.0])
def test_a_reel_of_the_most_frames_has_no_more_segments_than_a_store_takes_parts(percent: float) -> None:
    geometry = GEOMETRIES["1080p"]
    layout = layout_for(DATA_FRAMES_MAX * geometry.span_bytes, geometry=geometry, parity_percent=percent)
    assert layout.frames == DATA_FRAMES_MAX
    parity = parity_shape(layout.segments, percent).segments
    assert 8000 < layout.segments + parity <= 9100
    with pytest.raises(Permanent) as raised:
        layout_for(DATA_FRAMES_MAX * geometry.span_bytes + 1, geometry=geometry, parity_percent=percent)
    assert raised.value.error_id == "source.too_large"


@pytest.mark.parametrize("fits", [True, False])
def test_a_child_may_state_a_picture_as_large_as_a_reels_and_no_row_more(fits: bool) -> None:
    width, height = 3840, PIXELS_MAX // 3840 + (0 if fits else 1)
    slot, sizes = memoryview(bytearray(SLOT_BYTES)), (PIXEL_FORMATS.index(YUV), width, height, width, 1920, 1920)
    if fits:
        assert planes_in(slot, sizes)[1][0].shape == (height, width)
    else:
        with pytest.raises(WireError):
            planes_in(slot, sizes)


def test_a_source_that_ends_before_its_size_is_short() -> None:
    read_exactly(BytesReader(b"abc"), 1, memoryview(bytearray(2)))
    with pytest.raises(Integrity) as raised:
        read_exactly(BytesReader(b"abc"), 1, memoryview(bytearray(3)))
    assert raised.value.error_id == "source.short"


def test_parity_is_never_made_of_a_frame_that_cannot_be_read_back() -> None:
    parameters = ReelParameters(FORGED_ID, SMALL, 1, segments=2, groups=1, columns=1)
    with pytest.raises(Integrity) as raised:
        list(write_parity_segment(parameters, parameters.layout(2 * SPAN), 0, lambda *_: None, Device.CPU))
    assert raised.value.error_id == "reel.damaged"
