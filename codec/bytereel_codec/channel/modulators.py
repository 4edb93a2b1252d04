"""The modulator that a modulation asks for."""

from bytereel_codec.channel.cells import Cells
from bytereel_codec.channel.dct4 import Dct4
from bytereel_codec.channel.dct8 import Dct8
from bytereel_codec.channel.modulation import Family, Modulation, Modulator
from bytereel_codec.channel.raster import Raster


def modulator_for(raster: Raster, modulation: Modulation, quantiser: int | None) -> Modulator:
    """A modulator for the used rows of a raster; `quantiser` (the own encoder's QP) is needed for rendering alone."""
    if modulation.family == Family.DCT4:
        return Dct4(raster, modulation, quantiser)
    if modulation.family == Family.DCT8:
        return Dct8(raster, modulation, quantiser)
    return Cells(raster, modulation)
