"""Finds where a reel's pictures lie in a video that someone framed, cropped, shifted or scaled, and puts them back.

A hypothesis is a rectangle of the video that would be the whole picture of a raster. It counts when the strips can be
read there; then it is fitted: the strips' pattern, known now, is moved and stretched until it matches best, to a
fraction of a pixel. Brightness, contrast and range do not matter. Nothing here converts colours.

Source: FORMAT.md section 14; the matched filter is that of any text on detection.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, RASTERS, Picture, Plane, Raster
from bytereel_codec.channel.strip import Cells, Reading, Rects, cells_of, search, signs
from bytereel_codec.errors import Permanent

PICTURES_MAX = 6  # read to find the place
SHIFT_MAX = 32  # pixels, each way
STRETCH_MAX = 8  # pixels of the raster by which an edge of a scaled picture may be off
CROP_MAX = 64  # pixels that a video may be smaller than the raster that it shows unscaled
_SIZE_MIN = 32  # pixels
_CELL_PIXELS_MIN = 2.0
_CONTRAST_MIN = 0.25  # of a picture; faint strips alone make 0.7
_SNAP = 0.12  # an edge as near to a whole pixel as this lies on it
_SNAP_UNSCALED = 0.35
_CROP_MIN = 0.6  # pixels of the raster: an edge less than this outside the window is not, for crops take whole ones
_INSET_MAX = 2.0  # pixels of the raster: an edge less than this inside it is not, but blurred by an encoder
_PLAIN = 0.5  # a rectangle this near to the window is the window, if the pattern matches as well there
_PLAIN_SCORE = 0.995
_FIT_STEPS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
_FIT_MOVES_MAX = 8
_FIT_REACH = 12  # quarters of half a strip
_FIT_GAIN = 1.2  # the least by which a strip found elsewhere must better the score: both should nearly double it
_FIT_MOVES = np.array([(1, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 1, 1)], np.float64)
_RESTS = (LUMA_REST, CHROMA_REST, CHROMA_REST)

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Area(NamedTuple):
    """Whole pixels `left` to `right` - 1, `top` to `bottom` - 1 of a video."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Placement:
    """The rectangle, in pixels of the video, that the full picture of `raster` occupies; it may reach out of the video.

    `visible` is the part of the video that shows pictures and no frame around them.
    """

    raster: Raster
    x: float
    y: float
    width: float
    height: float
    visible: Area

    @property
    def is_shift(self) -> bool:
        """Whether the picture is neither scaled nor between pixels."""
        return self.width == self.raster.width and self.height == self.raster.height and _are_whole(self.x, self.y)

    @property
    def is_identity(self) -> bool:
        """Whether the picture stands where it was written, and all of it can be seen."""
        whole = Area(0, 0, self.raster.width, self.raster.height)
        return self.is_shift and self.x == self.y == 0 and self.visible == whole


def _are_whole(*values: float) -> bool:
    return all(float(value).is_integer() for value in values)


def locate(pictures: Sequence[Picture]) -> Placement | None:
    """Where the pictures of a reel lie in a video, from a few of its pictures in any order; None where none is seen.

    The `PICTURES_MAX` with the most contrast are used. One whose strips can be read is enough, more make a better fit.
    Raises: Permanent `picture.size` when they are not of one size.
    """
    if not pictures:
        return None
    height, width = pictures[0].y.shape
    for picture in pictures:
        _check_size(picture, height, width)
    planes = _telling([picture.y for picture in pictures])
    if not planes or min(width, height) < _SIZE_MIN:
        return None
    whole = Area(0, 0, width, height)
    for area in dict.fromkeys((_visible_area(planes), whole)):
        windows = [np.ascontiguousarray(plane[area.top : area.bottom, area.left : area.right]) for plane in planes]
        found = _found(windows)
        if found is not None:
            raster, rect = found
            rect[:2] += area.left, area.top
            return _snapped(raster, rect, area, whole)
    return None


def _found(windows: Sequence[Plane]) -> tuple[Raster, Floats] | None:
    """The raster and the rectangle of the first hypothesis that a window confirms, fitted to all windows."""
    height, width = windows[0].shape
    for raster, rects in _hypotheses(width, height):
        for window in windows:
            reading = search(window, raster, rects)
            if reading is not None:
                return raster, _fitted(windows, raster, window, reading, rects[reading.rect])
    return None


