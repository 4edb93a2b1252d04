"""Which of several copies of a frame is the one that was written, where no tag says so; and which of several that
parity brings back.

A frame's checksum proves that a copy is intact, not that it is the right one: anybody can write a frame of his own for
the same place. The digest of the segment tells, and where somebody wrote a whole segment of his own, the leader's tree
digest. What was found is kept in the reel for all threads. With parity frames it is the same: a forged one brings back
what has all checksums right.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Protocol

from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import tree_digest
from bytereel_codec.reading.frames import FrameKey
from bytereel_codec.reading.reel import Reel

COMBINATIONS_MAX = 64
_SETTLED_MAX = 1024

Choice = Mapping[FrameKey, int]
"""For each frame of a segment the place of the copy that is taken."""


class Opened(Protocol):
    """A frame opened: `reel_reader.Block`."""

    @property
    def content(self) -> memoryview:
        """Its source bytes, good until the next frame is opened."""

    @property
    def digest(self) -> bytes | None:
        """The digest that its segment states, in its last frame."""

    @property
    def choice(self) -> int | None:
        """The choice of parity frames that brought it back, if one did."""


class Copies:
    """Chooses between the copies of frames of one reel. One thread at a time."""

    def __init__(
        self,
        reel: Reel,
        header_at: Callable[[int], FrameHeader | None],
        block_at: Callable[[FrameKey, int], Opened | None],
    ) -> None:
        """`header_at(place)` gives the header of the frame there, `block_at(key, place)` the frame, where it is that
        one and opens."""
        self._reel = reel
        self._header_at = header_at
        self._block_at = block_at

    def ordered(self, key: FrameKey) -> Iterable[int]:
        """The places of a frame's copies, the chosen one first."""
        places = self._reel.places(key)
        chosen = self._reel.chosen.get(key)
        return places if chosen is None else (chosen, *(place for place in places if place != chosen))

    def settle(self, segment: int) -> None:
        """Find out which copies of a segment's frames belong together, where there are several and no tag tells."""
        reel = self._reel
        if reel.sealed or segment in reel.settled or reel.is_looked_up:
            return
        with reel.settling:
            if segment not in reel.settled:
                keys, copies = self._copies_in(segment)
                if any(len(places) > 1 for places in copies):
                    found = next((choice for _, choice in self._proved(keys, copies)), None)
                    reel.chosen.update(found or {})
                    reel.contradicted.update(keys if found is None else ())
                reel.settled.add(segment)

    def is_in_doubt(self, key: FrameKey) -> bool:
        """Whether copies of the frame contradict each other, and no choice among them makes its segment right."""
        if key not in self._reel.contradicted:
            return False
        return len({self._header_at(place) for place in self._reel.places(key)}) > 1

    def choose_by_digest(self, wanted: Collection[str], stated_digests: Callable[[], Iterable[bytes]]) -> None:
        """Where more than one version of segments proves itself, take those of which the tree digest is wanted."""
        reel, rivals = self._reel, self.rivals()
        if not rivals:
            return
        stated = [rivals.get(segment) or {digest: {}} for segment, digest in enumerate(stated_digests())]
        for digests in islice(product(*stated), COMBINATIONS_MAX):
            if tree_digest(digests) in wanted:
                for versions, digest in zip(stated, digests, strict=True):
                    reel.chosen.update(versions[digest])
                reel.settled.update(rivals)
                return

    def rivals(self) -> dict[int, Mapping[bytes, Choice]]:
        """The segments of which more than one version proves itself by its own digest, and those versions."""
        places = self._reel.frames.places
        doubled = sorted({key[1] for key in places if key[0] == Kind.DATA and len(places[key]) > 1})
        found = {segment: self._versions_of(segment) for segment in doubled[:COMBINATIONS_MAX]}
        return {segment: versions for segment, versions in found.items() if len(versions) > 1}

    def _versions_of(self, segment: int) -> Mapping[bytes, Choice]:
        """The versions of a segment that prove themselves, where the headers of its copies differ."""
        keys, copies = self._copies_in(segment)
        distinct = [list({self._header_at(place): place for place in places}.values()) for places in copies]
        if all(len(places) == 1 for places in distinct):
            return {}
        return dict(self._proved(keys, distinct))

    def _copies_in(self, segment: int) -> tuple[list[FrameKey], list[Sequence[int]]]:
        """A segment's frames, and the places of the copies of each; none at all where one is lost."""
        keys: list[FrameKey] = [(Kind.DATA, segment, frame) for frame in range(self._reel.frames.frames_in(segment))]
        copies: list[Sequence[int]] = [self._reel.frames.places.get(key, ()) for key in keys]
        return (keys, copies) if all(copies) else ([], [])

    def _proved(self, keys: Sequence[FrameKey], copies: Sequence[Sequence[int]]) -> Iterator[tuple[bytes, Choice]]:
        """The digests of versions of a segment that prove themselves, and what they are made of."""
        for places in islice(_combinations(copies), COMBINATIONS_MAX if copies else 0):
            digest = _digest_of(map(self._block_at, keys, places))
            if digest is not None:
                yield digest, dict(zip(keys, places, strict=True))


