"""What the DCT families share: transforms as tables, and what each byte is weighed with.

A block's bits are the signs of its first coefficients in zig-zag order, bit 1 positive, coefficient 0 the least
significant bit of its block number. Amplitudes are in the orthonormal DCT domain. Pixels are whole numbers made from
contributions in 1/32 pixel, so that every implementation draws the same picture: each coefficient's contribution is
rounded half up to 1/32, and the sum of rest and contributions is rounded half up and clipped.

Source: ITU-T H.264 (08/2021) 8.5.6 inverse zig-zag scan, table 8-15 chroma quantiser; FORMAT.md section 16.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.raster import Picture, Plane, Raster
from bytereel_codec.channel.symbols.modulator import MARGIN_NOMINAL, Bytes
from bytereel_codec.channel.symbols.transforms_kernels import (
    COEFFICIENTS_MAX,
    COLUMNS_MAX,
    GAIN_ONE,
    LANES,
    MEASURED_ROWS,
)
from bytereel_codec.errors import Permanent

Reals = npt.NDArray[np.float64]

QUANTISER_MAX = 51
STEPS_A_PIXEL = 32
STRENGTHS_A_UNIT = 16
"""A strength is a coefficient's absolute value in the orthonormal domain, in sixteenths."""
_MEAN_MIN = 0.25
_CHROMA_QUANTISERS = (29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39)


class BitLayout(NamedTuple):
    """Where the bits of a macroblock's bytes stand among its scattered coefficients.

    `lines` int64[bytes, 8]: the element where a bit's line begins. `scales` uint16[bytes, 8]: strength of a
    coefficient of 1, in 1 / 2^19. `luma_bytes`: how many of the bytes are luma's, the first ones.
    """

    lines: npt.NDArray[np.int64]
    scales: npt.NDArray[np.uint16]
    luma_bytes: int


def quantiser_step(quantiser: int) -> float:
    """The step of H.264's quantiser `quantiser` (0 to 51) in the orthonormal domain."""
    return float(2 ** ((quantiser - 4) / 6))


def chroma_quantiser(quantiser: int) -> int:
    """The chroma quantiser that goes with a luma quantiser (0 to 51), offset 0. Source: H.264 table 8-15."""
    return quantiser if quantiser < 30 else _CHROMA_QUANTISERS[quantiser - 30]


def basis(size: int) -> Reals:
    """The orthonormal DCT-II: float64[frequency, position]."""
    frequency, position = np.arange(size)[:, None], np.arange(size)
    scale = np.where(frequency == 0, np.sqrt(1 / size), np.sqrt(2 / size))
    return np.asarray(scale * np.cos((2 * position + 1) * frequency * np.pi / (2 * size)), np.float64)


def zigzag(size: int) -> list[tuple[int, int]]:
    """The frame scan: (vertical, horizontal) frequency of each coefficient in order."""
    order = [(v, d - v) for d in range(2 * size - 1) for v in (range(d + 1) if d % 2 else range(d, -1, -1))]
    return [(v, h) for v, h in order if v < size and h < size]


def coefficients_of(size: int, count: int) -> list[tuple[tuple[int, int], ...]]:
    """The coefficients that each of the `count` bits of a block is the sign of; a reader looks at the first of them.

    Of 16 bits in an 8 x 8 block the last stands at position 16, and position 15 repeats the one before: five half-waves
    across a block are what scaling to two thirds and back takes away first. Without any coefficient there CABAC
    would cost more (the positions 1 to 15 share their contexts, 16 has another: a full run to 16 costs all but
    nothing).
    """
    scan = zigzag(size)
    if size == 8 and count == COEFFICIENTS_MAX:
        return [*((place,) for place in scan[:14]), (scan[14], scan[15]), (scan[16],)]
    return [(place,) for place in scan[:count]]


def contributions(size: int, count: int, amplitude: float) -> Reals:
    """What each of the `count` bits of a block adds to the pixels when it is 1, in 1 / 32: [count, size * size]."""
    rows = basis(size)

    def pixels_of(place: tuple[int, int]) -> Reals:
        one = np.outer(rows[place[0]], rows[place[1]]).ravel() * amplitude
        return np.asarray(np.floor(one * STEPS_A_PIXEL + 0.5), np.float64)

    drawn = [sum(map(pixels_of, places)) for places in coefficients_of(size, count)]
    return np.array(drawn, np.float64).reshape(count, size * size)


