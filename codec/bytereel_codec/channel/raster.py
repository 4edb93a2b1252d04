"""The picture of a lossy reel: its size, where its strips and its data lie, its planes.

A picture is 8-bit 4:2:0. The data area is whole macroblocks (16 x 16 luma pixels); a strip of one or more macroblock
rows stands above it, another one below; what is left at the bottom (1080 is no multiple of 16) rests grey.

Source: FORMAT.md section 13.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bytereel_codec.errors import Permanent

Plane = npt.NDArray[np.uint8]
LUMA_REST = 126
CHROMA_REST = 128


class Picture(NamedTuple):
    """The planes of one picture: `y` uint8[height, width], `u` and `v` uint8[height / 2, width / 2]."""

    y: Plane
    u: Plane
    v: Plane


@dataclass(frozen=True, slots=True)
class Raster:
    """One picture size in pixels. `code` names it in the strip.

    `rows_used` is how many macroblock rows of the data area carry data, the first ones; None for all of them.
    """

    name: str
    code: int
    width: int
    height: int
    rows_used: int | None = None

    @property
    def columns(self) -> int:
        """Macroblocks in a row."""
        return self.width // 16

    @property
    def strip_rows(self) -> int:
        """Macroblock rows of each of the two strips."""
        return 2 if self.width < 512 else 1

    @property
    def first_row(self) -> int:
        """The first macroblock row of the data area."""
        return self.strip_rows

    @property
    def lower_strip_row(self) -> int:
        """The macroblock row where the lower strip begins."""
        return self.height // 16 - self.strip_rows

    @property
    def rows_max(self) -> int:
        """Macroblock rows between the strips."""
        return self.lower_strip_row - self.first_row

    @property
    def last_row(self) -> int:
        """The macroblock row behind the data area."""
        return self.first_row + (self.rows_max if self.rows_used is None else self.rows_used)

    @property
    def macroblocks(self) -> int:
        """Macroblocks in the data area."""
        return self.columns * (self.last_row - self.first_row)

    def grey(self) -> Picture:
        """A new picture at rest."""
        half = (self.height // 2, self.width // 2)
        return Picture(
            np.full((self.height, self.width), LUMA_REST, np.uint8),
            np.full(half, CHROMA_REST, np.uint8),
            np.full(half, CHROMA_REST, np.uint8),
        )


RASTERS = {
    r.name: r
    for r in (
        Raster("144p", 0, 256, 144),
        Raster("360p", 1, 640, 360),
        Raster("480p", 2, 848, 480),
        Raster("720p", 3, 1280, 720),
        Raster("1080p", 4, 1920, 1080),
        Raster("1440p", 5, 2560, 1440),
        Raster("2160p", 6, 3840, 2160),
    )
}


def raster_named(name: str) -> Raster:
    """The raster of that name. Raises: Permanent `geometry.unknown`."""
    if name not in RASTERS:
        raise Permanent("geometry.unknown", f"there is no geometry {name!r}", hint=f"one of {', '.join(RASTERS)}")
    return RASTERS[name]


def raster_of_code(code: int) -> Raster | None:
    """The raster that a strip names, or None."""
    return next((r for r in RASTERS.values() if r.code == code), None)
