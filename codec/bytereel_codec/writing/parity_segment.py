"""The chunks of a parity segment, from the data frames as they stand in the reel.

Source: FORMAT.md section 9.
"""

from collections.abc import Generator, Sequence

import numpy as np

from bytereel_codec.channel.device import Device
from bytereel_codec.codes.erasure import coefficient
from bytereel_codec.errors import Integrity
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reel.layout import Layout
from bytereel_codec.reel.parameters import ReelParameters
from bytereel_codec.reel.parity import FetchFrame, Image, ParityShape, add_frame
from bytereel_codec.writing.frame_writer import frame_writer


def write_parity_segment(
    parameters: ReelParameters, layout: Layout, parity_segment: int, fetch: FetchFrame, device: Device = Device.CPU
) -> Generator[memoryview, None, tuple[int, ...]]:
    """Yield the chunks of a parity segment; return their sizes.

    `fetch` gives the data frames as they stand in the reel. Raises: Integrity `reel.damaged` when one is not intact.
    """
    shape = ParityShape(parameters.groups, parameters.columns)
    group, column = shape.group_and_column(parity_segment)
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
        length = max(length, add_frame(target, found, coefficient(column, row)))
    return length
