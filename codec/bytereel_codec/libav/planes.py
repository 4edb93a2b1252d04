"""The planes of a libav frame as arrays, honouring their line size."""

import numpy as np
from av.video.plane import VideoPlane

from bytereel_codec.channel.raster import Plane
from bytereel_codec.libav.sandbox.planes import rounded


def lines_of(plane: VideoPlane) -> Plane:
    """All of a plane's memory: uint8[height, line_size]."""
    lines: Plane = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines


def samples_of(plane: VideoPlane) -> Plane:
    """A plane's samples: uint8[height, width]; not copied where they have 8 bits, rounded where they have 10."""
    lines = lines_of(plane)
    if plane.line_size < 2 * plane.width:
        return lines[:, : plane.width]
    return rounded(lines[:, : 2 * plane.width].view(np.uint16))
