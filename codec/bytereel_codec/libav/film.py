"""Pictures on their way from a decoder to an encoder, and what platforms do to them in between.

A filter takes a film and returns another one; nothing is decoded before the last one is asked for its pictures. What
can be said to them is in `recipes`. Memory: a few pictures; with `shuffle` a window of them.

Source: libavfilter `scale`; `fps`, `crop` and `pad`, whose results these give.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from bytereel_codec.channel.raster import CHROMA_REST, Plane
from bytereel_codec.errors import Permanent
from bytereel_codec.libav.planes import lines_of, samples_of
from bytereel_codec.profiles.recipes import Filter

_COPIES_MAX = 4096
_BLACK = (16, CHROMA_REST, CHROMA_REST)
Table = npt.NDArray[np.uint8]


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


def filtered(film: Film, what: Filter) -> Film:
    """The film after a filter. Raises: Permanent `recipe.bad` when its pictures are too small or too large for it."""
    return _FILTERS[what.name](film, **what.values)


def nearest(value: Fraction) -> int:
    """The whole number nearest to a value of 0 or more; the higher one of two."""
    return int(value + Fraction(1, 2))


def frame_of(planes: list[Plane]) -> VideoFrame:
    """A frame of its own with the samples of Y, U and V: uint8[height, width], chroma at half of it."""
    frame = VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines_of(plane)[:, : plane.width] = samples
    return frame


def paced(film: Film, *, rate: Fraction) -> Film:
    """At each time of the new rate the last picture whose time, rounded, has come: as libavfilter's `fps`."""

    def shots() -> Iterator[tuple[VideoFrame, Fraction]]:
        held: VideoFrame | None = None
        position = 0
        for frame, time in film.shots:
            slot = nearest(time * rate)
            if held is not None:
                yield from ((held, n / rate) for n in range(position, min(slot, position + _COPIES_MAX)))
            position, held, end = max(position, slot), frame, time + 1 / film.rate
        if held is not None:
            yield from ((held, n / rate) for n in range(position, nearest(end * rate)))

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
        return frame_of(planes)

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
        return frame_of([table[samples_of(plane)] for plane, table in tables])

    return replace(film, shots=((mapped(frame), time) for frame, time in film.shots))


def _table(gain: float, rest: int, lifted: int = 0) -> Table:
    values = (np.arange(256) - rest) * gain + rest + lifted
    table: Table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table


def _gained(film: Film, *, factor: float) -> Film:
    return _mapped(film, luma=_table(factor, 0), chroma=_table(factor, CHROMA_REST))


def _ranged(film: Film, *, is_limited: bool) -> Film:
    if is_limited:
        return _mapped(film, luma=_table(219 / 255, 0, 16), chroma=_table(224 / 255, CHROMA_REST))
    return _mapped(film, luma=_table(255 / 219, 16, -16), chroma=_table(255 / 224, CHROMA_REST))


_FILTERS: Mapping[str, Callable[..., Film]] = {
    "size": _scaled,
    "fps": paced,
    "drop": _thinned,
    "double": _doubled,
    "shuffle": _shuffled,
    "cut": _cut,
    "crop": _cropped,
    "pad": _padded,
    "shift": _shifted,
    "range": _ranged,
    "gain": _gained,
}
