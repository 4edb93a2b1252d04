"""Damage as disks, networks and careless tools do it: no checksum is mended. What is whole after it is the original."""

from collections.abc import Callable, Sequence
from random import Random

from tools.fuzz.mutate import mutated
from tools.fuzz.reels.chunks import Chunk, cut, joined

_FLIPS_MAX = 12
_CUT_MAX = 200_000

Change = Callable[[Random, bytes, Sequence[bytes]], bytes]


def damaged(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    """The reel after one to three kinds of damage; `others` are reels that pieces come from."""
    for _ in range(random.choice((1, 1, 2, 3))):
        reel = random.choice(_DAMAGE)(random, reel, others)
    return reel


def disordered(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    """The reel's chunks left out, doubled, in another order, or with those of other reels between them."""
    front, found = cut(reel)
    chunks = list(found)
    for _ in range(random.randint(1, 3)):
        chunks = _CHUNK_CHANGES[random.randrange(len(_CHUNK_CHANGES))](random, chunks, others)
    return joined(front if random.random() < 0.8 else b"", chunks)


def grown(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    """The reel with nothing taken away; garbage, copies, damaged copies and foreign frames between its chunks."""
    front, found = cut(reel)
    chunks = list(found)
    for _ in range(random.randint(1, 4)):
        extra = _extra(random, random.choice(found), others)
        chunks.insert(random.randint(0, len(chunks)), Chunk(found[0].header, b"", extra))
    return joined(front, chunks)


def _extra(random: Random, chunk: Chunk, others: Sequence[bytes]) -> bytes:
    """Something that may stand beside a reel's own chunks."""
    choice = random.randrange(5)
    if choice == 0:
        return chunk.content
    if choice == 1:
        return mutated(random, chunk.content)
    if choice == 2:
        foreign = cut(random.choice(others))[1] if others else ()
        return random.choice(foreign or (chunk,)).content
    size = random.randint(1, 5000)
    return random.randbytes(size) if choice == 3 else bytes(size)


def _flipped(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    del others
    changed = bytearray(reel)
    for _ in range(random.randint(1, _FLIPS_MAX) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _zeroed(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    del others
    start = random.randint(0, len(reel))
    count = min(random.randint(1, _CUT_MAX), len(reel) - start)
    return reel[:start] + bytes(count) + reel[start + count :]


def _cut_out(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    del others
    start = random.randint(0, len(reel))
    return reel[:start] + reel[start + random.randint(1, _CUT_MAX) :]


def _put_in(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    start = random.randint(0, len(reel))
    other = random.choice(others) if others else reel
    piece = random.choice((random.randbytes(random.randint(1, 9999)), other, other[random.randint(0, len(other)) :]))
    return reel[:start] + piece + reel[start:]


def _ends_cut(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    del others
    place = random.randint(0, len(reel))
    return reel[:place] if random.random() < 0.5 else reel[place:]


def _turned(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    del others
    place = random.randint(0, len(reel))
    return reel[place:] + reel[:place]


def _any(random: Random, reel: bytes, others: Sequence[bytes]) -> bytes:
    return mutated(random, reel, others=others)


_DAMAGE: Sequence[Change] = (_flipped, _flipped, _zeroed, _cut_out, _put_in, _ends_cut, _turned, _any, _any)


def _dropped(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    kept = random.random()
    return [chunk for chunk in chunks if random.random() < max(kept, 0.3)]


def _doubled(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    return [chunk for chunk in chunks for _ in range(random.choice((1, 1, 1, 2)))]


def _shuffled(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    del others
    return random.sample(chunks, len(chunks))


def _mixed(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    foreign = cut(random.choice(others))[1] if others else ()
    for chunk in foreign:
        chunks.insert(random.randint(0, len(chunks)), chunk)
    return chunks


def _one_damaged(random: Random, chunks: list[Chunk], others: Sequence[bytes]) -> list[Chunk]:
    if chunks:
        place = random.randrange(len(chunks))
        chunk = chunks[place]
        chunks[place] = Chunk(chunk.header, b"", mutated(random, chunk.content, others=others))
    return chunks


_CHUNK_CHANGES = (_dropped, _doubled, _shuffled, _mixed, _one_damaged)
