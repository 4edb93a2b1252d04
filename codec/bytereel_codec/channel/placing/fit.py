"""Fits a rectangle in which strips were read to a fraction of a pixel, by a matched filter for their known pattern.

The filter's output is the pattern's inner product with the pictures over the root of its energy; what lies outside of
them does not count. Integral images give the sum of any rectangle, so a score takes as long for any size.

Source: FORMAT.md section 14; the matched filter is that of any text on detection.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.channel.raster import Plane, Raster
from bytereel_codec.channel.strip import Cells, Reading, cells_of, search, signs

Floats = npt.NDArray[np.float64]
CROP_MIN = 0.6  # pixels of the raster: an edge less than this outside the window is not, for crops take whole ones
_INSET_MAX = 2.0  # pixels of the raster: an edge less than this inside it is not, but blurred by an encoder
_PLAIN = 0.5  # a rectangle this near to the window is the window, if the pattern matches as well there
_PLAIN_SCORE = 0.995
_FIT_STEPS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
_FIT_MOVES_MAX = 8
_FIT_REACH = 12  # quarters of half a strip
_FIT_GAIN = 1.2  # the least by which a strip found elsewhere must better the score: both should nearly double it
_FIT_MOVES = np.array([(1, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 1, 1)], np.float64)


class _View(NamedTuple):
    """What the fit needs of one picture: integral images around both strips, their first rows, and the pattern."""

    upper: Floats
    lower: Floats
    upper_row: int
    lower_row: int
    weights: Floats
    level: float


def fitted(windows: Sequence[Plane], raster: Raster, window: Plane, reading: Reading, rect: Floats) -> Floats:
    """The rectangle near `rect`, where `window` gave `reading`, that matches the strips of all windows best.

    `windows`: uint8[height, width], all of one size. Rectangles: float64[4], x, y, width, height in pixels of them.
    """
    cells = cells_of(raster)
    views = [_view(window, cells, reading, rect)]
    rect = _fit(views, cells, rect)
    readings = [(other, search(other, raster, rect[None])) for other in windows]
    views = [_view(other, cells, found, rect) for other, found in readings if found is not None] or views
    rect = _fit(views, cells, rect)
    is_scaled = (np.abs(rect[2:] - (raster.width, raster.height)) >= CROP_MIN).any()
    return _filled(views, cells, rect, window.shape) if is_scaled else rect


def _filled(views: Sequence[_View], cells: Cells, rect: Floats, shape: tuple[int, ...]) -> Floats:
    """A scaled picture's rectangle with those edges on the window's edges that are likely to be there.

    Crops take whole pixels of the raster, and no picture ends within the window: bars were cut off before.
    """
    rows, columns = shape
    ends, edges = np.array([0.0, 0, columns, rows]), np.concatenate((rect[:2], rect[:2] + rect[2:]))
    inward = (edges - ends) * (1, 1, -1, -1) * np.tile((cells.raster_width / columns, cells.raster_height / rows), 2)
    if np.abs(edges - ends).max() < _PLAIN and _score(views, cells, ends) >= _PLAIN_SCORE * _score(views, cells, rect):
        return ends
    edges = np.where((inward > -CROP_MIN) & (inward < _INSET_MAX), ends, edges)
    return np.concatenate((edges[:2], edges[2:] - edges[:2]))


def _view(plane: Plane, cells: Cells, reading: Reading, rect: Floats) -> _View:
    scale = rect[3] / cells.raster_height
    reach, height = 16 + 2 * cells.height * scale, cells.rows * cells.height * scale
    bands = []
    for y in (rect[1] + cells.upper * scale, rect[1] + cells.lower * scale):
        first = int(np.clip(y - reach, 0, plane.shape[0]))
        bands.append((first, plane[first : max(first, int(y + height + reach))]))
    (upper_row, upper), (lower_row, lower) = bands
    weights = signs(reading.header).reshape(cells.rows, cells.a_row)
    weights -= weights.mean(axis=1, keepdims=True)
    return _View(_integral(upper), _integral(lower), upper_row, lower_row, weights, (reading.dark + reading.light) / 2)


def _integral(band: Plane) -> Floats:
    """float64[rows + 1, columns + 1]: the sum of all pixels above and left."""
    if band.shape[0] == 0:
        return np.zeros((1, band.shape[1] + 1))
    return np.asarray(cv2.integral(band, sdepth=cv2.CV_64F), np.float64)


def _score(views: Sequence[_View], cells: Cells, rect: Floats) -> float:
    """How well the pattern of all views matches at `rect`: their matched filter's output."""
    matches = [_match(view, cells, rect) for view in views]
    return float(sum(m[0] for m in matches) / np.sqrt(max(1.0, sum(m[1] for m in matches))))


