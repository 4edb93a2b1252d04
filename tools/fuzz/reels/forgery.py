"""Forgeries by somebody who knows the format and not the key: headers changed and mended, frames of his own.

Of an open reel such a forgery may be another reel, whole and right. Of a sealed one nothing of it may ever be given out
to somebody who holds the key: `MARK` stands in every forged payload, so that it can be looked for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader, tree_digest

from tools.fuzz.mutate import NUMBERS, mutated, mutated_json
from tools.fuzz.reels.chunks import Chunk, cut, forged, joined, lying, restated

MARK = b"FORGED BYTES "
_BESIDE_MAX = 3
_ALL_FLAGS = 32
_FIELDS = (*("segment", "frame", "frames", "frames_per_segment", "segments", "groups", "columns"), *("profile",
           "scrypt_log2_n", "flags", "kind", "reel_id"))  # fmt: skip
_BITS = {"groups": 16, "columns": 16, "profile": 8, "scrypt_log2_n": 8}


def forgery(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    """The reel with one to three forgeries in it."""
    front, found = cut(reel)
    chunks = list(found)
    for _ in range(random.choice((1, 1, 2, 3)) if chunks else 0):
        chunks = random.choice(_FORGERIES)(random, chunks, others) or list(found)
    return joined(front if random.random() < 0.8 else b"", chunks)


def beside(random: Random, reel: bytes, *, leaders: bool) -> bytes:
    """The reel with nothing taken away, and forged frames of its own id among its chunks, few beside its own.

    Without `leaders` no forged leader is among them: of an open reel nobody could tell which one is right.
    """
    front, found = cut(reel)
    chunks = list(found)
    for _ in range(random.randint(1, max(1, min(_BESIDE_MAX, len(found) // 3)))):
        chunk = random.choice(found)
        header = _odd(random, chunk.header)
        if not leaders and header.kind == Kind.LEADER:
            header = replace(header, kind=Kind.DATA, flags=Flag.NONE)
        chunks.insert(random.randint(0, len(chunks)), _claiming(random, forged(header, _payload(random, header))))
    return joined(front, chunks)


def _claiming(random: Random, chunk: Chunk) -> Chunk:
    """The chunk; sometimes of another reel, or of larger pictures, and short, its header claiming what follows."""
    if random.random() < 0.7:
        return chunk
    span = random.choice((chunk.header.span_bytes, *(geometry.span_bytes for geometry in GEOMETRIES.values())))
    header = replace(chunk.header, span_bytes=span)
    if random.random() < 0.5:
        header = replace(header, reel_id=random.randbytes(16))
    return lying(forged(header, b""), random.choice((span, span + 32, random.randint(0, span))))


def _odd(random: Random, header: FrameHeader) -> FrameHeader:
    """The header with one to three values changed to what the packing takes, sensible or not."""
    values: dict[str, Any] = {}
    for name in random.sample(_FIELDS[:-1], random.randint(1, 3)):
        if name == "flags":
            values[name] = Flag(random.randrange(_ALL_FLAGS))
        elif name == "kind":
            values[name] = random.choice(list(Kind))
        else:
            near = getattr(header, name) + random.choice((-1, 0, 1, 2))
            number = random.choice((near, near, 0, 1, *NUMBERS))
            values[name] = max(0, number) & (1 << _BITS.get(name, 32)) - 1
    return replace(header, **values)


def _payload(random: Random, header: FrameHeader) -> bytes:
    """Bytes of the forger's, with the digests that a reader will ask for."""
    size = random.choice((0, 1, 100, 1000, header.span_bytes))
    block = (MARK * (size // len(MARK) + 1))[:size]
    if header.kind == Kind.LEADER:
        return _leader(random, size)
    return block + hashlib.sha256(block).digest() if header.flags & Flag.SEGMENT_END else block


def _leader(random: Random, size: int) -> bytes:
    name = random.choice((".bash_profile", "forged.sh", "-rf", "\x1b[2J", "../x"))
    digest = random.choice((None, "0" * 64, tree_digest([hashlib.sha256(b"").digest()])))
    leader = Leader(name, random.choice(("file", "folder")), size_bytes=size, segments=1, digest=digest)
    if random.random() < 0.3:
        return mutated_json(random, {"name": leader.name, "size_bytes": size, "digest": digest})
    return leader.to_bytes()


def _header_changed(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    place = random.randrange(len(chunks))
    chunks[place] = forged(_odd(random, chunks[place].header), chunks[place].payload)
    return chunks


def _all_restated(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    """Counts changed in every header alike, and the chunks beyond left out: a reel cut at the end of a segment."""
    del others
    segments = random.randint(1, max(1, max(chunk.header.segment for chunk in chunks) + 1))
    kept = [chunk for chunk in chunks if chunk.header.kind != Kind.DATA or chunk.header.segment < segments]
    if random.random() < 0.5:
        kept = [chunk for chunk in kept if chunk.header.kind == Kind.DATA]
    values: dict[str, Any] = {"segments": segments, "groups": 0, "columns": 0}
    kept = [chunk for chunk in kept if chunk.header.kind != Kind.PARITY]
    if kept and random.random() < 0.5:
        values["segments"] = 0
    restating = [restated(chunk, **values) for chunk in kept]
    if restating and random.random() < 0.7:
        restating[-1] = restated(restating[-1], flags=restating[-1].header.flags | Flag.REEL_END, **values)
    return restating


def _unsealed(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    """A frame, a segment or all of them replaced by open ones of the forger's."""
    del others
    chosen = random.choice(chunks).header
    whole = random.random()
    for place, chunk in enumerate(chunks):
        same = chunk.header.kind == chosen.kind and chunk.header.segment == chosen.segment
        if whole < 0.3 or (same and (whole < 0.6 or chunk.header.frame == chosen.frame)):
            flags = chunk.header.flags & ~Flag.SEALED & ~Flag.COMPRESSED
            header = replace(chunk.header, flags=flags)
            chunks[place] = forged(header, _full_payload(random, header))
    return chunks


def _full_payload(random: Random, header: FrameHeader) -> bytes:
    """A block that fills its frame, so that only the seal is missing."""
    if header.kind == Kind.LEADER:
        return _leader(random, header.span_bytes)
    block = (MARK * (header.span_bytes // len(MARK) + 1))[: header.span_bytes]
    return block + hashlib.sha256(block).digest() if header.flags & Flag.SEGMENT_END else block


def _added(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    header = _odd(random, random.choice(chunks).header)
    chunks.insert(random.randint(0, len(chunks)), forged(header, _payload(random, header)))
    return chunks


def _payloads_swapped(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    one, other = random.randrange(len(chunks)), random.randrange(len(chunks))
    first, second = chunks[one], chunks[other]
    chunks[one], chunks[other] = forged(first.header, second.payload), forged(second.header, first.payload)
    return chunks


def _payload_changed(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    place = random.randrange(len(chunks))
    chunks[place] = forged(chunks[place].header, mutated(random, chunks[place].payload, others=others))
    return chunks


def _adopted(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    """A frame of another reel under this one's id."""
    own = chunks[0].header
    foreign = [chunk for chunk in cut(random.choice(others))[1] if chunk.header.span_bytes == own.span_bytes]
    if foreign:
        chunk = random.choice(foreign)
        place = random.randrange(len(chunks))
        values: dict[str, Any] = {"reel_id": own.reel_id}
        if random.random() < 0.5:
            values |= {"segment": chunks[place].header.segment, "frame": chunks[place].header.frame}
        chunks[place : place + random.randint(0, 1)] = [restated(chunk, **values)]
    return chunks


_FORGERIES = (_header_changed, _all_restated, _unsealed, _unsealed, _added, _payloads_swapped,
              _payload_changed, _adopted)  # fmt: skip
