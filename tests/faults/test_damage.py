"""Damaged reels: all of the original comes back, or an error names what is lost; never a wrong byte or silent loss."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
from bytereel_codec import DecodeOptions, Integrity, Permanent, Secret, decode_file, open_reel, verify
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reels import (
    SMALL,
    SPAN,
    assert_honest,
    chunks_of,
    due_after,
    due_without,
    made,
    obeys_the_law,
    restored,
    without,
    zeroed,
)

KEY = Secret(key=b"k" * 32)
FEW = random.Random(1).randbytes(6 * SPAN + 777)  # 7 segments of a frame
MANY = random.Random(2).randbytes(27 * SPAN - 99)  # 14 segments of two frames, the last of one
TEXT = (b"a line of text that compresses well, and another one;\n" * 9000)[: 7 * SPAN + 5]
REELS = {
    "no parity": (made(FEW), FEW, None),
    "several frames a segment": (made(MANY), MANY, None),
    "parity": (made(FEW, parity_percent=40), FEW, None),
    "parity, several frames": (made(MANY, parity_percent=15), MANY, None),
    "compressed": (made(TEXT, parity_percent=30), TEXT, None),
    "sealed": (made(FEW, parity_percent=30, secret=KEY), FEW, KEY),
}
mild = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
which = st.sampled_from(list(REELS))
fractions = st.floats(0, 1, exclude_max=True)


@mild
@given(which, st.lists(st.tuples(fractions, st.integers(1, 255)), min_size=1, max_size=12))
def test_flipped_bytes(kind, flips):
    reel, original, secret = REELS[kind]
    damaged = bytearray(reel)
    for place, by in flips:
        damaged[int(place * len(reel))] ^= by
    hurt = [(int(place * len(reel)), int(place * len(reel)) + 1) for place, _ in flips]
    obeys_the_law(bytes(damaged), original, secret, due_after(reel, hurt, sealed=secret is not None))


@mild
@given(which, fractions, st.integers(1, 3 * SPAN))
def test_bytes_cut_out(kind, place, count):
    reel, original, secret = REELS[kind]
    start = int(place * len(reel))
    due = due_after(reel, [(start, start + count)], sealed=secret is not None)
    obeys_the_law(reel[:start] + reel[start + count :], original, secret, due)


@mild
@given(which, fractions, st.integers(1, 100_000), st.integers(0, 9))
def test_garbage_put_in(kind, place, count, seed):
    reel, original, secret = REELS[kind]
    start = int(place * len(reel))
    garbage = random.Random(seed).randbytes(count)
    due = due_after(reel, [(start, start + 1)], sealed=secret is not None)
    assert obeys_the_law(reel[:start] + garbage + reel[start:], original, secret, due) != "refused"


@mild
@given(which, fractions)
def test_a_cut_end(kind, place):
    reel, original, secret = REELS[kind]
    due = due_after(reel, [(int(place * len(reel)), len(reel))], sealed=secret is not None)
    obeys_the_law(reel[: int(place * len(reel))], original, secret, due)


@mild
@given(which, fractions)
def test_a_cut_start(kind, place):
    reel, original, secret = REELS[kind]
    due = due_after(reel, [(0, int(place * len(reel)))], sealed=secret is not None)
    obeys_the_law(reel[int(place * len(reel)) :], original, secret, due)


@mild
@given(which, fractions, fractions, st.integers(1, 4 * SPAN))
def test_a_piece_copied_over_another(kind, source, target, count):
    reel, original, secret = REELS[kind]
    damaged = bytearray(reel)
    start, end = int(source * len(reel)), int(target * len(reel))
    piece = reel[start : start + count][: len(reel) - end]
    damaged[end : end + len(piece)] = piece
    due = due_after(reel, [(end, end + len(piece))], sealed=secret is not None)
    obeys_the_law(bytes(damaged), original, secret, due)


@mild
@given(which, st.data())
def test_frames_removed_doubled_and_put_in_another_order(kind, data):
    reel, original, secret = REELS[kind]
    chunks = chunks_of(reel)
    order = data.draw(st.lists(st.sampled_from(chunks), min_size=1, max_size=2 * len(chunks)))
    due = due_without(chunks, [chunk for chunk in chunks if chunk not in order], sealed=secret is not None)
    obeys_the_law(b"".join(reel[chunk.start : chunk.end] for chunk in order), original, secret, due)


@mild
@given(which, st.randoms(use_true_random=False))
def test_all_frames_in_any_order_are_the_whole(kind, shuffler):
    reel, original, secret = REELS[kind]
    chunks = chunks_of(reel)
    shuffler.shuffle(chunks)
    assert obeys_the_law(b"".join(reel[c.start : c.end] for c in chunks), original, secret) == "whole"


def lost_combinations():
    cases = []
    for kind in ("parity", "parity, several frames", "compressed", "sealed"):
        chunks = [c for c in chunks_of(REELS[kind][0]) if c.header.kind != Kind.LEADER]
        columns = chunks[0].header.columns
        segments = sorted({(c.header.kind, c.header.segment) for c in chunks})
        combinations = list(itertools.combinations(segments, columns))
        random.Random(3).shuffle(combinations)
        chosen = [tuple(segments[:columns]), tuple(segments[-columns:]), *combinations[:8]]
        cases += [(kind, lost) for lost in chosen]
    return cases


@pytest.mark.parametrize("damage", [zeroed, without])
@pytest.mark.parametrize(("kind", "lost"), lost_combinations())
def test_as_many_lost_segments_as_parity_columns_come_back(damage, kind, lost):
    reel, original, secret = REELS[kind]
    dropped = [c for c in chunks_of(reel) if (c.header.kind, c.header.segment) in lost]
    dropped = [c for c in dropped if c.header.kind != Kind.LEADER]
    assert obeys_the_law(damage(reel, dropped), original, secret) == "whole"


@pytest.mark.parametrize("kind", ["parity", "parity, several frames", "sealed"])
def test_the_last_segments_come_back_without_any_leader_but_a_sealed_reel_is_not_proved_without_its_own(kind):
    reel, original, secret = REELS[kind]
    chunks = chunks_of(reel)
    last = chunks[0].header.segments - 1
    dropped = [
        c for c in chunks if c.header.kind == Kind.LEADER or (c.header.kind, c.header.segment) == (Kind.DATA, last)
    ]
    assert obeys_the_law(without(reel, dropped), original, secret) == ("salvaged" if secret else "whole")


def test_one_segment_too_many_is_named_exactly():
    reel, original, _ = REELS["parity"]
    columns = chunks_of(reel)[0].header.columns
    lost = range(columns + 1)
    dropped = [c for c in chunks_of(reel) if c.header.kind == Kind.DATA and c.header.segment in lost]
    with pytest.raises(Integrity) as raised:
        restored(zeroed(reel, dropped))
    assert raised.value.facts["lost"] == [(0, (columns + 1) * SPAN)]
    assert obeys_the_law(zeroed(reel, dropped), original) == "salvaged"


@pytest.mark.parametrize("kind", REELS)
def test_neither_leader_nor_head_is_needed_but_by_a_sealed_reel(kind):
    reel, original, secret = REELS[kind]
    chunks = chunks_of(reel)
    leaders = [c for c in chunks if c.header.kind == Kind.LEADER]
    assert obeys_the_law(zeroed(reel, leaders), original, secret) == ("salvaged" if secret else "whole")
    assert obeys_the_law(reel[leaders[0].end :], original, secret) == "whole"


@pytest.mark.parametrize("secret", [None, KEY, Secret(passphrase=b"p")])
def test_full_parity_alone_is_the_whole(secret):
    reel = made(FEW, parity_percent=100, secret=secret)
    parity = [c for c in chunks_of(reel) if c.header.kind == Kind.PARITY]
    bare = b"".join(reel[c.start : c.end] for c in parity)
    leader = reel[chunks_of(reel)[-1].start :]
    assert obeys_the_law(bare, FEW, secret) == ("salvaged" if secret else "whole")
    assert obeys_the_law(bare + leader, FEW, secret) == "whole"


@pytest.mark.parametrize("kind", ["no parity", "several frames a segment"])
def test_the_middle_third_is_salvaged_at_its_place(tmp_path, kind):
    reel, original, _ = REELS[kind]
    (tmp_path / "reel").write_bytes(reel[len(reel) // 3 : 2 * len(reel) // 3])
    report = decode_file(tmp_path / "reel", tmp_path / "saved", DecodeOptions(salvage=True))
    assert_honest((tmp_path / "saved").read_bytes(), original, report.lost)
    assert report.source_bytes - sum(end - start for start, end in report.lost) > 0.15 * len(original)


@pytest.mark.parametrize("kind", REELS)
def test_halves_in_the_wrong_order_and_the_same_reel_twice_are_the_whole(kind):
    reel, original, secret = REELS[kind]
    middle = chunks_of(reel)[4].start
    assert obeys_the_law(reel[middle:] + reel[:middle], original, secret) == "whole"
    assert obeys_the_law(reel + reel, original, secret) == "whole"
    assert obeys_the_law(zeroed(reel, chunks_of(reel)[:3]) + reel, original, secret) == "whole"


def test_a_second_copy_of_a_damaged_frame_is_tried():
    reel, original, _ = REELS["no parity"]
    hurt = bytearray(reel)
    for chunk in chunks_of(reel):
        hurt[chunk.end - chunk.header.length // 2] ^= 1
    assert obeys_the_law(bytes(hurt), original) in {"refused", "salvaged"}
    assert obeys_the_law(bytes(hurt) + reel, original) == "whole"
    assert obeys_the_law(reel + bytes(hurt), original) == "whole"


def test_two_reels_joined_are_told_apart():
    first, second = made(FEW, seed=5), made(MANY, seed=6)
    ids = [chunks_of(reel)[0].header.reel_id for reel in (first, second)]
    with pytest.raises(Permanent) as raised:
        restored(first + second)
    assert raised.value.error_id == "reel.several"
    assert raised.value.facts["reels"] == [reel_id.hex()[:12] for reel_id in ids]
    with pytest.raises(Permanent) as raised:
        open_reel(BytesReader(first + second))
    assert raised.value.error_id == "reel.several"
    assert restored(first + second, reel_id=ids[0]) == FEW
    assert restored(first + second, reel_id=ids[1][:4]) == MANY
    with pytest.raises(Permanent) as raised:
        restored(first + second, reel_id=b"nobody")
    assert raised.value.error_id == "reel.not_here"


def test_a_stream_that_was_cut_between_segments_is_not_taken_for_the_whole():
    reel = stream_reel(MANY)
    segments = [c for c in chunks_of(reel) if c.header.kind == Kind.DATA and c.header.frame == 0]
    for cut in segments[1:]:
        assert obeys_the_law(reel[: cut.start], MANY) == "salvaged"
    assert obeys_the_law(reel, MANY) == "whole"


def test_of_two_leaders_the_one_at_the_end_has_the_last_word(tmp_path):
    (tmp_path / "reel").write_bytes(stream_reel(MANY, named=Leader("at the end", size_bytes=len(MANY))))
    report = verify(tmp_path / "reel")
    assert (report.whole, report.name, report.source_bytes) == (True, "at the end", len(MANY))
    (tmp_path / "reel").write_bytes(stream_reel(MANY))
    assert verify(tmp_path / "reel").name == "stream"


def stream_reel(content: bytes, named: Leader | None = None) -> bytes:
    """A reel as a writer makes it that did not know the size: no counts in headers or the front leader.

    It ends with another leader where one is given.
    """
    from bytereel_codec.frame.envelope import Envelope
    from bytereel_codec.reel.parameters import ReelParameters
    from bytereel_codec.writing.segment import SegmentWriter

    writer = SegmentWriter(ReelParameters(b"a stream's reel.", SMALL, 4), Envelope(None))
    reel = bytearray(writer.leader(Leader("stream").to_bytes(), frame=0, final=False, number=0))
    step = 4 * SPAN
    for start in range(0, len(content), step):
        end = min(start + step, len(content))
        last = end == len(content)
        for chunk in writer.write(start // step, BytesReader(content), start, end, last=last):
            reel += chunk
    if named is not None:
        reel += writer.leader(named.to_bytes(), frame=1, final=True, number=1 + -(-len(content) // SPAN))
    return bytes(reel)


@mild
@given(fractions, st.integers(1, 255), fractions)
def test_open_reel_gives_right_bytes_or_an_error(place, by, position):
    reel, original, _ = REELS["parity"]
    damaged = bytearray(reel)
    damaged[int(place * len(reel))] ^= by
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "reel").write_bytes(damaged)
        start = int(position * len(original))
        with open_reel(Path(folder, "reel")) as file:
            file.seek(start)
            assert file.read(1000) == original[start : start + 1000]


def test_a_file_object_finds_frames_that_were_moved_within_the_file():
    """The file's size is as the index says, and behind the cut no frame lies where it did."""
    reel, original, _ = REELS["no parity"]
    hurt = [chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.DATA][2]
    cut = (hurt.start + hurt.end) // 2
    moved = reel[:cut] + reel[cut + 300 :] + bytes(300)
    assert len(moved) == len(reel)
    with open_reel(BytesReader(moved)) as file:
        assert file.read(2 * SPAN) == original[: 2 * SPAN]
        with pytest.raises(Integrity):
            file.read(1)
        file.seek(3 * SPAN)
        assert file.read() == original[3 * SPAN :]


