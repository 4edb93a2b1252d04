"""How bytes become a picture and come back, as data: no arrays, so that a command that needs only names starts at once.

A `Modulation` is what the strip of a picture tells of it: enough to read the picture. What only the writer needs
(amplitude, encoder settings) is in the profile.

Source: FORMAT.md sections 13 to 18.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

LEADER_PARITY = 128
PALETTES = ("yuv", "ega")
_PARITY_MAX = 128
_CELLS = (2, 6, 7)  # of one pixel; of nine, in both palettes


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


def fields_of_cells(colours: int, pixels: int, palette: str) -> tuple[int, int]:
    """`Modulation.first` and `second` of cells of `pixels` (1 or 9) in that many colours of a palette of PALETTES."""
    return colours.bit_length() - 1, 2 * (1 if pixels == 1 else 3) + PALETTES.index(palette)


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

    @property
    def side(self) -> int:
        """Pixels a side of a cell. CELLS only."""
        return self.second >> 1

    @property
    def palette(self) -> int:
        """0 `yuv`, 1 `ega`. CELLS only."""
        return self.second & 1

    @property
    def data_share(self) -> float:
        """The share of a burst that is data."""
        if self.code == Code.XOR:
            return self.parity / (self.parity + 1)
        return 1 - self.parity / 255

    @property
    def symbols(self) -> str:
        """What a symbol is, for people."""
        if self.family == Family.CELLS:
            name = "grey" if self.side == 1 else PALETTES[self.palette]
            return f"cells of {self.side} x {self.side} pixels in {1 << self.first} colours ({name})"
        if self.family == Family.DCT8:
            return f"8 x 8 transform, {self.first} luma signs a block"
        return f"4 x 4 transform, {self.first} luma and {self.second} chroma signs a block"

    @property
    def protection(self) -> str:
        """What protects the bytes of a burst, for people."""
        if self.code == Code.XOR:
            return f"one XOR block for every {self.parity} blocks"
        return f"(255, {255 - self.parity}) Reed-Solomon"

    @property
    def is_known(self) -> bool:
        """Whether readers for it exist: whether all of it lies within its bounds."""
        if self.code == Code.XOR and not 0 < self.parity <= 255:
            return False
        if self.code == Code.REED_SOLOMON and (not 2 <= self.parity <= _PARITY_MAX or self.parity % 2):
            return False
        if self.family == Family.CELLS:
            return self.first in (2, 4, 6, 8) and self.second in _CELLS
        if self.family == Family.DCT8:
            return 2 <= self.first <= 16 and self.first % 2 == 0 and self.second == 0
        return 1 <= self.first <= 16 and 0 <= self.second <= 16

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
