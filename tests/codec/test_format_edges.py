"""The edges of the format, where a reader has to choose: what counts of frames that contradict each other, which
leaders can be used, whose word goes. Source: FORMAT.md sections 3, 7, 10 and 11.
"""

import hashlib
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import av
import crc32c
import pytest
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import DecodeOptions, Integrity, Permanent, decode_file, inspect, open_reel, verify
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.header import HEADER_MASK, MASKED_MAGIC, Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.frames import COPIES_MAX
from bytereel_codec.reading.scan import REELS_MAX, find_frames
from bytereel_codec.reading.votes import KEPT_MAX, Votes
from bytereel_codec.video.boxes import parse_segment_index, segment_index
from reels import SPAN, chunks_of, forged, forged_header, made, restored, restored_by_the_road, without, zeroed

CONTENT = random.Random(8).randbytes(27 * SPAN + 5)  # four segments of eight frames, the last one of four
REEL = made(CONTENT)
CHUNKS = chunks_of(REEL)
FRONT, *DATA, END = CHUNKS
FRAMES, SEGMENTS = DATA[0].header.frames_per_segment, DATA[0].header.segments
STATED = json.loads(
    Leader("original", size_bytes=len(CONTENT), segments=SEGMENTS, digest="0" * 64, sha256="0" * 64).to_bytes()
)


def own(number: int, **values: object) -> FrameHeader:
    """The header of one of the reel's data frames, with other values."""
    return replace(DATA[number].header, **values)


def with_end(leader: bytes) -> bytes:
    """The reel with another leader at its end, and none in front."""
    header = replace(END.header, segments=END.header.segments)
    return REEL[: FRONT.start] + REEL[FRONT.end : END.start] + forged(header, leader)


def every_reading(reel: bytes, folder: Path) -> set[str]:
    """The ways of reading that give the whole original."""
    path = folder / "reel.mp4"
    path.write_bytes(reel)
    right = set()
    if restored(reel) == restored(reel, workers=2) == CONTENT:
        right.add("decode")
    if verify(path).whole:
        right.add("verify")
    with open_reel(path) as file:
        if file.read() == CONTENT:
            right.add("file")
    if restored_by_the_road(reel) == CONTENT:
        right.add("restore")
    decode_file(path, folder / "part", DecodeOptions(start=3 * SPAN + 7, end=9 * SPAN))
    if (folder / "part").read_bytes() == CONTENT[3 * SPAN + 7 : 9 * SPAN]:
        right.add("range")
    return right


ALL = {"decode", "verify", "file", "restore", "range"}
BAD = bytes(SPAN)
FORGED = b"forged, and intact"

ODD = {
    "a front leader of other counts": lambda: (
        forged(replace(FRONT.header, segments=3), Leader("x", size_bytes=5 * SPAN, segments=3).to_bytes()) + REEL
    ),
    "three damaged copies in front of the whole one": lambda: REEL[DATA[3].start : DATA[3].end - 900] * 3 + REEL,
    "as many damaged copies as are kept": lambda: REEL[DATA[3].start : DATA[3].end - 900] * (COPIES_MAX + 4) + REEL,
    "forged copies of one frame in front": lambda: forged(own(3), BAD) + forged(own(3), BAD[1:] + b"x") + REEL,
    "forged copies of one frame behind": lambda: REEL + forged(own(3), BAD),
    "forged copies of every frame of a segment": lambda: forged_segment() + REEL,
    "forged copies of every frame of a segment, and some more": lambda: forged(own(3), BAD) + forged_segment() + REEL,
    "an intact copy that is no zstd frame": lambda: forged(own(4, flags=Flag.COMPRESSED), FORGED) + REEL,
    "an intact copy of another size": lambda: forged(own(4), FORGED) + REEL,
    "a sealed copy": lambda: forged(own(4, flags=Flag.SEALED), random.Random(1).randbytes(SPAN + 28)) + REEL,
    "a sealed leader": lambda: forged(replace(FRONT.header, flags=Flag.SEALED), bytes(400)) + REEL,
    "a huge segment, the count stated by none": lambda: forged(own(0, segment=90_000, segments=0), BAD) + stream_like(),
    "another end, the count stated by none": lambda: another_end() + stream_like(),
    "frames of another layout in front": lambda: forged(own(0, frames_per_segment=5, segments=0), BAD) + REEL,
    "another version under another id": lambda: other_version(b"x" * 16) + REEL,
    "another version under its own id": lambda: other_version(DATA[0].header.reel_id) + REEL,
    "one frame of another reel": lambda: forged(forged_header(segments=9), BAD) + REEL,
    "frames of very many other reels": lambda: strangers() + REEL,
    "a leader padded with NUL": lambda: leader_in_front(Leader("y", size_bytes=1).to_bytes() + b"\0"),
    "a leader with a float as size": lambda: leader_in_front(json.dumps({**STATED, "size_bytes": 1.0}).encode()),
    "a leader of an unknown kind": lambda: leader_in_front(json.dumps({**STATED, "kind": "disk"}).encode()),
    "a leader with a digest in upper case": lambda: leader_in_front(
        json.dumps({**STATED, "digest": "A" * 64}).encode()
    ),
    "a leader that is too long": lambda: leader_in_front(json.dumps({**STATED, "x": "y" * (16 << 10)}).encode()),
    "a leader that is no JSON": lambda: leader_in_front(b"\xff" * 300),
    "a leader of the right counts and a wrong digest": lambda: leader_in_front(json.dumps(STATED).encode()),
}


