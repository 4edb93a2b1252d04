"""Reading a reel: its frames opened, recovered where they are lost, and cut to the bytes of the source.

Of several copies of a frame, and of what several choices of parity frames bring back, the one counts that proves
itself: in a sealed reel by its tag, else by its checksum and the digest of its segment. Each thread has a reader of its
own; what they share is the `Reel`.
Source: FORMAT.md sections 7, 8 and 11.
"""

import hashlib
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.ranged import Buffer
from bytereel_codec.frame.envelope import Envelope, wrong_key
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.frame.sizes import DIGEST_BYTES
from bytereel_codec.reading.copies import Copies, Recoveries
from bytereel_codec.reading.frames import FrameKey, key_of
from bytereel_codec.reading.reel import Reel
from bytereel_codec.video.picture import Frame, FrameLoader

KEY_TRIALS_MAX = 64
"""How many frames may fail to open before the secret is said to be wrong."""


@dataclass(frozen=True, slots=True)
class Block:
    """One data frame opened: its source bytes, at `offset` of the source; the segment's digest in its last frame.

    `ends` the source: the frame has the end mark. `choice`: the number of the choice of parity frames that brought it
    back, None where it was there.
    """

    offset: int
    content: memoryview
    digest: bytes | None
    ends: bool
    choice: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A half-open range of the source that is lost, and why."""

    start: int
    end: int
    error: Integrity


class ReelReader:
    """Reads a reel's frames with buffers of its own. One thread at a time."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel
        self._frames = FrameLoader()
        self._envelope: Envelope | None = None
        self._copies = Copies(reel, lambda place: self._frames.header_at(reel.reader, place), self._block_at)
        self._recoveries = Recoveries(reel, self._block_there, self._recovered)

    def frame(self, kind: Kind, segment: int, frame: int) -> Frame | None:
        """That frame as it stands in the reel, its payload intact, from any of its places; None where there is none."""
        return next(self._found((kind, segment, frame)), None)

    def _found(self, key: FrameKey) -> Iterator[Frame]:
        """The intact copies of a frame, the one that was chosen first; each good until the next is asked for."""
        for place in self._copies.ordered(key):
            found = self._frames.frame_at(self._reel.reader, place) if self._reel.vain_bytes_left > 0 else None
            if found is not None and found.payload is None:
                self._reel.vain_bytes_left -= found.header.length
            elif found is not None and self._reel.takes(found.header, key):
                yield found

    def proved_frame(self, kind: Kind, segment: int, frame: int, copy: int = 0, /) -> Frame | None:
        """As `frame`, but of a sealed reel one that its tag proves, and else of a segment that its digest proves.

        One that is intact and does not open, or not to the size that its place asks for, counts as lost. Of parity,
        which nothing proves, `copy` says which of the intact ones.
        """
        if kind != Kind.DATA:
            return next(islice(self._found((kind, segment, frame)), copy, None), None)
        self._copies.settle(segment)
        return next((found for found in self._found((kind, segment, frame)) if self._cut(found)), None)

    def leaders(self) -> Iterator[tuple[Leader, FrameHeader]]:
        """Every leader that can be used, with its header: those at the end, then those in front.

        One that is damaged, does not open, or is no leader by its content is passed over. Raises: Permanent
        `reel.sealed` without a secret.
        """
        for number in (1, 0):
            for found in self._found((Kind.LEADER, 0, number)):
                content = self._opened(found)
                leader = None if content is None else Leader.parsed(content)
                if leader is not None:
                    yield leader, found.header

    def prove_key(self) -> None:
        """See that the secret opens the reel: leaders are tried first, then data frames.

        Raises: Permanent `reel.wrong_key` where sealed frames are there and none opens, `secret.wrong_kind`.
        """
        refused: Permanent | None = None
        for cost in self._reel.costs():
            self._reel.scrypt_log2_n, self._envelope = cost, None
            try:
                tried = [self._opened(found) is not None for found in self._sealed_frames()]
            except Permanent as error:
                if error.error_id != "secret.wrong_kind":
                    raise
                refused = error
                continue
            if self._reel.key_is_right or not tried:
                return
            refused = refused or wrong_key()
        if refused is not None:
            raise refused

    def _sealed_frames(self) -> Iterator[Frame]:
        """A few sealed frames, until one has opened."""
        tried = 0
        keys: list[FrameKey] = [(Kind.LEADER, 0, 1), (Kind.LEADER, 0, 0)]
        keys += [key for key in self._reel.frames.places if key[0] == Kind.DATA][:KEY_TRIALS_MAX]
        for key in keys:
            for found in self._found(key):
                if self._reel.key_is_right or tried >= KEY_TRIALS_MAX:
                    return
                if found.header.flags & Flag.SEALED:
                    tried += 1
                    yield found

    def block(self, segment: int, frame: int) -> Block:
        """A data frame's source bytes, good until the next call; recovered by parity where they are lost.

        What parity brings back is, where that can be, what its segment's digest proves: all of that is read for it.
        Raises: Integrity `reel.damaged` when the frame is lost for good; Permanent `reel.sealed` without a secret.
        """
        return self._block(segment, frame, is_proved_before=True)

    def _block(self, segment: int, frame: int, *, is_proved_before: bool) -> Block:
        block = self._block_there(segment, frame)
        if block is None:
            if is_proved_before and not self._reel.sealed:
                self._recoveries.settle(segment)
            block = self._recovered(segment, frame, self._recoveries.choice_of(segment, frame))
            if block is None:
                raise self._lost(segment, frame)
            self._reel.recovered.add((segment, frame))
        return block

    def _block_there(self, segment: int, frame: int) -> Block | None:
        """The block of a frame that is there, good until the next call; None where it is lost."""
        self._copies.settle(segment)
        while not self._copies.is_in_doubt((Kind.DATA, segment, frame)):
            for found in self._found((Kind.DATA, segment, frame)):
                block = self._cut(found)
                if block is not None:
                    return block
            if not (self._reel.find_all() or self._reel.look_thoroughly()):
                break
        return None

    def _recovered(self, segment: int, frame: int, choice: int | None) -> Block | None:
        """The block of a lost frame by that choice of parity frames, or the next one that brings back what opens."""
        found = self._reel.recover(segment, frame, self.proved_frame, self._opens, choice)
        block = self._cut(Frame(found.header, found.payload), found.choice) if found else None
        if found and block is None:  # it was kept when nobody had asked yet whether it opens
            found = self._reel.recover(segment, frame, self.proved_frame, self._opens, found.choice + 1)
            block = self._cut(Frame(found.header, found.payload), found.choice) if found else None
        return block

    def _opens(self, header: FrameHeader, payload: memoryview) -> bool:
        return self._cut(Frame(header, payload)) is not None

    def _opened(self, frame: Frame) -> Buffer | None:
        """The frame's block; None where its tag or its compression say that it is not what was written."""
        if self._envelope is None:
            self._envelope = self._reel.envelope()
        assert frame.payload is not None
        try:
            block = self._envelope.open(frame.payload, frame.header, self._reel.span_bytes + DIGEST_BYTES)
        except Integrity:
            return None
        except Permanent as error:
            if error.error_id != "reel.wrong_key":
                raise
            return None
        self._reel.key_is_right |= self._envelope.sealed and bool(frame.header.flags & Flag.SEALED)
        return block

    def _cut(self, frame: Frame, choice: int | None = None) -> Block | None:
        """The block without its digest; None where it is not of the size that its place asks for."""
        header = frame.header
        if not self._reel.takes(header, key_of(header)) or header.frames != self._reel.frames.frames_in(header.segment):
            return None
        if (opened := self._opened(frame)) is None:
            return None
        content, digest = memoryview(opened), None
        if header.flags & Flag.SEGMENT_END:
            content, digest = content[:-DIGEST_BYTES], bytes(content[-DIGEST_BYTES:])
        is_last = header.segment == self._reel.segments - 1 and header.frame == header.frames - 1
        ends = is_last and bool(header.flags & Flag.REEL_END)
        fits = len(content) == self._reel.span_bytes or (ends and 0 < len(content) < self._reel.span_bytes)
        if not fits or (digest is not None and len(digest) < DIGEST_BYTES):
            return None
        return Block(self._reel.offset_of(header.segment, header.frame), content, digest, ends, choice)

    def _lost(self, segment: int, frame: int) -> Integrity:
        start = self._reel.offset_of(segment, frame)
        end, message = start + self._reel.span_bytes, f"frame {frame} of segment {segment} is lost or damaged"
        return Integrity("reel.damaged", message, segment=segment, frame=frame, start=start, end=end)

    def blocks(
        self,
        index: int,
        start: int = 0,
        end: int | None = None,
        reach: Collection[int] | None = None,
        *,
        may_repeat: bool = False,
    ) -> Generator[Block | Gap, None, bytes | None]:
        """The blocks of a segment that touch the source's bytes `[start, end)`, in order, and the gaps between them.

        Returns the segment's SHA-256, proved, when all of it was read; None otherwise. Frames outside `reach` are taken
        as lost unseen. Where all frames are there and are not what was written, a gap of the whole segment ends it. A
        block is good until the next one is asked for. With `may_repeat` all of them may come once more, and those of
        the second time count: then nothing is read twice but where parity brought back what is wrong.
        """
        frames = list(self._frames_of(index, start, end))
        is_proved_before = not may_repeat or None in frames
        digest, wrong, was_recovered = yield from self._read(index, frames, reach, is_proved_before)
        if wrong is None:
            return digest
        if was_recovered and not is_proved_before and not self._reel.sealed and self._recoveries.settle(index):
            return (yield from self.blocks(index, start, end, reach))
        yield wrong
        return None

    def _read(
        self, index: int, frames: Sequence[int | None], reach: Collection[int] | None, is_proved_before: bool
    ) -> Generator[Block | Gap, None, tuple[bytes | None, Gap | None, bool]]:
        """The blocks and gaps of a segment. Returns its digest, None where frames are missing; a gap of all of it where
        it states another one; and whether parity brought frames back."""
        digest, stated = hashlib.sha256(), b""
        is_whole, was_recovered = None not in frames, False
        for frame in (frame for frame in frames if frame is not None):
            try:
                if reach is not None and frame not in reach:
                    raise self._lost(index, frame)
                block = self._block(index, frame, is_proved_before=is_proved_before)
            except Integrity as error:
                start = self._reel.offset_of(index, frame)
                yield Gap(start, start + self._reel.span_bytes, error)
                is_whole = False
                continue
            digest.update(block.content)
            stated = block.digest or b""
            was_recovered |= block.choice is not None
            yield block
        if not is_whole:
            return None, None, was_recovered
        wrong = None
        if stated != digest.digest():
            wrong = self._wrong(index, stated, digest.digest())
        return digest.digest(), wrong, was_recovered

    def _frames_of(self, index: int, start: int, end: int | None) -> Iterator[int | None]:
        """The numbers of a segment's frames; None for one that is not asked for."""
        span = self._reel.span_bytes
        for frame in range(self._reel.frames.frames_in(index)):
            offset = self._reel.offset_of(index, frame)
            yield frame if offset + span > start and (end is None or offset < end) else None

    def _wrong(self, index: int, stated: bytes, actual: bytes) -> Gap:
        start = self._reel.offset_of(index, 0)
        message = f"segment {index} is not what was written"
        error = Integrity("reel.bad_digest", message, segment=index, expected=stated.hex(), actual=actual.hex())
        return Gap(start, start + self._reel.span_bytes * self._reel.frames_per_segment, error)

    def choose_by_digest(self, wanted: Collection[str]) -> None:
        """Where several versions of segments prove themselves, take those of which the tree digest is wanted."""
        if wanted and not self._reel.sealed and not self._reel.is_looked_up:
            with suppress(Integrity):
                self._copies.choose_by_digest(wanted, self.stated_digests)

    def stated_digests(self) -> Iterator[bytes]:
        """The segments' digests, as their last frames state them. Raises: as `block`."""
        for segment in range(self._reel.segments):
            yield self.block(segment, self._reel.frames.frames_in(segment) - 1).digest or b""

    def _block_at(self, key: FrameKey, place: int) -> Block | None:
        """The block of a frame from that place; None where it is not there, or not what its place asks for."""
        found = self._frames.frame_at(self._reel.reader, place)
        if found is None or found.payload is None or not self._reel.takes(found.header, key):
            return None
        return self._cut(found)
