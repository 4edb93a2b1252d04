"""Bytes as the signs of 4 x 4 transform coefficients, luma and chroma: the densest grid that H.264 itself has.

Of each macroblock, in raster order: its 16 luma blocks in raster order, `first` bits each; then, if `second` is not 0,
its 4 Cb blocks and its 4 Cr blocks, `second` bits each. Bits fill bytes least significant first, 2 * first + second
bytes a macroblock. The first bits of a chroma plane's four blocks are not their DC coefficients but those of the
2 x 2 transform of these: DC = H d H / 2 with H = [[1, 1], [1, -1]]. Without `second`, chroma is left alone.

Reading takes H.264's integer transform, whose signs are those of the DCT and whose values fit 16 bits; a coefficient
of exactly 0 reads as 1.

Source: ITU-T H.264 (08/2021) 8.5.11 chroma DC, 8.5.12 4 x 4 residual blocks; FORMAT.md section 16.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.modulation import Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Raster
from bytereel_codec.channel.symbols.dct4_kernels import demodulate, measure, render_chroma, render_luma
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.channel.symbols.transforms import (
    BitLayout,
    areas,
    bit_layout,
    block_table,
    check_buffer,
    check_raster,
    chroma_quantiser,
    contributions,
    gains,
    mean_amplitudes,
    pixels,
    quantiser_step,
    signed_sums,
    whole_words,
    zigzag,
)
from bytereel_codec.channel.symbols.transforms_kernels import BLOCK, COEFFICIENTS_MAX, COLUMNS_MAX, LANES, LINE
from bytereel_codec.errors import Permanent

Words = npt.NDArray[np.uint64]

_DC_LEVELS = 5
_NORMS = (2.0, 10**0.5, 2.0, 10**0.5)


class Dct4:
    """The modulator of `Family.DCT4`. `quantiser` is the own encoder's luma QP, 0 to 51; reading can do without it.

    Without it margins are relative to the mean absolute coefficient of luma, and of chroma, in every fourth row.
    Raises: Permanent `modulation.unknown`, `quantiser.range`, `geometry.unknown`.
    """

    def __init__(self, raster: Raster, modulation: Modulation, quantiser: int | None = None) -> None:
        check_raster(raster, quantiser)
        first, second = modulation.first, modulation.second
        if not (1 <= first <= COEFFICIENTS_MAX and 0 <= second <= COEFFICIENTS_MAX):
            raise Permanent("modulation.unknown", f"there are no blocks with {first} and {second} coefficients")
        self.raster = raster
        self.picture_bytes = raster.macroblocks * (2 * first + second)
        self._first, self._second, self._quantiser = first, second, quantiser
        self._layout = _layout(first, second)
        self._scattered = np.zeros((16 + 8) * BLOCK, np.int16)
        self._line = np.zeros(COEFFICIENTS_MAX * LINE, np.int16)
        self._work = np.zeros(len(self._layout.lines) * LANES, np.uint16)
        self._tail = np.zeros(raster.columns * len(self._layout.lines) + 7, np.uint8)
        self._numbers = np.zeros(4 * COLUMNS_MAX, np.uint32)
        self._blocks = np.zeros(8 * COLUMNS_MAX, np.uint64)

    def render(self, content: Bytes, picture: Picture) -> None:
        """Draw `content` uint8[picture_bytes] in the data area of `picture`, and nothing else.

        Raises: ValueError without a quantiser or with another size; Permanent `picture.size`.
        """
        if self._quantiser is None:
            raise ValueError("drawing needs the quantiser")
        check_buffer(content, self.picture_bytes)
        content = np.require(content, np.uint8, "W")
        luma, chroma = tables(self._first, self._second, self._quantiser)
        parts = areas(self.raster, picture)
        drawn = [whole_words(part) for part in parts]
        y, u, v = (plane.view(np.uint32) for plane in drawn)
        first, second, width = self._first, self._second, len(self._layout.lines)
        render_luma(content, first, width, luma, self._tail, self._blocks, y)
        if second:
            work = (self._tail, self._numbers, self._blocks)
            render_chroma(content, 16 * first, second, width, chroma, *work, u)
            render_chroma(content, 16 * first + 4 * second, second, width, chroma, *work, v)
        for part, plane in zip(parts[: 3 if self._second else 1], drawn, strict=False):
            if plane is not part:
                part[:] = plane

    def demodulate(self, picture: Picture, content: Bytes, margin: Bytes) -> None:
        """Read `content` uint8[picture_bytes] and how sure each byte is: `margin` uint8[picture_bytes].

        Raises: ValueError with a buffer of another size; Permanent `picture.size`.
        """
        check_buffer(content, self.picture_bytes)
        check_buffer(margin, self.picture_bytes)
        y, u, v = (np.require(plane, np.uint8, ["C", "W"]) for plane in areas(self.raster, picture))
        work = (self._layout.lines, self._layout.scales, self._line, self._scattered)
        if self._quantiser is None:
            sums = np.zeros(len(self._layout.lines))
            measure(y, u, v, self._second > 0, *work, sums)
            nominal = mean_amplitudes(self._layout, sums, self.raster)
        else:
            nominal = quantiser_step(self._quantiser), quantiser_step(chroma_quantiser(self._quantiser))
        gain = gains(self._layout, *nominal)
        demodulate(y, u, v, self._second > 0, *work, gain, self._work, content, margin)


@lru_cache(maxsize=8)
def _layout(first: int, second: int) -> BitLayout:
    scan = zigzag(4)
    norms = [_NORMS[v] * _NORMS[h] for v, h in scan]
    blocks = [(block, first) for block in range(16)] + [(block, second) for block in range(16, 24)]
    return bit_layout(blocks, norms, 16 * first)


@lru_cache(maxsize=4)
def tables(first: int, second: int, quantiser: int) -> tuple[Words, Words]:
    """Every block as two words of 8 pixels: luma uint64[2 * 2^first]; chroma uint64[2 * 5 * 2^(second - 1)].

    A chroma block's number is its DC level (-2 to 2 times the amplitude, counted from 0) times 2^(second - 1), and
    the bits of its other coefficients.
    """
    luma = block_table(4, first, quantiser_step(quantiser), LUMA_REST)
    parts = contributions(4, max(second, 1), quantiser_step(chroma_quantiser(quantiser)))
    levels = np.arange(_DC_LEVELS)[:, None, None] - _DC_LEVELS // 2
    chroma = pixels(levels * parts[0] + signed_sums(parts[1:]), CHROMA_REST)
    return luma.ravel().view(np.uint64), chroma.ravel().view(np.uint64)
