"""Finds where a reel's pictures lie in a video that someone framed, cropped, shifted or scaled.

A hypothesis is a rectangle of the video that would be the whole picture of a raster. It counts when the strips can be
read there; then it is fitted (`fit`): the strips' pattern, known now, is moved and stretched until it matches best, to
a fraction of a pixel. Brightness, contrast and range do not matter. `place` puts pictures back.

Source: FORMAT.md section 14.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bytereel_codec.channel.placing.fit import CROP_MIN, Floats, fitted
from bytereel_codec.channel.placing.placement import Area, Placement, check_size
from bytereel_codec.channel.raster import RASTERS, Picture, Plane, Raster
from bytereel_codec.channel.strip import Cells, Rects, cells_of, search

PICTURES_MAX = 6  # read to find the place
SHIFT_MAX = 32  # pixels, each way
STRETCH_MAX = 8  # pixels of the raster by which an edge of a scaled picture may be off
CROP_MAX = 64  # pixels that a video may be smaller than the raster that it shows unscaled
_SIZE_MIN = 32  # pixels
_CELL_PIXELS_MIN = 2.0
_CONTRAST_MIN = 0.25  # of a picture; faint strips alone make 0.7
_SNAP = 0.12  # an edge as near to a whole pixel as this lies on it
_SNAP_UNSCALED = 0.35


def locate(pictures: Sequence[Picture]) -> Placement | None:
    """Where the pictures of a reel lie in a video, from a few of its pictures in any order; None where none is seen.

    The `PICTURES_MAX` with the most contrast are used. One whose strips can be read is enough, more make a better fit.
    Raises: Permanent `picture.size` when they are not of one size.
    """
    if not pictures:
        return None
    height, width = pictures[0].y.shape
    for picture in pictures:
        check_size(picture, height, width)
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
                return raster, fitted(windows, raster, window, reading, rects[reading.rect])
    return None


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


def _snapped(raster: Raster, rect: Floats, visible: Area, whole: Area) -> Placement:
    """The placement that a fitted rectangle means: unscaled, or its edges on whole pixels, where it is that nearly."""
    x, y, width, height = (float(value) for value in rect)
    if abs(width - raster.width) < CROP_MIN and abs(height - raster.height) < CROP_MIN:
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
