"""Planes through libavcodec as the pictures of a burst, coded; which encoders there are. Parses nothing foreign.

Source: libavcodec `libx264` and `h264_nvenc`; ITU-T H.264 annex B.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.frame import PictureType

from bytereel_codec.channel.raster import Picture
from bytereel_codec.errors import Temporary
from bytereel_codec.libav.planes import lines_of
from bytereel_codec.video.boxes import CodedPicture
from bytereel_codec.video.encoders import LIBX264

_log = logging.getLogger(__name__)
ENCODER_FAILED = "encoder.failed"
_NAL_SPS, _NAL_PPS = 7, 8
_NOT_PICTURE = (6, _NAL_SPS, _NAL_PPS, 9)  # SEI and access unit delimiters say nothing that a reel needs


def has_encoder(name: str) -> bool:
    """Whether libavcodec was built with the encoder of that name; one of a GPU may still find no card."""
    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Encoding:
    """What an encoder is told: libavcodec's name of it, and `options` by its own names."""

    encoder: str
    width: int
    height: int
    frames_per_second: int
    preset: str
    options: tuple[tuple[str, str], ...]


def can_encode(encoding: Encoding) -> bool:
    """Whether that encoder is there, and its hardware where it needs some."""
    try:
        _encoder(encoding)
    except (av.FFmpegError, OSError) as error:
        _log.debug("no %s: %s", encoding.encoder, error)
        return False
    return True


def coded_pictures(encoding: Encoding, pictures: Iterator[tuple[Picture, bool]]) -> list[CodedPicture]:
    """The pictures coded in one thread, in decoding order; with each, whether it carries data.

    Where the options allow B-pictures, data pictures become such, and the grey ones between them I and P. The planes
    are read before the next is asked for. Raises: Temporary `encoder.failed`.
    """
    with _translated(encoding):
        return _coded_pictures(encoding, pictures)


@contextmanager
def _translated(encoding: Encoding) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise Temporary(
            ENCODER_FAILED,
            f"{encoding.encoder} gave up: {error.strerror}",
            hint="a card encodes so many streams at once: take fewer workers, or the CPU",
        ) from error


def _coded_pictures(encoding: Encoding, pictures: Iterator[tuple[Picture, bool]]) -> list[CodedPicture]:
    context = _encoder(encoding)
    frame = av.VideoFrame(encoding.width, encoding.height, "yuv420p")
    coded: list[CodedPicture] = []
    predicts = dict(encoding.options).get("bframes", "0") != "0"
    for number, (picture, is_data) in enumerate(pictures):
        for plane, samples in zip(frame.planes, picture, strict=True):
            lines_of(plane)[:, : plane.width] = samples
        frame.pts = number
        if predicts:
            frame.pict_type = PictureType.B if is_data else (PictureType.P if number else PictureType.I)
        coded += map(_coded, context.encode(frame))
    coded += map(_coded, context.encode(None))
    return coded


def parameter_sets(encoding: Encoding) -> tuple[bytes, bytes]:
    """The SPS and PPS of that encoder's stream, without start codes. Raises: Temporary `encoder.failed`."""
    with _translated(encoding):
        context = _encoder(encoding)
        context.encode(None)
    units = {unit[0] & 31: unit for unit in _nal_units(context.extradata or b"")}
    return bytes(units[_NAL_SPS]), bytes(units[_NAL_PPS])


def _encoder(encoding: Encoding) -> av.VideoCodecContext:
    context = av.CodecContext.create(encoding.encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = encoding.width, encoding.height, "yuv420p"
    context.time_base = Fraction(1, encoding.frames_per_second)
    context.framerate = Fraction(encoding.frames_per_second)
    context.thread_count = 1
    context.flags |= int(av.codec.context.Flags.global_header)
    options = dict(encoding.options)
    if encoding.encoder == LIBX264:
        options = {"x264-params": ":".join(f"{name}={value}" for name, value in encoding.options)}
    context.options = {"preset": encoding.preset, **options}
    context.open()
    return context


def _coded(packet: "av.Packet[av.VideoStream]") -> CodedPicture:
    units = [unit for unit in _nal_units(bytes(packet)) if unit[0] & 31 not in _NOT_PICTURE]
    content = b"".join(part for unit in units for part in (len(unit).to_bytes(4, "big"), unit))
    assert packet.pts is not None
    return CodedPicture(content, packet.pts, packet.is_keyframe)


def _nal_units(stream: bytes) -> Iterator[memoryview]:
    """The NAL units of an Annex B stream, without start codes and the zeros behind them."""
    start = stream.find(b"\x00\x00\x01")
    while start >= 0:
        following = stream.find(b"\x00\x00\x01", start + 3)
        end = following if following >= 0 else len(stream)
        while end > start + 3 and stream[end - 1] == 0:
            end -= 1
        if end > start + 3:
            yield memoryview(stream)[start + 3 : end]
        start = following
