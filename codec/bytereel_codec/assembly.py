"""What stands around the fragments of a reel: init section, segment index and leader in front, a leader at the end.

The head has a size that is known before the first segment is written, so an encoder can leave room for it and a store
can put it in front of fragments it already has.
Source: FORMAT.md sections 6 and 10.
"""

from collections.abc import Sequence
from dataclasses import replace

from bytereel_codec.boxes import SIDX_REFERENCES_MAX, free, init_section, segment_index, sidx_bytes
from bytereel_codec.envelope import Envelope
from bytereel_codec.geometry import Layout
from bytereel_codec.leader import Leader, tree_digest
from bytereel_codec.parity import parity_first_picture
from bytereel_codec.segment import ReelParameters, SegmentFacts, SegmentWriter

_LEADER_ROOM = 256  # what a leader grows by when size and digests become known, and its prevention bytes
_SMALLEST_BOX = 8

ChunkSizes = Sequence[int]


class HeadWriter:
    """Writes the head of one reel, first without and at last with all that is known, always of the same size.

    `layout.source_bytes` is None for a stream: there is no segment index then.
    """

    def __init__(
        self, parameters: ReelParameters, envelope: Envelope, layout: Layout, leader: Leader, parity_pictures: int
    ) -> None:
        self._parameters = parameters
        self._writer = SegmentWriter(parameters, envelope)
        self._layout = layout
        self._leader_bytes = len(leader.to_bytes()) + _LEADER_ROOM
        known = layout.source_bytes is not None
        self._pictures = 2 + layout.frames + parity_pictures if known else None
        self._references = self._reference_count(parity_pictures) if known else 0
        chunk = self._writer.leader(leader.to_bytes(self._leader_bytes), frame=0, final=False, picture=0)
        self._leader_room = len(chunk) + _LEADER_ROOM
        index = sidx_bytes(self._references) if known else 0
        self.size = len(init_section(parameters.geometry, None)) + index + self._leader_room

    def _reference_count(self, parity_pictures: int) -> int:
        assert self._pictures is not None
        if self._pictures <= SIDX_REFERENCES_MAX:
            return self._pictures
        return 2 + self._layout.segments + -(-parity_pictures // self._layout.frames_per_segment)

    def write(
        self, leader: Leader, data: Sequence[ChunkSizes] = (), parity: Sequence[ChunkSizes] = (), tail_bytes: int = 0
    ) -> bytes:
        """The head. `data` and `parity` give the chunk sizes of each segment in order, empty while not known."""
        final = leader.digest is not None
        chunk = self._writer.leader(leader.to_bytes(self._leader_bytes), frame=0, final=final, picture=0)
        room = self._leader_room - len(chunk)
        assert room >= _SMALLEST_BOX
        head = init_section(self._parameters.geometry, self._pictures if final else None)
        if self._references:
            head += self._index(data, parity, tail_bytes) if final else free(sidx_bytes(self._references))
        return head + chunk + free(room)

    def tail(self, leader: Leader, picture: int) -> bytes:
        """The leader that ends the reel, as its picture of that number."""
        return self._writer.leader(leader.to_bytes(), frame=1, final=True, picture=picture)

    def _index(self, data: Sequence[ChunkSizes], parity: Sequence[ChunkSizes], tail_bytes: int) -> bytes:
        segments = [*data, *parity]
        if self._pictures is not None and self._pictures <= SIDX_REFERENCES_MAX:
            middle = [(size, 1) for sizes in segments for size in sizes]
        else:
            middle = [(sum(sizes), len(sizes)) for sizes in segments]
        return segment_index(self._parameters.geometry, [(self._leader_room, 1), *middle, (tail_bytes, 1)])


def finished_leader(
    leader: Leader,
    source_bytes: int,
    data: Sequence[SegmentFacts],
    parity_segments: int,
    sha256: str | None = None,
) -> Leader:
    """The leader with all that is known at the end. A single segment's digest is the plain SHA-256 of the whole."""
    return replace(
        leader,
        size_bytes=source_bytes,
        segments=len(data),
        parity_segments=parity_segments,
        digest=tree_digest(facts.digest for facts in data),
        sha256=data[0].digest.hex() if len(data) == 1 else sha256,
    )


def tail_picture(layout: Layout, parity: Sequence[ChunkSizes]) -> int:
    """The number of the last picture."""
    return parity_first_picture(layout) + sum(len(sizes) for sizes in parity)
