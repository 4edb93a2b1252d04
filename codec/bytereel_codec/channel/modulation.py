"""How bytes become a picture and come back, as data, and the face that every modulator has.

A `Modulation` is what the strip of a picture tells of it: enough to read the picture. What only the writer needs
(amplitude, encoder settings) is in the profile.

Source: FORMAT.md sections 13 to 18.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.raster import Picture, Raster

Bytes = npt.NDArray[np.uint8]
LEADER_PARITY = 128
MARGIN_NOMINAL = 128
"""The margin of a byte whose symbols lie exactly where they were put; 0 is on the threshold."""


class Family(IntEnum):
    """What a symbol is."""

    DCT4 = 0
    """The sign of a coefficient of the 4 x 4 transform."""
    DCT8 = 1
    """The sign of a coefficient of the 8 x 8 transform."""
    CELLS = 2
    """The colour of a cell of pixels."""


class Code(IntEnum):
    """What protects a burst."""

    REED_SOLOMON = 0
    XOR = 1


@dataclass(frozen=True, slots=True)
class Modulation:
    """How the data area of a picture is read.

    `first` and `second` depend on the family. DCT4, DCT8: luma and chroma coefficients a block, in zig-zag order, the
    first ones (1 to 16; chroma 0 to 16; DCT8 has no chroma, and an even number). CELLS: log2 of the number of colours
    (2, 4, 6, 8), and 2 * (pixels a side, 1 or 3) + palette (0 `yuv`, 1 `ega`). `parity`: Reed-Solomon bytes of each
    codeword of 255, even, 2 to 128; with the XOR code, blocks a group.
    """

    family: Family
    first: int
    second: int
    parity: int
    code: Code = Code.REED_SOLOMON

    def for_leader(self) -> "Modulation":
        """The same symbols, half of them parity."""
        return replace(self, parity=LEADER_PARITY, code=Code.REED_SOLOMON)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "family": self.family.name, "code": self.code.name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Modulation":
        """The inverse of `to_dict`."""
        return cls(**{**values, "family": Family[values["family"]], "code": Code[values["code"]]})


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
