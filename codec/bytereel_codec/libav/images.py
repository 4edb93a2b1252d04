"""One picture of any video as people see it, and RGB images as PNG. For eyes only: colours are converted.

Nothing that carries data comes this way: see `libav.pictures`.

Source: libavcodec `png`; libswscale for the colours (BT.601 where the video does not say otherwise).
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.placing.locate import locate
from bytereel_codec.channel.raster import Picture
from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import FileReader, buffered_file
from bytereel_codec.libav.formats import PIXELS_MAX, RGB, YUV
from bytereel_codec.libav.sandbox.planes import SLOT_BYTES
from bytereel_codec.libav.sandbox.run import Run
from bytereel_codec.libav.sandbox.wire import Ending, Job, Task

Image = npt.NDArray[np.uint8]
_LINE_PIXELS = 2
_STRIP, _DATA = (255, 200, 0), (0, 220, 120)


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """One picture: `rgb` uint8[height, width, 3], and its `planes` in 8-bit 4:2:0."""

    rgb: Image
    planes: Picture


def picture_at(path: Path, number: int) -> ShownPicture:
    """Picture `number`, counted from 0 in the order of showing, of the file's first video stream, whatever its codec.

    Reads the file up to that picture, and decodes from the key picture before it. Raises: Permanent `picture.none` (no
    video), `picture.range` (no such picture), `source.missing` and the like; what the sandbox raises.
    """
    with FileReader(path) as reader:
        run = Run(buffered_file(reader), Job(Task.PICTURE, picture=number, slot_bytes=SLOT_BYTES))
        found = dict(run.pictures())
    if run.ending is Ending.NO_PICTURE:
        raise _out_of_range(number, run.counted)
    if RGB not in found or YUV not in found:
        raise _no_video()
    return ShownPicture(found[RGB][0], Picture(*found[YUV]))


def outlined(shown: ShownPicture) -> Image:
    """The picture with the data area and both strips of a lossy reel outlined: uint8[height, width, 3].

    Raises: Permanent `picture.no_strip` when it carries no data, or none that can be found.
    """
    place = locate([shown.planes])
    if place is None:
        raise Permanent(
            "picture.no_strip",
            "no strip can be read in this picture, so there is nothing to outline",
            hint="the picture at the start and every 17th after it are grey; a reel of profile archive has no strips",
        )
    image = shown.rgb.copy()
    scale_x, scale_y = place.width / place.raster.width, place.height / place.raster.height
    left, right = place.x, place.x + 16 * place.raster.columns * scale_x
    strip = place.raster.strip_rows
    for colour, row, rows in (
        (_STRIP, 0, strip),
        (_STRIP, place.raster.lower_strip_row, strip),
        (_DATA, place.raster.first_row, place.raster.rows_max),
    ):
        top = place.y + 16 * row * scale_y
        _draw_frame(image, (left, top, right, top + 16 * rows * scale_y), colour)
    return image


def _draw_frame(image: Image, edges: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    """Draw the inner edge of a rectangle (left, top, right, bottom), which may reach out of the image."""
    height, width = image.shape[:2]
    left, right = (min(max(round(x), 0), width) for x in edges[::2])
    top, bottom = (min(max(round(y), 0), height) for y in edges[1::2])
    for y in (slice(top, top + _LINE_PIXELS), slice(max(top, bottom - _LINE_PIXELS), bottom)):
        image[y, left:right] = colour
    for x in (slice(left, left + _LINE_PIXELS), slice(max(left, right - _LINE_PIXELS), right)):
        image[top:bottom, x] = colour


def png_of(image: Image) -> bytes:
    """The PNG file of an image uint8[height, width, 3]."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, "rgb24"
    context.framerate = Fraction(1)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _out_of_range(number: int, count: int) -> Permanent:
    return Permanent(
        "picture.range",
        f"there is no picture {number}: the video has {count}",
        hint=f"they are counted from 0 to {count - 1}" if count else "",
        expected=count,
        actual=number,
    )


def _no_video() -> Permanent:
    return Permanent(
        "picture.none",
        "the file holds no video that can be shown",
        hint=f"pictures may have {PIXELS_MAX} pixels, in a codec that reels come back in",
    )
