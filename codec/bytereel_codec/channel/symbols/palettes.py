"""The colours of cells, the table that finds the nearest one, and the fit that undoes a changed range or gain.

`yuv` palettes are grids in Y, Cb, Cr, Gray-coded along each axis: a slip to the next level costs one bit. `ega` are
those of old RGB displays, converted by BT.709 (limited range) here. `grey` is for cells of one pixel, which have no
chroma of their own. The distance of two colours is dY^2 + (dCb^2 + dCr^2) / 2: chroma comes back from a codec with
about twice the variance of luma.

Source: FORMAT.md section 18; ITU-R BT.709-6 item 3; IBM Enhanced Color Display (1984) for the 16 and 64 colours.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.channel.symbols.modulator import MARGIN_NOMINAL
from bytereel_codec.errors import Permanent

Colours = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.int16]
Entries = npt.NDArray[np.uint16]
Fit = npt.NDArray[np.float64]
LUMA_UNIT, CHROMA_UNIT = 14, 64
"""Measured levels are in fractions of a step of luma and of chroma: the sums of their weights."""
_GAIN_MIN, _GAIN_MAX = 0.6, 1.7
_UNTOUCHED = 0.9 * MARGIN_NOMINAL  # mean margin from which the range is taken as it is
FIXED = 65536
UNITS = np.array([LUMA_UNIT, CHROMA_UNIT, CHROMA_UNIT], np.float64)
_BLOCK = 1024
_RANGES: tuple[Fit, ...] = tuple(  # gain and offset of Y, Cb, Cr: as it is, limited back to full, full back to limited
    np.array(channels, np.float64)
    for channels in (
        [[1, 0], [1, 0], [1, 0]],
        [[255 / 219, -16 * 255 / 219], [255 / 224, 128 - 128 * 255 / 224], [255 / 224, 128 - 128 * 255 / 224]],
        [[219 / 255, 16], [224 / 255, 128 - 128 * 224 / 255], [224 / 255, 128 - 128 * 224 / 255]],
    )
)

_GRIDS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    2: ((60, 192), (78, 178), (128,)),
    4: ((36, 96, 156, 216), (78, 178), (78, 178)),
    6: ((36, 96, 156, 216), (44, 100, 156, 212), (44, 100, 156, 212)),
    8: ((36, 62, 87, 113, 139, 165, 190, 216), (38, 64, 89, 115, 141, 167, 192, 218), (38, 98, 158, 218)),
}
_GREYS = {2: (36, 60), 4: (36, 12), 6: (32, 3), 8: (0, 1)}  # the darkest and the step


class Nearest(NamedTuple):
    """The nearest colour of every Y, Cb, Cr: `table` uint16[2^(luma + 2 * chroma bits)], margin << 8 | symbol.

    The index is made of the uppermost `luma_bits` of Y and `chroma_bits` of Cb and of Cr.
    """

    table: Entries
    luma_bits: int
    chroma_bits: int


def colours_of(bits: int, name: str) -> Colours:
    """The palette `name` (`yuv`, `ega`, `grey`) of 2^`bits` colours: uint8[colours, 3] of Y, Cb, Cr, by symbol.

    Raises: Permanent `modulation.unknown`.
    """
    if bits not in _GRIDS or name not in ("yuv", "ega", "grey"):
        raise Permanent("modulation.unknown", f"there is no palette {name!r} of {bits} bits", bits=bits, palette=name)
    if name == "yuv":
        return _grid(*_GRIDS[bits])
    if name == "ega":
        return _converted(_ega(bits))
    first, step = _GREYS[bits]
    return _grid(tuple(range(first, first + (step << bits), step)), (128,), (128,))


def _grid(*axes: tuple[int, ...]) -> Colours:
    """All combinations of the axes' levels, each axis Gray-coded, the first one in the uppermost bits."""
    colours = np.empty((int(np.prod([len(axis) for axis in axes])), 3), np.uint8)
    for position in np.ndindex(*(len(axis) for axis in axes)):
        symbol = 0
        for level, axis in zip(position, axes, strict=True):
            symbol = symbol * len(axis) + (level ^ level >> 1)
        colours[symbol] = [axis[level] for level, axis in zip(position, axes, strict=True)]
    return colours