def forged_segment() -> bytes:
    """Another first segment, its digest right."""
    frames = [forged(own(number), BAD) for number in range(FRAMES - 1)]
    return b"".join(frames) + forged(own(FRAMES - 1), BAD + hashlib.sha256(BAD * FRAMES).digest())


def another_end() -> bytes:
    flags = Flag.SEGMENT_END | Flag.REEL_END
    return forged(own(FRAMES - 1, segment=1, segments=0, flags=flags), BAD + bytes(32))


def stream_like() -> bytes:
    """The reel as a writer makes it that did not know the number of segments until the end."""
    data = [forged(own(number, segments=0), REEL_PAYLOADS[number]) for number in range(len(DATA))]
    front = forged(replace(FRONT.header, segments=0, flags=Flag.NONE), Leader("original").to_bytes())
    return REEL[: FRONT.start] + front + b"".join(data) + REEL[END.start :]


def payloads() -> list[bytes]:
    size = FRAMES * SPAN
    segments = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)]
    found = []
    for segment in segments:
        frames = [segment[start : start + SPAN] for start in range(0, len(segment), SPAN)]
        found += [*frames[:-1], frames[-1] + hashlib.sha256(segment).digest()]
    return found


REEL_PAYLOADS = payloads()


def other_version(reel_id: bytes) -> bytes:
    """A frame whose header is intact and of version 2."""
    header = forged_header(reel_id=reel_id)
    packed = bytearray(header.pack())
    packed[8] = 2
    packed[-4:] = crc32c.crc32c(bytes(packed[:-4])).to_bytes(4, "big")
    chunk = bytearray(forged(header, b"x"))
    place = chunk.index(MASKED_MAGIC)
    chunk[place : place + 128] = bytes(a ^ b for a, b in zip(packed, HEADER_MASK, strict=True))
    return bytes(chunk)


def strangers() -> bytes:
    draw = random.Random(5)
    return b"".join(
        forged(forged_header(reel_id=draw.randbytes(16), segments=2), b"x")[:700] for _ in range(REELS_MAX + 9)
    )


def leader_in_front(content: bytes) -> bytes:
    return forged(replace(END.header, flags=Flag.FINAL), content) + REEL


@pytest.mark.parametrize("odd", ODD)
def test_a_good_reel_with_odd_frames_among_its_own_is_whole(tmp_path, odd):
    assert every_reading(ODD[odd](), tmp_path) == ALL


EMPTY = made(b"")
NOTHING, *_ = (chunk.header for chunk in chunks_of(EMPTY))


