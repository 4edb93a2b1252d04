"""Reels of samples through libav: in containers that cut pictures into pieces, or in another lossless codec.

A transport stream spreads a picture over many packets, and a lossless re-encode holds no I_PCM at all; here both become
pictures again, written in a row as a raw stream of the same syntax. The name a file has never reaches libav: it is
opened as bytes, so a playlist cannot make it open anything else.

Source: libavcodec `AV_CODEC_ID_H264`; ITU-T H.264 annex B.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from bytereel_codec.channel.raster import Plane as Picture
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.header import parse_masked
from bytereel_codec.libav.formats import SAFE
from bytereel_codec.libav.planes import samples_of
from bytereel_codec.video.h264 import slice_start
from bytereel_codec.video.macroblocks import (
    HEADER_BYTES,
    MACROBLOCK_BYTES,
    MACROBLOCK_CODED_BYTES,
    WHITENING_BYTES,
    write_macroblocks,
)

_log = logging.getLogger(__name__)
_LOOK_PICTURES = 64
_PIXELS_MAX = max(g.width * g.height for g in GEOMETRIES.values())


def has_encoder(name: str) -> bool:
    """Whether libavcodec was built with the encoder of that name; one of a GPU may still find no card."""
    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def unwrapped(path: Path, target: Path) -> None:
    """Write the packets of the file's first video stream to `target`, one after the other.

    Raises: Permanent `reel.none` when libav finds no video in it; Temporary `target.full`.
    """
    try:
        with (
            path.open("rb") as file,
            target.open("wb") as out,
            av.open(file, mode="r", options=SAFE, metadata_errors="ignore") as container,
        ):
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                out.write(bytes(packet))
    except (av.FFmpegError, IndexError) as error:
        raise Permanent("reel.none", "the file is no reel: it holds no video that can be read") from error


def rewritten(path: Path, target: Path) -> bool:
    """Decode the file's pictures and write those that carry frames to `target` as I_PCM; False when none of the first
    `_LOOK_PICTURES` does, or libav finds no video."""
    table = np.zeros(WHITENING_BYTES + MACROBLOCK_BYTES, np.uint8)  # the samples are whitened already
    raw = np.empty(MACROBLOCK_CODED_BYTES, np.uint8)
    found = False
    with target.open("wb") as out:
        for number, image in enumerate(decoded_pictures(path)):
            header = parse_masked(image[:HEADER_BYTES].tobytes()) if len(image) > HEADER_BYTES else None
            if header is not None and HEADER_BYTES + header.length <= len(image):
                stream = np.empty(len(image) * 2, np.uint8)
                start = slice_start(0)
                stream[: len(start)] = np.frombuffer(start, np.uint8)
                end = write_macroblocks(image, len(image), table, 0, stream, len(start), raw)
                out.write(stream.data[:end])
                found = True
            elif not found and number >= _LOOK_PICTURES:
                break
    if not found:
        target.unlink()
    return found


def decoded_pictures(path: Path) -> Iterator[Picture]:
    """Each picture of the file's first video stream, as libavcodec decodes it, in the order of an image's bytes.

    Shapes: uint8[macroblocks * 384]. Planes are copied as they are, honouring their line size. Ends where libav gives
    up; pictures that no reel has are passed over.
    """
    with path.open("rb") as file:
        try:
            with av.open(file, mode="r", options=SAFE, metadata_errors="ignore") as container:
                yield from _images(container)
        except (av.FFmpegError, OSError) as error:  # OSError: a seek to a place that no file has
            _log.debug("libav gave up on the file: %s", error)


def _images(container: av.container.InputContainer) -> Iterator[Picture]:
    videos = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not videos or videos[0].width * videos[0].height > _PIXELS_MAX:
        return
    videos[0].codec_context.thread_type = "AUTO"
    videos[0].codec_context.options = {"max_pixels": str(_PIXELS_MAX)}
    for frame in container.decode(videos[0]):
        whole = frame.width % 16 == 0 and frame.height % 16 == 0
        if whole and frame.format.name in ("yuv420p", "yuvj420p"):
            yield _image_order([samples_of(plane) for plane in frame.planes])


def _image_order(planes: list[Picture]) -> Picture:
    """Planes to macroblocks: for each 256 luma, 64 Cb, 64 Cr samples."""
    rows, columns = planes[0].shape[0] // 16, planes[0].shape[1] // 16
    image = np.empty((rows * columns, MACROBLOCK_BYTES), np.uint8)
    start = 0
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        blocks = plane.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)
        image[:, start : start + side * side] = blocks.reshape(rows * columns, side * side)
        start += side * side
    return image.reshape(-1)