class Recoveries:
    """Chooses between what choices of parity frames bring back of a segment's lost frames. One thread at a time.

    A choice is a number, as `reel.recovery.choices` has it.
    """

    def __init__(
        self,
        reel: Reel,
        block_there: Callable[[int, int], Opened | None],
        recovered: Callable[[int, int, int | None], Opened | None],
    ) -> None:
        """`block_there(segment, frame)` gives a frame that is not lost. `recovered(segment, frame, choice)` gives one
        that is, by that choice or the next that brings it back, going round; with None the first."""
        self._reel = reel
        self._block_there = block_there
        self._recovered = recovered
        self._settled: OrderedDict[int, Mapping[int, int]] = OrderedDict()

    def choice_of(self, segment: int, frame: int) -> int | None:
        """The choice by which that frame makes its segment right; None where none was found."""
        return self._settled.get(segment, {}).get(frame)

    def settle(self, segment: int) -> bool:
        """Find the choices by which a segment's lost frames make its digest right; False where there are none."""
        if segment not in self._settled:
            tried = islice(self._tried(segment), COMBINATIONS_MAX)
            right = (choices for choices in tried if _digest_of(self._blocks(segment, choices)) is not None)
            self._settled[segment] = next(right, {})
            if len(self._settled) > _SETTLED_MAX:
                self._settled.popitem(last=False)
        return bool(self._settled[segment])

    def _blocks(self, segment: int, choices: Mapping[int, int]) -> Iterator[Opened | None]:
        for frame in range(self._reel.frames.frames_in(segment)):
            choice = choices.get(frame)
            is_there = choice is None
            yield self._block_there(segment, frame) if is_there else self._recovered(segment, frame, choice)

    def _tried(self, segment: int) -> Iterator[Mapping[int, int]]:
        """Choices for each lost frame: the first that bring them back, the second ones, and so on, then all others."""
        known: dict[int, list[int]] = {}
        for frame in range(self._reel.frames.frames_in(segment)):
            if self._block_there(segment, frame) is None:
                first = self._choice_from(segment, frame, None)
                if first is None:
                    return
                known[frame] = [first]
        is_new = bool(known)
        while is_new:
            yield {frame: choices[-1] for frame, choices in known.items()}
            added = [self._has_another(segment, frame, choices) for frame, choices in known.items()]
            is_new = any(added)
        for together in product(*known.values()) if len(known) > 1 else ():
            yield dict(zip(known, together, strict=True))

    def _has_another(self, segment: int, frame: int, choices: list[int]) -> bool:
        """Add the next choice that brings the frame back, where there is one."""
        another = self._choice_from(segment, frame, choices[-1] + 1)
        if another is None or another in choices:
            return False
        choices.append(another)
        return True

    def _choice_from(self, segment: int, frame: int, choice: int | None) -> int | None:
        block = self._recovered(segment, frame, choice)
        return None if block is None else block.choice


def _digest_of(blocks: Iterable[Opened | None]) -> bytes | None:
    """The digest of a segment, its frames read one after the other; None where it is not the one that it states."""
    digest, stated = hashlib.sha256(), None
    for block in blocks:
        if block is None:
            return None
        digest.update(block.content)
        stated = block.digest
    return stated if stated == digest.digest() else None


def _combinations(copies: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """One copy of each, those first that came together: all first copies, all last ones, and so on inwards."""
    for number in range(max(map(len, copies))):
        yield tuple(places[min(number, len(places) - 1)] for places in copies)
        yield tuple(places[max(len(places) - 1 - number, 0)] for places in copies)
    yield from product(*copies)
