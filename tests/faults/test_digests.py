"""Bytes whose frames are all intact and that are still not what was written: the SHA-256 of a segment tells, or that of
the whole, or the CRC32C of a frame that parity brought back. Each is refused on every way out; what is right passes.
"""

import hashlib
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from bytereel.conversions.protocol import FinishedSegment, Plan
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import DecodeOptions, Integrity, decode_file, open_reel, verify
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.header import Flag
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader, tree_digest
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, FrameLoader
from reels import SPAN, Chunk, assert_honest, chunks_of, forged, forged_header, made, restored, without

FRAMES = [random.Random(seed).randbytes(SPAN) for seed in range(4)]
WHOLE = b"".join(FRAMES)
END = Flag.SEGMENT_END


def digest_of(*frames: bytes) -> bytes:
    return hashlib.sha256(b"".join(frames)).digest()


def reel_of(segments: Sequence[Sequence[bytes]], digests: Sequence[bytes], leader: Leader | None = None) -> bytes:
    """A reel of segments of two full frames with these contents, under those digests; every frame is intact."""
    leader = leader or Leader("x", size_bytes=len(WHOLE), segments=2)
    common = {"frames": 2, "frames_per_segment": 2, "segments": 2}
    front, back = (forged_header(**common, kind=Kind.LEADER, frame=number, flags=Flag.FINAL) for number in (0, 1))
    reel = forged(front, leader.to_bytes())
    for number, (frames, digest) in enumerate(zip(segments, digests, strict=True)):
        last = Flag.REEL_END if number == 1 else Flag.NONE
        reel += forged(forged_header(**common, segment=number), frames[0])
        reel += forged(forged_header(**common, segment=number, frame=1, flags=END | last), frames[1] + digest)
    return reel + forged(back, leader.to_bytes())


RIGHT = reel_of([FRAMES[:2], FRAMES[2:]], [digest_of(*FRAMES[:2]), digest_of(*FRAMES[2:])])
WRONG = {
    "a byte altered": reel_of(
        [[FRAMES[0], FRAMES[1][:-1] + bytes([FRAMES[1][-1] ^ 1])], FRAMES[2:]],
        [digest_of(*FRAMES[:2]), digest_of(*FRAMES[2:])],
    ),
    "frames exchanged": reel_of([FRAMES[1::-1], FRAMES[2:]], [digest_of(*FRAMES[:2]), digest_of(*FRAMES[2:])]),
    "the digest altered": reel_of(
        [FRAMES[:2], FRAMES[2:]], [digest_of(*FRAMES[:2])[:-1] + b"?", digest_of(*FRAMES[2:])]
    ),
    "the digest of another segment": reel_of([FRAMES[:2], FRAMES[2:]], [digest_of(*FRAMES[2:])] * 2),
}
SEGMENT = (0, 2 * SPAN)


def test_a_reel_whose_digests_are_right_is_whole_on_every_way(tmp_path: Path) -> None:
    (tmp_path / "reel").write_bytes(RIGHT)
    assert restored(RIGHT) == WHOLE
    assert restored(RIGHT, start=10, end=2 * SPAN) == WHOLE[10 : 2 * SPAN]
    assert verify(tmp_path / "reel").whole
    assert b"".join(piece for number in range(2) for piece in pieces_of(RIGHT, number)) == WHOLE


@pytest.mark.parametrize("what", WRONG)
def test_a_segment_that_its_digest_does_not_prove_is_refused_by_decode_and_named_by_verify(
    tmp_path: Path, what: str
) -> None:
    (tmp_path / "reel").write_bytes(WRONG[what])
    for part in ({}, {"start": 0, "end": 2 * SPAN}):
        with pytest.raises(Integrity) as raised:
            restored(WRONG[what], **part)
        assert raised.value.error_id == "reel.damaged"
        assert raised.value.facts["lost"] == [SEGMENT]
    report = verify(tmp_path / "reel")
    assert report.lost == (SEGMENT,)
    assert report.reasons == ("segment 0 is not what was written",)


@pytest.mark.parametrize("what", WRONG)
def test_salvage_reports_a_segment_that_its_digest_does_not_prove(tmp_path: Path, what: str) -> None:
    (tmp_path / "reel").write_bytes(WRONG[what])
    report = decode_file(tmp_path / "reel", tmp_path / "saved", DecodeOptions(salvage=True))
    assert report.lost == (SEGMENT,)
    assert_honest((tmp_path / "saved").read_bytes(), WHOLE, report.lost)


def test_a_frame_that_is_not_full_within_a_segment_is_lost_though_the_digest_fits() -> None:
    """Its bytes would stand at the segment's start, and the next frame's behind a hole of zeros."""
    short = FRAMES[0][:-1]
    with pytest.raises(Integrity) as raised:
        restored(reel_of([[short, FRAMES[1]], FRAMES[2:]], [digest_of(short, FRAMES[1]), digest_of(*FRAMES[2:])]))
    assert raised.value.facts["lost"] == [(0, SPAN)]


@pytest.mark.parametrize("in_front", [True, False])
def test_of_two_versions_of_a_frame_the_one_counts_that_the_digest_proves(in_front: bool) -> None:
    other = forged(forged_header(frames=2, frames_per_segment=2, segments=2, segment=0), FRAMES[3])
    assert restored(other + RIGHT if in_front else RIGHT + other) == WHOLE


