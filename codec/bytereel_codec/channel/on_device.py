"""The modulator that a modulation asks for, on the device that was chosen."""

from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.raster import Raster
from bytereel_codec.channel.symbols.cells import Cells
from bytereel_codec.channel.symbols.dct4 import Dct4
from bytereel_codec.channel.symbols.dct8 import Dct8
from bytereel_codec.channel.symbols.modulator import Modulator


def modulator_for(
    raster: Raster, modulation: Modulation, quantiser: int | None, device: Device = Device.CPU
) -> Modulator:
    """A modulator for the used rows of a raster; `quantiser` (the own encoder's QP) is needed for rendering alone.

    Raises: as `chosen`, and what the modulator raises.
    """
    dct4, dct8, cells = Dct4, Dct8, Cells
    if chosen(device) == Device.CUDA:
        from bytereel_codec.channel.cuda.cells import CudaCells
        from bytereel_codec.channel.cuda.dct4 import CudaDct4
        from bytereel_codec.channel.cuda.dct8 import CudaDct8

        dct4, dct8, cells = CudaDct4, CudaDct8, CudaCells
    if modulation.family == Family.DCT4:
        return dct4(raster, modulation, quantiser)
    if modulation.family == Family.DCT8:
        return dct8(raster, modulation, quantiser)
    return cells(raster, modulation)
