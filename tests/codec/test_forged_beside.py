"""A good reel beside a few forged frames: headers that lie about what follows, leaders that contradict each other, an
index that leads astray. Every way of reading gives the original, sealed or not, or all of them refuse alike.

Source: FORMAT.md sections 3, 6, 7, 10 and 11.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from bytereel_codec import DecodeOptions, Integrity, Permanent, Secret, decode_file, inspect, open_reel, verify
from bytereel_codec.files.ranged import BytesReader, FileReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import HEADER_MASK, MASKED_MAGIC, Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader, tree_digest
from bytereel_codec.reading.frames import ReelFrames
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.boxes import parse_segment_index, segment_index
from bytereel_codec.video.picture import FrameLoader, PictureWriter
from reels import SMALL, SPAN, Chunk, chunks_of, forged, forged_header, made, restored, restored_by_the_road

CONTENT = random.Random(8).randbytes(24 * SPAN)  # three full segments of eight frames
KEY, WORDS = Secret(key=b"k" * 32), Secret(passphrase=b"three words here")
LARGE = GEOMETRIES["2160p"].span_bytes
END = Flag.SEGMENT_END | Flag.REEL_END
FOREIGN = b"another reel id."
SECRETS = pytest.mark.parametrize("secret", [None, KEY], ids=["open", "sealed"])


@cache
def reel_of(size: int, secret: Secret | None = None, *, parity: int = 0) -> bytes:
    return made(CONTENT[:size], secret=secret, parity_percent=parity)


def leader_in(reel: bytes) -> tuple[Chunk, Leader]:
    """The chunk of the leader at the end, and what it says."""
    *_, chunk = (chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.LEADER)
    place = next(place for place, _ in find_frames(BytesReader(reel), chunk.start))
    found = FrameLoader().frame_at(BytesReader(reel), place)
    assert found is not None and found.payload is not None
    leader = Leader.parsed(found.payload)
    assert leader is not None
    return chunk, leader


def wrong_ways(reel: bytes, content: bytes, secret: Secret | None, tmp_path) -> dict[str, object]:
    """The ways of reading that do not give `content`, and what they give or say."""
    path = tmp_path / "reel.mp4"
    path.write_bytes(reel)
    middle = slice(len(content) // 3, len(content) // 3 + 100)

    def part() -> bytes:
        decode_file(path, tmp_path / "part", DecodeOptions(secret=secret, start=middle.start, end=middle.stop))
        return (tmp_path / "part").read_bytes()

    def whole_file() -> bytes:
        with open_reel(path, secret) as file:
            return file.read()

    ways: dict[str, tuple[Callable[[], object], object]] = {
        "decode": (lambda: restored(reel, secret=secret), content),
        "two threads": (lambda: restored(reel, secret=secret, workers=2), content),
        "verify": (lambda: verify(path, DecodeOptions(secret=secret)).whole, True),
        "file": (whole_file, content),
        "range": (part, content[middle]),
        "road": (lambda: restored_by_the_road(reel, secret), content),
    }
    wrong: dict[str, object] = {}
    for name, (read, right) in ways.items():
        try:
            found = read()
        except (Integrity, Permanent) as error:
            found = error.error_id
        if found != right:
            wrong[name] = found
    return wrong


def lying(header: FrameHeader, length: int) -> bytes:
    """A chunk of a few hundred bytes whose header states another length than its payload has."""
    chunk = bytearray(forged(header, b"x"))
    place = chunk.index(MASKED_MAGIC)
    packed = replace(header, length=length, payload_crc=1).pack()
    chunk[place : place + 128] = bytes(a ^ b for a, b in zip(packed, HEADER_MASK, strict=True))
    return bytes(chunk[: place + 300])


@SECRETS
@pytest.mark.parametrize("size", [100, 3 * SPAN, len(CONTENT)])
@pytest.mark.parametrize("whose", ["own", "own, its layout", "another"])
def test_a_header_that_claims_the_bytes_behind_it_hides_nothing(tmp_path, whose, size, secret):
    reel, sealed = reel_of(size, secret), Flag.SEALED if secret else Flag.NONE
    front = chunks_of(reel)[0].header
    span = SPAN if whose == "own, its layout" else LARGE
    claims = replace(front, kind=Kind.DATA, frames=1, segments=1, span_bytes=span, flags=sealed | END)
    if whose == "another":
        claims = replace(claims, reel_id=FOREIGN)
    assert wrong_ways(lying(claims, span + 60) + reel, CONTENT[:size], secret, tmp_path) == {}


@SECRETS
@pytest.mark.parametrize("number", [0, 5, 7, 8, 23])
def test_a_header_that_stands_for_the_frame_it_claims_does_not_hide_it(tmp_path, number, secret):
    reel = reel_of(len(CONTENT), secret)
    chunk = [chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.DATA][number]
    claims = lying(chunk.header, chunk.header.length)
    assert wrong_ways(reel[: chunk.start] + claims + reel[chunk.start :], CONTENT, secret, tmp_path) == {}


@SECRETS
@pytest.mark.parametrize("size", [0, 100, len(CONTENT)])
@pytest.mark.parametrize("kind", [Kind.DATA, Kind.LEADER])
def test_a_forged_frame_of_larger_pictures_is_outvoted(tmp_path, kind, size, secret):
    reel, sealed = reel_of(size, secret), Flag.SEALED if secret else Flag.NONE
    front = chunks_of(reel)[0].header
    flags = sealed | (END if kind == Kind.DATA else Flag.FINAL)
    span = GEOMETRIES["360p"].span_bytes
    header = replace(front, kind=kind, flags=flags, frames=1, segments=1, span_bytes=span, groups=0, columns=0)
    frame = forged_in("360p", header, b"y" * 90 + hashlib.sha256(b"y" * 90).digest())
    for forgery in (frame + reel, reel + frame):
        assert wrong_ways(forgery, CONTENT[:size], secret, tmp_path) == {}


def forged_in(geometry: str, header: FrameHeader, payload: bytes) -> bytes:
    """As `reels.forged`, for pictures of another size."""
    writer = PictureWriter(GEOMETRIES[geometry], header.reel_id)
    writer.payload[: len(payload)] = payload
    return bytes(writer.write(header, len(payload), 0))


JUNK = {
    "damaged": lambda: lying(forged_header(segments=1), 500),
    "of a wrong digest": lambda: forged(forged_header(segments=1), b"z" * 90 + bytes(32)),
    "empty": lambda: forged(forged_header(segments=1), b""),
    "sealed": lambda: forged(forged_header(segments=1, flags=END | Flag.SEALED), bytes(200)),
}


@SECRETS
@pytest.mark.parametrize("junk", JUNK)
def test_a_frame_of_another_reel_that_proves_nothing_is_no_second_reel(tmp_path, junk, secret):
    reel = reel_of(3 * SPAN, secret)
    if secret is None and junk == "sealed":  # it may be whole: nobody can tell without its key
        with pytest.raises(Permanent, match="2 reels"):
            restored(JUNK[junk]() + reel)
        return
    for forgery in (JUNK[junk]() + reel, reel + JUNK[junk]()):
        assert wrong_ways(forgery, CONTENT[: 3 * SPAN], secret, tmp_path) == {}


def test_a_second_reel_that_is_whole_is_named():
    other = forged(forged_header(segments=1), b"z" * 90 + hashlib.sha256(b"z" * 90).digest())
    with pytest.raises(Permanent) as raised:
        restored(other + reel_of(3 * SPAN))
    assert raised.value.error_id == "reel.several"


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"kind": "folder"}, {"name": "other"}, {"mode": 0o777}])
@pytest.mark.parametrize("place", ["in front", "behind"])
def test_one_leader_does_not_outvote_two(tmp_path, place, change):
    reel = reel_of(3 * SPAN)
    chunk, leader = leader_in(reel)
    forgery = forged(chunk.header, replace(leader, **change).to_bytes())
    reel = forgery + reel if place == "in front" else reel + forgery
    assert wrong_ways(reel, CONTENT[: 3 * SPAN], None, tmp_path) == {}
    assert inspect(tmp_path / "reel.mp4").leader == leader


@SECRETS
@pytest.mark.parametrize(("frames", "stated", "count"), [(1, 2, 2), (3, 4, 4), (16, 7, 1), (16, 3, 3), (9, 2, 2)])
@pytest.mark.parametrize("place", ["in front", "behind the leader", "behind"])
def test_a_last_segment_has_as_many_frames_as_the_leaders_say(tmp_path, place, frames, stated, count, secret):
    """Forged frames may be more than its own, and all of a segment that they state."""
    reel = reel_of(frames * SPAN, secret)
    own = [chunk.header for chunk in chunks_of(reel) if chunk.header.kind == Kind.DATA][-1]
    forgery = b""
    for number in range(count):
        frame = number % stated
        sealed = own.flags & Flag.SEALED
        flags = sealed | (END if frame == stated - 1 else Flag.NONE)
        payload = b"forged, and intact" + (bytes(32) if flags & END else b"")
        forgery += forged(replace(own, frame=frame, frames=stated, flags=flags), payload)
    at = {"in front": 0, "behind the leader": chunks_of(reel)[0].end, "behind": len(reel)}[place]
    assert wrong_ways(reel[:at] + forgery + reel[at:], CONTENT[: frames * SPAN], secret, tmp_path) == {}


@pytest.mark.parametrize("sealed", [False, True])
def test_frames_of_another_layout_do_not_vote_in_a_sealed_reel(tmp_path, sealed):
    reel = reel_of(3 * SPAN, KEY)
    front = chunks_of(reel)[0].header
    flags = Flag.SEALED if sealed else Flag.NONE
    header = replace(front, kind=Kind.DATA, flags=flags, frames=5, frames_per_segment=5, segments=9)
    forgery = b"".join(forged(replace(header, frame=number % 4, segment=number), bytes(200)) for number in range(6))
    for place in (forgery + reel, reel + forgery):
        assert wrong_ways(place, CONTENT[: 3 * SPAN], KEY, tmp_path) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_reel_is_sealed_where_most_of_its_frames_are(count):
    reel = reel_of(100)
    front = chunks_of(reel)[0].header
    forgery = forged(replace(front, flags=Flag.SEALED | Flag.FINAL), bytes(200)) * count
    if count <= 3:  # as many as its own
        assert restored(forgery + reel) == CONTENT[:100]
    else:
        with pytest.raises(Permanent) as raised:
            restored(forgery + reel)
        assert raised.value.error_id == "reel.sealed"


def with_index(reel: bytes, change: Callable[[list[tuple[int, int]]], list[tuple[int, int]]]) -> bytes:
    """The reel with its segment index altered, its length kept."""
    _, references = parse_segment_index(reel)
    start = reel.index(b"sidx") - 4
    end = start + int.from_bytes(reel[start : start + 4], "big")
    index = segment_index(SMALL.frames_per_second, change(list(references)))
    assert len(index) == end - start
    return reel[:start] + index + reel[end:]


def lie_of(leader: Leader) -> Leader:
    """The leader, but it states two of the three segments, their digest right."""
    digests = [hashlib.sha256(CONTENT[start : start + 8 * SPAN]).digest() for start in (0, 8 * SPAN)]
    return replace(leader, size_bytes=16 * SPAN, segments=2, digest=tree_digest(digests))


def false_end() -> tuple[Chunk, bytes]:
    """The chunk of the leader at the end, and one with a leader that lies for the same place."""
    chunk, leader = leader_in(reel_of(len(CONTENT)))
    return chunk, forged(chunk.header, lie_of(leader).to_bytes())


def test_an_index_that_leads_to_a_leader_that_lies_is_given_up(tmp_path):
    reel, (chunk, lie) = reel_of(len(CONTENT)), false_end()
    reel = reel[: chunk.start] + lie + reel[chunk.start :]
    reel = with_index(reel, lambda all_of: [*all_of[:-1], (all_of[-1][0] + len(lie), all_of[-1][1])])
    assert wrong_ways(reel, CONTENT, None, tmp_path) == {}


@pytest.mark.parametrize("leaders", ["the one at the end", "both"])
def test_a_reel_that_is_cut_is_whole_on_no_way_whatever_its_leaders_and_its_index_say(tmp_path, leaders):
    reel, (_, lie) = reel_of(len(CONTENT)), false_end()
    cut = next(chunk.start for chunk in chunks_of(reel) if chunk.header.segment == 2)
    front = chunks_of(reel)[0]
    in_front = reel[front.start : front.end]
    if leaders == "both":
        in_front = forged(front.header, lie_of(leader_in(reel)[1]).to_bytes())
    grown = len(in_front) - (front.end - front.start)

    def mended(all_of: list[tuple[int, int]]) -> list[tuple[int, int]]:
        first = (all_of[0][0] + grown, all_of[0][1])
        return [first, *all_of[1:17], (len(lie), 1), *[(0, 0)] * (len(all_of) - 18)]

    reel = with_index(reel[: front.start] + in_front + reel[front.end : cut] + lie, mended)
    wrong = wrong_ways(reel, CONTENT[: 16 * SPAN], None, tmp_path)
    assert wrong.pop("verify") is False
    assert wrong == dict.fromkeys(["decode", "two threads", "file", "road"], "reel.damaged")
    with pytest.raises(Integrity):
        decode_file(tmp_path / "reel.mp4", tmp_path / "tail", DecodeOptions(start=10 * SPAN))


@pytest.mark.parametrize("secret", [KEY, WORDS], ids=["key", "passphrase"])
@pytest.mark.parametrize("cost", [0, 9, 15])
def test_a_cost_that_no_tag_covers_is_not_believed_in_what_an_index_leads_to(tmp_path, cost, secret):
    reel = reel_of(3 * SPAN, secret)
    front = chunks_of(reel)[0]
    place = next(place for place, _ in find_frames(BytesReader(reel)))
    found = FrameLoader().frame_at(BytesReader(reel), place)
    assert found is not None and found.payload is not None
    payload = bytes(found.payload)
    old, new = forged(front.header, payload), forged(replace(front.header, scrypt_log2_n=cost), payload)
    start = front.start
    assert reel[start : start + len(old)] == old
    changed = reel[:start] + new + reel[start + len(old) :]
    grown = len(new) - len(old)
    changed = with_index(changed, lambda all_of: [(all_of[0][0] + grown, all_of[0][1]), *all_of[1:]])
    assert wrong_ways(changed, CONTENT[: 3 * SPAN], secret, tmp_path) == {}


@SECRETS
def test_a_foreign_leader_that_an_index_leads_to_is_passed_over(tmp_path, secret):
    reel, flags = reel_of(3 * SPAN, secret), Flag.FINAL | (Flag.SEALED if secret else Flag.NONE)
    start = chunks_of(reel)[0].start
    header = forged_header(kind=Kind.LEADER, frames=2, flags=flags, frames_per_segment=8)
    foreign = forged(header, bytes(100) if secret else Leader("x", size_bytes=5, segments=1).to_bytes())
    reel = reel[:start] + foreign + reel[start:]
    reel = with_index(reel, lambda all_of: [(all_of[0][0] + len(foreign), all_of[0][1]), *all_of[1:]])
    assert wrong_ways(reel, CONTENT[: 3 * SPAN], secret, tmp_path) == {}


@pytest.mark.parametrize("rows", [255, 256, 301])
def test_parity_that_a_reel_of_so_many_segments_cannot_have_is_not_believed(tmp_path, rows):
    """No more than 255 rows and columns are in one group: FORMAT.md 9."""
    frames = ReelFrames.of_first(forged_header(segments=rows))
    frames.shapes.add((1, 1))
    frames.settle()
    assert (frames.groups, frames.columns) == ((1, 1) if rows < 255 else (0, 0))
    frames = ReelFrames.of_first(forged_header(segments=rows))
    frames.shapes.add((2, 1))
    frames.settle()
    assert (frames.groups, frames.columns) == (2, 1)


def test_frames_beyond_the_end_are_not_counted(tmp_path):
    reel = reel_of(3 * SPAN)
    own = next(chunk.header for chunk in chunks_of(reel) if chunk.header.kind == Kind.DATA)
    (tmp_path / "reel").write_bytes(reel + forged(replace(own, segment=5, frames=8, segments=9), b"x"))
    found = inspect(tmp_path / "reel")
    assert (found.frames_found, found.frames_missing) == (3, 0)


@pytest.mark.parametrize("places", ["one place", "many places"])
def test_claims_that_overlap_are_read_a_few_times_at_most(tmp_path, monkeypatch, places):
    """Headers every few hundred bytes, each with a payload that holds all the others behind it."""
    common = {"span_bytes": LARGE, "frames": 8, "frames_per_segment": 8, "segments": 4096, "flags": Flag.NONE}
    headers = [forged_header(**common, segment=number) for number in ([0] if places == "one place" else range(4000))]
    claims = b"".join(lying(header, 3_000_000) for header in headers) * (4000 // len(headers)) + bytes(3_000_000)
    (tmp_path / "reel").write_bytes(forged_in("2160p", headers[0], b"x") + claims)
    read = 0
    plain = FileReader.read_into

    def counted(reader: FileReader, offset: int, buffer: memoryview) -> int:
        nonlocal read
        count = plain(reader, offset, buffer)
        read += count
        return count

    monkeypatch.setattr(FileReader, "read_into", counted)
    assert not verify(tmp_path / "reel").whole
    assert read < 2 << 30  # 4000 claims of 3 MB would be 12 GB, each read more than once
