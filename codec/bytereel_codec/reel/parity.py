"""Parity segments: which data segments share a parity group, and the frames of a parity segment.

Segment s belongs to group s mod groups, so that a run of lost segments spreads over the groups. Frame j of parity
column c is the column's sum over frame j of every data segment of the group, each taken as its *image*: the 128 bytes
of its header, then its payload. A recovered image therefore proves itself: see `recovery`.

Source: FORMAT.md section 9.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bytereel_codec.codes.erasure import accumulate
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.header import ROWS_MAX
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.video.picture import Frame

Image = npt.NDArray[np.uint8]
FetchFrame = Callable[[Kind, int, int], Frame | None]


@dataclass(frozen=True, slots=True)
class ParityShape:
    """How many groups the data segments form, and how many parity columns each group has."""

    groups: int = 0
    columns: int = 0

    @property
    def segments(self) -> int:
        """Parity segments in the reel."""
        return self.groups * self.columns

    def group_and_column(self, parity_segment: int) -> tuple[int, int]:
        """The group and column of a parity segment."""
        return parity_segment % self.groups, parity_segment // self.groups

    def members(self, group: int, data_segments: int) -> range:
        """The data segments of a group; a member's row in the code is its place in this range."""
        return range(group, data_segments, self.groups)


def parity_shape(data_segments: int, percent: float) -> ParityShape:
    """The shape that brings back any `percent` of the segments where one group holds them all.

    That is so while data and parity segments are 255 or fewer; beyond, it holds for each group, and for any run.
    Raises: Permanent `parity.bad_percent`.
    """
    if not 0 <= percent <= 100:
        raise Permanent("parity.bad_percent", f"parity of {percent:g} % is not between 0 and 100 %", actual=percent)
    if data_segments == 0 or percent == 0:
        return ParityShape()
    groups = 1
    while True:
        rows = -(-data_segments // groups)
        columns = _ceil_percent(rows, percent)
        if rows + columns <= ROWS_MAX:
            return ParityShape(groups, columns)
        groups += 1


def _ceil_percent(rows: int, percent: float) -> int:
    return -(-rows * round(percent * 1000) // 100_000)


def image_of(frame: Frame) -> tuple[bytes, memoryview]:
    """The two halves of a data frame's image."""
    assert frame.payload is not None
    return frame.header.pack(), frame.payload


def add_frame(target: Image, frame: Frame, factor: int) -> int:
    """Add a frame's image; return its length."""
    header, payload = image_of(frame)
    accumulate(target, np.frombuffer(header, np.uint8), factor)
    accumulate(target[HEADER_BYTES:], np.frombuffer(payload, np.uint8), factor)
    return HEADER_BYTES + len(payload)