def _fit(views: Sequence[_View], cells: Cells, rect: Floats) -> Floats:
    """Move the ends of the strips, by ever smaller steps, to where their pattern matches best.

    Each strip is looked for up and down first: perhaps the other one alone was read.
    """
    half, used = cells.rows * cells.height / 2, cells.a_row * cells.width

    def rect_of(ends: Floats) -> Floats:
        scale_x, scale_y = (ends[1] - ends[0]) / used, (ends[3] - ends[2]) / (cells.lower - cells.upper)
        x, y = ends[0] - cells.x * scale_x, ends[2] - (cells.upper + half) * scale_y
        return np.array([x, y, scale_x * cells.raster_width, scale_y * cells.raster_height])

    scale_x, scale_y = rect[2] / cells.raster_width, rect[3] / cells.raster_height
    left, top = rect[0] + cells.x * scale_x, rect[1] + (cells.upper + half) * scale_y
    ends = np.array([left, left + used * scale_x, top, top + (cells.lower - cells.upper) * scale_y])
    best = _score(views, cells, rect)
    for move in _FIT_MOVES[3:5]:
        tries = [ends + i * half / 4 * scale_y * move for i in range(-_FIT_REACH, _FIT_REACH + 1)]
        scores = [_score(views, cells, rect_of(moved)) for moved in tries]
        if max(scores) > _FIT_GAIN * best:
            best, ends = max(scores), tries[int(np.argmax(scores))]
    moves = np.concatenate((_FIT_MOVES, -_FIT_MOVES))
    for step in np.array(_FIT_STEPS) * max(1.0, scale_x):
        for _ in range(_FIT_MOVES_MAX):
            scores = [_score(views, cells, rect_of(ends + step * move)) for move in moves]
            chosen = int(np.argmax(scores))
            if scores[chosen] <= best:
                break
            best, ends = scores[chosen], ends + step * moves[chosen]
    return rect_of(ends)


@njit(cache=True, nogil=True)
def _sum_to(integral, x, y):  # type: ignore[no-untyped-def]
    """The sum of the pixels left of `x` and above `y`, parts of pixels counted as parts."""
    i, j = min(int(x), integral.shape[1] - 2), min(int(y), integral.shape[0] - 2)
    u, v = x - i, y - j
    above = integral[j, i] * (1 - u) + integral[j, i + 1] * u
    below = integral[j + 1, i] * (1 - u) + integral[j + 1, i + 1] * u
    return above * (1 - v) + below * v


@njit(cache=True, nogil=True)
def _overlap(one, other, start, width, size, sharpness):  # type: ignore[no-untyped-def]
    """The inner product of two rows of cells as pixels show them, from `start` on, as far as within 0 to `size`.

    A pixel that two cells share shows the mean of them: without that, edges would seem to lie between pixels. But where
    the video is larger than the raster its edges are blurred already: that share counts by `sharpness`, 0 to 1.
    """
    total, plain, pixel, mean_one, mean_other = 0.0, 0.0, -1, 0.0, 0.0
    for cell in range(one.size):
        left, right = max(start + cell * width, 0.0), min(start + (cell + 1) * width, size)
        if right <= left:
            continue
        plain += one[cell] * other[cell] * (right - left)
        first, last = int(left), int(right)
        if first != pixel:
            total += mean_one * mean_other
            pixel, mean_one, mean_other = first, 0.0, 0.0
        share = min(right, first + 1) - left
        mean_one, mean_other = mean_one + one[cell] * share, mean_other + other[cell] * share
        if last > first:
            total += mean_one * mean_other + one[cell] * other[cell] * (last - first - 1)
            pixel, mean_one, mean_other = last, one[cell] * (right - last), other[cell] * (right - last)
    return (total + mean_one * mean_other) * sharpness + plain * (1 - sharpness)


@njit(cache=True, nogil=True)
def _row_product(integral, weights, level, x, width, top, bottom):  # type: ignore[no-untyped-def]
    """The inner product of a row of cells with the picture between `top` and `bottom`."""
    product = 0.0
    for cell in range(weights.size):
        left, right = max(x + cell * width, 0), min(x + (cell + 1) * width, integral.shape[1] - 1)
        if right > left:
            total = _sum_to(integral, right, bottom) - _sum_to(integral, left, bottom)
            total += _sum_to(integral, left, top) - _sum_to(integral, right, top)
            product += weights[cell] * (total - level * (right - left) * (bottom - top))
    return product


@njit(cache=True, nogil=True)
def _match(view, cells, rect):  # type: ignore[no-untyped-def]
    """The pattern's inner product with the picture at `rect`, and with itself; what lies outside does not count."""
    scale_x, scale_y = rect[2] / cells.raster_width, rect[3] / cells.raster_height
    x, width, height = rect[0] + cells.x * scale_x, cells.width * scale_x, cells.height * scale_y
    sharp_x, sharp_y = 1 / max(1.0, scale_x), 1 / max(1.0, scale_y)
    whole, product, energy = np.ones(1), 0.0, 0.0
    for strip in range(2):
        integral, first = (view.lower, view.lower_row) if strip else (view.upper, view.upper_row)
        columns, rows = integral.shape[1] - 1, integral.shape[0] - 1
        y = rect[1] + (cells.lower if strip else cells.upper) * scale_y - first
        for row in range(cells.rows):
            top, bottom = max(y + row * height, 0), min(y + (row + 1) * height, rows)
            if bottom <= top:
                continue
            own = view.weights[row]
            product += _row_product(integral, own, view.level, x, width, top, bottom)
            across = _overlap(own, own, x, width, columns, sharp_x)
            energy += across * _overlap(whole, whole, top, bottom - top, rows, sharp_y)
            share = bottom - int(bottom)
            if row + 1 < cells.rows and share > 0:
                across = _overlap(own, view.weights[row + 1], x, width, columns, sharp_x)
                energy += 2 * across * share * (1 - share) * sharp_y
    return product, energy
