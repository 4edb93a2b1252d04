"""Seals: by one who has the sealed reel but not its key nothing can be made that a holder of the key takes for his own.

Each forgery is read in every way there is: as a whole, a range, a file object, verified, inspected, salvaged, restored
by the road. What comes out is the original's, or is refused; a whole reel is one whose sealed leader proves it.
"""

import hashlib
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from bytereel_codec import (
    BytereelError,
    DecodeOptions,
    Integrity,
    Permanent,
    Secret,
    decode_file,
    inspect,
    open_reel,
    verify,
)
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import PictureReader
from reels import SPAN, Chunk, chunks_of, forged, made, restored, restored_by_the_road, without

INPUTS = Path(__file__).parent / "inputs"
KEY = Secret(key=b"k" * 32)
PLAIN = random.Random(4).randbytes(55 * SPAN + 11)  # 19 segments of three frames
SEALED = made(PLAIN, secret=KEY, parity_percent=10)
OPEN = made(PLAIN, seed=2, parity_percent=10)
EVIL = b"EVIL CONTENT OF THE ATTACKER "
LEADERS = [chunk for chunk in chunks_of(SEALED) if chunk.header.kind == Kind.LEADER]
DATA = [chunk for chunk in chunks_of(SEALED) if chunk.header.kind == Kind.DATA]
SEGMENTS = DATA[0].header.segments


def payload_of(reel: bytes, chunk: Chunk) -> bytes:
    place = next(place for place, _ in find_frames(BytesReader(reel), chunk.start))
    frame = PictureReader().frame(np.frombuffer(reel, np.uint8), place)
    assert frame is not None
    assert frame.payload is not None
    return bytes(frame.payload)


def put_in_place(chunk: Chunk, forgery: bytes, reel: bytes = SEALED) -> bytes:
    return reel[: chunk.start] + forgery + reel[chunk.end :]


