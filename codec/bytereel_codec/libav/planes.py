"""The planes of a libav frame as arrays, honouring their line size."""

import numpy as np
from av.video.plane import VideoPlane

from bytereel_codec.channel.raster import Plane


def lines_of(plane: VideoPlane) -> Plane:
    """All of a plane's memory: uint8[height, line_size]."""
    lines: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines


def samples_of(plane: VideoPlane) -> Plane:
    """A plane's samples, not copied: uint8[height, width]."""
    return lines_of(plane)[:, : plane.width]
