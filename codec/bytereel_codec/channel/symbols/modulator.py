"""The face that every modulator has.

Source: FORMAT.md sections 13 to 18.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.raster import Picture, Raster

Bytes = npt.NDArray[np.uint8]
MARGIN_NOMINAL = 128
"""The margin of a byte whose symbols lie exactly where they were put; 0 is on the threshold."""


class Modulator(Protocol):
    """Bytes to the data area of a picture and back. Not for use by two threads at once.

    `picture_bytes` bytes stand in one picture: macroblocks of the data area in raster order.
    """

    raster: Raster
    picture_bytes: int

    def render(self, content: Bytes, picture: Picture) -> None:
        """Draw `content` uint8[picture_bytes] in the data area of `picture`, and nothing else."""

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """Read `content` uint8[picture_bytes] and how sure each byte is: `margin` uint8[picture_bytes].

        A byte's margin is its least certain symbol's distance from the threshold, `MARGIN_NOMINAL` as written.
        """
