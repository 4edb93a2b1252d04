"""Where a reel's pictures lie in a video, and how to put them back to the size of their raster.

Nothing here looks for them, that is `locate`; nothing converts colours.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Plane, Raster
from bytereel_codec.errors import Permanent

_RESTS = (LUMA_REST, CHROMA_REST, CHROMA_REST)

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

    def chroma_offsets(self) -> list[tuple[int, int]]:
        """Where chroma may stand, in its own pixels; only for a shift. The half of the offset, rounded toward zero, is
        where a single cropper leaves it and comes first; several, each of which rounds, may leave it a pixel beside.
        """
        near = int(self.x / 2), int(self.y / 2)
        return [(near[0] + x, near[1] + y) for x in (0, 1, -1) for y in (0, 1, -1)]

    @property
    def is_identity(self) -> bool:
        """Whether the picture stands where it was written, and all of it can be seen."""
        whole = Area(0, 0, self.raster.width, self.raster.height)
        return self.is_shift and self.x == self.y == 0 and self.visible == whole


def _are_whole(*values: float) -> bool:
    return all(float(value).is_integer() for value in values)


def check_size(picture: Picture, height: int, width: int) -> None:
    """Raises: Permanent `picture.size` when the picture's luma is not of that size."""
    if picture.y.shape != (height, width):
        raise Permanent(
            "picture.size",
            f"the video changes its picture size, from {width} x {height} pixels",
            hint="cut it where it changes",
            expected=[height, width],
            actual=list(picture.y.shape),
        )


class Placer:
    """Puts the pictures of one video back to the size of their raster.

    Whole pixels are copied, those of chroma from one of `Placement.chroma_offsets`. Scaling resamples each plane alone,
    chroma as if it stood in the middle of its four luma pixels. What cannot be seen rests grey.
    """

    def __init__(
        self, placement: Placement, video_width: int, video_height: int, chroma: tuple[int, int] | None = None
    ) -> None:
        """Args: a placement and the luma size of the video that it was found in; where `chroma` stands, None: the first
        of its offsets."""
        self.placement = placement
        self._chroma = chroma or placement.chroma_offsets()[0]
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
        check_size(picture, *self.video_shape)
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
            at_x, at_y = (int(place.x), int(place.y)) if half == 1 else self._chroma
            return _shifted(plane, at_x - left, at_y - top, shape, rest)
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
