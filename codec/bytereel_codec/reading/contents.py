"""What a reel holds, before it is read: its name, its size, and who vouches for them.

A sealed reel is vouched for by its sealed leader alone: without it, frames that open prove themselves, but nothing
proves that they are all. Of a reel that is not sealed anybody may have written anything, so its leaders are held
against its frames, and those that do not agree are passed over where another one does.

Source: FORMAT.md sections 10 and 11.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.frame.header import Flag
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader, tree_digest
from bytereel_codec.frame.sizes import DIGEST_BYTES
from bytereel_codec.reading.frames import Told
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.video.picture import FrameLoader

LEADERS_MAX = 32
END_MISSING = "the end of the reel is missing"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a reel holds. `leader` is None where none can be used.

    `is_vouched_for`: the reel is not sealed, or its sealed leader states counts and digest. `has_end`: the size is
    known: by the seal, or by a last frame that says that it is the last; or by a leader, where that frame is lost.
    """

    leader: Leader | None
    size_bytes: int
    is_vouched_for: bool
    has_end: bool

    def require_all(self, *, to_the_end: bool = True) -> None:
        """Refuse a reel of which nothing says where it ends, or that it is whole, unless salvaging.

        Raises: Integrity `reel.unproved`, and with `to_the_end` `reel.cut_off`.
        """
        if not self.is_vouched_for:
            raise Integrity(
                "reel.unproved",
                "the sealed leader is missing that would prove this reel to be whole",
                hint="salvaging writes what is left: what opens is as it was written, but may not be all",
            )
        if to_the_end and not self.has_end:
            raise Integrity(
                "reel.cut_off",
                f"{END_MISSING}: it is cut off behind byte {self.size_bytes} of the original",
                hint="salvaging writes what is left",
                source_bytes=self.size_bytes,
            )


def contents_of(reel: Reel) -> Contents:
    """Look at a reel's leaders and at its last frame; settles how many segments it has, and where the last one ends.

    Raises: Permanent `reel.sealed`, `reel.unsealed`, `reel.wrong_key`, `secret.wrong_kind`.
    """
    reel.require_seals()
    reader = ReelReader(reel)
    is_opened = bool(reel.sealed) and reel.has_secret
    if is_opened:
        reader.prove_key()
    leaders = _leaders(reader)
    if is_opened:
        for leader, is_final in leaders:
            if is_final and _settle_by_leader(reel, leader):
                assert leader.size_bytes is not None
                return Contents(leader, leader.size_bytes, is_vouched_for=True, has_end=True)
    return _as_it_stands(reel, reader, [leader for leader, _ in leaders], is_vouched_for=not is_opened)


