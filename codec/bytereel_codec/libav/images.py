"""One picture of any video as people see it, and RGB images as PNG. For eyes only: colours are converted here.

Nothing that carries data comes this way: see `libav.pictures`.

Source: libavcodec `png`; libswscale for the colours (BT.601 where the video does not say otherwise).
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.placing.locate import locate
from bytereel_codec.channel.raster import Picture
from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import FileReader, RangedFile
from bytereel_codec.libav.formats import SAFE
from bytereel_codec.libav.planes import samples_of

Image = npt.NDArray[np.uint8]
PIXELS_MAX = 8192 * 4320
_LINE_PIXELS = 2
_STRIP, _DATA = (255, 200, 0), (0, 220, 120)
_REORDERED_MAX = 64  # packets that a picture may stand away from its place in the order of showing; H.264 has 16


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """One picture: `rgb` uint8[height, width, 3], and its `planes` in 8-bit 4:2:0."""

    rgb: Image
    planes: Picture


def picture_at(path: Path, number: int) -> ShownPicture:
    """Picture `number`, counted from 0 in the order of showing, of the file's first video stream, whatever its codec.

    Reads the file up to that picture, and decodes from the key picture before it.
    Raises: Permanent `picture.none` (no video), `picture.range` (no such picture), `source.missing` and the like.
    """
    with FileReader(path) as reader:
        try:
            frame = _frame_at(io.BufferedReader(RangedFile(reader)), number)
        except (av.FFmpegError, OSError) as error:  # OSError: a seek to a place that no file has
            raise _no_video(error.strerror or str(error)) from error
    return ShownPicture(
        np.asarray(frame.to_ndarray(format="rgb24"), np.uint8),
        Picture(*(np.array(samples_of(plane)) for plane in frame.reformat(format="yuv420p").planes)),
    )


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


def _frame_at(file: BinaryIO, number: int) -> av.VideoFrame:
    with av.open(file, mode="r", options=SAFE, metadata_errors="ignore") as container:
        stream = _video_of(container)
        times = _times(container, stream, number + 1 + _REORDERED_MAX)
    if times is not None and number >= len(times):
        raise _out_of_range(number, len(times))
    found = _frame_shown_at(file, times[number]) if times else None
    return found or _counted_frame(file, number)


def _frame_shown_at(file: BinaryIO, time: int) -> av.VideoFrame | None:
    """The picture shown at that time; None where seeking does not lead to it: not every container knows its way."""
    file.seek(0)
    with av.open(file, mode="r", options=SAFE, metadata_errors="ignore") as container:
        stream = _video_of(container)
        try:
            container.seek(time, stream=stream)
        except av.FFmpegError:
            return None
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= time:
                return frame if frame.pts == time else None
    return None


def _video_of(container: av.container.InputContainer) -> av.VideoStream:
    videos = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not videos or videos[0].width * videos[0].height > PIXELS_MAX:
        raise _no_video("no video stream, or one of too many pixels")
    videos[0].codec_context.options = {"max_pixels": str(PIXELS_MAX)}
    return videos[0]


def _times(container: av.container.InputContainer, stream: av.VideoStream, limit: int) -> list[int] | None:
    """When the first pictures are shown, in that order, from at most `limit` packets; None where not all say."""
    times: list[int] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None:
            return None
        times.append(packet.pts)
        if len(times) == limit:
            break
    return sorted(times)


def _counted_frame(file: BinaryIO, number: int) -> av.VideoFrame:
    """The picture found by decoding all before it: of a stream without times."""
    file.seek(0)
    count = 0
    with av.open(file, mode="r", options=SAFE, metadata_errors="ignore") as container:
        for frame in container.decode(_video_of(container)):
            if count == number:
                return frame
            count += 1
    raise _out_of_range(number, count)


def _out_of_range(number: int, count: int) -> Permanent:
    return Permanent(
        "picture.range",
        f"there is no picture {number}: the video has {count}",
        hint=f"they are counted from 0 to {count - 1}" if count else "",
        expected=count,
        actual=number,
    )


def _no_video(why: str) -> Permanent:
    return Permanent("picture.none", "the file holds no video that can be shown", hint=why)
