"""One reading of a stripe: its frames one after the other, added to the lost ones that are wanted.

A recovered image must prove itself; where one does not, other parity frames are tried, and other copies of them.

Source: FORMAT.md section 9.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

import crc32c
import numpy as np

from bytereel_codec.codes.erasure import accumulate, recovery_factors
from bytereel_codec.frame.header import FrameHeader, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.reel.parity import Image, add_frame
from bytereel_codec.reel.recovery.choices import Choice, choices_in_turn
from bytereel_codec.reel.recovery.stripe import FetchCopy, Losses, Opens, Recovered, Stripe
from bytereel_codec.video.picture import Frame

_MAPPED_BYTES_MIN = 1 << 20

Images = dict[int, Image]


@dataclass(frozen=True, slots=True)
class Found:
    """What a reading of a stripe found: the losses known after it, and the wanted rows' frames where none was new.

    `choice`: the number of the one that was right, after `tried` of them. `is_hopeless`: none brought any frame back.
    """

    losses: Losses
    frames: dict[int, Recovered | None]
    choice: int = 0
    tried: int = 0
    is_hopeless: bool = False


@dataclass(frozen=True, slots=True)
class _Term:
    """A frame of the sum: parity column or data row `number`, and its factor for each wanted row."""

    kind: Kind
    number: int
    segment: int
    factors: list[int]
    copy: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A stripe, where its frames are read, and what is asked of those that come back."""

    stripe: Stripe
    fetch: FetchCopy
    opens: Opens


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a stripe for some of its lost rows."""

    asked: Asked
    known: Losses
    wanted: tuple[int, ...]

    @property
    def stripe(self) -> Stripe:
        """The stripe that is read."""
        return self.asked.stripe

    def recover(self, begin: int, choices_max: int) -> Found:
        """Try the parity frames there are, from that choice of them on, until every wanted row proves itself."""
        frames: dict[int, Recovered | None] = dict.fromkeys(self.wanted)
        tried = 0
        for number, choice in islice(self._in_turn(begin), choices_max):
            losses, images = self._sum(choice)
            if losses != self.known:
                return Found(losses, {})
            tried += 1
            frames |= {row: proved for row, image in images.items() if (proved := self._proved(image, row, number))}
            if images and all(frames[row] or self._never_was(image, row) for row, image in images.items()):
                return Found(self.known, frames, number, tried)
        return Found(self.known, frames, begin, tried, is_hopeless=not any(frames.values()))

    def _in_turn(self, begin: int) -> Iterator[tuple[int, Choice]]:
        stripe = self.stripe
        there = [column for column in range(stripe.shape.columns) if column not in self.known.columns]

        def copies_of(column: int) -> int:
            return stripe.copies(stripe.parity_segment(column), stripe.frame)

        return choices_in_turn(there, len(self.known.rows), copies_of, begin)

    def _sum(self, choice: Choice) -> tuple[Losses, Images]:
        """What is lost in truth, and the images of the wanted rows where that was known; none where lengths differ, or
        a copy is not there."""
        losses, images = self.known, Images()
        columns = tuple(column for column, _ in choice)
        for term in self._terms(choice):
            frame = self._fetched(term.kind, term.segment, term.copy)
            if frame is None and term.copy:
                return self.known, {}
            if frame is None:
                losses = losses.and_also(term.kind, term.number)
            elif losses == self.known and not _add(images, frame, term, self.wanted):
                return losses, {}
        if losses == self.known:
            return losses, images
        return self._with_other_columns(losses, columns), {}

    def _with_other_columns(self, losses: Losses, columns: tuple[int, ...]) -> Losses:
        """The losses, and the parity frames that are lost of those that were not read."""
        for column in range(self.stripe.shape.columns):
            if column not in columns and column not in losses.columns and not self._is_there(column):
                losses = losses.and_also(Kind.PARITY, column)
        return losses

    def _is_there(self, column: int) -> bool:
        return self._fetched(Kind.PARITY, self.stripe.parity_segment(column)) is not None

    def _fetched(self, kind: Kind, segment: int, copy: int = 0) -> Frame | None:
        """A frame that is there, or another copy of it."""
        which = (copy,) if copy else ()
        frame = self.asked.fetch(kind, segment, self.stripe.frame, *which)
        return frame if frame is not None and frame.payload is not None else None

    def _terms(self, choice: Choice) -> Iterator[_Term]:
        """The parity frames, then the data frames that are taken to be there."""
        stripe = self.stripe
        columns = tuple(column for column, _ in choice)
        factors = [recovery_factors(self.known.rows, columns, row, len(stripe.segments)) for row in self.wanted]
        for index, (column, copy) in enumerate(choice):
            parity_factors = [parity[index] for parity, _ in factors]
            yield _Term(Kind.PARITY, column, stripe.parity_segment(column), parity_factors, copy)
        for row in stripe.rows:
            if row not in self.known.rows:
                yield _Term(Kind.DATA, row, stripe.segments[row], [data[row] for _, data in factors])

    def _never_was(self, image: Image, row: int) -> bool:
        """Whether an image of zeros is no failure: the last segment may have ended before that frame."""
        stripe = self.stripe
        is_last = stripe.segments[row] == stripe.data_segments - 1
        return is_last and not stripe.is_counted and stripe.frame > 0 and not image.any()

    def _proved(self, image: Image, row: int, number: int) -> Recovered | None:
        """The frame in an image that names its own place, has its checksums right, and opens."""
        header = parse_header(image[:HEADER_BYTES].tobytes())
        if header is None or not self._is_of_place(header, row):
            return None
        payload = image.data[HEADER_BYTES : HEADER_BYTES + header.length]
        is_right = len(payload) == header.length and crc32c.crc32c(payload) == header.payload_crc
        is_right = is_right and self.asked.opens(header, payload)
        return Recovered(header, payload, number) if is_right else None

    def _is_of_place(self, header: FrameHeader, row: int) -> bool:
        stripe = self.stripe
        wanted = (stripe.reel_id, stripe.span_bytes, stripe.frames_per_segment, Kind.DATA, stripe.segments[row])
        stated = (header.reel_id, header.span_bytes, header.frames_per_segment, header.kind, header.segment)
        return stated == wanted and header.frame == stripe.frame


def _add(images: Images, frame: Frame, term: _Term, wanted: Sequence[int]) -> bool:
    """Add a frame to the images; False, and nothing added, where it is not as long as the others ask for."""
    assert frame.payload is not None
    if term.kind == Kind.PARITY and not images:
        images |= {row: _blank(len(frame.payload)) for row in wanted}
    length = max(map(len, images.values()), default=0)
    if term.kind == Kind.PARITY:
        if len(frame.payload) != length:
            return False
        for image, factor in zip(images.values(), term.factors, strict=True):
            accumulate(image, np.frombuffer(frame.payload, np.uint8), factor)
        return True
    if HEADER_BYTES + len(frame.payload) > length:
        return False
    for image, factor in zip(images.values(), term.factors, strict=True):
        add_frame(image, frame, factor)
    return True


def _blank(length: int) -> Image:
    """An image of zeros. A large one is mapped, so that the system has it back as soon as it is let go of: the heap
    would keep the room of a few."""
    if length < _MAPPED_BYTES_MIN:
        return np.zeros(length, np.uint8)
    return np.frombuffer(mmap(-1, length), np.uint8)
