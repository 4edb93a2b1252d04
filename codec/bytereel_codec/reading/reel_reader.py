"""Reading a reel: its frames opened, recovered where they are lost, and cut to the bytes of the source.

Each thread has a reader of its own; what they share is the `Reel`.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from bytereel_codec.errors import BytereelError, Integrity, Permanent
from bytereel_codec.files.ranged import Buffer
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.reel import Reel
from bytereel_codec.video.picture import Frame, FrameLoader
from bytereel_codec.writing.segment import DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Block:
    """One data frame opened: its source bytes, at `offset` of the source; the segment's digest in its last frame."""

    offset: int
    content: memoryview
    digest: bytes | None
    recovered: bool


class ReelReader:
    """Reads a reel's frames with buffers of its own. One thread at a time."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel
        self._frames = FrameLoader()
        self._envelope = reel.envelope()

    def frame(self, kind: Kind, segment: int, frame: int) -> Frame | None:
        """That frame with an intact payload from any of its places, or None."""
        for place in self._reel.places((kind, segment, frame)):
            found = self._frames.frame_at(self._reel.reader, place)
            if found is not None and found.payload is not None and found.header.reel_id == self._reel.reel_id:
                return found
        return None

    def leader(self) -> Leader | None:
        """The best leader there is: the one at the end, else the one in front; None when neither can be read.

        Raises: Permanent `reel.sealed`, `reel.wrong_key`.
        """
        for number in (1, 0):
            found = self.frame(Kind.LEADER, 0, number)
            if found is not None and found.payload is not None:
                content = self._envelope.open(found.payload, found.header, found.header.span_bytes)
                self._reel.key_is_right = self._envelope.sealed
                return Leader.from_bytes(content)
        return None

    def learn_end(self, stated_bytes: int | None = None) -> None:
        """Where all of the last data segment is lost, learn how long it was: from its first frame, recovered, else
        from the size that the leader states, where that ends in this segment."""
        reel = self._reel
        last = reel.segments - 1
        if last <= reel.frames.highest_segment or reel.frames.last_segment_frames is not None:
            return
        header, _ = reel.stripe(last, 0, self.frame).get(last, (None, None))
        if header:
            reel.frames.last_segment_frames = header.frames
        elif stated_bytes and reel.offset_of(last, 0) < stated_bytes <= reel.offset_of(last + 1, 0):
            reel.frames.last_segment_frames = -(-(stated_bytes - reel.offset_of(last, 0)) // reel.span_bytes)

    def source_bytes(self, leader: Leader | None) -> int:
        """The size of the original: the leader's word where it lies in the last frame, else what that frame says.

        Where that frame is lost too, the most that it could be.
        """
        last = self._reel.segments - 1
        if last < 0:
            return 0
        stated = leader.size_bytes if leader else None
        self.learn_end(stated)
        frame = self._reel.frames.frames_in(last) - 1
        offset = self._reel.offset_of(last, frame)
        if stated is not None and offset < stated <= offset + self._reel.span_bytes:
            return stated
        try:
            return offset + len(self.block(last, frame).content)
        except Integrity:
            return offset + self._reel.span_bytes

    def block(self, segment: int, frame: int) -> Block:
        """A data frame's source bytes, good until the next call; recovered by parity where they are lost.

        Raises: Integrity `reel.damaged` when the frame is lost for good; Permanent as the envelope does.
        """
        found = self.frame(Kind.DATA, segment, frame)
        header, payload = (found.header, found.payload) if found else (None, None)
        recovered = payload is None
        if payload is None and self._reel.look_thoroughly():
            return self.block(segment, frame)
        if payload is None:
            header, payload = self._reel.stripe(segment, frame, self.frame).get(segment, (None, None))
        if header is None or payload is None:
            raise self._lost(segment, frame)
        if recovered:
            self._reel.recovered.add((segment, frame))
        return self._cut(memoryview(self._opened(payload, header)), header, recovered=recovered)

    def _opened(self, payload: memoryview, header: FrameHeader) -> Buffer:
        try:
            return self._envelope.open(payload, header, self._reel.span_bytes + DIGEST_BYTES)
        except Permanent as error:
            if error.error_id != "reel.wrong_key" or not self._reel.key_is_right:
                raise
            raise Integrity(
                "reel.tampered",
                f"frame {header.frame} of segment {header.segment} was altered after it was sealed",
                segment=header.segment,
                frame=header.frame,
            ) from error

    def _cut(self, opened: memoryview, header: FrameHeader, *, recovered: bool) -> Block:
        digest = None
        ends = bool(header.flags & Flag.SEGMENT_END)
        if ends:
            opened, digest = opened[:-DIGEST_BYTES], bytes(opened[-DIGEST_BYTES:])
        span, frames = self._reel.span_bytes, self._reel.frames
        last = self._reel.segments - 1
        is_last = (header.segment, header.frame) == (last, frames.frames_in(last) - 1)
        fits = len(opened) == span or (is_last and header.flags & Flag.REEL_END and len(opened) <= span)
        if not fits or (digest is not None and len(digest) < DIGEST_BYTES):
            raise Integrity(
                "reel.bad_block",
                "a block is not of the size its place asks for",
                segment=header.segment,
                frame=header.frame,
                actual=len(opened),
            )
        return Block(self._reel.offset_of(header.segment, header.frame), opened, digest, recovered)

    def _lost(self, segment: int, frame: int) -> Integrity:
        start = self._reel.offset_of(segment, frame)
        return Integrity(
            "reel.damaged",
            f"frame {frame} of segment {segment} is lost or damaged",
            segment=segment,
            frame=frame,
            start=start,
            end=start + self._reel.span_bytes,
        )

    def segment(
        self,
        index: int,
        write: Callable[[int, memoryview], None],
        lost: Callable[[BytereelError, int, int], None],
        start: int,
        end: int,
        reach: Collection[int] | None = None,
    ) -> bytes | None:
        """Read the frames of a segment that touch the source's bytes `[start, end)`: `write(offset, content)` for each.

        Returns the segment's SHA-256, checked, when all its frames were read, else None.

        Frames outside `reach` are taken as lost unseen. Each frame that is lost goes to `lost(error, start, end)`,
        which may raise; so does the whole segment, as `reel.bad_digest`, when all frames are there and are not what
        was written.
        """
        digest = hashlib.sha256()
        stated: bytes | None = None
        whole = True
        span = self._reel.span_bytes
        count = self._reel.frames.frames_in(index)
        expected = 0
        for frame in range(count) if reach is None else [*sorted(f for f in reach if f < count), count]:
            if frame > expected:
                gap = self._reel.offset_of(index, expected), self._reel.offset_of(index, frame)
                lost(self._lost(index, expected), *gap)
                whole = False
            if frame == count:
                break
            expected = frame + 1
            offset = self._reel.offset_of(index, frame)
            if offset + span <= start or offset >= end:
                whole = False
                continue
            try:
                block = self.block(index, frame)
            except Integrity as error:
                lost(error, offset, offset + span)
                whole = False
                continue
            digest.update(block.content)
            write(block.offset, block.content)
            stated = block.digest
        if not whole:
            return None
        if stated != digest.digest():
            offset = self._reel.offset_of(index, 0)
            lost(
                Integrity(
                    "reel.bad_digest",
                    f"segment {index} is not what was written",
                    segment=index,
                    expected=(stated or b"").hex(),
                    actual=digest.hexdigest(),
                ),
                offset,
                offset + span * self._reel.frames_per_segment,
            )
            return None
        return digest.digest()
