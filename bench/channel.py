"""The profiles that survive another encoder: what they survive, and what they cost.

Bounds are for random bytes at 1080p (`classic16`: 720p), everything included. Rates are of the source's bytes and of
one core: a process's own seconds of CPU, so that what else a machine does matters little; two workers against one are
by the clock. Kernels are compiled and loaded before they are timed.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from bytereel_codec import DecodeOptions, EncodeOptions, decode_file, encode_file
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.errors import BytereelError, Permanent
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import PROFILES
from bytereel_codec.profiles.recipes import Recipe
from bytereel_codec.trials.rehearsal import sample_bytes_for
from bytereel_codec.trials.survey import ChannelSurvey, survey_channel

from bench.channel_rows import ENCODE_MIN, measure_parity, measure_symbols, measure_youbit
from bench.channel_seeds import measure_seeds
from bench.measure import Scratch, core_seconds_so_far, random_file
from bench.rows import Row

Measurement = Callable[[], Iterator[Row]]
TWO_WORKERS_MIN = 1.8
_QUICK_GEOMETRY = "360p"
_SMALLER, _QUICK_SMALLER = "size=720p", "size=240p"
_BURSTS = 4
_THREADS_MAX = 2
_COLUMNS = {False: 1 << 15, True: 1 << 11}
_WORKS = (("encode", 1), ("decode", 1), ("encode", 2), ("decode", 2))


@dataclass(frozen=True, slots=True)
class Target:
    """What one profile must reach. Rates in MB/s of a core; None where none was set for the whole way.

    `survives`: the recipes (`libav.recode`) after which every byte must be there. `beyond`: others beside them, of
    which nothing is claimed: they show where the cliff is (a bit rate's is at bits a picture, so it moves with the
    profile's frame rate). `wanted`: the expansion that would be new ground.
    """

    expansion: float
    encode: float | None
    decode: float | None
    survives: tuple[str, ...]
    beyond: tuple[str, ...]
    wanted: float | None = None


TARGETS: Mapping[str, Target] = {
    "balanced": Target(
        1.13,
        6,
        6,
        ("x264:crf=18", "x264:crf=23", "x264:crf=23,preset=veryfast"),
        ("x264:crf=26", "x264:crf=28", "x264:crf=28,preset=veryfast", "x264:crf=18,size=720p,back"),
    ),
    "rugged": Target(
        1.30,
        5,
        5,
        (
            *("x264:crf=18", "x264:crf=23", "x264:crf=28", "x264:crf=33", "x264:crf=33,preset=veryfast"),
            *("x265:crf=32", "svtav1:crf=35"),
        ),
        ("x264:crf=35", "x264:crf=38", "x264:crf=38,preset=veryfast", "x264:crf=23,size=720p,back"),
    ),
    "stream": Target(
        2.0,
        0.6,
        1,
        (
            *("vp9:bitrate=2.5M", "vp9:bitrate=4M", "x264:crf=28", "x264:crf=33", "x264:crf=35"),
            *("x264:crf=23,size=720p,back", "x264:bitrate=5M,vbv=5M"),
        ),
        ("vp9:bitrate=1M", "vp9:bitrate=400k", "x264:crf=38", "x264:bitrate=2.5M,vbv=2.5M,size=720p,back"),
        wanted=1.8,
    ),
    "classic16": Target(
        15,
        None,
        None,
        ("x264:crf=18", "x264:crf=23"),
        ("x264:crf=28", "x264:crf=33", "vp9:bitrate=4M"),
    ),
}


def measurements(scratch: Scratch, *, quick: bool) -> dict[str, Measurement]:
    """Every measurement by its name. `quick`: small pictures and few, at which no bound but survival counts."""
    found: dict[str, Measurement] = {}
    for name in TARGETS:
        found[f"survival-{name}"] = partial(measure_survival, scratch, name, quick=quick)
    for name, target in TARGETS.items():
        hardest = target.survives[-1].replace(_SMALLER, _QUICK_SMALLER) if quick else target.survives[-1]
        found[f"seeds-{name}"] = partial(measure_seeds, scratch, name, _geometry(name, quick), hardest)
    for name in TARGETS:
        found[f"cost-{name}"] = partial(measure_cost, scratch, name, quick=quick)
    for name in TARGETS:
        geometry = _geometry(name, quick)
        found[f"symbols-{name}"] = partial(measure_symbols, name, geometry.channel, geometry.raster, is_bound=not quick)
    parities = {_geometry(name, quick).channel.modulation.parity for name in TARGETS}
    for parity in sorted(parities | set(ENCODE_MIN)):
        found[f"parity-{parity}"] = partial(measure_parity, parity, _COLUMNS[quick], is_bound=not quick)
    found["youbit"] = partial(measure_youbit, scratch)
    return found


def _geometry(name: str, quick: bool) -> BurstGeometry:
    """That of long reels, or a small one."""
    geometry = geometry_of_profile(PROFILES[name], _QUICK_GEOMETRY if quick else None, None)
    assert isinstance(geometry, BurstGeometry), "every profile here is one of bursts"
    return geometry


def _burst_bytes(geometry: BurstGeometry) -> int:
    """Bytes of a source that fill a burst."""
    return geometry.segment_frames() * geometry.span_bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a reel on its way through a re-encode. Sizes in bytes.

    `wrong_bytes` of the `source_bytes` did not come back, or came back as others; `is_silent` where the decoder took
    them for right. `survey` looks at every codeword of what was delivered; None where no picture shows a strip.
    `decode_seconds` are of CPU.
    """

    source_bytes: int
    wrong_bytes: int
    is_silent: bool
    delivered_bytes: int
    survey: ChannelSurvey | None
    decode_seconds: float


def measure_survival(scratch: Scratch, name: str, *, quick: bool = False, recipes: Sequence[str] = ()) -> Iterator[Row]:
    """One burst of random bytes through each re-encode, or through `recipes`. The reel is the same in every run."""
    target, geometry = TARGETS[name], _geometry(name, quick)
    size = sample_bytes_for(geometry) if quick else _burst_bytes(geometry)
    source, reel, delivered = scratch.fresh("source"), scratch.fresh("reel.mp4"), scratch.path / "delivered"
    source.write_bytes(np.random.default_rng(0).bytes(size))
    random = np.random.default_rng(1).bytes
    encode_file(source, reel, EncodeOptions(profile=name, geometry=geometry, created="", random=random))
    decode_file(reel, scratch.path / "back")  # loads the kernels
    section = (
        f"Survival: {name}, {geometry.name} at {geometry.frames_per_second}/s, {size / 1e6:.1f} MB of random bytes"
    )
    fates = {}
    for recipe in recipes or (*target.survives, *target.beyond):
        done = recipe.replace(_SMALLER, _QUICK_SMALLER) if quick else recipe
        recode(reel, delivered, Recipe.parse(done), threads=_threads())
        fates[recipe] = _fate(source, delivered, scratch.path / "back")
        must_hold = recipe in target.survives
        yield _survival_row(section, done, fates[recipe], must_hold)
    rates = {recipe: size / fates[recipe].decode_seconds / 1e6 for recipe in fates if recipe in target.survives}
    if rates:
        slowest = min(rates, key=lambda recipe: rates[recipe])
        what = "decode, the slowest of what must survive"
        note = f"of a core; {slowest}; the bound is on the reel as written"
        yield Row(section, what, rates[slowest], "MB/s", note=note)
    for file in ("source", "reel.mp4", "delivered", "back"):
        scratch.fresh(file)


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_THREADS_MAX, cores)