def test_a_damaged_index_costs_nothing(tmp_path):
    reel, original, _ = REELS["parity"]
    at = reel.index(b"sidx")
    for offset in (4, 5, 30, 31, 44):
        damaged = bytearray(reel)
        damaged[at + offset] ^= 0xFF
        (tmp_path / "reel").write_bytes(damaged)
        with open_reel(tmp_path / "reel") as file:
            assert file.read() == original
        assert verify(tmp_path / "reel").whole


def test_a_lost_last_segment_comes_back_to_random_access_too(tmp_path):
    original = bytes(range(256)) * (SPAN * 19 // 256)
    reel = made(original, parity_percent=30, geometry=SMALL, compress=False)
    last = chunks_of(reel)[0].header.segments - 1
    dropped = [c for c in chunks_of(reel) if (c.header.kind, c.header.segment) == (Kind.DATA, last)]
    (tmp_path / "reel").write_bytes(zeroed(reel, dropped))
    with open_reel(tmp_path / "reel") as file:
        file.seek(-10, 2)
        assert file.read() == original[-10:]
        file.seek(0)
        assert file.read() == original


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_reel_whose_leader_is_left_is_told_right(tmp_path, share):
    original = random.Random(3).randbytes(SPAN * 11 + 777)
    reel = made(original, compress=False)
    (tmp_path / "reel").write_bytes(reel[: int(len(reel) * share)])
    report = decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(salvage=True))
    assert report.source_bytes == len(original)
    assert (tmp_path / "out").stat().st_size == len(original)
    assert report.lost[-1][1] == len(original)
