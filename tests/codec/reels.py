"""Reels made for tests, ways to take them apart and to forge frames, and the law that every damaged reel must obey."""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bytereel.conversions.protocol import FinishedSegment
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import DecodeOptions, EncodeOptions, Integrity, Permanent, Secret, decode_file, encode_file
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, PictureWriter

SMALL = GEOMETRIES["144p"]
SPAN = SMALL.span_bytes
FORGED_ID = b"forged reel id.."


# `ru_maxrss` of a child keeps the peak of the process that started it; VmHWM is the child's own.
PEAK_KIB = """
def kib_of(name):
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith(name)).split()[1])
def peak_kib():
    return kib_of("VmHWM")
"""


def made(content: bytes, *, seed: int = 1, name: str = "original", **options: Any) -> bytes:
    """A reel of small pictures that holds `content`; the same for the same seed."""
    settings: dict[str, Any] = {"geometry": SMALL, "random": random.Random(seed).randbytes, "created": "2026"}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, name), Path(folder, "reel.mp4")
        source.write_bytes(content)
        encode_file(source, target, EncodeOptions(**(settings | options)))
        return target.read_bytes()


def restored(reel: bytes, **options: Any) -> bytes:
    """What a reel decodes to."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "reel.mp4"), Path(folder, "restored")
        source.write_bytes(reel)
        decode_file(source, target, DecodeOptions(**options))
        return target.read_bytes()


@dataclass(frozen=True)
class Chunk:
    """One frame's chunk in a reel: its header, and the half-open range of the file that its boxes take."""

    header: FrameHeader
    start: int
    end: int


def chunks_of(reel: bytes) -> list[Chunk]:
    """The chunks of an undamaged reel in the order of the file; a chunk ends where the next one starts."""
    found = list(find_frames(BytesReader(reel)))
    starts = [place - FIRST_SAMPLE_OFFSET for place, _ in found] + [len(reel)]
    return [
        Chunk(header, start, end) for (_, header), start, end in zip(found, starts, starts[1:], strict=False)
    ]  # fmt: skip


def without(reel: bytes, dropped: Sequence[Chunk]) -> bytes:
    """The reel with those chunks cut out."""
    kept = bytearray()
    position = 0
    for chunk in sorted(dropped, key=lambda chunk: chunk.start):
        kept += reel[position : chunk.start]
        position = chunk.end
    return bytes(kept + reel[position:])


def zeroed(reel: bytes, dropped: Sequence[Chunk]) -> bytes:
    """The reel with those chunks overwritten by zeros."""
    damaged = bytearray(reel)
    for chunk in dropped:
        damaged[chunk.start : chunk.end] = bytes(chunk.end - chunk.start)
    return bytes(damaged)


def forged_header(**values: Any) -> FrameHeader:
    """A valid header of a data frame, with those values put in place of its own; flags as its place asks for."""
    header = replace(FrameHeader(Kind.DATA, Flag.NONE, FORGED_ID, 0, 0, 1, 1, SPAN), **values)
    if "flags" in values or header.kind != Kind.DATA or header.frame != header.frames - 1:
        return header
    ends = header.segments and header.segment == header.segments - 1
    return replace(header, flags=Flag.SEGMENT_END | (Flag.REEL_END if ends else Flag.NONE))


def forged(header: FrameHeader, payload: bytes) -> bytes:
    """The chunk of a frame with that header and that payload, its checksums right."""
    writer = PictureWriter(SMALL, header.reel_id)
    writer.payload[: len(payload)] = payload
    return bytes(writer.write(header, len(payload), 0))


@dataclass(frozen=True)
class Due:
    """What a damaged reel must still give back: all of it, or at least these half-open ranges of the original."""

    whole: bool = False
    kept: Sequence[tuple[int, int]] = ()


NOTHING_DUE = Due()


def due_after(reel: bytes, hurt: Sequence[tuple[int, int]], *, sealed: bool = False) -> Due:
    """What is due of an undamaged reel once those half-open ranges of the file are hurt.

    A data frame that no range touches comes back. All does where no more segments of any parity group are touched than
    it has columns and, for a sealed reel, a leader is left to prove the whole.
    """
    chunks = chunks_of(reel)
    lost = [chunk for chunk in chunks if any(chunk.start < end and start < chunk.end for start, end in hurt)]
    return due_without(chunks, lost, sealed=sealed)