def _fate(source: Path, delivered: Path, back: Path) -> Fate:
    """Decode a platform's video as far as it goes, compare, and look at every codeword."""
    is_whole = False
    started_at = core_seconds_so_far()
    try:
        is_whole = decode_file(delivered, back, DecodeOptions(salvage=True)).whole
    except BytereelError:
        back.write_bytes(b"")
    seconds = core_seconds_so_far() - started_at
    wrong = _differing(np.fromfile(source, np.uint8), np.fromfile(back, np.uint8))
    return Fate(
        source.stat().st_size,
        wrong if is_whole else max(1, wrong),
        is_whole and wrong > 0,
        delivered.stat().st_size,
        _surveyed(delivered),
        seconds,
    )


def _differing(one: Bytes, other: Bytes) -> int:
    """Places at which they are not the same, or only one of them has any."""
    both = min(len(one), len(other))
    return int((one[:both] != other[:both]).sum()) + max(len(one), len(other)) - both


def _surveyed(delivered: Path) -> ChannelSurvey | None:
    try:
        return survey_channel(delivered)
    except Permanent:
        return None


def _survival_row(section: str, recipe: str, fate: Fate, must_hold: bool) -> Row:
    """One cell of the matrix: the bytes that did not come back, and how far the cliff was."""
    told = ["exact" if not fate.wrong_bytes else "SILENTLY WRONG" if fate.is_silent else "lost, and said so"]
    if fate.survey and any(kind == Kind.DATA for _, kind, _ in fate.survey.bursts):
        cliff = fate.survey.cliff
        told.append(f"codewords lost {cliff.lost:,} of {cliff.codewords:,}")
        if cliff.lost < cliff.codewords:
            told.append(f"the worst{' other' if cliff.lost else ''} used {cliff.worst} of {cliff.allowed} parity")
            told.append(f"byte errors{' there' if cliff.lost else ''} {fate.survey.error_rate:.1e}")
    else:
        told.append("no burst was found")
    ratio = fate.delivered_bytes / fate.source_bytes
    told.append(f"delivered {fate.delivered_bytes / 1e6:.1f} MB, {ratio:.2f} x")
    bound = 0 if must_hold else None
    return Row(section, recipe, fate.wrong_bytes, "B wrong", at_most=bound, note="; ".join(told))


