"""Where in a picture the bytes of a burst lie: the macroblocks of the data area that they touch.

Source: FORMAT.md sections 13 and 14.
"""

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.modulation import Family

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def macroblock_of_bytes(shape: BurstShape) -> Numbers:
    """int64[picture_bytes]: the macroblock of the data area in which each byte of a picture lies, or begins."""
    numbers = np.arange(shape.picture_bytes)
    if shape.modulation.family != Family.CELLS:
        return numbers // (shape.picture_bytes // shape.raster.macroblocks)
    return _macroblock_of_cells(shape, 8 * numbers // shape.modulation.first, shape.modulation.side // 2)


def lost_bytes(shape: BurstShape, macroblocks: Mask) -> Mask:
    """Which bytes of a picture lie in those macroblocks of the data area, if only with a part of theirs.

    Shapes: `macroblocks` bool[macroblocks of all of the data area]; bool[picture_bytes].
    """
    used = macroblocks[: shape.raster.macroblocks]
    if shape.modulation.family != Family.CELLS:
        return used[macroblock_of_bytes(shape)]
    bits, far = shape.modulation.first, shape.modulation.side - 1
    cells = np.arange(shape.picture_bytes * 8 // bits + 1)
    hit = used[_macroblock_of_cells(shape, cells, 0)] | used[_macroblock_of_cells(shape, cells, far)]
    first_bits = 8 * np.arange(shape.picture_bytes)
    touched: Mask = hit[first_bits // bits] | hit[(first_bits + 7) // bits]
    return touched


def _macroblock_of_cells(shape: BurstShape, cells: Numbers, corner: int) -> Numbers:
    """The macroblock of the pixel that many pixels right of and below each cell's first."""
    raster, side = shape.raster, shape.modulation.side
    rows, columns = np.divmod(cells, raster.width // side)
    last_row = raster.macroblocks // raster.columns - 1
    row = np.minimum((rows * side + corner) // 16, last_row)
    numbers: Numbers = row * raster.columns + (columns * side + corner) // 16
    return numbers
