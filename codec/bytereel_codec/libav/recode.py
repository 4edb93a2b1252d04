"""What platforms do to a video, on this machine: decode it, change it, encode it again with another encoder.

A `Recipe` is written as text: steps joined by `>`, each a codec and its options, such as `x264:crf=23,size=720p,back >
copy:mkv`. Options that are filters act in the order they are written in, before the encoder. What is not said is the
encoder's own default. The name a file has never reaches libav: it is opened as bytes.

Memory: a few pictures, what the encoder keeps, and with `shuffle` a window of pictures.
Source: libavcodec `libx264`, `libx265`, `libsvtav1`, `libvpx-vp9`; libavfilter `scale`.
"""

import errno
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType, VideoFrame

from bytereel_codec.channel.raster import CHROMA_REST, Plane
from bytereel_codec.errors import Permanent
from bytereel_codec.libav.planes import lines_of, samples_of
from bytereel_codec.ranged import FileReader, RangedFile
from bytereel_codec.sink import write_error

STEPS_MAX = 16
TEXT_MAX = 1000
SIDE_MAX = 4096
_READ_BYTES = 1 << 20
_WINDOW_MAX = 64
_COPIES_MAX = 4096
_BLACK = (16, CHROMA_REST, CHROMA_REST)
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_RATIO = re.compile(r"\d{1,9}(\.\d{1,9}|/\d{1,9})?", re.ASCII)
_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
_CONTAINERS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm", "mov": "mov", "ts": "mpegts"}
_RATE_OPTIONS = ("crf", "qp", "bitrate")


@dataclass(frozen=True)
class Film:
    """Pictures on their way from a decoder to an encoder, each with its time in seconds.

    `seconds`: how long the video is. `rate`: pictures a second.
    """

    shots: Iterator[tuple[VideoFrame, Fraction]]
    width: int
    height: int
    rate: Fraction
    seconds: Fraction


Table = npt.NDArray[np.uint8]
Filter = Callable[[Film], Film]


@dataclass(frozen=True)
class Step:
    """One pass: pictures decoded, filtered, encoded by `encoder`; or packets copied where that is empty."""

    encoder: str
    options: Mapping[str, str]
    container: str
    filters: tuple[Filter, ...] = ()
    back: bool = False