def pieces_of(reel: bytes, number: int) -> list[bytes]:
    """What `restore` makes of one segment."""
    conversion, source = RestoreConversion(), BytesReader(reel)
    plan = conversion.plan(source, "x.mp4", "original")
    return [bytes(piece) for piece in conversion.convert(plan.parameters, plan.segments[number], number, source, [])]


@pytest.mark.parametrize("what", WRONG)
def test_restore_refuses_a_segment_that_its_digest_does_not_prove(what: str) -> None:
    with pytest.raises(Integrity) as raised:
        pieces_of(WRONG[what], 0)
    assert raised.value.error_id == "reel.bad_digest"
    assert b"".join(pieces_of(WRONG[what], 1)) == WHOLE[2 * SPAN :]


DIGESTS = [digest_of(*FRAMES[:2]), digest_of(*FRAMES[2:])]


def planned(leader: Leader) -> Plan:
    reel = reel_of([FRAMES[:2], FRAMES[2:]], DIGESTS, leader)
    return RestoreConversion().plan(BytesReader(reel), "x.mp4", "original")


def finished(digests: Sequence[bytes], size: int = 2 * SPAN) -> list[FinishedSegment]:
    """Segments that were restored, each under that SHA-256."""
    return [
        FinishedSegment(number, 0, size, {"sha256": digest.hex()}, BytesReader(b""))
        for number, digest in enumerate(digests)
    ]


def test_restore_refuses_a_whole_that_is_not_what_the_leader_states() -> None:
    stated = Leader("x", size_bytes=len(WHOLE), segments=2, digest=tree_digest(DIGESTS))
    plan, conversion = planned(stated), RestoreConversion()
    assert conversion.assemble(plan.parameters, finished(DIGESTS)).facts["digest"] == stated.digest
    wrong = (
        finished(DIGESTS[::-1]),
        finished([DIGESTS[0]] * 2),
        finished(DIGESTS[:1]),
        finished(DIGESTS, 2 * SPAN - 1),
    )
    for segments in wrong:
        with pytest.raises(Integrity) as raised:
            conversion.assemble(plan.parameters, segments)
        assert raised.value.error_id == "reel.bad_digest"


def test_decode_refuses_a_whole_whose_segments_are_right_and_the_leaders_digest_is_another() -> None:
    exchanged = Leader("x", size_bytes=len(WHOLE), segments=2, digest=tree_digest(DIGESTS[::-1]))
    reel = reel_of([FRAMES[:2], FRAMES[2:]], DIGESTS, exchanged)
    with pytest.raises(Integrity) as raised:
        restored(reel)
    assert raised.value.facts["lost"] == [(0, len(WHOLE))]


PARITY = made(WHOLE, parity_percent=25, compress=False)


def with_altered_parity(offset: int) -> tuple[bytes, Chunk]:
    """The reel with a byte of its parity frame altered, the frame's own checksums mended, and a data frame to lose."""
    chunks = chunks_of(PARITY)
    parity = next(chunk for chunk in chunks if chunk.header.kind == Kind.PARITY)
    data = [chunk for chunk in chunks if chunk.header.kind == Kind.DATA]
    found = FrameLoader().frame_at(BytesReader(PARITY), parity.start + FIRST_SAMPLE_OFFSET)
    payload = bytearray(found.payload)
    payload[offset] ^= 1
    altered = PARITY[: parity.start] + forged(parity.header, bytes(payload)) + PARITY[parity.end :]
    return altered, data[1]


@pytest.mark.parametrize("offset", [200, 5000, 128 + SPAN - 1])
def test_a_frame_that_parity_brings_back_wrong_is_lost_and_never_content(tmp_path: Path, offset: int) -> None:
    altered, lost = with_altered_parity(offset)
    start = lost.header.segment * SPAN
    assert restored(altered) == WHOLE, "as long as nothing is lost, parity is not asked"
    (tmp_path / "right").write_bytes(without(PARITY, [lost]))
    (tmp_path / "wrong").write_bytes(without(altered, [lost]))
    with open_reel(tmp_path / "right") as file:
        assert file.read() == WHOLE
    with open_reel(tmp_path / "wrong") as file:
        assert file.read(start) == WHOLE[:start]
        with pytest.raises(Integrity) as raised:
            file.read(1)
        assert raised.value.error_id == "reel.damaged"
    report = decode_file(tmp_path / "wrong", tmp_path / "saved", DecodeOptions(salvage=True))
    assert report.lost == ((start, start + SPAN),)
    assert (tmp_path / "saved").read_bytes()[start : start + SPAN] == bytes(SPAN), "what is not proved is not written"


def test_a_plain_digest_is_not_taken_of_a_size_that_a_header_alone_claims(tmp_path: Path) -> None:
    """Of a file that is known to have gaps it would prove nothing, and hashing zeros may take minutes."""
    claimed = 1 << 18
    common = {"frames": 1, "frames_per_segment": 1}
    leader = forged(forged_header(kind=Kind.LEADER, frames=2, frames_per_segment=1, flags=Flag.FINAL),
                    Leader("x", sha256="0" * 64).to_bytes())  # fmt: skip
    first = forged(forged_header(**common), FRAMES[0] + digest_of(FRAMES[0]))
    last = forged(forged_header(**common, segment=claimed - 1, flags=END | Flag.REEL_END), b"y" + digest_of(b"y"))
    (tmp_path / "reel").write_bytes(leader + first + last)
    begun = time.process_time()
    with pytest.raises(Integrity) as raised:
        decode_file(tmp_path / "reel", tmp_path / "out")
    assert raised.value.facts["lost"] == [(SPAN, (claimed - 1) * SPAN)]
    assert time.process_time() - begun < 2.0
