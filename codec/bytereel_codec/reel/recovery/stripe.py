"""A stripe, the frames of one number in a parity group: what is asked of it, what of it is lost, what came back.

Source: FORMAT.md section 9.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reel.parity import ParityShape
from bytereel_codec.video.picture import Frame


class Recovered(NamedTuple):
    """A frame that came back, and the number of the choice of parity frames that brought it."""

    header: FrameHeader
    payload: memoryview
    choice: int


class FetchCopy(Protocol):
    """Gives a frame of the reel, or with `copy` another intact copy of it; None where there is none."""

    def __call__(self, kind: Kind, segment: int, frame: int, copy: int = 0, /) -> Frame | None:
        """That frame, good until the next call."""


Opens = Callable[[FrameHeader, memoryview], bool]
"""Whether a frame that came back, its checksums right, is also by its content what its place asks for."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """Frame `frame` of every segment of a parity group.

    `exists(segment, frame)` says whether the reel ever had that frame; of the last segment it is a guess, unless
    `is_counted`. `copies(segment, frame)`: how many there are of a parity frame, intact or not.
    """

    reel_id: bytes
    shape: ParityShape
    data_segments: int
    group: int
    frame: int
    span_bytes: int
    frames_per_segment: int
    exists: Callable[[int, int], bool]
    is_counted: bool = False
    copies: Callable[[int, int], int] = lambda segment, frame: 1

    @property
    def image_bytes(self) -> int:
        """The most that a frame's image takes."""
        return self.span_bytes + FRAME_RESERVED_BYTES

    @property
    def segments(self) -> range:
        """The data segments of the group; a segment's row is its index in it."""
        return self.shape.members(self.group, self.data_segments)

    @property
    def rows(self) -> list[int]:
        """The rows that have such a frame."""
        return [row for row, segment in enumerate(self.segments) if self.exists(segment, self.frame)]

    def parity_segment(self, column: int) -> int:
        """The parity segment that is that column of the group."""
        return column * self.shape.groups + self.group


@dataclass(frozen=True, slots=True)
class Losses:
    """The rows and parity columns of a stripe that are known to be lost, in order."""

    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    def and_also(self, kind: Kind, number: int) -> "Losses":
        """With one more: a row of data, or a column of parity."""
        if kind == Kind.DATA:
            return Losses(tuple(sorted({*self.rows, number})), self.columns)
        return Losses(self.rows, tuple(sorted({*self.columns, number})))