def settle_looked_up(reel: Reel, frames_max: int) -> bool:
    """Take the counts of a reel whose frames are found one by one from its leaders, as no pass over them has counted.

    False where anything is odd, so that a pass over all of them has to tell: leaders that contradict each other or say
    more than `frames_max` data frames; a key that does not open, for the first frame may be a forged one; a last frame
    that is not there, or does not end the source where the leaders say.
    """
    reader = ReelReader(reel)
    try:
        if reel.sealed and reel.has_secret:
            reader.prove_key()
        leaders = {leader for leader, _ in reader.leaders() if leader.size_bytes is not None}
        if len(leaders) != 1 or not reel.is_looked_up:
            return False
        (leader,) = leaders
        size = leader.size_bytes or 0
        return (
            0 < -(-size // reel.span_bytes) <= frames_max
            and _settle_by_leader(reel, leader)
            and _ends_at(reel, reader, size)
        )
    except Permanent:
        return False


def _ends_at(reel: Reel, reader: ReelReader, size: int) -> bool:
    """Whether the last frame is there, and ends the source at that size; its payload is read only where it must be."""
    last = reel.segments - 1
    key = (Kind.DATA, last, reel.frames.frames_in(last) - 1)
    place = next(iter(reel.places(key)), None)
    header = None if place is None or not reel.is_looked_up else FrameLoader().header_at(reel.reader, place)
    if header is None or not reel.takes(header, key) or not header.flags & Flag.REEL_END:
        return False
    offset = reel.offset_of(*key[1:])
    if header.flags & Flag.SEALED:  # a leader that opened has proved the size
        return True
    if not header.flags & Flag.COMPRESSED:
        return offset + header.length - DIGEST_BYTES == size
    try:
        block = reader.block(*key[1:])
    except Integrity:
        return False
    return block.ends and offset + len(block.content) == size


def _leaders(reader: ReelReader) -> list[tuple[Leader, bool]]:
    """The leaders that can be used, each copy, and whether they are final."""
    found = ((leader, bool(header.flags & Flag.FINAL)) for leader, header in reader.leaders())
    return list(islice(found, LEADERS_MAX))


def _settle_by_leader(reel: Reel, leader: Leader) -> bool:
    """Take the counts from a leader that has size, number of segments and digest; False where it contradicts itself."""
    if leader.size_bytes is None or leader.segments is None or leader.digest is None:
        return False
    frames = -(-leader.size_bytes // reel.span_bytes)
    segments = -(-frames // reel.frames_per_segment)
    if segments != leader.segments:
        return False
    reel.frames.take(segments, _frames_in_last(reel, leader.size_bytes, segments))
    return True


def _frames_in_last(reel: Reel, size: int, segments: int) -> int:
    """How many frames the last of that many segments has, where they hold that many bytes."""
    return -(-size // reel.span_bytes) - (segments - 1) * reel.frames_per_segment if segments else 0


def _words(reel: Reel, leaders: Sequence[Leader]) -> list[Told]:
    """What leaders tell of the counts, each its word."""
    return [
        (
            leader.segments,
            None if leader.size_bytes is None else _frames_in_last(reel, leader.size_bytes, leader.segments),
        )
        for leader in leaders
        if leader.segments is not None
    ]


def _as_it_stands(reel: Reel, reader: ReelReader, leaders: Sequence[Leader], *, is_vouched_for: bool) -> Contents:
    """What leaders and frames say together."""
    if not reel.is_looked_up:
        reel.frames.settle(_words(reel, leaders))
        _learn_last_segment(reel, reader, leaders)
        reader.choose_by_digest({leader.digest for leader in leaders if leader.digest})
    size, has_end = _size_of(reel, reader, leaders)
    return Contents(_agreeing(leaders, reel, reader, size), size, is_vouched_for, has_end)


def _learn_last_segment(reel: Reel, reader: ReelReader, leaders: Sequence[Leader]) -> None:
    """Where all of the last segment is lost, learn how many frames it had: from its first frame, recovered, else from
    the size that a leader states, where that ends in this segment."""
    last = reel.segments - 1
    if last < 0 or reel.frames.last_segment_frames is not None:
        return
    recovered = reel.recover(last, 0, reader.proved_frame)
    if recovered is not None:
        reel.frames.last_segment_frames = recovered[0].frames
        return
    start, end = reel.offset_of(last, 0), reel.offset_of(last + 1, 0)
    for leader in leaders:
        if leader.size_bytes is not None and start < leader.size_bytes <= end:
            reel.frames.last_segment_frames = _frames_in_last(reel, leader.size_bytes, last + 1)
            return


def _size_of(reel: Reel, reader: ReelReader, leaders: Sequence[Leader]) -> tuple[int, bool]:
    """The size of the original, and whether it is known to end there: what the last frame says; a leader's word where
    that frame is lost and the size lies in it, else the most that it could be."""
    stated = [leader.size_bytes for leader in leaders if leader.size_bytes is not None]
    last = reel.segments - 1
    if last < 0:
        return 0, 0 in stated
    is_counted = reel.frames.segments is not None
    frame = reel.frames.frames_in(last) - 1
    offset = reel.offset_of(last, frame)
    likely = next((size for size in stated if offset < size <= offset + reel.span_bytes), None)
    if reel.is_looked_up and likely is not None:
        return likely, True
    try:
        block = reader.block(last, frame)
    except Integrity:
        return likely or offset + reel.span_bytes, is_counted
    return offset + len(block.content), is_counted and block.ends


def _agreeing(leaders: Sequence[Leader], reel: Reel, reader: ReelReader, size: int) -> Leader | None:
    """The leader that agrees with the frames: of several those with the digest that the segments state, and of these
    the one that most copies are, or agree with in name and kind."""
    fitting = [
        leader for leader in leaders if leader.segments in (None, reel.segments) and leader.size_bytes in (None, size)
    ]
    if len({leader.digest for leader in fitting if leader.digest}) > 1:
        with suppress(Integrity):
            digest = tree_digest(reader.stated_digests())
            fitting = [leader for leader in fitting if leader.digest == digest] or fitting
    copies, shown = Counter(fitting), Counter((leader.name, leader.kind) for leader in leaders)
    ranked = sorted(
        fitting or leaders,
        key=lambda leader: (leader.digest is None, -copies[leader], -shown[leader.name, leader.kind]),
    )
    return next(iter(ranked), None)
