"""Recovery of lost frames: any that parity covers, in bounded memory, and nothing that does not prove itself."""

import random
import subprocess
import sys
from dataclasses import replace

import crc32c
import numpy as np
import pytest
from bytereel_codec import DecodeOptions, EncodeOptions, decode_file, encode_file
from bytereel_codec.codes.erasure import accumulate, coefficient, recovery_factors
from bytereel_codec.files.ranged import FileReader
from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES, GEOMETRIES
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.reel.parity import ParityShape, add_frame
from bytereel_codec.reel.recovery import recovery
from bytereel_codec.reel.recovery.recovery import Recovery
from bytereel_codec.reel.recovery.stripe import Stripe
from bytereel_codec.video.picture import Frame, FrameLoader
from hypothesis import given, settings
from hypothesis import strategies as st
from reels import FORGED_ID, PEAK_KIB, SMALL, chunks_of, forged, forged_header, made, restored, without

IMAGE_BYTES = SMALL.span_bytes + FRAME_RESERVED_BYTES


class Store:
    """The frames of one stripe, as a reader would give them out; those in `lost` are not there."""

    def __init__(self, rows: int, columns: int, payload_bytes: int = 900) -> None:
        dice = random.Random(1)
        self.shape = ParityShape(1, columns)
        self.rows = rows
        self.frames = {
            (Kind.DATA, row): frame_of(self.header(row), dice.randbytes(payload_bytes + row)) for row in range(rows)
        }
        self.frames |= {(Kind.PARITY, column): self.parity(column) for column in range(columns)}
        self.lost: set[tuple[Kind, int]] = set()
        self.fetched = 0

    def header(self, row: int) -> FrameHeader:
        return forged_header(segment=row, frame=3, frames=4, frames_per_segment=4, segments=self.rows)

    def parity(self, column: int) -> Frame:
        image = np.zeros(max(128 + len(self.payload(row)) for row in range(self.rows)), np.uint8)
        for row in range(self.rows):
            add_frame(image, self.frames[Kind.DATA, row], coefficient(column, row))
        return frame_of(replace(self.header(0), kind=Kind.PARITY, segment=column), image.tobytes())

    def payload(self, row: int) -> bytes:
        payload = self.frames[Kind.DATA, row].payload
        assert payload is not None
        return bytes(payload)

    def forge(self, column: int, row: int, header: FrameHeader, payload: bytes) -> None:
        """Alter a parity frame so that that row comes back from it as another frame."""
        content = np.frombuffer(bytearray(self.frames[Kind.PARITY, column].payload or b""), np.uint8)
        for frame in (self.frames[Kind.DATA, row], frame_of(header, payload)):
            add_frame(content, frame, coefficient(column, row))
        self.frames[Kind.PARITY, column] = frame_of(self.frames[Kind.PARITY, column].header, content.tobytes())

    def fetch(self, kind: Kind, segment: int, frame: int) -> Frame | None:
        assert frame == 3
        self.fetched += 1
        return None if (kind, segment) in self.lost else self.frames[kind, segment]

    def recover(self, recovery_: Recovery, row: int) -> bytes | None:
        stripe = Stripe(FORGED_ID, self.shape, self.rows, 0, 3, SMALL.span_bytes, 4, lambda segment, frame: True)
        found = recovery_.frame(stripe, row, self.fetch)
        assert found is None or found[0] == self.frames[Kind.DATA, row].header
        return None if found is None else bytes(found[1])


def frame_of(header: FrameHeader, payload: bytes) -> Frame:
    return Frame(header.closed_over(len(payload), crc32c.crc32c(payload)), memoryview(payload))


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 12), st.integers(1, 6), st.randoms(use_true_random=False), st.sampled_from([1, 2, 100]))
def test_as_many_as_there_are_parity_frames_come_back_and_no_more(rows, columns, dice, at_once):
    store = Store(rows, columns)
    lost_rows = dice.sample(range(rows), dice.randint(1, rows))
    lost_columns = dice.sample(range(columns), dice.randint(0, columns))
    store.lost = {(Kind.DATA, row) for row in lost_rows} | {(Kind.PARITY, column) for column in lost_columns}
    enough = len(lost_rows) <= columns - len(lost_columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "RECOVERED_BYTES_MAX", at_once * IMAGE_BYTES * 4)
        kept = Recovery()
        for row in lost_rows:
            assert store.recover(kept, row) == (store.payload(row) if enough else None)