def measure_cost(scratch: Scratch, name: str, *, quick: bool = False) -> Iterator[Row]:
    """Expansion and rates of a source of several full bursts. Raises: RuntimeError where other bytes come back."""
    geometry = _geometry(name, quick)
    size = (sample_bytes_for(geometry) if quick else _burst_bytes(geometry)) * (2 if quick else _BURSTS)
    source, reel, back = scratch.fresh("source"), scratch.path / "reel.mp4", scratch.path / "back"
    encode_file(random_file(source, 8192), reel, EncodeOptions(profile=name, geometry=geometry))
    decode_file(reel, back)  # loads the kernels
    random_file(source, size)
    rounds = [_round(source, reel, back, geometry) for _ in range(1 if quick else 2)]
    started_at = core_seconds_so_far()
    with reel.open("rb") as video:
        sum(1 for _ in shown_pictures(video))
    bare_rate = size / (core_seconds_so_far() - started_at) / 1e6
    if back.read_bytes() != source.read_bytes():
        raise RuntimeError(f"{name}: the bytes that came back are others")
    section = f"Cost: {name} at {geometry.name}, {size / 1e6:.1f} MB of random bytes"
    yield from _cost_rows(section, size, reel.stat().st_size, rounds, None if quick else TARGETS[name])
    yield Row(section, "libavcodec alone, the same reel", bare_rate, "MB/s", note="the limit of decode, of a core")
    for file in (source, reel, back):
        scratch.fresh(file.name)


Seconds = dict[tuple[str, int], tuple[float, float]]


def _round(source: Path, reel: Path, back: Path, geometry: BurstGeometry) -> Seconds:
    """Seconds of CPU and by the clock of encoding and decoding with one worker, then with two."""
    seconds: Seconds = {}
    for work, workers in _WORKS:
        core_at, clock_at = core_seconds_so_far(), time.perf_counter()
        if work == "encode":
            encode_file(source, reel, EncodeOptions(profile=geometry.profile, geometry=geometry, workers=workers))
        else:
            decode_file(reel, back, DecodeOptions(workers=workers))
        seconds[work, workers] = core_seconds_so_far() - core_at, time.perf_counter() - clock_at
    return seconds


def _cost_rows(
    section: str, size: int, reel_bytes: int, rounds: Sequence[Seconds], target: Target | None
) -> Iterator[Row]:
    expansion = reel_bytes / size
    yield Row(section, "expansion, everything included", expansion, "x", target.expansion if target else None)
    if target and target.wanted:
        yield Row(section, "the same, held against what would be new ground", expansion, "x", target.wanted)
    bounds = {"encode": target.encode, "decode": target.decode} if target else {}
    for work in ("encode", "decode"):
        rate = size / min(seconds[work, 1][0] for seconds in rounds) / 1e6
        note = "of a core" if work == "encode" else "of a core, the reel as written"
        yield Row(section, work, rate, "MB/s", at_least=bounds.get(work), note=note)
    for work in ("encode", "decode"):
        one, two = (min(seconds[work, workers][1] for seconds in rounds) for workers in (1, 2))
        bound = TWO_WORKERS_MIN if target else None
        yield Row(section, f"{work}, 2 workers / one, by the clock", one / two, "x", at_least=bound)
