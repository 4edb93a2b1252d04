"""What platforms do to a video, on this machine: decode it, change it, encode it again with another encoder.

A `Recipe` says what. The source is a video that this program has just written, so it is decoded here and not in the
sandbox, with the same limits but for the size of pictures; its name never reaches libav. What comes out is foreign to
those who read it. Memory: a few pictures, what the encoder keeps, and what the filters do.

Source: libavcodec `libx264`, `libx265`, `libsvtav1`, `libvpx-vp9`.
"""

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType, VideoFrame

from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import FileReader, RangedFile
from bytereel_codec.files.sink import write_error
from bytereel_codec.libav.film import Film, filtered, frame_of, nearest
from bytereel_codec.libav.formats import SAFE
from bytereel_codec.libav.planes import samples_of
from bytereel_codec.profiles.recipes import SIDE_MAX, Filter, Recipe, Step

_READ_BYTES = 1 << 20
_LIMITS = {**SAFE, "max_pixels": str(SIDE_MAX**2)}


def recode(source: Path, target: Path, recipe: Recipe, *, threads: int = 1) -> None:
    """Do to the video in `source` what the recipe says; `target` appears when it is done.

    Its container is the recipe's whatever its name is. Raises: Permanent `recode.source` when there is no video in it,
    `recode.failed` with libav's words, `recode.encoder` when libav lacks the encoder; Temporary `target.full`.
    """
    with _translated(source, target), tempfile.TemporaryDirectory(prefix=".bytereel-", dir=target.parent) as folder:
        here, number = source, 0
        for step in recipe.steps:
            for each in _passes(step, here):
                there = Path(folder) / f"{number}"
                _run(here, there, each, threads)
                if here != source:
                    here.unlink()
                here, number = there, number + 1
        here.replace(target)


@contextmanager
def _translated(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except av.codec.codec.UnknownCodecError as error:
        raise Permanent("recode.encoder", f"this build of libav lacks the encoder {error}") from error
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise write_error(error, target) from error
        raise Permanent("recode.failed", f"libav failed on {str(source)!r}: {error.strerror}") from error
    except OSError as error:
        raise write_error(error, target) from error


def _passes(step: Step, source: Path) -> tuple[Step, ...]:
    """The step, as two where it goes back to the size that the video in `source` has."""
    if not step.back:
        return (step,)
    with _opened(source) as (_, stream):
        width, height = stream.width, stream.height
    return step, replace(step, filters=(Filter("size", {"width": width, "height": height}),))


def _run(source: Path, target: Path, step: Step, threads: int) -> None:
    if not step.encoder:
        _copy(source, target, step)
        return
    with _opened(source) as (container, stream), av.open(str(target), "w", format=step.container) as out:
        stream.thread_count = threads
        stream.thread_type = "AUTO" if threads > 1 else "NONE"
        film = Film(_decoded(container, stream), stream.width, stream.height, _rate(stream), _seconds(source))
        for each in step.filters:
            film = filtered(film, each)
        _encode(film, out, step, stream.codec_context.color_range, threads)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    with FileReader(source) as reader, io.BufferedReader(RangedFile(reader), _READ_BYTES) as file:
        try:
            container = av.open(file, mode="r", options=_LIMITS, metadata_errors="ignore")
        except av.FFmpegError as error:
            raise _no_video(source) from error
        with container:
            videos = [stream for stream in container.streams.video if stream.codec_context is not None]
            if not videos or not 0 < videos[0].width <= SIDE_MAX or not 0 < videos[0].height <= SIDE_MAX:
                raise _no_video(source)
            yield container, videos[0]


def _no_video(source: Path) -> Permanent:
    return Permanent("recode.source", f"{str(source)!r} holds no video that can be read", limit=f"{SIDE_MAX} pixels")


def _rate(stream: av.VideoStream) -> Fraction:
    return stream.guessed_rate or stream.average_rate or Fraction(25)


def _seconds(source: Path) -> Fraction:
    """How long the video is, by its packets: not every container says."""
    first, last = None, Fraction(0)
    with _opened(source) as (container, stream):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None:
                start = packet.pts * packet.time_base
                first = start if first is None else min(first, start)
                last = max(last, start + (packet.duration or 0) * packet.time_base)
    return last - (first or 0)


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Each picture as 8-bit 4:2:0 with its time, which starts at 0 and never goes back."""
    first: Fraction | None = None
    time = Fraction(0)
    for frame in container.decode(stream):
        if frame.pts is not None and frame.time_base is not None:
            first = frame.pts * frame.time_base if first is None else first
            time = max(time, frame.pts * frame.time_base - first)
        yield _as_420(frame), time


def _as_420(frame: VideoFrame) -> VideoFrame:
    if frame.format.name == "yuv420p":
        return frame
    if frame.format.name == "yuvj420p":
        return frame_of([samples_of(plane) for plane in frame.planes])
    return frame.reformat(format="yuv420p")


def _encode(film: Film, out: av.container.OutputContainer, step: Step, color_range: int, threads: int) -> None:
    if step.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # noqa: TID251 - errors alone; it takes this from nowhere else
    options = {name: value.format(threads=threads) for name, value in step.options.items()}
    stream = out.add_stream(
        step.encoder, film.rate, options=options, time_base=1 / film.rate, width=film.width, height=film.height
    )
    assert isinstance(stream, av.VideoStream)
    stream.codec_context.time_base = 1 / film.rate
    stream.codec_context.bit_rate_tolerance = 4_000_000  # libav's own default, which PyAV lowers
    stream.codec_context.color_range = color_range
    stream.thread_count = threads
    number = -1
    for frame, time in film.shots:
        number = max(number + 1, nearest(time * film.rate))
        frame.pts, frame.time_base, frame.duration = number, 1 / film.rate, 1
        frame.pict_type = PictureType.NONE
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _copy(source: Path, target: Path, step: Step) -> None:
    with _opened(source) as (container, stream), av.open(str(target), "w", format=step.container) as out:
        copied = out.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.size:  # Matroska leaves the first ones without a decoding time; libav fills it in
                packet.stream = copied
                out.mux(packet)
