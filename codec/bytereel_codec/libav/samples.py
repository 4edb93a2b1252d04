"""Reels of samples through libav: in containers that cut pictures into pieces, or in another lossless codec.

A transport stream spreads a picture over many packets, and a lossless re-encode holds no I_PCM at all; here both become
pictures again, written in a row as a raw stream of the same syntax. libav sees the file in the sandbox alone, as bytes
without a name.

Source: libavcodec `AV_CODEC_ID_H264`; ITU-T H.264 annex B.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bytereel_codec.channel.raster import Plane
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.header import parse_masked
from bytereel_codec.frame.sizes import HEADER_BYTES, MACROBLOCK_BYTES
from bytereel_codec.frame.whitening import NO_WHITENING
from bytereel_codec.libav.pictures import planes_shown
from bytereel_codec.libav.sandbox.run import Run
from bytereel_codec.libav.sandbox.wire import Ending, Job, Task
from bytereel_codec.video.h264 import slice_start
from bytereel_codec.video.macroblocks import new_coder

_LOOK_PICTURES = 64
_FORMATS = ("yuv420p", "yuvj420p")
_THREADS = 2


def unwrapped(path: Path, target: Path) -> None:
    """Write the packets of the file's first video stream to `target`, one after the other, up to where libav gives up.

    Raises: Permanent `reel.none` when libav finds no video in it; Temporary `target.full`; what the sandbox raises.
    """
    with path.open("rb") as file, target.open("wb") as out:
        run = Run(file, Job(Task.PACKETS))
        for content in run.packets():
            out.write(content)
        is_empty = not out.tell()
    if is_empty and run.ending is Ending.NO_VIDEO:
        raise Permanent("reel.none", "the file is no reel: it holds no video that can be read")


def rewritten(path: Path, target: Path) -> bool:
    """Decode the file's pictures and write those that carry frames to `target` as I_PCM; False when none of the first
    `_LOOK_PICTURES` does, or libav finds no video."""
    coder = new_coder()
    found = False
    with target.open("wb") as out:
        for number, image in enumerate(decoded_pictures(path)):
            header = parse_masked(image[:HEADER_BYTES].tobytes()) if len(image) > HEADER_BYTES else None
            if header is not None and HEADER_BYTES + header.length <= len(image):
                stream = np.empty(len(image) * 2, np.uint8)
                start = slice_start(0)
                stream[: len(start)] = np.frombuffer(start, np.uint8)
                end = coder.write(image, len(image), NO_WHITENING, 0, stream, len(start))
                out.write(stream.data[:end])
                found = True
            elif not found and number >= _LOOK_PICTURES:
                break
    if not found:
        target.unlink()
    return found


def decoded_pictures(path: Path) -> Iterator[Plane]:
    """Each picture of the file's first video stream, as libavcodec decodes it, in the order of an image's bytes.

    Shapes: uint8[macroblocks * 384]. Ends where libav gives up; pictures that no reel has are passed over. Raises: what
    the sandbox raises.
    """
    with path.open("rb") as file:
        for name, planes in planes_shown(file, threads=_THREADS):
            height, width = planes[0].shape
            if name in _FORMATS and width % 16 == height % 16 == 0:
                yield _image_order(planes)


def _image_order(planes: list[Plane]) -> Plane:
    """Planes to macroblocks: for each 256 luma, 64 Cb, 64 Cr samples."""
    rows, columns = planes[0].shape[0] // 16, planes[0].shape[1] // 16
    image = np.empty((rows * columns, MACROBLOCK_BYTES), np.uint8)
    start = 0
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        blocks = plane.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)
        image[:, start : start + side * side] = blocks.reshape(rows * columns, side * side)
        start += side * side
    return image.reshape(-1)
