"""A reel of samples cut into its chunks, and chunks made of headers and payloads that may say anything. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES, geometry_of_span
from bytereel_codec.frame.header import MASKED_MAGIC, FrameHeader
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.frame.whitening import HEADER_MASK
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, PictureReader, PictureWriter


@dataclass(frozen=True, slots=True)
class Chunk:
    """One frame's boxes: its header, its payload, and the bytes of the file that they take."""

    header: FrameHeader
    payload: bytes
    content: bytes


@lru_cache(maxsize=64)
def cut(reel: bytes) -> tuple[bytes, tuple[Chunk, ...]]:
    """What stands in front of the first chunk, and the chunks in the order of the file; undamaged reels alone."""
    coded, reader = np.frombuffer(reel, np.uint8), PictureReader()
    found = list(find_frames(BytesReader(reel)))
    starts = [place - FIRST_SAMPLE_OFFSET for place, _ in found] + [len(reel)]
    chunks = []
    for (place, header), start, end in zip(found, starts, starts[1:], strict=False):
        frame = reader.frame(coded, place)
        payload = bytes(frame.payload) if frame is not None and frame.payload is not None else b""
        chunks.append(Chunk(header, payload, reel[start:end]))
    return reel[: starts[0]], tuple(chunks)


def joined(front: bytes, chunks: Sequence[Chunk]) -> bytes:
    """The chunks behind what stands in front of them."""
    return front + b"".join(chunk.content for chunk in chunks)


def forged(header: FrameHeader, payload: bytes) -> Chunk:
    """A chunk with that header and payload, every checksum right. The payload is cut to what a picture holds."""
    geometry = geometry_of_span(header.span_bytes) or GEOMETRIES["144p"]
    writer = PictureWriter(geometry, header.reel_id)
    payload = payload[: geometry.picture_bytes - HEADER_BYTES]
    writer.payload[: len(payload)] = payload
    return Chunk(header, payload, bytes(writer.write(header, len(payload), 0)))


def restated(chunk: Chunk, **values: Any) -> Chunk:
    """The chunk with other values in its header, its checksums mended."""
    return forged(replace(chunk.header, **values), chunk.payload)


def lying(chunk: Chunk, length: int) -> Chunk:
    """The chunk with another length in its header than its payload has, so that it claims what follows it."""
    header = replace(chunk.header, length=length)
    masked = bytes(a ^ b for a, b in zip(header.pack(), HEADER_MASK, strict=True))
    place = chunk.content.find(MASKED_MAGIC)
    if place < 0 or b"\x00\x00" in masked:  # it would need a prevention byte
        return chunk
    return Chunk(header, chunk.payload, chunk.content[:place] + masked + chunk.content[place + HEADER_BYTES :][:300])