def beside_nothing(**values: object) -> bytes:
    """A forged frame of the empty reel."""
    header = replace(NOTHING, **{"kind": Kind.DATA, "flags": Flag.NONE, "frames": FRAMES, **values})
    return forged(header, FORGED + hashlib.sha256(FORGED).digest() if header.flags & Flag.SEGMENT_END else FORGED)


ALONE = {"flags": Flag.SEGMENT_END | Flag.REEL_END, "frames": 1}
BESIDE_NOTHING = {
    "a frame of a reel of many segments": lambda: beside_nothing(segments=128),
    "a frame that states no number": lambda: beside_nothing(segment=3),
    "a segment that is whole and the last": lambda: beside_nothing(**ALONE),
    "the same, its number stated": lambda: beside_nothing(segments=1, **ALONE),
    "a frame of parity": lambda: beside_nothing(kind=Kind.PARITY, segments=4, groups=1, columns=1),
    "a leader that states a segment": lambda: forged(
        replace(NOTHING, segments=1), Leader("x", size_bytes=5, segments=1).to_bytes()
    ),
}


@pytest.mark.parametrize("odd", BESIDE_NOTHING)
@pytest.mark.parametrize("place", ["in front", "behind"])
def test_one_forged_frame_beside_an_empty_reel_makes_nothing_of_it(tmp_path, odd, place):
    frame = BESIDE_NOTHING[odd]()
    reel = frame + EMPTY if place == "in front" else EMPTY + frame
    (tmp_path / "reel").write_bytes(reel)
    assert restored(reel) == restored(reel, workers=2) == restored_by_the_road(reel) == b""
    assert verify(tmp_path / "reel").whole
    assert inspect(tmp_path / "reel").leader.name == "original"
    with open_reel(tmp_path / "reel") as file:
        assert file.read() == b""


def test_a_reel_of_as_many_other_frames_as_leaders_is_not_empty(tmp_path):
    (tmp_path / "reel").write_bytes(EMPTY + beside_nothing(segments=128) + beside_nothing(segments=128, frame=1))
    assert not verify(tmp_path / "reel").whole


def leaders_of_nothing(reel_id: bytes, count: int) -> bytes:
    digest = hashlib.sha256(b"").hexdigest()
    nothing = Leader("original", size_bytes=0, segments=0, digest=digest).to_bytes()
    return forged(replace(NOTHING, reel_id=reel_id), nothing) * count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_leaders_of_nothing_take_nothing_away(tmp_path, count):
    small = made(CONTENT[:100])
    forgeries = leaders_of_nothing(chunks_of(small)[0].header.reel_id, count)
    assert restored(forgeries + small) == restored(small + forgeries) == CONTENT[:100]
    damaged = forgeries + zeroed(REEL, [DATA[5], END])
    (tmp_path / "reel").write_bytes(damaged)
    assert verify(tmp_path / "reel").lost == ((5 * SPAN, 6 * SPAN),)
    (tmp_path / "reel").write_bytes(forgeries + without(REEL, [FRONT, END]))
    assert verify(tmp_path / "reel").source_bytes == len(CONTENT)


def test_reels_of_which_nothing_is_missing_are_both_named(tmp_path):
    other = made(CONTENT[:1000], seed=9)
    (tmp_path / "both").write_bytes(REEL + other)
    with pytest.raises(Permanent) as raised:
        decode_file(tmp_path / "both", tmp_path / "out")
    assert raised.value.error_id == "reel.several"
    wanted = decode_file(tmp_path / "both", tmp_path / "out", DecodeOptions(reel_id=CHUNKS[0].header.reel_id))
    assert wanted.others == (chunks_of(other)[0].header.reel_id.hex(),)


def test_what_else_was_there_is_said(tmp_path):
    (tmp_path / "reel").write_bytes(forged(forged_header(segments=9), BAD) + REEL)
    stranger = (forged_header().reel_id.hex(),)
    assert inspect(tmp_path / "reel").others == verify(tmp_path / "reel").others == stranger


def test_a_file_of_another_version_alone_says_which():
    with pytest.raises(Permanent) as raised:
        restored(other_version(b"x" * 16))
    assert (raised.value.error_id, raised.value.facts["actual"]) == ("reel.newer_format", 2)


