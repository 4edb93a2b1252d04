"""The files that are mutated: reels in many containers, small films of many codecs, pictures larger than they say."""

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.recipes import Recipe

from tools.fuzz.reels.bases import VECTORS

_REELS = ("noise-1k", "text", "one-byte", "key", "parity-frames", "bursts-stream", "bursts-rugged")
_COPIES = ("mkv", "ts", "mov")
_RECODED = (
    ("noise-1k", "lossless"),
    ("bursts-rugged", "x264:crf=30"),
    ("bursts-stream", "vp9:crf=40"),
    ("text", "lossless:mkv"),
)
_FILMS = (("mp4", "libx264", "yuv420p"), ("matroska", "ffv1", "yuv420p"), ("avi", "mpeg4", "yuv420p"), ("webm",
          "libvpx-vp9", "yuv420p"), ("mpegts", "mpeg2video", "yuv420p"), ("avi", "mjpeg", "yuvj420p"), ("mov", "png",
          "rgba"), ("matroska", "libx265", "yuv420p10le"), ("nut", "ffv1", "gbrp16le"), ("flv", "flv", "yuv420p"),
          ("ogg", "libtheora", "yuv420p"), ("mp4", "libsvtav1", "yuv420p"), ("ivf", "libvpx-vp9", "yuv420p"), ("h264",
          "libx264", "yuv444p"), ("avi", "rawvideo", "yuv420p"))  # fmt: skip
_QUIET = {"libx265": {"x265-params": "log-level=none"}}
_SIDE, _PICTURES = 64, 4
LARGE = "large"
"""What the titles of files start with that hold pictures of hundreds of megabytes."""
_LARGE_SIDE = 9000
_STREAMS_MAX = 10


@dataclass(frozen=True, slots=True)
class Media:
    """A file; `reel` is the title of the base that it holds, empty where it is no reel."""

    title: str
    content: bytes
    reel: str = ""


@lru_cache(maxsize=1)
def media_bases() -> Mapping[str, Media]:
    """All of them by title. What an encoder that libav lacks would have made is left out."""
    found = [*_reels(), *_films(), *_lying()]
    return {media.title: media for media in found}


def _reels() -> Iterator[Media]:
    """Reels as they are, copied into other containers, and encoded again."""
    for title in _REELS:
        source = VECTORS / f"{title}.mp4"
        yield Media(title, source.read_bytes(), title)
        for container in _COPIES:
            yield Media(f"{title}.{container}", _recoded(source, f"copy:{container}"), title)
    for title, recipe in _RECODED:
        yield Media(f"{title} {recipe}", _recoded(VECTORS / f"{title}.mp4", recipe), title)


def _recoded(source: Path, recipe: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "recoded")
        recode(source, target, Recipe.parse(recipe))
        return target.read_bytes()


def _films() -> Iterator[Media]:
    """A few noisy pictures in every codec and container."""
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    for container, codec, pixels in _FILMS:
        try:
            content = _film(container, codec, pixels)
        except (av.FFmpegError, av.codec.codec.UnknownCodecError, ValueError):
            continue
        yield Media(f"{codec}.{container}", content)


def _film(container: str, codec: str, pixels: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=5, options=_QUIET.get(codec, {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = _SIDE, _SIDE, pixels
        draw = np.random.default_rng(1)
        for number in range(_PICTURES):
            noise = draw.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format=pixels)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def _lying() -> Iterator[Media]:
    """AVI files whose headers say 64 x 64 and whose pictures are of hundreds of megabytes."""
    large, small = _png(_LARGE_SIDE), _png(_SIDE)
    yield Media("large png.avi", _avi([large], streams=1))
    yield Media("large pngs.avi", _avi([large] * _STREAMS_MAX, streams=_STREAMS_MAX))
    yield Media("large png late.avi", _avi([small, small, large], streams=1))
    yield Media("many streams.avi", _avi([small] * 90, streams=90))


def _png(side: int) -> bytes:
    """A black picture of 16 bits a channel, RGBA."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 8 * side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", head) + _png_chunk(b"IDAT", packed) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def _avi(pictures: Sequence[bytes], *, streams: int) -> bytes:
    """The pictures as packets of the streams in turn. Source: Microsoft, AVI RIFF File Reference."""
    count = len(pictures)
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIHHHH", b"vids", b"MPNG", 0, 0, 0, 0, 1, 25, 0, count, 0, 0, 0, 0, 0, _SIDE, _SIDE
    )
    picture = struct.pack("<IiiHH4sIiiII", 40, _SIDE, _SIDE, 1, 24, b"MPNG", 0, 0, 0, 0, 0)
    lists = _riff(b"LIST", b"strl" + _riff(b"strh", stream) + _riff(b"strf", picture)) * streams
    head = struct.pack("<14I", 40000, 0, 0, 16, count, 0, streams, 0, _SIDE, _SIDE, 0, 0, 0, 0)
    packets = b"".join(_riff(b"%02ddc" % (n % streams), content) for n, content in enumerate(pictures))
    body = b"AVI " + _riff(b"LIST", b"hdrl" + _riff(b"avih", head) + lists) + _riff(b"LIST", b"movi" + packets)
    return b"RIFF" + struct.pack("<I", len(body)) + body
