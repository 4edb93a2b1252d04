"""The modulator that a modulation asks for, on the device that was chosen."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.raster import Raster
from bytereel_codec.channel.symbols.cells import Cells
from bytereel_codec.channel.symbols.dct4 import Dct4
from bytereel_codec.channel.symbols.dct8 import Dct8
from bytereel_codec.channel.symbols.modulator import Modulator
from bytereel_codec.codes.reed_solomon import CorrectionReport, Matrix


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


class ColumnCode(Protocol):
    """The face of `channel.reed_solomon`, wherever it runs."""

    def encode(self, matrix: Matrix, parity: int, first: int = 0, last: int | None = None) -> None:
        """See `reed_solomon.encode`."""

    def correct(
        self,
        matrix: Matrix,
        parity: int,
        lost: npt.NDArray[np.bool_] | Matrix | None = None,
        margin: Matrix | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> CorrectionReport:
        """See `reed_solomon.correct`."""


def column_code(device: Device) -> ColumnCode:
    """The Reed-Solomon code on that device. Raises: as `chosen`."""
    if chosen(device) == Device.CUDA:
        from bytereel_codec.channel.cuda import reed_solomon as on_card

        return on_card
    from bytereel_codec.codes import reed_solomon

    return reed_solomon