def signed_sums(parts: Reals) -> Reals:
    """The sum of +-parts for every block number: [2^count, pixels] from [count, pixels]."""
    bits = np.arange(1 << len(parts))[:, None] >> np.arange(len(parts)) & 1
    return np.asarray((2 * bits - 1).astype(np.float64) @ parts, np.float64)


def pixels(sums: Reals, rest: int) -> Bytes:
    """Whole pixels around `rest` from sums in 1 / 32."""
    whole = rest + np.floor((sums + STEPS_A_PIXEL // 2) / STEPS_A_PIXEL)
    return np.asarray(np.clip(whole, 0, 255), np.uint8)


@lru_cache(maxsize=4)
def block_table(size: int, count: int, amplitude: float, rest: int) -> Bytes:
    """Every block there is: uint8[2^count, size * size]. Shared: not to be written."""
    return pixels(signed_sums(contributions(size, count, amplitude)), rest)


def bit_layout(blocks: Sequence[tuple[int, int]], norms: Sequence[float], luma_bits: int) -> BitLayout:
    """The layout of a macroblock from (block, coefficients in it) in order.

    `norms`: what the reader makes of a coefficient of 1 in the orthonormal domain, in zig-zag order.
    """
    bits = [(block, k) for block, count in blocks for k in range(count)]
    lines = [(block * COEFFICIENTS_MAX + k) * LANES for block, k in bits]
    scales = [round((1 << 16) * STRENGTHS_A_UNIT / (8 * norms[k])) for _, k in bits]
    return BitLayout(np.array(lines).reshape(-1, 8), np.array(scales, np.uint16).reshape(-1, 8), luma_bits // 8)


def gains(layout: BitLayout, luma: float, chroma: float) -> npt.NDArray[np.uint32]:
    """uint32[bytes]: what makes margins (times 4096) of strengths, when the nominal amplitudes are those."""
    amplitudes = np.full(len(layout.lines), max(chroma, _MEAN_MIN))
    amplitudes[: layout.luma_bytes] = max(luma, _MEAN_MIN)
    return np.asarray(np.rint(GAIN_ONE * MARGIN_NOMINAL / (STRENGTHS_A_UNIT * amplitudes)), np.uint32)


def mean_amplitudes(layout: BitLayout, sums: Reals, raster: Raster) -> tuple[float, float]:
    """The mean absolute coefficients of luma and chroma from `sums` float64[bytes] that `weigh` made."""
    macroblocks = raster.columns * len(range(raster.first_row, raster.last_row, MEASURED_ROWS))
    means = sums / (8 * STRENGTHS_A_UNIT * max(macroblocks, 1))
    luma, chroma = means[: layout.luma_bytes], means[layout.luma_bytes :]
    return float(luma.mean()), float(chroma.mean()) if chroma.size else 0.0


def check_raster(raster: Raster, quantiser: int | None) -> None:
    """Raises: Permanent `geometry.unknown`, `quantiser.range`."""
    if raster.columns > COLUMNS_MAX or raster.width % 16:
        raise Permanent("geometry.unknown", f"a picture {raster.width} pixels wide cannot carry blocks")
    if quantiser is not None and not 0 <= quantiser <= QUANTISER_MAX:
        raise Permanent("quantiser.range", f"the quantiser {quantiser} is not between 0 and {QUANTISER_MAX}")


def areas(raster: Raster, picture: Picture) -> list[Plane]:
    """The data area of each plane, views. Raises: Permanent `picture.size` when the picture is not the raster's."""
    full, half = (raster.height, raster.width), (raster.height // 2, raster.width // 2)
    for plane, shape in zip(picture, (full, half, half), strict=True):
        if plane.shape != shape or plane.dtype != np.uint8:
            raise Permanent(
                "picture.size",
                f"a plane of {plane.shape} {plane.dtype} stands where {shape} bytes must",
                expected=list(shape),
                actual=list(plane.shape),
            )
    return [p[raster.first_row * s : raster.last_row * s] for p, s in zip(picture, (16, 8, 8), strict=True)]


def whole_words(area: Plane) -> Plane:
    """`area` where it can be written eight bytes at a time, else a copy."""
    fit = area.flags.c_contiguous and area.flags.writeable and area.ctypes.data % 8 == 0
    return area if fit else area.copy()


def check_buffer(buffer: Bytes, size: int) -> None:
    """Raises: ValueError when `buffer` is not uint8[size], contiguous."""
    if buffer.shape != (size,) or buffer.dtype != np.uint8 or not buffer.flags.c_contiguous:
        raise ValueError(f"a buffer of {buffer.shape} {buffer.dtype} stands where {size} contiguous bytes must")
