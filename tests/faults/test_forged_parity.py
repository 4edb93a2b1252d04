"""Forged parity: where honest parity frames are there beside forged ones, a lost frame comes back as it was written.

A forged parity frame is made so that what it brings back has all checksums right. Of a sealed reel the tag tells, of
one that is not the segment's digest. Where all parity is forged, the reel is refused.
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import crc32c
import numpy as np
import pytest
from bytereel_codec import DecodeOptions, EncodeOptions, Integrity, Secret, decode_file, encode_file, open_reel, verify
from bytereel_codec.codes.erasure import accumulate, coefficient
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.reel.parity import ParityShape
from bytereel_codec.reel.recovery import recovery
from bytereel_codec.reel.recovery.choices import CHOICES_MAX, choices
from bytereel_codec.reel.recovery.recovery import Recovery
from bytereel_codec.reel.recovery.stripe import Stripe
from bytereel_codec.video.picture import Frame, FrameLoader
from reels import FORGED_ID, SMALL, SPAN, Chunk, chunks_of, forged, made, restored, restored_by_the_road, without
from test_recovery import Store

KEY = Secret(key=b"k" * 32)
PLAIN = random.Random(4).randbytes(55 * SPAN + 11)  # 19 segments of three frames
REELS = {
    (secret, percent): made(PLAIN, secret=secret, parity_percent=percent)
    for secret in (None, KEY)
    for percent in (5, 25)
}
BOTH = pytest.mark.parametrize("secret", [None, KEY], ids=["open", "sealed"])


def payload_of(reel: bytes, chunk: Chunk) -> bytes:
    reader = BytesReader(reel)
    place = next(place for place, _ in find_frames(reader, chunk.start))
    frame = FrameLoader().frame_at(reader, place)
    assert frame is not None
    assert frame.payload is not None
    return bytes(frame.payload)


def chunk_at(reel: bytes, kind: Kind, segment: int, frame: int = 0) -> Chunk:
    found = (chunk for chunk in chunks_of(reel) if chunk.header.kind == kind)
    return next(chunk for chunk in found if (chunk.header.segment, chunk.header.frame) == (segment, frame))


def forged_parity(reel: bytes, column: int, lost: Chunk, offset: int = 40) -> bytes:
    """A parity frame by which a lost frame comes back with one byte altered, its checksums right."""
    wrong = bytearray(payload_of(reel, lost))
    wrong[offset] ^= 1
    header = replace(lost.header, payload_crc=crc32c.crc32c(wrong))
    right = np.frombuffer(lost.header.pack() + payload_of(reel, lost), np.uint8)
    parity = chunk_at(reel, Kind.PARITY, column, lost.header.frame)
    content = np.frombuffer(payload_of(reel, parity), np.uint8).copy()
    change = right ^ np.frombuffer(header.pack() + bytes(wrong), np.uint8)
    accumulate(content[: len(right)], change, coefficient(column, lost.header.segment))
    return forged(parity.header, content.tobytes())


def parity_of(reel: bytes, frame: int = 0) -> list[Chunk]:
    return [c for c in chunks_of(reel) if c.header.kind == Kind.PARITY and c.header.frame == frame]


def attacked(reel: bytes, lost: Sequence[Chunk], *in_front: bytes) -> bytes:
    """The reel without those frames, and with others in front."""
    left = without(reel, lost)
    start = chunks_of(left)[0].start
    return left[:start] + b"".join(in_front) + left[start:]


def ways_that_are_right(reel: bytes, secret: Secret | None) -> set[str]:
    """The ways of reading that give the original."""
    ways = set()
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder, "reel.mp4"), Path(folder, "out")
        path.write_bytes(reel)
        if restored(reel, secret=secret) == restored(reel, secret=secret, workers=2) == PLAIN:
            ways.add("decode")
        if verify(path, DecodeOptions(secret=secret)).whole:
            ways.add("verify")
        decode_file(path, target, DecodeOptions(secret=secret, start=3 * SPAN + 5, end=3 * SPAN + 900))
        if target.read_bytes() == PLAIN[3 * SPAN + 5 : 3 * SPAN + 900]:
            ways.add("range")
        with open_reel(path, secret) as file:
            if file.read() == PLAIN:
                ways.add("file")
        if restored_by_the_road(reel, secret) == PLAIN:
            ways.add("road")
    return ways


EVERY_WAY = {"decode", "verify", "range", "file", "road"}


@BOTH
@pytest.mark.parametrize("percent", [5, 25])
def test_one_forged_parity_frame_beats_no_honest_one(secret, percent):
    reel = REELS[secret, percent]
    lost = chunk_at(reel, Kind.DATA, 1)
    assert ways_that_are_right(attacked(reel, [lost], forged_parity(reel, 0, lost)), secret) == EVERY_WAY


@BOTH
def test_forged_copies_of_all_parity_frames_hide_no_honest_one(secret):
    reel = REELS[secret, 25]
    lost = chunk_at(reel, Kind.DATA, 1)
    copies = [forged_parity(reel, column, lost) for column in range(len(parity_of(reel)))]
    assert ways_that_are_right(attacked(reel, [lost], *copies), secret) == EVERY_WAY
    nonsense = [forged(chunk.header, b"\x55" * (SPAN // 2)) for chunk in parity_of(reel)]
    assert ways_that_are_right(attacked(reel, [lost], *nonsense), secret) == EVERY_WAY


@BOTH
def test_where_all_parity_is_needed_one_forged_copy_does_no_harm(secret):
    reel = REELS[secret, 25]
    columns = len(parity_of(reel))
    lost = [chunk_at(reel, Kind.DATA, segment) for segment in range(1, columns + 1)]
    for column in (0, columns - 1):
        assert ways_that_are_right(attacked(reel, lost, forged_parity(reel, column, lost[0])), secret) == EVERY_WAY


@BOTH
@pytest.mark.parametrize("kept_frames", [1, 100])
def test_whole_lost_segments_come_back_beside_forged_parity_for_each_of_their_frames(secret, kept_frames, monkeypatch):
    monkeypatch.setattr(recovery, "RECOVERED_BYTES_MAX", kept_frames * (SPAN + FRAME_RESERVED_BYTES))
    reel = REELS[secret, 25]
    lost = [chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.DATA and chunk.header.segment in (1, 3)]
    forgeries = [forged_parity(reel, chunk.header.frame % 2, chunk) for chunk in lost if chunk.header.segment == 1]
    assert ways_that_are_right(attacked(reel, lost, *forgeries), secret) == EVERY_WAY


@BOTH
def test_where_all_parity_is_forged_nothing_wrong_is_given_out(secret, tmp_path):
    reel = REELS[secret, 25]
    lost = chunk_at(reel, Kind.DATA, 1)
    forgeries = [forged_parity(reel, column, lost) for column in range(len(parity_of(reel)))]
    damaged = attacked(reel, [lost, *parity_of(reel)], *forgeries)
    (tmp_path / "reel").write_bytes(damaged)
    assert not verify(tmp_path / "reel", DecodeOptions(secret=secret)).whole
    for read in (restored, restored_by_the_road):
        with pytest.raises(Integrity):
            read(damaged, secret=secret)
    report = decode_file(tmp_path / "reel", tmp_path / "saved", DecodeOptions(secret=secret, salvage=True))
    assert any(start <= SPAN * lost.header.frames_per_segment < end for start, end in report.lost)


def test_what_cannot_be_written_anew_is_proved_before_it_is_given_out(tmp_path, capfdbinary):
    reel = REELS[None, 25]
    lost = chunk_at(reel, Kind.DATA, 1, 1)
    (tmp_path / "reel").write_bytes(attacked(reel, [lost], forged_parity(reel, 0, lost)))
    decode_file(tmp_path / "reel", "-")
    assert capfdbinary.readouterr().out == PLAIN


def test_a_folder_comes_back_beside_forged_parity(tmp_path):
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "file").write_bytes(PLAIN)
    options = EncodeOptions(geometry=SMALL, parity_percent=25)
    encode_file(tmp_path / "original", tmp_path / "reel", options)
    reel = (tmp_path / "reel").read_bytes()
    lost = chunk_at(reel, Kind.DATA, 1, 1)
    (tmp_path / "reel").write_bytes(attacked(reel, [lost], forged_parity(reel, 0, lost)))
    decode_file(tmp_path / "reel", tmp_path / "back")
    assert (tmp_path / "back" / "file").read_bytes() == PLAIN


def test_columns_forged_otherwise_for_each_frame_of_a_segment_are_told_apart():
    """No one number of a choice is right for all of its frames."""
    reel = REELS[None, 5]
    columns = len(parity_of(reel))
    assert columns == 1
    lost = [chunk_at(reel, Kind.DATA, 1, frame) for frame in range(3)]
    start = chunks_of(without(reel, lost))[0].start
    left = without(reel, lost)
    in_front, behind = forged_parity(reel, 0, lost[0]), forged_parity(reel, 0, lost[2])
    assert restored(left[:start] + in_front + left[start:] + behind) == PLAIN


def test_progress_never_says_more_than_all(tmp_path):
    reel = REELS[None, 25]
    lost = chunk_at(reel, Kind.DATA, 1, 1)
    (tmp_path / "reel").write_bytes(attacked(reel, [lost], forged_parity(reel, 0, lost)))
    seen = []
    decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(progress=lambda *said: seen.append(said)))
    assert max(seen) == (len(PLAIN), len(PLAIN))


class ForgedStore(Store):
    """A stripe of which parity frames have several copies; those of `forgeries` go before the honest one."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns)
        self.forgeries: dict[int, list[Frame]] = {column: [] for column in range(columns)}
        self.refused: set[bytes] = set()

    def forge_copy(self, column: int, row: int, payload: bytes) -> None:
        """Put a copy in front by which that row comes back with another payload, its checksums right."""
        honest = self.frames[Kind.PARITY, column]
        self.forge(column, row, self.header(row), payload)
        self.forgeries[column].append(self.frames[Kind.PARITY, column])
        self.frames[Kind.PARITY, column] = honest
        self.refused.add(payload)

    def fetch_copy(self, kind: Kind, segment: int, frame: int, copy: int = 0) -> Frame | None:
        there = self.fetch(kind, segment, frame)
        copies = [*self.forgeries.get(segment, []), there] if kind == Kind.PARITY else [there]
        return copies[copy] if copy < len(copies) else None

    def recover_as_asked(self, kept: Recovery, row: int, choice: int | None = None) -> bytes | None:
        shape, exists = ParityShape(1, self.shape.columns), lambda segment, frame: True
        copies = lambda segment, frame: 1 + len(self.forgeries[segment])  # noqa: E731
        stripe = Stripe(FORGED_ID, shape, self.rows, 0, 3, SMALL.span_bytes, 4, exists, is_counted=True, copies=copies)
        opens = lambda header, payload: bytes(payload) not in self.refused  # noqa: E731
        found = kept.frame(stripe, row, self.fetch_copy, opens, choice)
        return None if found is None else bytes(found.payload)