def test_one_lost_frame_is_one_reading_and_what_came_with_it_is_kept():
    store = Store(24, 3)
    kept = Recovery()
    store.lost = {(Kind.DATA, 5)}
    assert store.recover(kept, 5) == store.payload(5)
    assert store.fetched == 23 + 1
    store.lost = {(Kind.DATA, row) for row in (6, 7, 9)}
    store.fetched = 0
    kept = Recovery()
    assert [store.recover(kept, row) for row in (6, 7, 9)] == [store.payload(row) for row in (6, 7, 9)]
    assert store.fetched == (23 + 1 + 2) + (21 + 3)


def test_a_stripe_whose_parity_is_forged_is_given_up_once_and_not_for_every_row(monkeypatch):
    monkeypatch.setattr(recovery, "RECOVERED_BYTES_MAX", IMAGE_BYTES * 4)  # a row at a time
    store = Store(60, 40)
    dice = random.Random(2)
    for column in range(40):
        frame = store.frames[Kind.PARITY, column]
        store.frames[Kind.PARITY, column] = frame_of(frame.header, dice.randbytes(len(frame.payload or b"")))
    store.lost = {(Kind.DATA, row) for row in range(30)}
    kept = Recovery()
    assert store.recover(kept, 0) is None
    once = store.fetched
    assert [store.recover(kept, row) for row in range(1, 30)] == [None] * 29
    assert store.fetched == once


@pytest.mark.parametrize("images", [1, 3])
def test_what_is_kept_has_a_bound(monkeypatch, images):
    bound = images * IMAGE_BYTES * 4
    monkeypatch.setattr(recovery, "RECOVERED_BYTES_MAX", bound)
    store, kept = Store(20, 20, SMALL.span_bytes - 20), Recovery()
    store.lost = {(Kind.DATA, row) for row in range(20)}
    most = 0
    for row in range(20):
        assert store.recover(kept, row) == store.payload(row)
        most = max(most, sum(128 + len(found[1]) for found in kept._kept.values() if found))
    assert bound // 2 < most <= bound


