"""What is done to a video on its way, as text: steps joined by `>`, each a codec and its options.

Such as `x264:crf=23,size=720p,back > copy:mkv`. Options that are filters act in the order they are written in, before
the encoder. What is not said is the encoder's own default. Here text is parsed and checked; `libav.recode` does it.

Source: the names and ranges of options are those of libavcodec's `libx264`, `libx265`, `libsvtav1`, `libvpx-vp9`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from bytereel_codec.errors import Permanent
from bytereel_codec.video.encoders import X264_PRESETS

STEPS_MAX = 16
TEXT_MAX = 1000
SIDE_MAX = 4096  # pixels of a picture
_WINDOW_MAX = 64
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_RATIO = re.compile(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", re.ASCII)
_CONTAINERS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm", "mov": "mov", "ts": "mpegts"}
_RATE_OPTIONS = ("crf", "qp", "bitrate")

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Filter:
    """What happens to the pictures between decoder and encoder: a filter of `libav.film` by name, and its arguments."""

    name: str
    values: Values


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


def _whole(text: str, low: int, high: int) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 9 or not low <= int(text) <= high:
        raise ValueError(f"a whole number from {low} to {high}")
    return int(text)


def _number(text: str, low: float, high: float) -> float:
    if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
        raise ValueError(f"a number from {low:g} to {high:g}")
    return float(text)


def _ratio(text: str, low: int, high: int) -> Fraction:
    if not _RATIO.fullmatch(text) or not low <= Fraction(text) <= high:
        raise ValueError(f"a number or fraction from {low} to {high}")
    return Fraction(text).limit_denominator(100_000)


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


def _size(text: str) -> Values:
    if text.endswith("p"):
        height = _whole(text[:-1], 16, SIDE_MAX)
        if height % 2:
            raise ValueError("an even height such as 720p")
        return {"width": None, "height": height}
    width, height = _pixels(text)
    return {"width": width, "height": height}


def _shift(text: str) -> Values:
    right, colon, down = text.partition(":")
    pixels = _whole(right, -SIDE_MAX, SIDE_MAX)
    return {"right": pixels, "down": _whole(down, -SIDE_MAX, SIDE_MAX) if colon else pixels}


def _span(text: str) -> Values:
    start, colon, end = text.partition(":")
    if not colon:
        raise ValueError("two fractions of the whole such as 1/3:2/3")
    first, last = _ratio(start, 0, 1), _ratio(end, 0, 1)
    if first >= last:
        raise ValueError("a start before its end")
    return {"start": first, "end": last}


def _range(text: str) -> Values:
    if text not in ("limited", "full"):
        raise ValueError("`full` or `limited`")
    return {"is_limited": text == "limited"}


_FILTERS: Mapping[str, Callable[[str], Values]] = {
    "size": _size,
    "fps": lambda text: {"rate": _ratio(text, 1, 240)},
    "drop": lambda text: {"every": _whole(text, 2, 1 << 20)},
    "shuffle": lambda text: {"window": _whole(text, 2, _WINDOW_MAX)},
    "cut": _span,
    "crop": lambda text: {"side": _whole(text, 1, SIDE_MAX // 2)},
    "pad": lambda text: {"size": _pixels(text)},
    "shift": _shift,
    "range": _range,
    "gain": lambda text: {"factor": _number(text, 0.1, 4)},
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
    if text not in X264_PRESETS:
        raise ValueError(f"one of {', '.join(X264_PRESETS)}")
    return {"preset": text}


def _vbv(text: str) -> Mapping[str, str]:
    rate, slash, size = text.partition("/")
    return {"maxrate": _bits(rate), "bufsize": _bits(size if slash else rate)}


_RATES: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "bitrate": lambda text: {"b": _bits(text)},
    "keyint": lambda text: {"g": str(_whole(text, 1, 9999))},
}
_BUFFERED = {**_RATES, "vbv": _vbv}
_MPEG = ("mp4", "mkv", "mov", "ts")
_CODECS = {
    "x264": _Codec(
        "libx264",
        _MPEG,
        {},
        {
            **_RATES,
            "vbv": _vbv,
            "crf": _crf(51),
            "qp": lambda text: {"qp": str(_whole(text, 0, 51))},
            "preset": _preset,
        },
    ),
    "x265": _Codec(
        "libx265",
        _MPEG,
        {"x265-params": "log-level=none:pools={threads}:frame-threads=1"},
        {**_BUFFERED, "crf": _crf(51), "preset": _preset},
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
        if key not in _FILTERS and said.count(said[-1]) > 1:
            raise Permanent("recipe.bad", f"{text.strip()!r} gives more than one {said[-1]}")
    return step


def _with_option(step: Step, name: str, codec: _Codec, key: str, value: str | None) -> Step:
    filters: Mapping[str, Callable[[str], Values]] = _FILTERS if codec.name else {}
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
        return replace(step, filters=(*step.filters, Filter("double", {})))
    assert value is not None
    if key in filters:
        return replace(step, filters=(*step.filters, Filter(key, filters[key](value))))
    return replace(step, options={**step.options, **codec.options[key](value)})


def _unknown(message: str, known: Mapping[str, object] | list[str]) -> Permanent:
    return Permanent("recipe.unknown", message, hint=f"one of {', '.join(known)}")