def _check_size(picture: Picture, height: int, width: int) -> None:
    if picture.y.shape != (height, width):
        raise Permanent(
            "picture.size",
            f"the video changes its picture size, from {width} x {height} pixels",
            hint="cut it where it changes",
            expected=[height, width],
            actual=list(picture.y.shape),
        )


def _telling(planes: Sequence[Plane]) -> list[Plane]:
    """The planes with the most contrast, best first, without flat ones."""
    contrasts = [float(plane[::4, ::4].std()) for plane in planes]
    order = sorted(range(len(planes)), key=lambda i: -contrasts[i])
    return [planes[i] for i in order[:PICTURES_MAX] if contrasts[i] >= _CONTRAST_MIN]


def _visible_area(planes: Sequence[Plane]) -> Area:
    """The video without the dark or light bars around the pictures.

    A row belongs to the pictures when its mean, over the middle third of the columns and all planes, is nearer to that
    of the picture's middle than to black or white; so do the columns.
    """
    height, width = planes[0].shape
    rows = np.mean([plane[:, width // 3 : -(width // 3)].mean(axis=1) for plane in planes], axis=0)
    columns = np.mean([plane[height // 3 : -(height // 3)].mean(axis=0) for plane in planes], axis=0)
    top, bottom = _middle_run(rows)
    left, right = _middle_run(columns)
    return Area(left, top, right, bottom)


def _middle_run(means: Floats) -> tuple[int, int]:
    """The first and end index of the run around the middle that is neither dark nor light."""
    middle, size = float(np.median(means[means.size // 3 : -(means.size // 3)])), means.size
    outside = np.flatnonzero((means < middle / 3) | (means > (255 * 2 + middle) / 3))
    before, behind = outside[outside < size // 2], outside[outside >= size // 2]
    return (int(before[-1]) + 1 if before.size else 0), (int(behind[0]) if behind.size else size)


def _hypotheses(width: int, height: int) -> Iterator[tuple[Raster, Rects]]:
    """Rasters and the rectangles they may occupy in a window, the likely ones first. Some ten thousand rectangles."""
    near = [r for r in RASTERS.values() if abs(r.width - width) <= CROP_MAX and abs(r.height - height) <= CROP_MAX]
    for raster in near:
        yield raster, _shifts(raster, 0, 0, width - raster.width, height - raster.height)
    for raster in RASTERS.values():
        cells = cells_of(raster)
        if min(cells.width * width / raster.width, cells.height * height / raster.height) >= _CELL_PIXELS_MIN:
            yield raster, _stretches(raster, width, height)
    for raster in RASTERS.values():
        if raster not in near and raster.width <= width and raster.height <= height:
            yield raster, _shifts(raster, (width - raster.width) // 2, (height - raster.height) // 2, 0, 0)


def _shifts(raster: Raster, x: int, y: int, spare_x: int, spare_y: int) -> Rects:
    """Rectangles of the raster's own size with the corner at `x`, `y`, off by up to `SHIFT_MAX` and what is spare."""
    cells = cells_of(raster)
    step_x, step_y = _steps(cells)
    down, right = _offsets(spare_y, step_y), _offsets(spare_x, step_x)
    top, left = (grid.ravel() for grid in np.meshgrid(down, right, indexing="ij"))
    rects = np.empty((top.size, 4))
    rects[:] = (x, y, raster.width, raster.height)
    rects[:, 0] += left
    rects[:, 1] += top
    return rects[np.argsort(np.abs(top) + np.abs(left), kind="stable")]


def _steps(cells: Cells) -> tuple[int, int]:
    """How far apart hypotheses stand: a quarter of a cell, or a pixel where a crop may leave no more of a cell."""
    return cells.width // (8 if cells.x == 0 else 4), cells.height // (8 if cells.rows > 1 else 4)


def _offsets(spare: int, step: int) -> Floats:
    """Multiples of `step`, 0 among them, that cover the shifts within `spare` pixels and `SHIFT_MAX` beyond."""
    low, high = min(0, spare) - SHIFT_MAX, max(0, spare) + SHIFT_MAX
    return np.arange(low // step * step, high + step, step, dtype=np.float64)


def _stretches(raster: Raster, width: int, height: int) -> Rects:
    """Rectangles that are the whole window, each edge in or out by up to `STRETCH_MAX` pixels of the raster.

    Top and bottom move together: one strip alone can be read.
    """
    cells, reach = cells_of(raster), STRETCH_MAX
    step_x, step_y = _steps(cells)
    x = np.arange(-reach, reach + 1, step_x) * (width / raster.width)
    y = np.arange(-reach, reach + 1, step_y) * (height / raster.height)
    top, left, right = (grid.ravel() for grid in np.meshgrid(y, x, x, indexing="ij"))
    rects = np.stack((left, top, width + right - left, np.full(top.size, height)), axis=1)
    return rects[np.argsort(np.abs(top) + np.abs(left) + np.abs(right), kind="stable")]


class _View(NamedTuple):
    """What the fit needs of one picture: integral images around both strips, their first rows, and the pattern."""

    upper: Floats
    lower: Floats
    upper_row: int
    lower_row: int
    weights: Floats
    level: float


def _fitted(windows: Sequence[Plane], raster: Raster, window: Plane, reading: Reading, rect: Floats) -> Floats:
    """The rectangle near `rect`, where `window` gave `reading`, that matches the strips of all windows best."""
    cells = cells_of(raster)
    views = [_view(window, cells, reading, rect)]
    rect = _fit(views, cells, rect)
    readings = [(other, search(other, raster, rect[None])) for other in windows]
    views = [_view(other, cells, found, rect) for other, found in readings if found is not None] or views
    rect = _fit(views, cells, rect)
    is_scaled = (np.abs(rect[2:] - (raster.width, raster.height)) >= _CROP_MIN).any()
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
    edges = np.where((inward > -_CROP_MIN) & (inward < _INSET_MAX), ends, edges)
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


def _snapped(raster: Raster, rect: Floats, visible: Area, whole: Area) -> Placement:
    """The placement that a fitted rectangle means: unscaled, or its edges on whole pixels, where it is that nearly."""
    x, y, width, height = (float(value) for value in rect)
    if abs(width - raster.width) < _CROP_MIN and abs(height - raster.height) < _CROP_MIN:
        x, y = x + (width - raster.width) / 2, y + (height - raster.height) / 2
        width, height = raster.width, raster.height
        x, y = (float(round(v)) if abs(v - round(v)) < _SNAP_UNSCALED else v for v in (x, y))
    else:
        edges = (x, y, x + width, y + height)
        x, y, right, bottom = (float(round(v)) if abs(v - round(v)) < _SNAP else v for v in edges)
        width, height = right - x, bottom - y
    return Placement(raster, x, y, width, height, _bounded(visible, (x, y, x + width, y + height), whole))


def _bounded(visible: Area, edges: Sequence[float], whole: Area) -> Area:
    """The visible area without what lies outside the picture; an edge but a pixel within the picture's is that."""
    low = zip(visible[:2], edges[:2], whole[:2], strict=True)
    high = zip(visible[2:], edges[2:], whole[2:], strict=True)
    left, top = (v if v - e > 1 else max(w, math.floor(e)) for v, e, w in low)
    right, bottom = (v if e - v > 1 else min(w, math.ceil(e)) for v, e, w in high)
    return Area(left, top, right, bottom)


class Placer:
    """Puts the pictures of one video back to the size of their raster.

    Whole pixels are copied. Where luma stands an odd number of pixels off, chroma, which has half as many, goes by the
    half rounded toward zero: that is where croppers leave it. Scaling resamples each plane alone, chroma as if it stood
    in the middle of its four luma pixels. What cannot be seen rests grey.
    """

    def __init__(self, placement: Placement, video_width: int, video_height: int) -> None:
        """Args: a placement and the luma size of the video that it was found in."""
        self.placement = placement
        self.video_shape = (video_height, video_width)
        raster = placement.raster
        self._is_identity = placement.is_identity and self.video_shape == (raster.height, raster.width)
        lost = self._lost_macroblocks()
        self.lost = lost if lost.any() else None

    def place(self, picture: Picture) -> tuple[Picture, Mask | None]:
        """The picture as it was written, and which macroblocks of the full data area cannot be seen whole, or None.

        Identity gives the very planes; else they are new. The mask is bool[macroblocks], the same for all pictures.
        Raises: Permanent `picture.size` when the picture has not the video's size.
        """
        _check_size(picture, *self.video_shape)
        if self._is_identity:
            return picture, None
        placed = (self._placed(p, half, rest) for p, half, rest in zip(picture, (1, 2, 2), _RESTS, strict=True))
        return Picture(*placed), self.lost

    def _placed(self, plane: Plane, half: int, rest: int) -> Plane:
        """One plane at the raster's size; `half` is 2 for chroma."""
        place, raster = self.placement, self.placement.raster
        shape = (raster.height // half, raster.width // half)
        seen = place.visible
        left, top, right, bottom = seen.left // half, seen.top // half, -(-seen.right // half), -(-seen.bottom // half)
        plane = plane[top:bottom, left:right]
        if place.is_shift:
            return _shifted(plane, int(place.x / half) - left, int(place.y / half) - top, shape, rest)
        x, y = place.x / half - left, place.y / half - top
        return _scaled(plane, (x, y, place.width / half, place.height / half), shape, rest)

    def _lost_macroblocks(self) -> Mask:
        """bool[macroblocks] of the full data area: those that reach out of the visible area by half a pixel or more."""
        place, raster = self.placement, self.placement.raster
        scale_x, scale_y = place.width / raster.width, place.height / raster.height
        x, y = 16.0 * np.arange(raster.columns), 16.0 * np.arange(raster.first_row, raster.lower_strip_row)
        seen = place.visible
        columns = (x + 0.5 < (seen.left - place.x) / scale_x) | (x + 15.5 > (seen.right - place.x) / scale_x)
        rows = (y + 0.5 < (seen.top - place.y) / scale_y) | (y + 15.5 > (seen.bottom - place.y) / scale_y)
        return np.asarray(rows[:, None] | columns).ravel()


def _shifted(plane: Plane, x: int, y: int, shape: tuple[int, int], rest: int) -> Plane:
    """A plane of `shape` whose top left pixel is the one at `x`, `y` in `plane`."""
    placed = np.full(shape, rest, np.uint8)
    source = plane[max(0, y) : max(0, y + shape[0]), max(0, x) : max(0, x + shape[1])]
    placed[max(0, -y) :, max(0, -x) :][: source.shape[0], : source.shape[1]] = source
    return placed


def _scaled(plane: Plane, rect: tuple[float, float, float, float], shape: tuple[int, int], rest: int) -> Plane:
    """A plane of `shape` that shows the part `rect` (x, y, width, height) of `plane`, which may reach out of it.

    To a multiple of its size it is enlarged by repeating pixels: that keeps the coefficients of blocks apart.
    """
    x, y, width, height = rect
    rows, columns = shape
    if _are_whole(*rect) and x >= 0 and y >= 0 and x + width <= plane.shape[1] and y + height <= plane.shape[0]:
        source = plane[int(y) : int(y + height), int(x) : int(x + width)]
        is_multiple = columns % width == 0 and rows % height == 0
        is_smaller = width > columns and height > rows
        method = cv2.INTER_AREA if is_multiple or is_smaller else cv2.INTER_LANCZOS4
        return np.asarray(cv2.resize(source, (columns, rows), interpolation=method), np.uint8)
    scale_x, scale_y = width / columns, height / rows
    inverse = np.array([[scale_x, 0, x + scale_x / 2 - 0.5], [0, scale_y, y + scale_y / 2 - 0.5]])
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(plane, inverse, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    placed = np.full(shape, rest, np.uint8)
    left, right = _seen((np.arange(columns) + 0.5) * scale_x + x, plane.shape[1])
    top, bottom = _seen((np.arange(rows) + 0.5) * scale_y + y, plane.shape[0])
    placed[top:bottom, left:right] = warped[top:bottom, left:right]
    return placed


def _seen(middles: npt.NDArray[np.floating], size: int) -> tuple[int, int]:
    """The first and end index of the pixels whose middles lie in 0..size of the source, give or take half a pixel."""
    return int(np.searchsorted(middles, -0.5)), int(np.searchsorted(middles, size + 0.5, side="right"))