OTHERS = {
    "reel": {"reel_id": b"another reel id."},
    "kind": {"kind": Kind.LEADER, "segment": 0},
    "segment": {"segment": 3},
    "frame": {"frame": 2},
    "span": {"span_bytes": GEOMETRIES["360p"].span_bytes},
    "frames_per_segment": {"frames_per_segment": 5},
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_image_that_names_another_place_is_no_recovery(other):
    store = Store(6, 1)
    store.lost = {(Kind.DATA, 2)}
    store.forge(0, 2, replace(store.header(2), **OTHERS[other]), store.payload(2))
    assert store.recover(Recovery(), 2) is None


def test_an_image_whose_payload_is_not_the_one_it_states_is_no_recovery():
    store = Store(6, 1)
    store.lost = {(Kind.DATA, 2)}
    content = bytearray(store.frames[Kind.PARITY, 0].payload or b"")
    content[500] ^= 1
    store.frames[Kind.PARITY, 0] = frame_of(store.frames[Kind.PARITY, 0].header, bytes(content))
    assert store.recover(Recovery(), 2) is None


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_forged_parity_frame_is_passed_over_where_another_is_left(bad, spare):
    store = Store(8, 3 + spare)
    store.lost = {(Kind.DATA, row) for row in (1, 4, 6)}
    store.forge(bad, 1, replace(store.header(1), reel_id=b"another reel id."), store.payload(1))
    assert store.recover(Recovery(), 1) == (store.payload(1) if spare else None)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_parity_frame_of_another_length_is_no_harm(change):
    store = Store(4, 2)
    store.lost = {(Kind.DATA, 3)}
    content = bytes(store.frames[Kind.PARITY, 0].payload or b"")
    content = content + b"\x01" if change > 0 else content[:100]
    store.frames[Kind.PARITY, 0] = frame_of(store.frames[Kind.PARITY, 0].header, content)
    assert store.recover(Recovery(), 3) == store.payload(3)


def test_a_reel_with_a_forged_parity_frame_comes_back_by_the_other():
    original = random.Random(7).randbytes(5 * SMALL.span_bytes)
    reel = made(original, parity_percent=40)
    chunks = chunks_of(reel)
    first = next(chunk for chunk in chunks if chunk.header.kind == Kind.PARITY)
    lost = next(chunk for chunk in chunks if chunk.header.kind == Kind.DATA)
    payload = bytearray(payload_of(reel, first.header))
    payload[5000] ^= 1
    damaged = reel[: first.start] + forged(first.header, bytes(payload)) + reel[first.end :]
    assert restored(without(damaged, [lost])) == original


def payload_of(reel: bytes, header: FrameHeader) -> bytes:
    from bytereel_codec.files.ranged import BytesReader

    reader = BytesReader(reel)
    place = next(place for place, found in find_frames(reader) if found == header)
    frame = FrameLoader().frame_at(reader, place)
    assert frame is not None
    assert frame.payload is not None
    return bytes(frame.payload)


def test_factors_agree_with_the_code():
    dice = random.Random(3)
    for _ in range(50):
        rows, count = dice.randint(1, 40), dice.randint(1, 20)
        lost = tuple(sorted(dice.sample(range(rows), min(rows, count))))
        columns = tuple(sorted(dice.sample(range(60), len(lost))))
        data = [np.frombuffer(dice.randbytes(16), np.uint8) for _ in range(rows)]
        row = dice.choice(lost)
        weights, factors = recovery_factors(lost, columns, row, rows)
        total = np.zeros(16, np.uint8)
        for column, weight in zip(columns, weights, strict=True):
            parity = np.zeros(16, np.uint8)
            for index, source in enumerate(data):
                accumulate(parity, source, coefficient(column, index))
            accumulate(total, parity, weight)
        for source, factor in zip(data, factors, strict=True):
            accumulate(total, source, factor)
        assert (total == data[row]).all()


PEAK = (
    PEAK_KIB
    + """
import sys
import threading
from bytereel_codec import DecodeOptions, decode_file
seen, done = [0], threading.Event()
def look():
    while not done.wait(0.002):
        seen[0] = max(seen[0], kib_of("RssAnon") + kib_of("RssShmem"))
looking = threading.Thread(target=look)
looking.start()
report = decode_file(sys.argv[1], sys.argv[2], DecodeOptions(workers=2))
done.set()
looking.join()
print(report.recovered_frames, seen[0] >> 10, peak_kib() >> 10)
"""
)


@pytest.mark.alone
@pytest.mark.slow
def test_all_segments_of_large_pictures_come_back_in_300_mebibytes(tmp_path):
    """Of the 300, up to 140 are pages of libraries and of the file: how many of those are there is up to the system."""
    block = random.Random(1).randbytes(1 << 20)
    with (tmp_path / "source").open("wb") as file:
        for number in range(180):
            file.write(number.to_bytes(8, "big") + block)
    options = EncodeOptions(geometry="2160p", parity_percent=100, compress=False, workers=2)
    encode_file(tmp_path / "source", tmp_path / "reel", options)
    with FileReader(tmp_path / "reel") as reader:
        places = [place for place, header in find_frames(reader) if header.kind == Kind.DATA]
    with (tmp_path / "reel").open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(bytes(64))
    decode_file(tmp_path / "reel", tmp_path / "first", DecodeOptions(end=1))  # has all compiled
    command = [sys.executable, "-c", PEAK, str(tmp_path / "reel"), str(tmp_path / "back")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    recovered, own, peak = map(int, done.stdout.split())
    assert recovered == len(places) >= 15
    assert own <= 160
    assert peak <= 300
    assert subprocess.run(["cmp", tmp_path / "source", tmp_path / "back"], check=False).returncode == 0
