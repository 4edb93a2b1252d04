"""The pictures of a video as planes, whatever its container and codec. Decoded in the sandbox."""

from collections.abc import Iterator
from typing import BinaryIO

from bytereel_codec.channel.raster import Picture
from bytereel_codec.libav.formats import PLANAR_FORMATS
from bytereel_codec.libav.sandbox.planes import SLOT_BYTES, Samples
from bytereel_codec.libav.sandbox.run import Run
from bytereel_codec.libav.sandbox.wire import Job, Task


def shown_pictures(file: BinaryIO, *, threads: int = 1, start: float = 0.0) -> Iterator[Picture]:
    """Each picture of the file's first video stream as libavcodec decodes it, in the order of showing.

    Planes: uint8[height, width] each, without padding. `start` is the share of the video's time (0 to 1) from which on,
    or from a picture before it, they come. Ends where libav gives up. Only 4:2:0 comes out, of 10 bits the upper 8;
    other pictures are passed over. Raises: as `planes_shown`.
    """
    for _, planes in planes_shown(file, threads=threads, start=start):
        height, width = planes[0].shape
        if width % 2 == height % 2 == 0:
            yield Picture(*planes)


def planes_shown(file: BinaryIO, *, threads: int = 1, start: float = 0.0) -> Iterator[tuple[str, list[Samples]]]:
    """The same for pictures of any size, each with libav's name of its format, one of `PLANAR_FORMATS`.

    Raises: Permanent `media.refused`; Temporary `media.interrupted`, `media.no_sandbox`; what reading the file raises.
    """
    job = Job(Task.PICTURES, threads=threads, start=start, slot_bytes=SLOT_BYTES)
    return ((name, planes) for name, planes in Run(file, job).pictures() if name in PLANAR_FORMATS)
