"""What stands around the fragments of a reel: init section, segment index and leader in front, a leader at the end.

The head has a size that is known before the first segment is written, so an encoder can leave room for it and a store
can put it in front of fragments it already has.
Source: FORMAT.md sections 6 and 10.
"""

from collections.abc import Sequence
from dataclasses import replace

from bytereel_codec.frame.envelope import Envelope
from bytereel_codec.frame.leader import Leader, tree_digest
from bytereel_codec.reel.layout import Layout
from bytereel_codec.reel.parameters import ReelParameters, SegmentFacts
from bytereel_codec.video.boxes import SIDX_REFERENCES_MAX, free, segment_index, sidx_bytes
from bytereel_codec.writing.parity_segment import parity_first_frame
from bytereel_codec.writing.segment import SegmentWriter

_LEADER_ROOM = 256  # what a leader grows by when size and digests become known, and its prevention bytes
_SMALLEST_BOX = 8
_SPREAD_BYTES = 1024

ChunkSizes = Sequence[int]


class HeadWriter:
    """Writes the head of one reel, first without and at last with all that is known, always of the same size.

    `layout.source_bytes` is None for a stream: there is no segment index then.
    """

    def __init__(
        self, parameters: ReelParameters, envelope: Envelope, layout: Layout, leader: Leader, parity_frames: int
    ) -> None:
        self._parameters = parameters
        self._writer = SegmentWriter(parameters, envelope)
        self._layout = layout
        self._leader_bytes = len(leader.to_bytes()) + _LEADER_ROOM
        known = layout.source_bytes is not None
        self._frames = 2 + layout.frames + parity_frames if known else None
        self._by_frame = not layout.geometry.frames_share_chunks and (self._frames or 0) <= SIDX_REFERENCES_MAX
        self._references = self._reference_count() if known else 0
        chunk = self._writer.leader(leader.to_bytes(self._leader_bytes), frame=0, final=False, number=0)
        self._leader_room = len(chunk) + _LEADER_ROOM
        if layout.geometry.frames_share_chunks:
            self._leader_room += len(chunk) // 4 + _SPREAD_BYTES  # another encoder's output has no size of its own
        index = sidx_bytes(self._references) if known else 0
        self.size = len(self._writer.init_section(None)) + index + self._leader_room

    def _reference_count(self) -> int:
        assert self._frames is not None
        if self._by_frame:
            return self._frames
        return 2 + self._layout.segments + self._parameters.groups * self._parameters.columns

    def write(
        self, leader: Leader, data: Sequence[ChunkSizes] = (), parity: Sequence[ChunkSizes] = (), tail_bytes: int = 0
    ) -> bytes:
        """The head. `data` and `parity` give the chunk sizes of each segment in order, empty while not known."""
        final = leader.digest is not None
        chunk = self._writer.leader(leader.to_bytes(self._leader_bytes), frame=0, final=final, number=0)
        room = self._leader_room - len(chunk)
        assert room >= _SMALLEST_BOX
        head = self._writer.init_section(
            picture_count(self._layout, self._frames - 1) if final and self._frames else None
        )
        if self._references:
            head += self._index(data, parity, tail_bytes) if final else free(sidx_bytes(self._references))
        return head + chunk + free(room)

    def tail(self, leader: Leader, number: int) -> bytes:
        """The leader that ends the reel, as its frame of that number."""
        return self._writer.leader(leader.to_bytes(), frame=1, final=True, number=number)

    def _index(self, data: Sequence[ChunkSizes], parity: Sequence[ChunkSizes], tail_bytes: int) -> bytes:
        segments, geometry = [*data, *parity], self._layout.geometry
        if self._by_frame:
            middle = [(size, 1) for sizes in segments for size in sizes]
        else:
            middle = [(sum(sizes), geometry.pictures_of(len(sizes))) for sizes in segments]
        leaders = geometry.leader_pictures()
        references = [(self._leader_room, leaders), *middle, (tail_bytes, leaders)]
        return segment_index(geometry.frames_per_second, references)


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


def tail_frame(layout: Layout, parity: Sequence[ChunkSizes]) -> int:
    """The number of the last frame."""
    return parity_first_frame(layout) + sum(len(sizes) for sizes in parity)


def picture_count(layout: Layout, last_frame: int) -> int:
    """Pictures of a reel whose last frame, the leader at the end, has that number."""
    geometry = layout.geometry
    return geometry.picture_of(last_frame, layout.frames_per_segment) + geometry.leader_pictures()