def test_a_reel_of_another_version_that_is_asked_for_beside_one_of_this_version_says_which():
    for reel in (other_version(b"x" * 16) + REEL, REEL + other_version(b"x" * 16)):
        for asked in (b"x" * 16, b"xx"):
            with pytest.raises(Permanent) as raised:
                restored(reel, reel_id=asked)
            assert raised.value.error_id == "reel.newer_format"
        with pytest.raises(Permanent) as raised:
            restored(reel, reel_id=b"y")
        assert raised.value.error_id == "reel.not_here"


def test_bad_intact_frames_come_back_from_parity():
    reel = made(CONTENT, parity_percent=15)
    bad = {3: forged(own(3, flags=own(3).flags | Flag.COMPRESSED), FORGED), 4: forged(own(4), FORGED)}
    for number, frame in sorted(bad.items(), reverse=True):
        chunk = [each for each in chunks_of(reel) if each.header.kind == Kind.DATA][number]
        header = replace(chunk.header, flags=chunk.header.flags | (Flag.COMPRESSED if number == 3 else 0))
        reel = reel[: chunk.start] + forged(header, FORGED) + reel[chunk.end :]
        assert frame
    assert restored(reel) == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 5, 2**40])
def test_the_last_frame_says_where_the_source_ends_and_a_leader_that_disagrees_is_wrong(tmp_path, size):
    wrong = Leader("original", size_bytes=size, segments=SEGMENTS).to_bytes()
    (tmp_path / "reel").write_bytes(with_end(wrong))
    report = verify(tmp_path / "reel")
    assert report.source_bytes == len(CONTENT)
    assert not report.whole
    (tmp_path / "reel").write_bytes(with_end(wrong) + REEL[END.start :])
    assert verify(tmp_path / "reel").whole


def test_without_any_leader_digests_and_end_mark_prove_the_whole(tmp_path):
    assert every_reading(without(REEL, [FRONT, END]), tmp_path) == ALL
    assert every_reading(with_end(b"{}"), tmp_path) == ALL


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_reel_wants_its_end_mark(tmp_path, count):
    kept = [forged(own(number, segments=0), REEL_PAYLOADS[number]) for number in range(FRAMES * count)]
    (tmp_path / "reel").write_bytes(REEL[: FRONT.start] + b"".join(kept))
    report = verify(tmp_path / "reel")
    assert (report.source_bytes, report.whole) == (FRAMES * count * SPAN, False)
    for wanted in (DecodeOptions(), DecodeOptions(start=3)):
        with pytest.raises(Integrity):
            decode_file(tmp_path / "reel", tmp_path / "out", wanted)
    with pytest.raises(Integrity), open_reel(tmp_path / "reel"):
        pass
    with pytest.raises(Integrity):
        RestoreConversion().plan(BytesReader((tmp_path / "reel").read_bytes()), "x.mp4", "original")
    decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(start=3, end=FRAMES * count * SPAN))
    assert (tmp_path / "out").read_bytes() == CONTENT[3 : FRAMES * count * SPAN]


@pytest.mark.parametrize(("sha256", "is_whole"), [(None, True), ("right", True), ("0" * 64, False)])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_plain_sha256_is_checked_before_it_is_shown(tmp_path, sha256, is_whole, workers):
    stated = hashlib.sha256(CONTENT).hexdigest() if sha256 == "right" else sha256
    reel = with_end(Leader("original", size_bytes=len(CONTENT), segments=SEGMENTS, sha256=stated).to_bytes())
    (tmp_path / "reel").write_bytes(reel)
    report = verify(tmp_path / "reel", DecodeOptions(workers=workers))
    assert (report.whole, report.sha256) == (is_whole, stated if is_whole else None)
    if is_whole:
        report = decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(workers=workers))
        assert report.sha256 == stated
    else:
        with pytest.raises(Integrity):
            decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(workers=workers))


