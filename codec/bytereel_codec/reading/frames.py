"""Where the frames of one reel lie, and what most of them say of it.

No single header decides anything: what all frames ought to agree in is taken from most of them, and of frames for one
place several copies are kept, so that a damaged or forged one does not hide a good one.

Memory is bounded: at most `COPIES_MAX` copies of a frame are noted.
Source: FORMAT.md section 11.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bytereel_codec.frame.header import Flag, FrameHeader, can_have_parity
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.votes import Votes

COPIES_MAX = 16
_COUNTS_TRIED = 8

FrameKey = tuple[Kind, int, int]
Told = tuple[int, int | None]
"""The numbers of segments, and of frames in the last one, that a leader tells."""


@dataclass(slots=True)
class Seals:
    """How many data frames and leaders are sealed, and how many are not."""

    sealed: int = 0
    unsealed: int = 0

    @property
    def of_most(self) -> bool | None:
        """Whether most are sealed; None where only parity frames were seen."""
        return self.sealed > self.unsealed if self.sealed or self.unsealed else None


@dataclass(slots=True)
class ReelFrames:
    """The frames of one reel: those that agree in id, span and frames per segment with `first`.

    `places`: for each frame the positions of its first sample, in the order of the file. `segments` is how many data
    segments there are, None where nothing says so; `last_segment_frames` how many frames the last one has, likewise.
    """

    first: FrameHeader
    places: dict[FrameKey, tuple[int, ...]] = field(default_factory=dict)
    segments: int | None = None
    groups: int = 0
    columns: int = 0
    last_segment_frames: int | None = None
    compressed: bool = False
    seals: Seals = field(default_factory=Seals)
    highest_segment: int = -1
    has_rivals: bool = False
    """Whether the file holds frames of the same id that do not agree with these."""
    is_thorough: bool = False
    """Whether every byte of the file was looked at for them."""
    others: tuple[bytes, ...] = ()
    """Ids of other reels of which the file holds frames."""
    counts: Votes[int] = field(default_factory=Votes)
    """Numbers of data segments, as headers state them, or as a frame that ends the source tells."""
    tails: Votes[tuple[int, int]] = field(default_factory=Votes)
    """Numbers of segments, and of frames in the last one, as frames tell them that end the source or are in a segment
    that is shorter than the others."""
    ends: Votes[int] = field(default_factory=Votes)
    """Numbers of segments, as frames tell them that end the source."""
    shapes: Votes[tuple[int, int]] = field(default_factory=Votes)
    """Parity groups and columns, as headers state them."""
    costs: Votes[int] = field(default_factory=Votes)
    """log2 of the scrypt cost, as headers state it."""

    @classmethod
    def of_first(cls, first: FrameHeader) -> "ReelFrames":
        """The frames of a reel of which one header alone is known so far, and no place."""
        frames = cls(first)
        frames._count(first)
        frames.settle()
        return frames

    def has_room(self, header: FrameHeader) -> bool:
        """Whether one more copy of that frame would be noted."""
        return len(self.places.get(key_of(header), ())) < COPIES_MAX

    def note(self, header: FrameHeader, position: int) -> bool:
        """Take in a frame that agrees with the others; False when it is known, or one copy too many."""
        key = key_of(header)
        known = self.places.get(key, ())
        if position in known or len(known) >= COPIES_MAX:
            return False
        self.places[key] = (*known, position)
        self._count(header)
        if header.kind == Kind.DATA:
            self.compressed |= bool(header.flags & Flag.COMPRESSED)
            self.highest_segment = max(self.highest_segment, header.segment)
        return True

    def forget(self, key: FrameKey, position: int) -> None:
        """Drop a copy that turned out to be damaged."""
        self.places[key] = tuple(place for place in self.places[key] if place != position)

    def _count(self, header: FrameHeader) -> None:
        self.costs.add(header.scrypt_log2_n)
        stated = header.segments or (header.segment + 1 if header.flags & Flag.REEL_END else 0)
        if stated:
            self.counts.add(stated)
        if header.columns:
            self.shapes.add((header.groups, header.columns))
        if header.flags & Flag.REEL_END:
            self.ends.add(header.segment + 1)
        if header.kind == Kind.DATA and (header.flags & Flag.REEL_END or header.frames < header.frames_per_segment):
            self.tails.add((header.segment + 1, header.frames))
        if header.kind != Kind.PARITY:
            sealed = bool(header.flags & Flag.SEALED)
            self.seals.sealed += sealed
            self.seals.unsealed += not sealed

    def settle(self, told: Sequence[Told] = ()) -> None:
        """Take counts and parity as the frames state them, once all are noted; `told`: each leader's word.

        Where frames do not agree in their number, that counts under which every one is there; else what most say.
        """
        stated, words = self.counts.ranked(), [segments for segments, _ in told]
        likely = [*(count for count in words[:1] if count in stated), *stated[:_COUNTS_TRIED]]
        if len(stated) > 1 or 0 in words:
            ends = self.ends.ranked()
            complete = [count for count in likely if count in ends and self._is_complete_with(count, told)]
            likely = [0] if self._is_empty(words, complete) else complete or likely
        self._settle_on(next(iter([*likely, *words]), None), told)

    def _is_empty(self, words: Sequence[int], complete: Collection[int]) -> bool:
        """Whether the source was empty: more than half of the leaders tell so, and more than there are other frames;
        and none of them tells a number of segments of which every frame is there."""
        others = sum(len(places) for (kind, _, _), places in self.places.items() if kind != Kind.LEADER)
        is_told = words.count(0) > max(others, len(words) // 2)
        return is_told and not any(count in words for count in complete)

    def _is_complete_with(self, segments: int, told: Sequence[Told]) -> bool:
        self._settle_on(segments, told)
        return self.is_complete()

    def _settle_on(self, segments: int | None, told: Sequence[Told]) -> None:
        self.segments = segments
        self.take(segments, self._frames_at_the_end(told))

    def take(self, segments: int | None, last_segment_frames: int | None) -> None:
        """Take those counts, and the parity that most frames state of those that such a reel can have."""
        self.segments, self.last_segment_frames = segments, last_segment_frames
        fitting = (shape for shape in self.shapes.ranked() if can_have_parity(self.data_segments(), *shape))
        self.groups, self.columns = next(fitting, (0, 0))

    def _frames_at_the_end(self, told: Sequence[Told]) -> int | None:
        """How many frames the last segment has, None where nothing is left of it.

        Where its frames state several numbers, that of which every one is there, a leader's first; else what most say.
        """
        last, per_segment = self.data_segments() - 1, self.first.frames_per_segment
        stated = [frames for segments, frames in self.tails.ranked() if segments == last + 1]
        words = [frames for segments, frames in told if segments == last + 1]
        for frames in sorted(stated, key=lambda frames: frames not in words):
            if all((Kind.DATA, last, frame) in self.places for frame in range(frames)):
                return frames
        if stated:
            return stated[0]
        return per_segment if any((Kind.DATA, last, frame) in self.places for frame in range(per_segment)) else None

    def data_segments(self) -> int:
        """How many data segments the reel had, as far as can be told: what headers say, else what is there."""
        return 1 + self.highest_segment if self.segments is None else self.segments

    def frames_in(self, segment: int) -> int:
        """How many frames that data segment had, as far as can be told."""
        if segment == self.data_segments() - 1 and self.last_segment_frames is not None:
            return self.last_segment_frames
        return self.first.frames_per_segment

    def is_complete(self) -> bool:
        """Whether every data frame was seen (not yet that each is intact)."""
        return all(
            (Kind.DATA, segment, frame) in self.places
            for segment in range(self.data_segments())
            for frame in range(self.frames_in(segment))
        )

    def is_plain(self) -> bool:
        """Whether they are what a writer leaves: all of them with both leaders, and no others of the same id."""
        leaders = all((Kind.LEADER, 0, number) in self.places for number in (0, 1))
        return leaders and not self.has_rivals and self.segments is not None and self.is_complete()

    def within_reach(self) -> Mapping[int, Collection[int]]:
        """The data frames that were seen or that parity may bring back, by segment: no more than the file holds frames.

        What a header states may be far more than is there; a loop over this is bounded by the file.
        """
        reach: defaultdict[int, set[int]] = defaultdict(set)
        seen: Counter[tuple[int, int]] = Counter()
        sums: Counter[tuple[int, int]] = Counter()
        segments, groups = self.data_segments(), max(1, self.groups)
        for kind, segment, frame in self.places:
            if kind == Kind.DATA and segment < segments:
                reach[segment].add(frame)
                seen[segment % groups, frame] += 1
            elif kind == Kind.PARITY:
                sums[segment % groups, frame] += 1
        for (group, frame), columns in sums.items():
            members = range(group, segments, groups)
            if len(members) - seen[group, frame] <= columns + 1:  # the last segment may end before this frame
                for segment in members:
                    reach[segment].add(frame)
        return reach


def key_of(header: FrameHeader) -> FrameKey:
    """Where in its reel the frame belongs."""
    return header.kind, header.segment, header.frame


def agreement_of(header: FrameHeader) -> tuple[bytes, int, int]:
    """Reel id, span and frames per segment: what frames of one reel agree in."""
    return header.reel_id, header.span_bytes, header.frames_per_segment