def evil_frame(header: FrameHeader, digest: bytes = b"") -> bytes:
    """The attacker's own frame for the place of another, not sealed."""
    block = (EVIL * (SPAN // len(EVIL) + 1))[:SPAN]
    return forged(replace(header, flags=header.flags & ~(Flag.SEALED | Flag.COMPRESSED)), block + digest)


def evil_segment(number: int) -> bytes:
    """A whole segment of the attacker's, not sealed, its digest right."""
    block = (EVIL * (SPAN // len(EVIL) + 1))[:SPAN]
    headers = [chunk.header for chunk in DATA if chunk.header.segment == number]
    digest = hashlib.sha256(block * len(headers)).digest()
    frames = [evil_frame(header, digest if header.frame == len(headers) - 1 else b"") for header in headers]
    return b"".join(frames)


def forged_leader(number: int, **values: object) -> bytes:
    """An unsealed leader that says what the attacker wants."""
    said = {"name": "payroll.sh", "size_bytes": len(PLAIN), "segments": SEGMENTS, **values}
    header = replace(LEADERS[number].header, flags=Flag.FINAL)
    return forged(replace(header, segments=said["segments"]), Leader(**said).to_bytes())


def with_leaders(reel: bytes, front: bytes, end: bytes) -> bytes:
    """The reel with other bytes in the place of its leaders."""
    leaders = [chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.LEADER]
    return put_in_place(leaders[0], front, put_in_place(leaders[-1], end, reel))


def spliced() -> bytes:
    """The reel with one segment replaced by the attacker's."""
    mine = [chunk for chunk in DATA if chunk.header.segment == 1]
    return SEALED[: mine[0].start] + evil_segment(1) + SEALED[mine[-1].end :]


def cut_to(segments: int) -> bytes:
    """The first segments alone, their headers saying that there are no more; no leader."""
    kept = [chunk for chunk in DATA if chunk.header.segment < segments]
    frames = [
        forged(replace(chunk.header, segments=segments, groups=0, columns=0), payload_of(SEALED, chunk))
        for chunk in kept
    ]
    return SEALED[: LEADERS[0].start] + b"".join(frames)


def restated_leader(number: int, segments: int) -> bytes:
    """The authentic sealed leader under a header that states another number of segments."""
    header = replace(LEADERS[number].header, segments=segments, groups=0, columns=0)
    return forged(header, payload_of(SEALED, LEADERS[number]))


def unsealed_forgery() -> bytes:
    """Nothing of the original but its id."""
    end = replace(DATA[0].header, flags=Flag.SEGMENT_END | Flag.REEL_END, segments=1, frames=1, groups=0, columns=0)
    leader = forged_leader(0, name="evil.sh", size_bytes=len(EVIL), segments=1)
    return SEALED[: LEADERS[0].start] + leader + forged(end, EVIL + hashlib.sha256(EVIL).digest())


FORGERIES: dict[str, Callable[[], bytes]] = {
    "all of it unsealed": unsealed_forgery,
    "a frame unsealed": lambda: put_in_place(DATA[0], evil_frame(DATA[0].header)),
    "a segment unsealed, leaders dropped": lambda: with_leaders(spliced(), b"", b""),
    "a segment unsealed, leaders forged": lambda: with_leaders(spliced(), forged_leader(0), forged_leader(-1)),
    "a segment unsealed, leaders kept": spliced,
    "cut at a segment's end": lambda: cut_to(3),
    "cut, leaders forged": lambda: cut_to(3) + forged_leader(-1, size_bytes=9 * SPAN, segments=3),
    "cut, leaders authentic under other headers": lambda: cut_to(3) + restated_leader(0, 3) + restated_leader(-1, 3),
    "renamed by forged leaders": lambda: with_leaders(SEALED, forged_leader(0), forged_leader(-1)),
    "a folder by forged leaders": lambda: with_leaders(
        SEALED, forged_leader(0, kind="folder"), forged_leader(-1, kind="folder")
    ),
    "leaders dropped": lambda: without(SEALED, LEADERS),
    "the last segment dropped, leaders too": lambda: without(
        SEALED, [*LEADERS, *(chunk for chunk in DATA if chunk.header.segment == SEGMENTS - 1)]
    ),
}


@dataclass(frozen=True)
class Read:
    """What a way of reading gave: bytes at a place of the original, and whether it said that this is all there is."""

    way: str
    start: int
    content: bytes
    is_whole: bool


def every_way(reel: bytes, secret: Secret | None = KEY, **options: bool) -> Iterator[Read]:
    """All that can be had out of a reel with the key; what is refused is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "reel.mp4"), Path(folder, "out")
        path.write_bytes(reel)
        span = 3 * SPAN
        for way, wanted in {
            "whole": DecodeOptions(secret=secret, **options),
            "two workers": DecodeOptions(secret=secret, workers=2, **options),
            "range": DecodeOptions(secret=secret, start=0, end=100, **options),
            "range in the middle": DecodeOptions(secret=secret, start=span + 5, end=2 * span, **options),
            "range to the end": DecodeOptions(secret=secret, start=7, **options),
            "salvage": DecodeOptions(secret=secret, salvage=True, **options),
        }.items():
            out.unlink(missing_ok=True)
            with suppress(BytereelError):
                report = decode_file(path, out, wanted)
                content = out.read_bytes() if out.is_file() else b""
                assert not out.is_dir()
                yield Read(way, wanted.start, with_holes(content, report.lost), report.whole)
        with suppress(BytereelError):
            yield Read("verify", 0, b"", verify(path, DecodeOptions(secret=secret, **options)).whole)
        with suppress(BytereelError), open_reel(path, secret, **options) as file:
            yield Read("file object", 0, file.read(100), is_whole=False)
            file.seek(span)
            yield Read("file object", span, file.read(100), is_whole=False)
            file.seek(0)
            yield Read("all of the file object", 0, file.read(), is_whole=True)
        with suppress(BytereelError):
            yield Read("restore", 0, restored_by_the_road(reel, secret, **options), is_whole=True)
        with suppress(BytereelError):
            leader = inspect(path, secret, **options).leader
            assert leader is None or leader.name == "original", "a forged leader is believed"


def with_holes(content: bytes, lost: tuple[tuple[int, int], ...]) -> bytes:
    """What was read, up to the first range that is reported as lost."""
    return content[: lost[0][0]] if lost else content


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_is_taken_for_the_original(forgery):
    whole = []
    for read in every_way(FORGERIES[forgery]()):
        assert EVIL not in read.content, read.way
        assert read.content == PLAIN[read.start : read.start + len(read.content)], read.way
        if read.is_whole and "range" not in read.way:
            whole.append(read.way)
    can_be_whole = forgery in ("a frame unsealed", "a segment unsealed, leaders kept")  # by the parity, proved
    assert bool(whole) == can_be_whole, whole


@pytest.mark.parametrize("number", [0, -1])
def test_one_sealed_leader_of_two_proves_the_whole(number):
    assert {read.way for read in every_way(without(SEALED, [LEADERS[number]])) if read.is_whole} == {
        *("whole", "two workers", "range", "range in the middle", "range to the end", "salvage"),
        *("verify", "all of the file object", "restore"),
    }


def test_a_reel_without_its_sealed_leader_is_given_by_salvage_alone(tmp_path):
    (tmp_path / "reel").write_bytes(without(SEALED, LEADERS))
    for wanted in (DecodeOptions(secret=KEY), DecodeOptions(secret=KEY, start=0, end=10)):
        with pytest.raises(Integrity) as raised:
            decode_file(tmp_path / "reel", tmp_path / "out", wanted)
        assert raised.value.error_id == "reel.unproved"
    assert not verify(tmp_path / "reel", DecodeOptions(secret=KEY)).whole
    report = decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(secret=KEY, salvage=True))
    assert not report.whole
    assert (tmp_path / "out").read_bytes() == PLAIN


def test_a_leader_that_was_not_final_proves_nothing():
    early = forged(
        replace(LEADERS[0].header, flags=LEADERS[0].header.flags & ~Flag.FINAL), payload_of(SEALED, LEADERS[0])
    )
    reads = list(every_way(with_leaders(SEALED, early, b"")))
    assert not any(read.is_whole for read in reads), "its flags are part of what is sealed"


def test_the_forgery_of_the_first_release_is_refused(tmp_path):
    reel, key = INPUTS / "sealed_a1_forged_without_key.mp4", Secret(key=(INPUTS / "sealed_a1.key").read_bytes())
    for read in (decode_file, verify):
        arguments = (reel, tmp_path / "out") if read is decode_file else (reel,)
        with pytest.raises(Permanent) as raised:
            read(*arguments, DecodeOptions(secret=key))
        assert raised.value.error_id == "reel.unsealed"
    with pytest.raises(Permanent), open_reel(reel, key):
        pass
    assert inspect(reel, key).leader is None
    assert inspect(reel).leader is not None


def test_an_unsealed_reel_is_refused_where_a_secret_is_given_unless_it_is_allowed():
    assert not list(every_way(OPEN))
    allowed = list(every_way(OPEN, allow_unsealed=True))
    assert {read.way for read in allowed if read.is_whole} >= {"whole", "verify", "restore", "range", "salvage"}
    assert all(read.content == PLAIN[read.start : read.start + len(read.content)] for read in allowed)


def test_what_is_allowed_to_be_unsealed_does_not_mix():
    for read in every_way(spliced(), allow_unsealed=True):
        assert EVIL not in read.content, read.way


def noise(header: FrameHeader, seed: int = 1) -> bytes:
    """A sealed frame that no key made."""
    return forged(header, random.Random(seed).randbytes(SPAN + 40))


ODD = {
    "forged unsealed copies in front": lambda: b"".join(evil_frame(chunk.header) for chunk in DATA[:9]) + SEALED,
    "forged unsealed copies behind": lambda: SEALED + b"".join(evil_frame(chunk.header) for chunk in DATA[:9]),
    "copies under a tag that is none": lambda: b"".join(noise(chunk.header) for chunk in DATA[:9]) + SEALED,
    "many copies of one frame": lambda: b"".join(noise(DATA[4].header, seed) for seed in range(14)) + SEALED,
    "forged leaders in front": lambda: forged_leader(0, size_bytes=5, segments=1) + forged_leader(-1) + SEALED,
    "leaders that state other counts": lambda: restated_leader(0, 3) + restated_leader(-1, 3) + SEALED,
    "another scrypt cost": lambda: forged(replace(DATA[0].header, scrypt_log2_n=18), b"x") + SEALED,
    "another layout": lambda: forged(replace(DATA[0].header, frames_per_segment=7, segments=0), b"x") + SEALED,
    "a huge segment": lambda: forged(replace(DATA[0].header, segment=99_999, segments=0), bytes(SPAN)) + SEALED,
    "another's frames": lambda: OPEN[chunks_of(OPEN)[3].start : chunks_of(OPEN)[6].end] + SEALED,
}


@pytest.mark.parametrize("odd", ODD)
def test_a_good_reel_with_odd_frames_among_its_own_comes_back_whole(odd):
    reads = list(every_way(ODD[odd]()))
    assert all(read.content == PLAIN[read.start : read.start + len(read.content)] for read in reads)
    assert {read.way for read in reads if read.is_whole} >= {"whole", "verify", "restore", "salvage", "range"}


@pytest.mark.parametrize(
    ("values", "comes_back"),
    [
        ({"segments": 0, "groups": 0, "columns": 0}, True),
        ({"groups": 2, "columns": 5}, True),
        ({"segments": 18}, False),  # the last frame of segment 17 contradicts itself
        ({"scrypt_log2_n": 11}, False),
    ],
)
def test_header_bytes_that_no_tag_covers_are_not_believed(values, comes_back):
    """All frames are restated in what the seal does not cover: what comes out is the original or nothing."""
    frames = []
    for chunk in (chunk for chunk in chunks_of(SEALED) if chunk.header.kind != Kind.PARITY):
        header = replace(chunk.header, **values)
        if header.kind == Kind.DATA and header.segment >= header.segments:
            header = replace(header, segments=0, groups=0, columns=0)
        frames.append(forged(header, payload_of(SEALED, chunk)))
    reads = list(every_way(SEALED[: LEADERS[0].start] + b"".join(frames)))
    assert all(read.content == PLAIN[read.start : read.start + len(read.content)] for read in reads)
    whole = {read.way for read in reads if read.is_whole and "range" not in read.way}
    assert (whole >= {"whole", "verify", "restore", "all of the file object"}) == comes_back
    assert comes_back or not whole


def test_the_wrong_key_and_no_key_say_so():
    for secret, expected in ((Secret(key=b"x" * 32), "reel.wrong_key"), (None, "reel.sealed")):
        with pytest.raises(Permanent) as raised:
            restored(SEALED, secret=secret)
        assert raised.value.error_id == expected
    with pytest.raises(Permanent) as raised:
        restored(SEALED, secret=Secret(passphrase=b"p"))
    assert raised.value.error_id == "secret.wrong_kind"


def test_a_forged_parity_segment_brings_back_nothing_of_its_own():
    parity = [chunk for chunk in chunks_of(SEALED) if chunk.header.kind == Kind.PARITY]
    reel = without(SEALED, [chunk for chunk in DATA if chunk.header.segment == 2])
    for chunk in reversed([chunk for chunk in chunks_of(reel) if chunk.header.kind == Kind.PARITY]):
        reel = put_in_place(chunk, forged(chunk.header, EVIL * 1000), reel)
    assert parity
    for read in every_way(reel):
        assert EVIL not in read.content
        assert read.content == PLAIN[read.start : read.start + len(read.content)]
        assert not read.is_whole or "range" in read.way or "file object" in read.way


def test_the_passphrase_is_derived_once_for_all_threads(monkeypatch):
    secret, calls = Secret(passphrase=b"once"), []
    reel = made(PLAIN[: 9 * SPAN], secret=secret, seed=77)
    derive = hashlib.scrypt

    def counted(*arguments, **values):
        calls.append(values["n"])
        return derive(*arguments, **values)

    from bytereel_codec.frame import envelope

    envelope._derived_once.cache_clear()
    monkeypatch.setattr(hashlib, "scrypt", counted)
    assert restored(reel, secret=secret, workers=4) == PLAIN[: 9 * SPAN]
    assert len(calls) == 1


def test_an_unsealed_reel_beside_a_sealed_one_does_not_keep_it_from_opening():
    lossy = without(SEALED, [chunk for chunk in DATA if chunk.header.segment == 2])
    for reel in (SEALED + OPEN, OPEN + lossy):
        reads = list(every_way(reel))
        assert all(read.content == PLAIN[read.start : read.start + len(read.content)] for read in reads)
        assert {read.way for read in reads if read.is_whole} >= {"whole", "verify", "restore"}