@pytest.mark.parametrize("sha256", [None, "right", "0" * 64])
def test_a_single_segments_plain_sha256_is_its_digest(tmp_path, sha256):
    content = CONTENT[:100]
    stated = hashlib.sha256(content).hexdigest() if sha256 == "right" else sha256
    head = forged(forged_header(kind=Kind.LEADER, frames=2, segments=1), Leader("x", sha256=stated).to_bytes())
    data = forged(forged_header(segments=1), content + hashlib.sha256(content).digest())
    (tmp_path / "reel").write_bytes(head + data)
    report = verify(tmp_path / "reel")
    assert (report.whole, report.sha256) == ((False, None) if sha256 == "0" * 64 else (True, stated))


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_what_decode_opens_the_other_ways_open_too(tmp_path, container):
    remuxed = tmp_path / "remuxed"
    with av.open(io.BytesIO(REEL)) as source, av.open(str(remuxed), "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert every_reading(remuxed.read_bytes(), tmp_path) == ALL
    with open_reel(BytesReader(remuxed.read_bytes())) as file:
        file.seek(5 * SPAN + 3)
        assert file.read(10) == CONTENT[5 * SPAN + 3 :][:10]


def test_votes_keep_what_most_say_in_bounded_memory():
    votes: Votes[int] = Votes()
    draw = random.Random(3)
    voices = [*([-1] * 400), *(draw.randrange(10**9) for _ in range(20_000 - 400))]
    draw.shuffle(voices)
    for voice in voices:
        votes.add(voice)
    assert votes.first() == -1
    assert len(votes.ranked()) <= KEPT_MAX
    assert Votes().first() is None


def test_damaged_frames_are_told_from_forged_ones():
    """The same reel twice, the first time with every frame damaged."""
    assert restored(zeroed(REEL, DATA) + REEL) == CONTENT


@pytest.mark.parametrize("count", [COPIES_MAX, COPIES_MAX + 4])
def test_where_copies_contradict_each_other_and_none_is_proved_nothing_is_given_out(tmp_path, count):
    forgeries = b"".join(forged(own(3), BAD[1:] + bytes([number])) for number in range(count))
    (tmp_path / "reel").write_bytes(forgeries + REEL)
    wanted = DecodeOptions(start=3 * SPAN, end=3 * SPAN + 100)
    for options in (wanted, DecodeOptions()):
        with pytest.raises(Integrity):
            decode_file(tmp_path / "reel", tmp_path / "out", options)
    with open_reel(tmp_path / "reel") as file:
        file.seek(3 * SPAN)
        with pytest.raises(Integrity):
            file.read(100)
        file.seek(0)
        assert file.read(100) == CONTENT[:100], "what nobody contradicts is given"


def test_a_plain_sha256_that_is_wrong_is_refused_by_restore_too():
    content = CONTENT[:100]
    leader = Leader("original", size_bytes=100, segments=1, sha256="0" * 64).to_bytes()
    head = forged(forged_header(kind=Kind.LEADER, frames=2, segments=1, flags=Flag.FINAL), leader)
    data = forged(forged_header(segments=1), content + hashlib.sha256(content).digest())
    with pytest.raises(Integrity) as raised:
        restored_by_the_road(head + data)
    assert raised.value.error_id == "reel.bad_digest"


def test_an_index_that_leads_far_from_its_frames_is_given_up(monkeypatch, tmp_path):
    """One reference that stands for all pictures would have every frame looked for from the start."""
    reel = made(bytes(400 * SPAN), compress=True)
    at = reel.index(b"sidx") - 4
    end, references = parse_segment_index(reel)
    whole = (sum(size for size, _ in references), sum(pictures for _, pictures in references))
    index = segment_index(8, [whole])
    looked = 0

    def counted(reader, *arguments, **options):
        nonlocal looked
        for found in find_frames(reader, *arguments, **options):
            looked += 1
            yield found

    monkeypatch.setattr("bytereel_codec.reading.index.find_frames", counted)
    (tmp_path / "reel").write_bytes(reel[:at] + index + reel[end:])
    with open_reel(tmp_path / "reel") as file:
        assert file.read() == bytes(400 * SPAN)
    assert looked < 20 * 402 + 8192
