"""How bytes are cut into the parts of a multipart upload. Pure: no I/O.

The limits are S3's: parts of 5 MiB to 5 GiB, the last may be smaller, at most 10,000, 5 TiB in all.
Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bytereel.errors import Permanent
from bytereel.ports.objects import Buffer

MIB = 1 << 20
PART_BYTES_MIN = 5 * MIB
PART_BYTES_MAX = 5 << 30
PARTS_MAX = 10_000
OBJECT_BYTES_MAX = 5 << 40
JOIN_BYTES = 8 * MIB
"""Small pieces are gathered until they are at least this long, and stay shorter than twice that."""

# A stream's length is not known: parts of 64 MiB reach 125 GiB, then ones of 648 MiB reach 5 TiB.
FIRST_PART_BYTES = 64 * MIB
LATER_PART_BYTES = 648 * MIB
FIRST_PARTS = 2000


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `start` to `end` of the source with that index."""

    source: int
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many bytes that are."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of an upload: spans in a row; a `copied` one is a single span, copied inside the store."""

    spans: tuple[Span, ...]
    copied: bool

    @property
    def size_bytes(self) -> int:
        """How many bytes the part has."""
        return sum(span.size_bytes for span in self.spans)


def stream_part_bytes(number: int) -> int:
    """How long part `number`, from 1, of a stream is, unless it is the last. Raises: Permanent `object.too_large`."""
    if number > PARTS_MAX:
        raise _too_large()
    return FIRST_PART_BYTES if number <= FIRST_PARTS else LATER_PART_BYTES


def cut(chunks: Iterable[Buffer], body: bytearray) -> Iterator[tuple[bytearray, bool]]:
    """The chunks' bytes as parts of a stream, each with whether it is the last; at least one part, maybe empty.

    Chunks are copied: they may reuse one buffer. So do the parts: each is `body`, and gone when the next is asked
    for. Raises: Permanent `object.too_large`.
    """
    number, filled = 1, 0
    for chunk in chunks:
        rest = memoryview(chunk).cast("B")
        while len(rest):
            size = stream_part_bytes(number)
            if filled == size:
                yield body, False
                number, filled = number + 1, 0
                continue
            taken = min(size - filled, len(rest))
            body[filled : filled + taken] = rest[:taken]
            filled += taken
            rest = rest[taken:]
    del body[filled:]
    yield body, True


def plan_pieces(head_bytes: int, part_sizes: Sequence[int], tail_bytes: int) -> tuple[Piece, ...]:
    """The parts of an upload that joins head (source 0), parts (1 to n) and tail (n + 1) in this order.

    Every part is 5 MiB to 5 GiB but the last; only what is smaller than 5 MiB, or fills up what stands before a
    big one, goes through memory. Where that would be more than 10,000 parts, larger objects are gathered too.
    Raises: Permanent `object.too_large`.
    """
    sizes = (head_bytes, *part_sizes, tail_bytes)
    if sum(sizes) > OBJECT_BYTES_MAX:
        raise _too_large()
    for factor in (1 << doublings for doublings in range(8)):
        pieces = tuple(_pieces(sizes, factor))
        if len(pieces) <= PARTS_MAX:
            return pieces
    raise _too_large()


def _pieces(sizes: Sequence[int], factor: int) -> Iterator[Piece]:
    """Copy what is at least `factor` x 5 MiB long, gather the rest into parts of `factor` x 8 MiB and more."""
    copy_bytes, join_bytes = PART_BYTES_MIN * factor, JOIN_BYTES * factor
    gathered: list[Span] = []
    gathered_bytes = 0
    for span in _spans(sizes):
        short = gathered_bytes and max(0, copy_bytes - gathered_bytes)
        copyable = 0 < span.source < len(sizes) - 1 and span.size_bytes - short >= copy_bytes
        kept = Span(span.source, span.start, span.start + short) if copyable else span
        if kept.size_bytes:
            gathered.append(kept)
            gathered_bytes += kept.size_bytes
        if gathered and (copyable or gathered_bytes >= join_bytes):
            yield Piece(tuple(gathered), copied=False)
            gathered, gathered_bytes = [], 0
        if copyable:
            yield from _copies(Span(span.source, kept.end, span.end))
    if gathered:
        yield Piece(tuple(gathered), copied=False)


def _spans(sizes: Sequence[int]) -> Iterator[Span]:
    """Every source as one span; head and tail, which cannot be copied, in spans of 8 MiB."""
    for source, size in enumerate(sizes):
        step = JOIN_BYTES if source in (0, len(sizes) - 1) else max(size, 1)
        for start in range(0, size, step):
            yield Span(source, start, min(start + step, size))


def _copies(span: Span) -> Iterator[Piece]:
    """The span in as few parts as can be, equally long."""
    count = -(-span.size_bytes // PART_BYTES_MAX)
    edges = [span.start + span.size_bytes * index // count for index in range(count + 1)]
    for start, end in pairwise(edges):
        yield Piece((Span(span.source, start, end),), copied=True)


def _too_large() -> Permanent:
    return Permanent("object.too_large", "the object is too large for one S3 object", expected=OBJECT_BYTES_MAX)
