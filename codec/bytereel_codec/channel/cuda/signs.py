"""What both DCT families share on a card: bits out of bytes, blocks out of tables, bytes out of coefficients' signs.

Coefficients are int16[slots, macroblocks]: a slot is a line of `transforms.BitLayout`, block * 16 + coefficient, and
the macroblocks of the whole data area lie side by side, so that neighbouring threads touch neighbouring memory.

Source: FORMAT.md section 16.
"""

import numpy as np
from numba import cuda

from bytereel_codec.channel.cuda.link import Link
from bytereel_codec.channel.raster import Raster
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.transforms import BitLayout, gains, mean_amplitudes
from bytereel_codec.channel.symbols.transforms_kernels import (
    COEFFICIENTS_MAX,
    GAIN_ONE,
    LANES,
    MEASURED_ROWS,
    sign_of,
    strength_of,
)

BYTES_BEHIND = 2
"""What `bits_at` may read behind the last byte of a content."""


class SignReader:
    """Bytes and margins from the coefficients of a picture's macroblocks. Not for use by two threads at once."""

    def __init__(self, link: Link, raster: Raster, layout: BitLayout) -> None:
        self._link, self._raster, self._layout = link, raster, layout
        slots = int(layout.lines.max()) // LANES // COEFFICIENTS_MAX + 1
        self.coefficients = link.room((slots * COEFFICIENTS_MAX, raster.macroblocks), np.int16)
        self._slots = link.sent((layout.lines // LANES).astype(np.int16))
        self._scales = link.sent(layout.scales)
        self._read = [link.room(raster.macroblocks * len(layout.lines)) for _ in range(2)]

    def read(self, nominal: tuple[float, float] | None, content: Bytes, margin: Bytes) -> None:
        """Fill `content` and `margin` uint8[macroblocks * bytes] from `coefficients`.

        `nominal`: amplitudes of luma and chroma; None to measure them in every fourth row.
        """
        link, count = self._link, len(self._layout.lines)
        gain = link.sent(gains(self._layout, *(self._measured() if nominal is None else nominal)))
        values, sure = self._read
        launch = link.over(self._raster.macroblocks, count)
        _collect[launch](self.coefficients, self._slots, self._scales, gain, values, sure)
        link.fetch(values, content)
        link.fetch(sure, margin)

    def _measured(self) -> tuple[float, float]:
        count, columns = len(self._layout.lines), self._raster.columns
        sums = np.zeros(count, np.uint64)
        on_card = self._link.sent(sums)
        measured = -(-self._raster.macroblocks // (columns * MEASURED_ROWS)) * columns
        _weigh[self._link.over(measured, count)](self.coefficients, self._slots, self._scales, columns, on_card)
        self._link.fetch(on_card, sums)
        return mean_amplitudes(self._layout, sums.astype(np.float64), self._raster)


@cuda.jit(device=True)
def bits_at(content, at, bit, count):  # type: ignore[no-untyped-def]
    """`count` bits (1 to 16) from bit `bit` of byte `at` on, least significant first."""
    first = at + (bit >> 3)
    word = np.int64(content[first]) | np.int64(content[first + 1]) << 8 | np.int64(content[first + 2]) << 16
    return word >> (bit & 7) & ((1 << count) - 1)


@cuda.jit(device=True)
def draw_block(table, number, plane, top, x):  # type: ignore[no-untyped-def]
    """Draw block `number` of `table` [blocks there are, lines] at column `x` of `plane`, an element a line."""
    for i in range(table.shape[1]):
        plane[top + i, x] = table[number, i]


@cuda.jit(cache=True)
def _collect(coefficients, slots, scales, gain, content, margin):  # type: ignore[no-untyped-def]
    """A thread a byte: as `transforms_kernels.collect`."""
    macroblock, i = cuda.grid(2)
    if macroblock < coefficients.shape[1] and i < slots.shape[0]:
        signs, smallest = np.int64(0), np.int64(65535)
        for bit in range(8):
            coefficient = coefficients[slots[i, bit], macroblock]
            signs |= np.int64(sign_of(coefficient, bit))
            strength = np.int64(strength_of(coefficient, scales[i, bit]))
            smallest = strength if strength < smallest else smallest
        at = macroblock * slots.shape[0] + i
        content[at] = np.uint8(~signs & 255)
        sure = (smallest * np.int64(gain[i]) + GAIN_ONE // 2 & 0xFFFFFFFF) >> 12
        margin[at] = np.uint8(sure if sure < 255 else 255)


@cuda.jit(cache=True)
def _weigh(coefficients, slots, scales, columns, sums):  # type: ignore[no-untyped-def]
    """A thread a byte of the measured rows: as `transforms_kernels.weigh`, in whole numbers, in any order."""
    index, i = cuda.grid(2)
    macroblock = index // columns * MEASURED_ROWS * columns + index % columns
    if macroblock < coefficients.shape[1] and i < slots.shape[0]:
        total = np.int64(0)
        for bit in range(8):
            total += np.int64(strength_of(coefficients[slots[i, bit], macroblock], scales[i, bit]))
        cuda.atomic.add(sums, i, np.uint64(total))