def _ega(bits: int) -> npt.NDArray[np.int64]:
    """The display's colours in RGB, 0 to 255: int64[colours, 3]."""
    number = np.arange(1 << bits)
    if bits == 2:
        number = np.array([0, 11, 13, 15])  # the four of its predecessor: black, cyan, magenta, white
    if bits == 8:
        return np.stack([(number >> 5) * 255 // 7, (number >> 2 & 7) * 255 // 7, (number & 3) * 85], axis=1)
    bright = [number >> shift & 1 for shift in ((5, 4, 3) if bits == 6 else (3, 3, 3))]
    rgb = np.stack([170 * (number >> shift & 1) + 85 * bright[2 - shift] for shift in (2, 1, 0)], axis=1)
    if bits == 4:
        rgb[6] = 170, 85, 0  # brown, where the rule gives a dark yellow
    return rgb


def _converted(rgb: npt.NDArray[np.int64]) -> Colours:
    """BT.709, limited range: uint8[colours, 3] from int64[colours, 3]."""
    red, green, blue = rgb.T / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    values = 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748
    return np.floor(np.stack(values, axis=1) + 0.5).astype(np.uint8)


@lru_cache(maxsize=8)
def nearest_table(bits: int, name: str) -> Nearest:
    """The table of that palette; `grey` looks at luma alone, at all its bits.

    Raises: Permanent `modulation.unknown`.
    """
    luma_bits, chroma_bits = (8, 0) if name == "grey" else (6, 6)
    table = np.empty(1 << luma_bits + 2 * chroma_bits, np.uint16)
    _fill(colours_of(bits, name).astype(np.float32), luma_bits, chroma_bits, table)
    table.setflags(write=False)
    return Nearest(table, luma_bits, chroma_bits)


@njit(cache=True, nogil=True)
def _bin_of(y, u, v, luma_bits, chroma_bits):  # type: ignore[no-untyped-def]
    """The table's index of a colour, its values within 0..255."""
    shift = 8 - chroma_bits
    return (int(y) >> (8 - luma_bits)) << 2 * chroma_bits | (int(u) >> shift) << chroma_bits | (int(v) >> shift)


@njit(cache=True, nogil=True)
def _fill(colours, luma_bits, chroma_bits, table):  # type: ignore[no-untyped-def]
    """Nearest colour and margin of every bin's middle; a colour's own bin has the nominal margin."""
    luma_step, chroma_step = np.float32(256 >> luma_bits), np.float32(256 >> chroma_bits)
    gaps = np.empty(table.size, np.float32)
    for index in range(table.size):
        u, v = index >> chroma_bits & ((1 << chroma_bits) - 1), index & ((1 << chroma_bits) - 1)
        y_middle = (index >> 2 * chroma_bits) * luma_step + (luma_step - 1) / 2
        u_middle, v_middle = u * chroma_step + (chroma_step - 1) / 2, v * chroma_step + (chroma_step - 1) / 2
        best, second, symbol = np.float32(1e9), np.float32(1e9), 0
        for candidate in range(len(colours)):
            dy, du, dv = (
                y_middle - colours[candidate, 0],
                u_middle - colours[candidate, 1],
                v_middle - colours[candidate, 2],
            )
            distance = np.float32(dy * dy + (du * du + dv * dv) / 2)
            if distance < best:
                best, second, symbol = distance, best, candidate
            elif distance < second:
                second = distance
        table[index] = symbol
        gaps[index] = np.sqrt(second) - np.sqrt(best)
    for index in range(table.size):
        colour = colours[table[index]]
        nominal = gaps[_bin_of(colour[0], colour[1], colour[2], luma_bits, chroma_bits)]
        margin = min(np.float32(MARGIN_NOMINAL), np.rint(MARGIN_NOMINAL * gaps[index] / nominal))
        table[index] |= np.uint16(np.uint16(margin) << 8)


def classify(levels: Levels, fitted: Fit, nearest: Nearest, entries: Entries) -> None:
    """The table's entry of each of `levels` int16[3, n] (Y, Cb, Cr in their units), brought back by `fitted`."""
    scale = np.rint(fitted[:, 0] * FIXED / UNITS).astype(np.int32)
    offset = np.rint((fitted[:, 1] + 0.5) * FIXED).astype(np.int32)  # and a half, for rounding
    _classify(levels, scale, offset, *nearest, entries)


def fit(sample: Levels, nearest: Nearest, colours: Colours) -> Fit:
    """The gain and offset of Y, Cb and Cr that bring read colours back to the palette: float64[3, 2].

    `sample` int16[3, n] holds measured levels. From each of four guesses (as it is, limited to full range, full to
    limited, the palette's own mean and spread) the colours are decided, and gain and offset found by least squares; the
    result that explains most of the sample's variance is taken and improved once more. Where the margins are good as
    they are, nothing is changed. The guess by mean and spread supposes that colours are about equally frequent.
    """
    entries, as_it_is = np.empty(sample.shape[1], np.uint16), _RANGES[0]
    classify(sample, as_it_is, nearest, entries)
    if int((entries >> 8).sum()) >= _UNTOUCHED * entries.size:
        return as_it_is

    def improved(guess: Fit) -> tuple[float, Fit]:
        fitted = guess.copy()
        classify(sample, fitted, nearest, entries)
        return _refine(sample, entries, colours, UNITS, fitted), fitted

    best = min((improved(guess) for guess in (*_RANGES, _by_spread(sample, colours))), key=_unexplained)
    return min(best, improved(best[1]), key=_unexplained)[1]


def _unexplained(result: tuple[float, Fit]) -> float:
    return result[0]


def _by_spread(sample: Levels, colours: Colours) -> Fit:
    """The fit that gives the sample the mean and the standard deviation of the palette."""
    wanted, read = colours.std(axis=0), sample.std(axis=1) / UNITS
    gain = np.where(wanted > 0, wanted / np.maximum(read, 1.0), 1.0).clip(_GAIN_MIN, _GAIN_MAX)
    fitted: Fit = np.stack([gain, colours.mean(axis=0) - gain * sample.mean(axis=1) / UNITS], axis=1)
    return fitted


@njit(cache=True, nogil=True)
def _refine(sample, entries, colours, units, fitted):  # type: ignore[no-untyped-def]
    """Fit each channel by the least squares of read on decided values, where sound; return the variance not explained.

    1.0 is all of it, as a mean over the channels in which the decided colours differ.
    """
    unexplained, channels = 0.0, 0
    for channel in range(3):
        mean, mean_read, spread, spread_read, product = _moments(sample[channel], entries, colours[:, channel].copy())
        slope = product / max(spread, 1.0) / units[channel]
        if spread >= 1.0 and 1 / _GAIN_MAX <= slope <= 1 / _GAIN_MIN:
            fitted[channel, 0] = 1 / slope
            fitted[channel, 1] = mean - mean_read / units[channel] / slope
            unexplained += 1 - product * product / (spread * spread_read)
            channels += 1
    return unexplained / channels if channels else 1.0


@njit(cache=True, nogil=True)
def _moments(levels, entries, values):  # type: ignore[no-untyped-def]
    """Means of decided and read values, their variances and covariance; `values` are the colours' in one channel."""
    count = entries.size
    decided = read = squares = squares_read = products = np.int64(0)
    for index in range(count):
        value, level = np.int64(values[entries[index] & 255]), np.int64(levels[index])
        decided += value
        read += level
        squares += value * value
        squares_read += level * level
        products += value * level
    mean, mean_read = decided / count, read / count
    spread, spread_read = squares / count - mean * mean, squares_read / count - mean_read * mean_read
    return mean, mean_read, spread, spread_read, products / count - mean * mean_read


@njit(cache=True, nogil=True)
def _scaled(level, scale, offset, shift):  # type: ignore[no-untyped-def]
    """A measured level as 0..255, without its lowest bits."""
    value = np.int32(np.int32(np.int32(np.int32(level) * scale) + offset) >> np.int32(16))
    return np.int32(min(max(value, np.int32(0)), np.int32(255)) >> shift)


@njit(cache=True, nogil=True)
def _classify(levels, scale, offset, table, luma_bits, chroma_bits, entries):  # type: ignore[no-untyped-def]
    """The table's entry of every cell: indices for a block, by whole vectors, then the look-ups."""
    indices = np.empty(_BLOCK, np.int32)
    y_shift, shift, bits = np.int32(8 - luma_bits), np.int32(8 - chroma_bits), np.int32(chroma_bits)
    for start in range(0, entries.size, _BLOCK):
        target = entries[start : start + _BLOCK]
        ys, us, vs = levels[0, start:], levels[1, start:], levels[2, start:]
        for i in range(target.size):
            y = _scaled(ys[i], scale[0], offset[0], y_shift)
            u, v = _scaled(us[i], scale[1], offset[1], shift), _scaled(vs[i], scale[2], offset[2], shift)
            indices[i] = np.int32(np.int32(np.int32(np.int32(y << bits) | u) << bits) | v)
        for i in range(target.size):
            target[i] = table[indices[i]]