@dataclass(frozen=True)
class Recipe:
    """What happens to a video, step by step. Two recipes of the same text are equal."""

    text: str
    steps: tuple[Step, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """The recipe that the text tells.

        Raises: Permanent `recipe.unknown` naming what is known, `recipe.bad` naming what is expected.
        """
        parts = [part.strip() for part in text.split(">")]
        if len(parts) > STEPS_MAX or len(text) > TEXT_MAX:
            raise Permanent("recipe.bad", f"a recipe has at most {STEPS_MAX} steps and {TEXT_MAX} characters")
        return cls(" > ".join(parts), tuple(map(_step, parts)))

    def __str__(self) -> str:
        return self.text


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
    return step, replace(step, filters=(partial(_scaled, width=width, height=height),))


def _run(source: Path, target: Path, step: Step, threads: int) -> None:
    if not step.encoder:
        _copy(source, target, step)
        return
    with _opened(source) as (container, stream), av.open(str(target), "w", format=step.container) as out:
        stream.thread_count = threads
        stream.thread_type = "AUTO" if threads > 1 else "NONE"
        film = Film(_decoded(container, stream), stream.width, stream.height, _rate(stream), _seconds(source))
        for each in step.filters:
            film = each(film)
        _encode(film, out, step, stream.codec_context.color_range, threads)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    with FileReader(source) as reader, io.BufferedReader(RangedFile(reader), _READ_BYTES) as file:
        try:
            container = av.open(file, mode="r", metadata_errors="ignore")
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
        return _frame([samples_of(plane) for plane in frame.planes])
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
        number = max(number + 1, _nearest(time * film.rate))
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


def _nearest(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def _frame(planes: list[Plane]) -> VideoFrame:
    frame = VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines_of(plane)[:, : plane.width] = samples
    return frame


def _paced(film: Film, *, rate: Fraction) -> Film:
    """At each time of the new rate the last picture whose time, rounded, has come: as libavfilter's `fps`."""

    def shots() -> Iterator[tuple[VideoFrame, Fraction]]:
        held: VideoFrame | None = None
        position = 0
        for frame, time in film.shots:
            slot = _nearest(time * rate)
            if held is not None:
                yield from ((held, n / rate) for n in range(position, min(slot, position + _COPIES_MAX)))
            position, held, end = max(position, slot), frame, time + 1 / film.rate
        if held is not None:
            yield from ((held, n / rate) for n in range(position, _nearest(end * rate)))

    return replace(film, shots=shots(), rate=rate)


def _thinned(film: Film, *, every: int) -> Film:
    shots = (shot for number, shot in enumerate(film.shots, 1) if number % every)
    return replace(film, shots=shots)


def _doubled(film: Film) -> Film:
    half = 1 / (2 * film.rate)
    shots = ((frame, time + extra) for frame, time in film.shots for extra in (Fraction(0), half))
    return replace(film, shots=shots, rate=2 * film.rate)


def _shuffled(film: Film, *, window: int) -> Film:
    def shots() -> Iterator[tuple[VideoFrame, Fraction]]:
        random = np.random.default_rng(window)
        held: list[tuple[VideoFrame, Fraction]] = []
        for shot in film.shots:
            held.append(shot)
            if len(held) == window:
                yield from mixed(held, random)
                held = []
        yield from mixed(held, random)

    def mixed(
        held: list[tuple[VideoFrame, Fraction]], random: np.random.Generator
    ) -> Iterator[tuple[VideoFrame, Fraction]]:
        for (_, time), place in zip(held, random.permutation(len(held)), strict=True):
            yield held[place][0], time

    return replace(film, shots=shots())


def _cut(film: Film, *, start: Fraction, end: Fraction) -> Film:
    first, last = start * film.seconds, end * film.seconds
    shots = ((frame, time - first) for frame, time in film.shots if first <= time < last)
    return replace(film, shots=shots, seconds=last - first)


def _scaled(film: Film, *, width: int | None, height: int) -> Film:
    """The pictures at another size, the width in proportion where none is given."""
    width = width or 2 * round(film.width * height / film.height / 2)
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=film.width, height=film.height, format=av.VideoFormat("yuv420p"), time_base=1 / film.rate
    )
    graph.link_nodes(source, graph.add("scale", f"{width}:{height}"), graph.add("buffersink")).configure()

    def shots() -> Iterator[tuple[VideoFrame, Fraction]]:
        for number, (frame, time) in enumerate(film.shots):
            frame.pts, frame.time_base = number, 1 / film.rate
            graph.vpush(frame)
            yield graph.vpull(), time

    return replace(film, shots=shots(), width=width, height=height)


def _placed(film: Film, *, width: int, height: int, right: int, down: int) -> Film:
    """The pictures on a black canvas, that many pixels further right and down.

    Chroma moves by half as many, what is left over dropped: as libavfilter's `crop` and `pad` do it.
    """
    if width <= 0 or height <= 0:
        raise Permanent("recipe.bad", f"nothing is left of pictures of {film.width} x {film.height}")

    def canvas(frame: VideoFrame) -> VideoFrame:
        planes = [
            _moved(samples_of(plane), (height // scale, width // scale), int(right / scale), int(down / scale), fill)
            for plane, scale, fill in zip(frame.planes, (1, 2, 2), _BLACK, strict=True)
        ]
        return _frame(planes)

    shots = ((canvas(frame), time) for frame, time in film.shots)
    return replace(film, shots=shots, width=width, height=height)


def _moved(plane: Plane, shape: tuple[int, int], right: int, down: int, fill: int) -> Plane:
    moved = np.full(shape, fill, np.uint8)
    height, width = plane.shape
    rows = slice(max(0, down), max(0, min(shape[0], height + down)))
    columns = slice(max(0, right), max(0, min(shape[1], width + right)))
    part = plane[rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]
    moved[rows, columns] = part
    return moved


def _cropped(film: Film, *, side: int) -> Film:
    return _placed(film, width=film.width - 2 * side, height=film.height - 2 * side, right=-side, down=-side)


def _padded(film: Film, *, size: tuple[int, int]) -> Film:
    right, down = ((size[0] - film.width) // 4 * 2, (size[1] - film.height) // 4 * 2)
    if right < 0 or down < 0:
        raise Permanent("recipe.bad", f"pictures of {film.width} x {film.height} do not fit into {size[0]} x {size[1]}")
    return _placed(film, width=size[0], height=size[1], right=right, down=down)


def _shifted(film: Film, *, right: int, down: int) -> Film:
    return _placed(film, width=film.width, height=film.height, right=right, down=down)


def _mapped(film: Film, *, luma: Table, chroma: Table) -> Film:
    def mapped(frame: VideoFrame) -> VideoFrame:
        tables = zip(frame.planes, (luma, chroma, chroma), strict=True)
        return _frame([table[samples_of(plane)] for plane, table in tables])

    return replace(film, shots=((mapped(frame), time) for frame, time in film.shots))


def _table(gain: float, rest: int, lifted: int = 0) -> Table:
    values = (np.arange(256) - rest) * gain + rest + lifted
    table: Table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table


def _gain(factor: float) -> Filter:
    return partial(_mapped, luma=_table(factor, 0), chroma=_table(factor, CHROMA_REST))


def _range(text: str) -> Filter:
    if text == "limited":
        return partial(_mapped, luma=_table(219 / 255, 0, 16), chroma=_table(224 / 255, CHROMA_REST))
    if text == "full":
        return partial(_mapped, luma=_table(255 / 219, 16, -16), chroma=_table(255 / 224, CHROMA_REST))
    raise ValueError("`full` or `limited`")


def _whole(text: str, low: int, high: int) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 9 or not low <= int(text) <= high:
        raise ValueError(f"a whole number from {low} to {high}")
    return int(text)


def _number(text: str, low: float, high: float) -> float:
    if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
        raise ValueError(f"a number from {low:g} to {high:g}")
    return float(text)


def _ratio(text: str, low: int, high: int) -> Fraction:
    if not _RATIO.fullmatch(text) or text.endswith("/0") or not low <= Fraction(text) <= high:
        raise ValueError(f"a number or fraction from {low} to {high}")
    return Fraction(text)


def _bits(text: str) -> str:
    unit = {"k": 1000, "M": 1_000_000}.get(text[-1:], 1)
    digits = text[:-1] if unit > 1 else text
    if not _NUMBER.fullmatch(digits) or not 1000 <= float(digits) * unit <= 10**9:
        raise ValueError("bits a second such as 800k or 2.5M")
    return str(round(float(digits) * unit))


def _pixels(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        found = (_whole(width, 16, SIDE_MAX), _whole(height, 16, SIDE_MAX))
    except ValueError as error:
        raise ValueError(f"a size such as 1280x720, 16 to {SIDE_MAX} pixels a side") from error
    if found[0] % 2 or found[1] % 2:
        raise ValueError("a size of even numbers such as 1280x720")
    return found


def _size(text: str) -> Filter:
    if text.endswith("p"):
        height = _whole(text[:-1], 16, SIDE_MAX)
        if height % 2:
            raise ValueError("an even height such as 720p")
        return partial(_scaled, width=None, height=height)
    width, height = _pixels(text)
    return partial(_scaled, width=width, height=height)


def _shift(text: str) -> Filter:
    right, colon, down = text.partition(":")
    pixels = _whole(right, -SIDE_MAX, SIDE_MAX)
    return partial(_shifted, right=pixels, down=_whole(down, -SIDE_MAX, SIDE_MAX) if colon else pixels)


def _span(text: str) -> Filter:
    start, colon, end = text.partition(":")
    if not colon:
        raise ValueError("two fractions of the whole such as 1/3:2/3")
    first, last = _ratio(start, 0, 1), _ratio(end, 0, 1)
    if first >= last:
        raise ValueError("a start before its end")
    return partial(_cut, start=first, end=last)


_FILTERS: Mapping[str, Callable[[str], Filter]] = {
    "size": _size,
    "fps": lambda text: partial(_paced, rate=_ratio(text, 1, 240)),
    "drop": lambda text: partial(_thinned, every=_whole(text, 2, 1 << 20)),
    "shuffle": lambda text: partial(_shuffled, window=_whole(text, 2, _WINDOW_MAX)),
    "cut": _span,
    "crop": lambda text: partial(_cropped, side=_whole(text, 1, SIDE_MAX // 2)),
    "pad": lambda text: partial(_padded, size=_pixels(text)),
    "shift": _shift,
    "range": _range,
    "gain": lambda text: _gain(_number(text, 0.1, 4)),
}


@dataclass(frozen=True)
class _Codec:
    """An encoder: its name in libav, the containers it is put into (the usual one first), what is always said to it,
    and the options it has."""

    name: str
    containers: tuple[str, ...]
    fixed: Mapping[str, str]
    options: Mapping[str, Callable[[str], Mapping[str, str]]]


def _crf(high: int, **more: str) -> Callable[[str], Mapping[str, str]]:
    return lambda text: {"crf": f"{_number(text, 0, high):g}", **more}


def _preset(text: str) -> Mapping[str, str]:
    if text not in _PRESETS:
        raise ValueError(f"one of {', '.join(_PRESETS)}")
    return {"preset": text}


def _vbv(text: str) -> Mapping[str, str]:
    rate, slash, size = text.partition("/")
    return {"maxrate": _bits(rate), "bufsize": _bits(size if slash else rate)}


_RATES: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "bitrate": lambda text: {"b": _bits(text)},
    "vbv": _vbv,
    "keyint": lambda text: {"g": str(_whole(text, 1, 9999))},
}
_MPEG = ("mp4", "mkv", "mov", "ts")
_CODECS = {
    "x264": _Codec(
        "libx264",
        _MPEG,
        {},
        {**_RATES, "crf": _crf(51), "qp": lambda text: {"qp": str(_whole(text, 0, 51))}, "preset": _preset},
    ),
    "x265": _Codec(
        "libx265",
        _MPEG,
        {"x265-params": "log-level=none:pools={threads}:frame-threads=1"},
        {**_RATES, "crf": _crf(51), "preset": _preset},
    ),
    "svtav1": _Codec(
        "libsvtav1",
        ("mp4", "mkv", "webm"),
        {"svtav1-params": "lp={threads}"},
        {**_RATES, "crf": _crf(63), "preset": lambda text: {"preset": str(_whole(text, 0, 13))}},
    ),
    "vp9": _Codec(
        "libvpx-vp9",
        ("webm", "mkv", "mp4"),
        {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
        {**_RATES, "crf": _crf(63, b="0"), "preset": lambda text: {"cpu-used": str(_whole(text, 0, 8))}},
    ),
    "lossless": _Codec("libx264", _MPEG, {"qp": "0", "preset": "ultrafast"}, {}),
    "copy": _Codec("", _MPEG, {}, {}),
}


def _step(text: str) -> Step:
    name, colon, rest = text.partition(":")
    codec = _CODECS.get(name.strip())
    if codec is None:
        raise _unknown(f"there is no codec {name.strip()!r}", _CODECS)
    step = Step(codec.name, codec.fixed, _CONTAINERS[codec.containers[0]])
    said: list[str] = []
    for option in rest.split(",") if colon else ():
        key, equals, value = (each.strip() for each in option.partition("="))
        try:
            step = _with_option(step, name.strip(), codec, key, value if equals else None)
        except ValueError as error:
            raise Permanent("recipe.bad", f"`{option.strip()}` in {text.strip()!r} should be {error}") from error
        said.append("container" if key in _CONTAINERS else "rate" if key in _RATE_OPTIONS else key)
        if key not in _FILTERS and key != "double" and said.count(said[-1]) > 1:
            raise Permanent("recipe.bad", f"{text.strip()!r} gives more than one {said[-1]}")
    return step


def _with_option(step: Step, name: str, codec: _Codec, key: str, value: str | None) -> Step:
    filters: Mapping[str, Callable[[str], Filter]] = _FILTERS if codec.name else {}
    flags = (*(("back", "double") if codec.name else ()), *codec.containers)
    if key not in (*codec.options, *filters, *flags):
        raise _unknown(f"{name} has no option {key!r}", [*codec.options, *filters, *flags])
    if (value is None) != (key in flags):
        raise ValueError(f"`{key}` alone" if key in flags else f"`{key}=` with a value")
    if key in _CONTAINERS:
        return replace(step, container=_CONTAINERS[key])
    if key == "back":
        return replace(step, back=True)
    if key == "double":
        return replace(step, filters=(*step.filters, _doubled))
    assert value is not None
    if key in filters:
        return replace(step, filters=(*step.filters, filters[key](value)))
    return replace(step, options={**step.options, **codec.options[key](value)})


def _unknown(message: str, known: Mapping[str, object] | list[str]) -> Permanent:
    return Permanent("recipe.unknown", message, hint=f"one of {', '.join(known)}")
