"""Hostile reels and folders: valid checksums over lies, bombs, and noise. Only the error families come out, in time."""

import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import (
    BytereelError,
    DecodeOptions,
    Integrity,
    Permanent,
    Secret,
    decode_file,
    encode_file,
    inspect,
    open_reel,
    verify,
)
from bytereel_codec.files.folder.target import FolderTarget
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.envelope import Envelope
from bytereel_codec.frame.header import HEADER_MASK, Flag, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.boxes import FRAME_TICKS, box, parse_segment_index, segment_index
from bytereel_codec.video.picture import PictureReader
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reels import FORGED_ID, PEAK_KIB, SMALL, SPAN, chunks_of, forged, forged_header, made, obeys_the_law, restored

CONTENT = random.Random(4).randbytes(3 * SPAN + 11)
REEL = made(CONTENT, parity_percent=40)
KEY = Secret(key=b"k" * 32)
fuzzing = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = st.one_of(
    st.sampled_from([0, 1, 2, 255, 256, 4096, 4097, 1 << 24, (1 << 24) + 1, 2**32 - 1]), st.integers(0, 9)
)
small_numbers = st.one_of(st.sampled_from([0, 1, 254, 255, 256, 65535]), st.integers(0, 9))
headers = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from([0, 1, 2, 3, 255]),
        "flags": st.integers(0, 32),
        "segment": numbers,
        "frame": numbers,
        "frames": numbers,
        "frames_per_segment": numbers,
        "span_bytes": st.one_of(numbers, st.just(SPAN)),
        "segments": numbers,
        "groups": small_numbers,
        "columns": small_numbers,
        "profile": st.integers(0, 255),
        "scrypt_log2_n": st.sampled_from([0, 1, 18, 19, 255]),
    },
)


