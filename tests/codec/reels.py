"""Reels made for tests, ways to take them apart and to forge frames, and the law that every damaged reel must obey."""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bytereel_codec import DecodeOptions, EncodeOptions, Integrity, Permanent, Secret, decode_file, encode_file
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, PictureWriter

SMALL = GEOMETRIES["144p"]
SPAN = SMALL.span_bytes
FORGED_ID = b"forged reel id.."


# `ru_maxrss` of a child keeps the peak of the process that started it; VmHWM is the child's own.
PEAK_KIB = """
def peak_kib():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])
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
    """A valid header of a data frame, with those values put in place of its own."""
    return replace(FrameHeader(Kind.DATA, 0, FORGED_ID, 0, 0, 1, 1, SPAN), **values)


def forged(header: FrameHeader, payload: bytes) -> bytes:
    """The chunk of a frame with that header and that payload, its checksums right."""
    writer = PictureWriter(SMALL, header.reel_id)
    writer.payload[: len(payload)] = payload
    return bytes(writer.write(header, len(payload), 0))


def obeys_the_law(reel: bytes, original: bytes, secret: Secret | None = None) -> str:
    """Check that a damaged reel gives back all of the original or refuses, and that salvage tells no lie.

    Salvage: each byte outside the ranges reported as lost is the original's, and something is reported as lost.
    Returns `whole`, `salvaged` or `refused`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "reel.mp4"), Path(folder, "restored")
        source.write_bytes(reel)
        try:
            report = decode_file(source, target, DecodeOptions(secret=secret))
        except (Integrity, Permanent) as error:
            assert str(error)
            assert list(Path(folder).iterdir()) == [source], "a failure leaves nothing behind"
        else:
            assert report.whole
            assert target.read_bytes() == original
            return "whole"
        try:
            report = decode_file(source, target, DecodeOptions(secret=secret, salvage=True))
        except (Integrity, Permanent):
            return "refused"
        assert_honest(target.read_bytes(), original, report.lost)
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
