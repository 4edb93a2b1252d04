"""The shape of a burst: how many pictures and rows carry how many bytes, and which of them protect the others. Pure.

A burst's bytes are the pictures' bytes one after the other. The first `255 * width` of them are a matrix of 255 rows,
whose columns are Reed-Solomon codewords: rows 0 to 254 - parity hold data, the rest parity. With the XOR code they are
blocks. What is left over carries nothing.

Source: FORMAT.md section 15.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd

from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.raster import Raster
from bytereel_codec.codes import xor_blocks

CODEWORD_BYTES = 255
PICTURES_MAX = 255
PICTURES_BETWEEN_GREY = 16


@dataclass(frozen=True, slots=True)
class BurstShape:
    """A burst of `pictures` data pictures that use `raster.rows_used` rows. Sizes in bytes."""

    raster: Raster
    modulation: Modulation
    pictures: int

    @property
    def picture_bytes(self) -> int:
        """What one picture carries, parity included."""
        return picture_bytes(self.raster, self.modulation)

    @property
    def total_bytes(self) -> int:
        """What all pictures carry."""
        return self.pictures * self.picture_bytes

    @property
    def width(self) -> int:
        """Codewords: as many as fit, less some where that number has a divisor in common with a picture's bytes.

        Only for Reed-Solomon. Bytes at the edges of a picture come again at a fixed distance, which divides a picture:
        without a common divisor every codeword has its share of them, else some could have all of theirs there.
        """
        width = self.total_bytes // CODEWORD_BYTES
        while width > 0 and gcd(width, self.picture_bytes) > 1:
            width -= 1
        return width

    @property
    def data_bytes(self) -> int:
        """What is left for frames; 0 where not even one codeword or group of blocks fits."""
        if self.modulation.code == Code.XOR:
            if not xor_blocks.fits(self.total_bytes, self.modulation.parity):
                return 0
            return int(xor_blocks.capacity(self.total_bytes, self.modulation.parity))
        return self.width * (CODEWORD_BYTES - self.modulation.parity)

    @property
    def coded_pictures(self) -> int:
        """Pictures of the video: a grey one in front, and one behind every 16 data pictures and at the end."""
        return 1 + self.pictures + -(-self.pictures // PICTURES_BETWEEN_GREY)


def picture_bytes(raster: Raster, modulation: Modulation) -> int:
    """Bytes in the data area of one picture."""
    if modulation.family == Family.CELLS:
        side, bits = modulation.side, modulation.first
        rows = 16 * (raster.last_row - raster.first_row)
        return (raster.width // side) * (rows // side) * bits // 8
    if modulation.family == Family.DCT8:
        return raster.macroblocks * modulation.first // 2
    return raster.macroblocks * (2 * modulation.first + modulation.second)


def smallest_shape(
    raster: Raster, modulation: Modulation, data_bytes: int, *, pictures_min: int = 1, rows_min: int = 1
) -> BurstShape:
    """The burst with the fewest pictures, then the fewest rows, that holds that many data bytes.

    The largest one there is where none does: the caller has to compare.
    """
    pictures = _smallest(
        pictures_min, PICTURES_MAX, lambda count: BurstShape(raster, modulation, count).data_bytes >= data_bytes
    )
    rows = _smallest(
        rows_min,
        raster.rows_max,
        lambda count: BurstShape(replace(raster, rows_used=count), modulation, pictures).data_bytes >= data_bytes,
    )
    return BurstShape(replace(raster, rows_used=rows), modulation, pictures)


def _smallest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number from `low` to `high` for which `holds`; `high` when it is none before."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