def digest_of(content: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(content).digest()


def attempt_everything(reel: bytes) -> None:
    """Every way to read a file; only the error families may come out, and in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reel")
        path.write_bytes(reel)

        def read_by_position() -> None:
            with open_reel(path, KEY) as file:
                file.read(100)
                file.seek(-1, io.SEEK_END)
                file.read()

        started = time.monotonic()
        for attempt in (
            lambda: decode_file(path, Path(folder, "out"), DecodeOptions(secret=KEY)),
            lambda: verify(path, DecodeOptions(workers=2)),
            lambda: inspect(path, KEY),
            read_by_position,
        ):
            try:
                attempt()
            except (BytereelError, OSError, ValueError) as error:
                refused = isinstance(error, BytereelError) or "seek" in str(error)
                assert refused, f"{type(error).__name__}: {error}"
        assert time.monotonic() - started < 20


@fuzzing
@example([{"span_bytes": 1, "segment": 0, "profile": 1}], False)
@given(st.lists(headers, min_size=1, max_size=6), st.booleans())
def test_headers_that_lie_with_valid_checksums(lies, joined):
    reel = bytearray(REEL if joined else b"")
    for values in lies:
        header = forged_header(**({"reel_id": chunks_of(REEL)[0].header.reel_id} if joined else {}) | values)
        reel += forged(header, b"payload of a liar")
    attempt_everything(bytes(reel))


@pytest.mark.parametrize(
    "values",
    [
        {"frames": 0},
        {"frame": 1},
        {"frames": 2**32 - 1},
        {"frames_per_segment": 0},
        {"span_bytes": SPAN + 1},
        {"segment": (1 << 24)},
        {"segments": 2**32 - 1},
        {"segments": 5, "segment": 5},
        {"columns": 1},
        {"groups": 1},
        {"segments": 300, "groups": 1, "columns": 1},
        {"segments": 200, "groups": 1, "columns": 100},
        {"kind": Kind.PARITY, "segments": 4, "groups": 1, "columns": 2, "segment": 2},
        {"kind": Kind.PARITY},
        {"kind": Kind.LEADER, "segment": 1},
        {"profile": 1, "span_bytes": 0},
        {"profile": 1, "span_bytes": 12_441_285},
        {"profile": 1, "length": SMALL.picture_bytes},
        {"flags": 32},
        {"flags": 0},
        {"flags": 8},
        {"flags": 4 | 16},
        {"flags": 4, "frames": 2, "frames_per_segment": 2},
        {"flags": 4, "segments": 1},
        {"flags": 12, "segments": 2},
        {"frames_per_segment": 2, "segments": 2},
        {"kind": Kind.LEADER, "flags": 4},
        {"kind": Kind.LEADER, "flags": 8},
        {"kind": Kind.PARITY, "segments": 4, "groups": 1, "columns": 2, "flags": 1},
        {"kind": Kind.PARITY, "segments": 4, "groups": 1, "columns": 2, "flags": 2},
        {"segment": 1 << 19},
        {"segments": (1 << 19) + 1},
        {"segments": 130, "frames_per_segment": 4096, "frames": 4096},
        {"scrypt_log2_n": 19},
        {"length": SMALL.picture_bytes},
    ],
)
def test_a_header_out_of_bounds_is_no_header(values):
    assert parse_header(forged_header().pack()) is not None
    assert parse_header(forged_header(**values).pack()) is None


@pytest.mark.parametrize(
    "values",
    [
        {"flags": 4},
        {"flags": 12},
        {"flags": 4 | 1 | 2},
        {"flags": 0, "frames": 2, "frames_per_segment": 2},
        {"flags": 12, "segments": 1},
        {"flags": 4, "segments": 2},
        {"flags": 12, "frames_per_segment": 2, "segments": 1},
        {"kind": Kind.LEADER, "flags": 1 | 2 | 16, "frames": 2},
        {"kind": Kind.PARITY, "segments": 4, "groups": 1, "columns": 2, "flags": 0},
        {"segment": (1 << 19) - 1},
        {"segments": 1 << 19},
        {"segments": 128, "frames_per_segment": 4096, "frames": 4096},
    ],
)
def test_a_header_at_its_bounds_is_one(values):
    assert parse_header(forged_header(**values).pack()) is not None


def test_a_newer_version_says_so():
    packed = bytearray(forged_header().pack())
    packed[8] = 2
    import crc32c

    packed[-4:] = crc32c.crc32c(bytes(packed[:-4])).to_bytes(4, "big")
    chunk = bytearray(forged(forged_header(), b"x"))
    place = chunk.index(bytes(a ^ b for a, b in zip(b"BYTEREEL", HEADER_MASK, strict=False)))
    chunk[place : place + 128] = bytes(a ^ b for a, b in zip(packed, HEADER_MASK, strict=True))
    with pytest.raises(Permanent) as raised:
        restored(bytes(chunk))
    assert raised.value.error_id == "reel.newer_format"
    assert raised.value.hint


LIMITED = (
    PEAK_KIB
    + """
import sys, time
from pathlib import Path
from typing import Any
from bytereel_codec import *
path, out = Path(sys.argv[1]), Path(sys.argv[1] + ".out")
verify(Path(sys.argv[2]))
before = peak_kib()
started = time.monotonic()
calls = [(decode_file, path, out), (verify, path), (inspect, path), (lambda path: open_reel(path).read(9), path)]
for call, *arguments in calls:
    try:
        call(*arguments)
    except BytereelError as error:
        print(error.error_id)
assert time.monotonic() - started < 30, time.monotonic() - started
grown = peak_kib() - before
assert grown < 200 << 10, grown
"""
)


def in_bounds_of_time_and_memory(folder: Path, reel: bytes) -> str:
    (folder / "reel").write_bytes(reel)
    (folder / "good").write_bytes(REEL)
    command = [sys.executable, "-c", LIMITED, str(folder / "reel"), str(folder / "good")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("frames_per_segment", [1, 4096])
def test_as_many_segments_as_can_be_stated_and_two_there(tmp_path, parity, frames_per_segment):
    segments = (1 << 19) // frames_per_segment
    shape = {"groups": -(-segments // 254), "columns": 1} if parity else {}
    common = {"segments": segments, "frames": frames_per_segment, "frames_per_segment": frames_per_segment, **shape}
    reel = forged(forged_header(**common), b"a") + forged(forged_header(segment=segments - 1, **common), b"b")
    if parity:
        for group in range(min(40, shape["groups"])):
            reel += forged(forged_header(kind=Kind.PARITY, segment=group, **common), bytes(500))
    assert "reel.damaged" in in_bounds_of_time_and_memory(tmp_path, reel)


def test_twenty_thousand_copies_of_a_leader(tmp_path):
    leader = forged(forged_header(kind=Kind.LEADER, frames=2), Leader("x").to_bytes())
    in_bounds_of_time_and_memory(tmp_path, leader * 20_000)


def test_a_file_of_nothing_but_marks(tmp_path):
    mark = bytes(a ^ b for a, b in zip(b"BYTEREEL", HEADER_MASK, strict=False))
    assert "reel.none" in in_bounds_of_time_and_memory(tmp_path, mark * 20_000)


def bombs() -> dict[str, bytes]:
    endless = zstandard.ZstdCompressor(level=19, write_content_size=False).compress(bytes(200 << 20))
    huge = zstandard.ZstdCompressor(level=19).compress(bytes(200 << 20))
    lying = bytearray(zstandard.ZstdCompressor().compress(bytes(60_000)))
    lying[5:7] = (100).to_bytes(2, "little")
    skippable = b"\x50\x2a\x4d\x18" + (2**32 - 1).to_bytes(4, "little")
    return {
        "endless": endless,
        "huge": huge,
        "lying": bytes(lying),
        "skippable": skippable,
        "empty": b"",
        "cut": huge[:9],
    }


@pytest.mark.parametrize("name", bombs())
def test_a_compressed_block_that_bursts(tmp_path, name):
    flags = Flag.COMPRESSED | Flag.SEGMENT_END | Flag.REEL_END
    reel = forged(forged_header(flags=flags, segments=1), bombs()[name])
    assert "reel" in in_bounds_of_time_and_memory(tmp_path, reel)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 10_000,
        b'{"a":' * 3000,
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"name":1}',
        b'{"name":"x","size_bytes":9223372036854775808}',
        b'{"name":"x","size_bytes":-1}',
        b'{"name":"x","size_bytes":true}',
        b'{"name":"x","size_bytes":1.5}',
        b'{"name":"x","parity_percent":NaN}',
        b'{"name":"x","parity_percent":1e999}',
        b'{"name":"x","kind":"device"}',
        b'{"name":"\\ud800"}',
        b'{"name":"x","created":"\\ud800"}',
        b'{"name":"x","size_bytes":' + b"9" * 5000 + b"}",
        b'{"name":"' + b"x" * (16 << 10) + b'"}',
    ],
)
def test_a_leader_that_is_none(content):
    with pytest.raises(Integrity) as raised:
        Leader.from_bytes(content)
    assert raised.value.error_id == "reel.bad_leader"


def lone_reel(leader: Leader, content: bytes, *, tail: bytes = b"") -> bytes:
    """A reel of one frame under a leader that may say anything."""
    flags = Flag.SEGMENT_END | Flag.REEL_END
    head = forged(forged_header(kind=Kind.LEADER, frames=2, segments=1), leader.to_bytes())
    return head + forged(forged_header(flags=flags, segments=1), content + digest_of(content)) + tail


@pytest.mark.parametrize("size", [0, 1, 99, 101, SPAN, SPAN + 1, 2**62])
def test_a_leader_that_lies_about_the_size_is_not_believed(size):
    with pytest.raises(Integrity):
        restored(lone_reel(Leader("x", size_bytes=size), bytes(100)))


@pytest.mark.parametrize("size", [10**11, 2**62])
def test_a_restore_plans_no_more_segments_than_the_reel_holds(size):
    reel = lone_reel(Leader("x", size_bytes=size, segments=size // SPAN), bytes(100))
    index = segment_index(SMALL.frames_per_second, [(len(reel), 3)])
    for hostile in (reel, box(b"ftyp", b"iso6") + index + reel):
        plan = RestoreConversion().plan(BytesReader(hostile), "x.mp4", "original")
        assert len(plan.segments) <= 1


def test_a_restore_refuses_a_reel_of_which_half_a_million_segments_are_gone():
    reel = forged(forged_header(segments=2**19), bytes(SPAN))
    with pytest.raises(Integrity) as raised:
        RestoreConversion().plan(BytesReader(reel), "x.mp4", "original")
    assert raised.value.error_id == "reel.damaged"


def test_a_leader_that_lies_about_the_digest_is_not_believed():
    with pytest.raises(Integrity):
        restored(lone_reel(Leader("x", size_bytes=100, digest="0" * 64), bytes(100)))


def test_a_short_frame_in_the_middle_is_no_end():
    end = Flag.SEGMENT_END | Flag.REEL_END
    whole = b"short" + bytes(10)
    reel = forged(forged_header(flags=end, frames=2, frames_per_segment=2), b"short" + digest_of(b"short"))
    reel += forged(forged_header(flags=end, frame=1, frames=2, frames_per_segment=2), bytes(10) + digest_of(whole))
    with pytest.raises(Integrity):
        restored(reel)


@pytest.mark.parametrize("size", [0, 2**31 - 1])
@pytest.mark.parametrize("pictures", [0, 1, 4_000_000])
def test_an_index_that_lies(tmp_path, size, pictures):
    index = segment_index(SMALL.frames_per_second, [(size, pictures % (2**32 // FRAME_TICKS))] * 65535)
    (tmp_path / "reel").write_bytes(box(b"ftyp", b"iso6") + index + REEL)
    with open_reel(tmp_path / "reel") as file:
        assert file.read() == CONTENT


@fuzzing
@given(st.binary(max_size=200), st.integers(0, 44), st.integers(0, 255))
def test_any_index_is_parsed_or_refused(noise, place, value):
    good = bytearray(box(b"ftyp") + segment_index(SMALL.frames_per_second, [(5, 1), (6, 2)]))
    good[place] = value
    for content in (noise, bytes(good), bytes(good[: len(noise)]), bytes(good) + noise):
        try:
            parse_segment_index(content)
        except Integrity:
            continue


@fuzzing
@given(st.binary(min_size=128, max_size=128), st.integers(0, 123), st.integers(0, 255))
def test_any_header_is_parsed_or_passed_over(noise, place, value):
    import crc32c

    packed = bytearray(forged_header().pack())
    packed[place] = value
    packed[-4:] = crc32c.crc32c(bytes(packed[:-4])).to_bytes(4, "big")
    for content in (noise, bytes(packed)):
        try:
            parse_header(content)
        except Permanent as error:
            assert error.error_id == "reel.newer_format"


@fuzzing
@given(st.one_of(st.binary(max_size=300), st.text().map(str.encode), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "kind", "size_bytes", "digest"]), inner),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_leader_is_parsed_or_refused(content):
    try:
        Leader.from_bytes(content)
    except Integrity:
        return


@fuzzing
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30), st.booleans())
def test_any_mutation_of_a_reel_is_read_or_refused(changes, thorough):
    reel = bytearray(REEL)
    for place, value in changes:
        reel[int(place * len(reel))] = value
    coded = np.frombuffer(bytes(reel), np.uint8)
    for place, _ in find_frames(BytesReader(reel), thorough=thorough):
        assert PictureReader().frame(coded, place) is not None


@pytest.mark.parametrize("change", ["swapped", "flipped"])
def test_sealed_frames_altered_with_their_checksums_mended(change):
    reel = made(CONTENT, secret=KEY)
    chunks = [c for c in chunks_of(reel) if c.header.kind == Kind.DATA]
    coded = np.frombuffer(reel, np.uint8)
    places = [place for place, header in find_frames(BytesReader(reel)) if header.kind == Kind.DATA]
    payloads = [bytes(PictureReader().frame(coded, place).payload) for place in places]
    if change == "swapped":
        payloads[0], payloads[1] = payloads[1], payloads[0]
    else:
        payloads[0] = payloads[0][:100] + bytes([payloads[0][100] ^ 1]) + payloads[0][101:]
    forgeries = [forged(chunk.header, payload) for chunk, payload in zip(chunks, payloads, strict=True)]
    altered = reel[: chunks[0].start] + b"".join(forgeries) + reel[chunks[-1].end :]
    with pytest.raises(Integrity) as raised:
        restored(altered, secret=KEY)
    assert raised.value.facts["lost"][0][0] == 0
    assert obeys_the_law(altered, CONTENT, KEY) == "salvaged"


def test_a_sealed_reel_tells_neither_name_nor_size_nor_digest():
    name, secret = "a very secret name.txt", Secret(passphrase=b"p")
    reel = made(CONTENT, name=name, secret=secret)
    size = str(len(CONTENT)).encode()
    for place, _ in find_frames(BytesReader(reel)):
        frame = PictureReader().frame(np.frombuffer(reel, np.uint8), place)
        clear = frame.header.pack() + bytes(frame.payload)
        for told in (name.encode(), size, digest_of(CONTENT), digest_of(CONTENT).hex().encode(), CONTENT[:16]):
            assert told not in clear
    assert name.encode() not in reel


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **values: object) -> tarfile.TarInfo:
    made_member = tarfile.TarInfo(name)
    made_member.type, made_member.linkname = kind, link
    for key, value in values.items():
        setattr(made_member, key, value)
    return made_member


def extract(folder: Path, members: list[tarfile.TarInfo], *, preserve: bool = False) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(bytes(one.size)))
    with FolderTarget(folder / "inner" / "out", preserve=preserve) as target:
        target.write_at(0, stream.getvalue())
        target.commit(len(stream.getvalue()))


SYMLINK, HARDLINK, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../x", size=3)],
        [member("a/../../x", size=3)],
        [member("/tmp/bytereel-hostile", size=3)],
        [member("a", SYMLINK, "..", size=0), member("a/x", size=3)],
        [member("a", SYMLINK, "/etc")],
        [member("a", SYMLINK, "../../outside")],
        [member("a", HARDLINK, "../../outside")],
        [member("a", HARDLINK, "/etc/passwd")],
        [member("a", SYMLINK, "."), member("a/a/a/a/evil", SYMLINK, "../../../..")],
        [member("a", SYMLINK, "."), member("a/b", SYMLINK, "../x"), member("a/b/c", SYMLINK, "x")],
        [member("d", DIRECTORY), member("d", SYMLINK, "."), member("d/x", size=1)],
        [member("a", size=1), member("a", size=2)],
        [member("a", size=1), member("a/b", size=2)],
        [member("d/" * 1_500 + "x", size=1)],
        [member("d/" * 100_000 + "x", size=1)],
        [member("s", tarfile.GNUTYPE_SPARSE)],
    ],
    ids=lambda members: members[-1].name[:20],
)
def test_no_folder_leaves_its_place(tmp_path, members):
    (tmp_path / "inner").mkdir()
    (tmp_path / "outside").write_text("untouched")
    with pytest.raises(BytereelError):
        extract(tmp_path, members)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "outside"]
    assert list((tmp_path / "inner").iterdir()) == []
    assert (tmp_path / "outside").read_text() == "untouched"
    assert (tmp_path / "outside").stat().st_nlink == 1
    for path in tmp_path.rglob("*"):
        assert path.resolve().is_relative_to(tmp_path)


def test_devices_are_left_out_and_deep_folders_and_odd_times_are_no_harm(tmp_path):
    (tmp_path / "inner").mkdir()
    deep = "d/" * 200 + "x"
    extract(
        tmp_path,
        [
            member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("pipe", tarfile.FIFOTYPE),
            member(deep, size=3),
            member("old", size=1, mtime=-1e300),
            member("late", size=1, mtime=1e300),
            member("setuid", size=1, mode=0o6777),
        ],
    )
    out = tmp_path / "inner" / "out"
    assert sorted(path.name for path in out.iterdir()) == ["d", "late", "old", "setuid"]
    assert (out / deep).stat().st_size == 3
    assert (out / "setuid").stat().st_mode & 0o7000 == 0


def test_a_member_header_that_bursts_is_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    measure: dict[str, Any] = {}
    exec(PEAK_KIB, measure)
    before = measure["peak_kib"]()
    header = member("x", tarfile.XHDTYPE, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Integrity) as raised, FolderTarget(tmp_path / "inner" / "out") as target:
        target.write_at(0, header)
        for number in range(200):
            target.write_at(len(header) + number * (1 << 20), bytes(1 << 20))
        target.commit(len(header) + (200 << 20))
    assert raised.value.error_id == "folder.unsafe"
    assert measure["peak_kib"]() - before < 100 << 10


@fuzzing
@given(st.binary(max_size=600), st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=8))
def test_any_stream_of_a_folder_is_laid_out_or_refused(noise, changes):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("n\u00e9" * 60, size=5, mtime=1.5), io.BytesIO(b"hello"))
    mutated = bytearray(stream.getvalue())
    for place, value in changes:
        mutated[place] = value
    for content in (noise, bytes(mutated)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                with FolderTarget(Path(folder, "out")) as target:
                    target.write_at(0, content)
                    target.commit(len(content))
            except BytereelError:
                assert list(Path(folder).iterdir()) == []


def test_an_envelope_never_makes_more_than_its_bound():
    for bomb in bombs().values():
        with pytest.raises(Integrity):
            Envelope(None).open(memoryview(bomb), forged_header(flags=Flag.COMPRESSED, reel_id=FORGED_ID), 1000)


def test_a_folder_too_deep_to_come_back_is_refused_when_it_goes_in(tmp_path):
    source = tmp_path / "source"
    path = source
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    with pytest.raises(Permanent) as raised:
        encode_file(source, tmp_path / "reel")
    assert raised.value.error_id == "folder.too_deep"
    assert list(tmp_path.iterdir()) == [source]