def test_what_does_not_open_is_no_recovery_while_another_copy_is_left():
    store = ForgedStore(6, 2)
    store.lost = {(Kind.DATA, 2)}
    for column in (0, 1):
        store.forge_copy(column, 2, b"another payload %d" % column)
    assert store.recover_as_asked(Recovery(), 2) == store.payload(2)


def test_a_frame_of_zeros_is_a_failure_where_the_frame_is_known_to_have_been():
    store = ForgedStore(4, 2)
    store.lost = {(Kind.DATA, 3)}
    image = np.frombuffer(store.frames[Kind.DATA, 3].header.pack() + store.payload(3), np.uint8)
    content = np.frombuffer(store.frames[Kind.PARITY, 0].payload, np.uint8).copy()
    accumulate(content[: len(image)], image, coefficient(0, 3))
    header = store.frames[Kind.PARITY, 0].header
    store.frames[Kind.PARITY, 0] = Frame(
        header.closed_over(len(content), crc32c.crc32c(content.tobytes())), memoryview(content.tobytes())
    )
    assert store.recover_as_asked(Recovery(), 3) == store.payload(3)


def test_how_often_other_parity_frames_are_tried_has_a_bound_for_all_rows_together():
    store = ForgedStore(12, 8)
    store.lost = {(Kind.DATA, row) for row in range(8)}
    for column in range(8):
        for copy in range(3):
            store.forge_copy(column, copy, b"forged %d %d" % (column, copy))
    store.refused.clear()  # what comes back has right checksums, and its digest alone would tell
    kept = Recovery()
    for row in range(8):
        for choice in range(64):
            store.recover_as_asked(kept, row, choice)
    assert store.fetched <= (recovery._CHANGES_MAX + CHOICES_MAX) * 12


@pytest.mark.parametrize("columns", range(1, 12))
@pytest.mark.parametrize("bad", [0, 3, 10])
def test_one_forged_column_is_avoided_soon_whatever_number_is_needed(columns, bad):
    if bad >= columns:
        return
    for needed in range(1, columns):
        found = list(choices(range(columns), needed, lambda column: 1))
        first = next(n for n, choice in enumerate(dict.fromkeys(found)) if bad not in dict(choice))
        assert first <= -(-columns // min(needed, columns - needed))
        assert all(len(choice) == needed for choice in found)


def test_the_first_copy_of_the_first_columns_is_tried_first_and_nobody_asks_for_others():
    def asked(column: int) -> int:
        raise AssertionError(column)

    assert next(choices(range(5), 2, asked)) == ((0, 0), (1, 0))
