"""A reel that is there: its frames found, opened, and recovered where they are lost.

`Reel` is shared by threads; each thread reads through a `ReelReader` of its own. Where frames lie is told by the
segment index in front of the reel where it is right, else by a pass over all headers, else by a look at every byte; in
a video of bursts, by a search for their strips.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bytereel_codec.envelope import Envelope, Secret
from bytereel_codec.errors import BytereelError, Integrity, Permanent
from bytereel_codec.header import Flag, FrameHeader
from bytereel_codec.kinds import Kind
from bytereel_codec.leader import Leader
from bytereel_codec.parity import ParityShape, recover_stripe
from bytereel_codec.picture import Frame, FrameLoader
from bytereel_codec.ranged import Buffer, RangedReader
from bytereel_codec.scan import FrameKey, ReelFrames, frames_of_reel
from bytereel_codec.segment import DIGEST_BYTES

if TYPE_CHECKING:
    from bytereel_codec.burst_reader import ChannelReport


@dataclass(frozen=True, slots=True)
class Block:
    """One data frame opened: its source bytes, at `offset` of the source; the segment's digest in its last frame."""

    offset: int
    content: memoryview
    digest: bytes | None
    recovered: bool


class Reel:
    """One reel in a ranged reader. Opening derives the key (scrypt: tens of MiB for a moment)."""

    def __init__(
        self,
        reader: RangedReader,
        frames: ReelFrames,
        secret: Secret | None = None,
        *,
        locate: Callable[[FrameKey], int | None] | None = None,
        read_all: Callable[[], None] = lambda: None,
    ) -> None:
        """`frames` is the whole index; with `locate`, which finds single frames, it may still be all but empty.

        `read_all` makes `reader` hold all the frames there are, where `locate` reads only those it is asked for. Of a
        reel of bursts, `reader` reads the frames that were found in it, `channel` says how well they were read, and
        `closes` ends the file that holds them.
        """
        self.reader = reader
        self.frames = frames
        self.reel_id = frames.first.reel_id
        self.span_bytes = frames.first.span_bytes
        self.frames_per_segment = frames.first.frames_per_segment
        self._secret = secret
        self._lock = threading.Lock()
        self._locate = locate
        self._read_all = read_all
        self._thorough = False
        self._stripe: tuple[tuple[int, int], dict[int, tuple[FrameHeader, memoryview]]] | None = None
        self.recovered: set[tuple[int, int]] = set()
        self.key_is_right = False
        self.channel: ChannelReport | None = None
        self.closes = ExitStack()

    @property
    def shape(self) -> ParityShape:
        """The parity that the reel has."""
        return ParityShape(self.frames.groups, self.frames.columns)

    @property
    def sealed(self) -> bool:
        """Whether the frames seen are sealed."""
        return bool(self.frames.sealed)

    @property
    def segments(self) -> int:
        """Data segments."""
        return self.frames.data_segments()

    def close(self) -> None:
        """Let go of what was opened for this reel alone."""
        self.closes.close()

    def envelope(self) -> Envelope:
        """A new envelope under the reel's key. Raises: Permanent `secret.wrong_kind`."""
        if self._secret is None or self.frames.sealed is False:
            return Envelope(None)
        return Envelope(self._secret.reel_key(self.reel_id, self.frames.first.scrypt_log2_n))

    def offset_of(self, segment: int, frame: int) -> int:
        """Where in the source a data frame's bytes begin."""
        return (segment * self.frames_per_segment + frame) * self.span_bytes

    def places(self, key: FrameKey) -> tuple[int, ...]:
        """Where the frame's first sample lies; empty when it was not found."""
        known = self.frames.places.get(key)
        if known is not None or self._locate is None:
            return known or ()
        place = self._locate(key)
        if place is not None:
            return (place,)
        with self._lock:
            if self._locate is not None:
                self._index_again(thorough=False)
        return self.frames.places.get(key, ())

    def learn_end(self, stated_bytes: int | None = None) -> None:
        """Where all of the last data segment is lost, learn how long it was: from its first frame, recovered, else
        from the size that the leader states, where that ends in this segment."""
        last = self.segments - 1
        if last <= self.frames.highest_segment or self.frames.last_segment_frames is not None:
            return
        header, _ = self.stripe(last, 0, ReelReader(self)).get(last, (None, None))
        if header:
            self.frames.last_segment_frames = header.frames
        elif stated_bytes and self.offset_of(last, 0) < stated_bytes <= self.offset_of(last + 1, 0):
            self.frames.last_segment_frames = -(-(stated_bytes - self.offset_of(last, 0)) // self.span_bytes)

    def look_thoroughly(self) -> bool:
        """Look at every byte of the file for frames once; True when that had not been done before."""
        with self._lock:
            if self._thorough:
                return False
            self._thorough = True
            self._index_again(thorough=True)
            return True

    def _index_again(self, *, thorough: bool) -> None:
        """Find every frame, keeping what was known of the reel's end; under the lock."""
        known, self._locate = self.frames, None
        self._read_all()
        self.frames = frames_of_reel(self.reader, self.reel_id, thorough=thorough)
        self.frames.segments = self.frames.segments or known.segments
        if self.frames.last_segment_frames is None and self.segments == known.data_segments():
            self.frames.last_segment_frames = known.last_segment_frames

    @property
    def is_looked_up(self) -> bool:
        """Whether frames are found one by one, so that most of what the headers state was not seen."""
        return self._locate is not None

    def reach(self) -> Mapping[int, Collection[int]] | None:
        """The frames of each segment that were found or that parity may bring back; None: look for every one."""
        return None if self.is_looked_up or self.frames.is_complete() else self.frames.within_reach()

    def require_reach(self) -> None:
        """Refuse a reel of which whole segments are gone, and with it any number that a hostile header states.

        Raises: Integrity `reel.damaged`. Says nothing of a reel whose frames are still found by its index.
        """
        if self._locate is None and not self.frames.is_complete():
            gone = self.segments - len(self.frames.within_reach())
            if gone > 0:
                raise Integrity(
                    "reel.damaged",
                    f"{gone} of {self.segments} segments of the reel are lost",
                    hint="bytereel decode --salvage writes what is left",
                    expected=self.segments,
                    actual=self.segments - gone,
                )

    def stripe(self, segment: int, frame: int, reader: "ReelReader") -> dict[int, tuple[FrameHeader, memoryview]]:
        """What parity brings back of the stripe that a frame lies in; the last stripe is kept."""
        if not self.shape.columns:
            return {}
        group = segment % self.shape.groups
        with self._lock:
            if self._stripe is None or self._stripe[0] != (group, frame):
                found = recover_stripe(
                    self.shape, self.segments, group, frame, reader.frame, lambda s, f: f < self.frames.frames_in(s)
                )
                self._stripe = ((group, frame), found)
            return self._stripe[1]


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

    def source_bytes(self, leader: Leader | None) -> int:
        """The size of the original: the leader's word where it lies in the last frame, else what that frame says.

        Where that frame is lost too, the most that it could be.
        """
        last = self._reel.segments - 1
        if last < 0:
            return 0
        stated = leader.size_bytes if leader else None
        self._reel.learn_end(stated)
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
            header, payload = self._reel.stripe(segment, frame, self).get(segment, (None, None))
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
