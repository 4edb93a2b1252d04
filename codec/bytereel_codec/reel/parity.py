"""Parity segments: which data segments share a parity group, and the frames of a parity segment.

Segment s belongs to group s mod groups, so that a run of lost segments spreads over the groups. Frame j of parity
column c is the column's sum over frame j of every data segment of the group, each taken as its *image*: the 128 bytes
of its header, then its payload. A recovered image therefore proves itself by its own checksums.

Source: FORMAT.md section 9.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import crc32c
import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.device import Device
from bytereel_codec.codes.erasure import accumulate, coefficient, recover
from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.frame.header import ROWS_MAX, FrameHeader, parse_header
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reel.layout import Layout
from bytereel_codec.video.macroblocks import HEADER_BYTES
from bytereel_codec.video.picture import Frame
from bytereel_codec.writing.frame_writer import frame_writer
from bytereel_codec.writing.segment import ReelParameters

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

    def place(self, parity_segment: int) -> tuple[int, int]:
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


def write_parity_segment(
    parameters: ReelParameters, layout: Layout, parity_segment: int, fetch: FetchFrame, device: Device = Device.CPU
) -> Generator[memoryview, None, tuple[int, ...]]:
    """Yield the chunks of a parity segment; return their sizes.

    `fetch` gives the data frames as they stand in the reel. Raises: Integrity `reel.damaged` when one is not intact.
    """
    shape = ParityShape(parameters.groups, parameters.columns)
    group, column = shape.place(parity_segment)
    writer = frame_writer(parameters.geometry, parameters.reel_id, device=device)
    frames = layout.frames_in(group)
    number = parity_first_frame(layout) + parity_segment * layout.frames_per_segment
    sizes = []
    for frame in range(frames):
        members = [
            (row, segment)
            for row, segment in enumerate(shape.members(group, layout.segments))
            if frame < layout.frames_in(segment)
        ]
        length = _sum_into(np.frombuffer(writer.payload, np.uint8), column, frame, members, fetch)
        header = parameters.header(Kind.PARITY, parity_segment, frame, frames)
        chunk = writer.write(header, length, number + frame)
        sizes.append(len(chunk))
        yield chunk
    return tuple(sizes)


def parity_first_frame(layout: Layout) -> int:
    """The number of the first parity frame: behind the leader and all data frames."""
    return 1 + layout.frames


def _sum_into(target: Image, column: int, frame: int, members: Sequence[tuple[int, int]], fetch: FetchFrame) -> int:
    target[:] = 0
    length = 0
    for row, segment in members:
        found = fetch(Kind.DATA, segment, frame)
        if found is None or found.payload is None:
            raise Integrity(
                "reel.damaged",
                f"frame {frame} of segment {segment} cannot be read back for the parity",
                segment=segment,
                frame=frame,
            )
        length = max(length, _add(target, found, coefficient(column, row)))
    return length


def _add(target: Image, frame: Frame, factor: int) -> int:
    """Add a frame's image; return its length."""
    header, payload = image_of(frame)
    accumulate(target, np.frombuffer(header, np.uint8), factor)
    accumulate(target[HEADER_BYTES:], np.frombuffer(payload, np.uint8), factor)
    return HEADER_BYTES + len(payload)


def recover_stripe(
    shape: ParityShape,
    data_segments: int,
    group: int,
    frame: int,
    fetch: FetchFrame,
    exists: Callable[[int, int], bool],
) -> dict[int, tuple[FrameHeader, memoryview]]:
    """The lost frames of one stripe (frame `frame` of every segment of a group), by segment; empty when too many are.

    `exists(segment, frame)` says whether the reel ever had that frame.
    """
    members = list(enumerate(shape.members(group, data_segments)))
    lost = [row for row, segment in members if exists(segment, frame) and not _intact(fetch(Kind.DATA, segment, frame))]
    sums: dict[int, Image] = {}
    for column in range(shape.columns):
        parity = fetch(Kind.PARITY, column * shape.groups + group, frame)
        if len(sums) < len(lost) and parity is not None and parity.payload is not None:
            sums[column] = np.frombuffer(bytearray(parity.payload), np.uint8)
    if not lost or len(sums) < len(lost) or len({len(row) for row in sums.values()}) != 1:
        return {}
    for row, segment in members:
        if row not in lost and exists(segment, frame):
            found = fetch(Kind.DATA, segment, frame)
            if (
                found is None
                or found.payload is None
                or HEADER_BYTES + len(found.payload) > min(map(len, sums.values()))
            ):
                return {}
            for column, target in sums.items():
                _add(target, found, coefficient(column, row))
    by_segment = dict(members)
    rows = recover(lost, sums)
    return {
        by_segment[row]: proved for row, image in rows.items() if (proved := _proved(image, by_segment[row], frame))
    }


def _intact(frame: Frame | None) -> bool:
    return frame is not None and frame.payload is not None


def _proved(image: Image, segment: int, frame: int) -> tuple[FrameHeader, memoryview] | None:
    header = parse_header(image[:HEADER_BYTES].tobytes())
    if header is None or (header.kind, header.segment, header.frame) != (Kind.DATA, segment, frame):
        return None
    payload = image.data[HEADER_BYTES : HEADER_BYTES + header.length]
    return (header, payload) if crc32c.crc32c(payload) == header.payload_crc else None