def due_without(chunks: Sequence[Chunk], lost: Sequence[Chunk], *, sealed: bool = False) -> Due:
    """The same once those frames of the reel's are lost."""
    gone = {chunk.start for chunk in lost}
    left = [chunk.header for chunk in chunks if chunk.start not in gone]
    kept = [_range_of(header) for header in left if header.kind == Kind.DATA]
    touched = {(chunk.header.kind, chunk.header.segment) for chunk in lost if chunk.header.kind != Kind.LEADER}
    shape = chunks[0].header
    by_group = Counter(segment % max(1, shape.groups) for _, segment in touched)
    is_proved = not sealed or any(header.kind == Kind.LEADER for header in left)
    return Due(is_proved and max(by_group.values(), default=0) <= shape.columns, kept)


def _range_of(header: FrameHeader) -> tuple[int, int]:
    start = (header.segment * header.frames_per_segment + header.frame) * header.span_bytes
    return start, start + header.span_bytes


def restored_by_the_road(reel: bytes, secret: Secret | None = None, **options: bool) -> bytes:
    """What the conversion `restore` makes of a reel, all of its segments converted one after the other."""
    conversion = RestoreConversion(secret, **options)
    source = BytesReader(reel)
    plan = conversion.plan(source, "reel.mp4", "original")
    content, finished = [], []
    for index, segment in enumerate(plan.segments):
        fragment = bytearray()
        found = conversion.convert(plan.parameters, segment, index, source, ())
        while True:
            try:
                fragment += next(found)
            except StopIteration as stop:
                finished.append(FinishedSegment(index, 0, len(fragment), stop.value, BytesReader(fragment)))
                break
        content.append(bytes(fragment))
    assert conversion.assemble(plan.parameters, finished).output_name in ("original", "reel"), "its own, or the key's"
    return b"".join(content)


def obeys_the_law(reel: bytes, original: bytes, secret: Secret | None = None, due: Due = NOTHING_DUE) -> str:
    """Check that a damaged reel gives back all of the original or refuses, and that salvage tells no lie.

    Salvage: each byte outside the ranges reported as lost is the original's, and something is reported as lost. A
    decoder that refuses too often does not pass: what is `due` comes back. Returns `whole`, `salvaged` or `refused`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "reel.mp4"), Path(folder, "restored")
        source.write_bytes(reel)
        try:
            report = decode_file(source, target, DecodeOptions(secret=secret))
        except (Integrity, Permanent) as error:
            assert str(error)
            assert not due.whole, f"all of it was due: {error}"
            assert list(Path(folder).iterdir()) == [source], "a failure leaves nothing behind"
        else:
            assert report.whole
            assert target.read_bytes() == original
            return "whole"
        try:
            report = decode_file(source, target, DecodeOptions(secret=secret, salvage=True))
        except (Integrity, Permanent) as error:
            assert not due.kept, f"{len(due.kept)} frames were due: {error}"
            return "refused"
        assert_honest(target.read_bytes(), original, report.lost)
        for start, end in due.kept:
            is_lost = any(max(start, a) < min(end, b) for a, b in report.lost)  # an empty range takes nothing away
            assert not is_lost, f"bytes {start} to {end} were due"
        return "salvaged"


def assert_honest(saved: bytes, original: bytes, lost: Sequence[tuple[int, int]]) -> None:
    """Assert that `saved` differs from the original in lost ranges alone, and that there are some."""
    assert lost, "a salvage that was needed reports what is lost"
    told, truth = bytearray(saved), bytearray(original)
    missing = len(original) - len(saved)
    assert missing <= 0 or any(end >= len(saved) for _, end in lost), "a cut end is reported"
    truth += bytes(max(0, -missing))
    told += bytes(max(0, missing))
    for start, end in [*lost, (len(saved), len(original))]:
        for side in (told, truth):
            side[start:end] = bytes(max(0, min(end, len(side)) - min(start, len(side))))
    assert told == truth, "a byte outside the reported ranges is wrong"
