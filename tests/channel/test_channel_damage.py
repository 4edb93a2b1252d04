"""Each kind of damage that a platform does to a lossy reel, alone and combined: the source comes back byte for byte."""

import io
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pytest
from bytereel_codec import Integrity, Permanent, Secret, open_reel
from bytereel_codec.bursts.reader import BurstReport, read_bursts
from bytereel_codec.channel.placing.placer import placed
from bytereel_codec.channel.raster import RASTERS, Picture
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.profiles.profiles import PROFILES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lossy_reels import (
    HARD,
    Sample,
    edited,
    filmed,
    harmed,
    noise,
    one_in_16_lost,
    pictures_of,
    raw_stream,
    sample,
    short_bursts,
    strips_in,
    through,
    without_segments,
)
from reels import assert_honest, made, obeys_the_law, restored, restored_by_the_road

TOUGH = ("rugged", "stream", "classic16")
ALL = ("balanced", *TOUGH)
Edit = Callable[[list[Picture]], Sequence[Picture]]


@pytest.mark.parametrize("profile", TOUGH)
@pytest.mark.parametrize("pictures", [16, 34])
def test_one_picture_in_16_of_a_segment_may_be_lost_any_one(profile: str, pictures: int) -> None:
    one = sample(profile, pictures=pictures)
    lossy = one_in_16_lost(one.reel, one.geometry, seed=pictures)
    assert restored(through(lossy, HARD[profile])) == one.content


@pytest.mark.parametrize("profile", TOUGH)
def test_every_16th_picture_of_the_video_may_be_lost(profile: str) -> None:
    one = sample(profile, pictures=18)
    assert restored(harmed(one, "drop=16")) == one.content


@pytest.mark.parametrize("profile", TOUGH)
@pytest.mark.parametrize("count", [1, 14_000])
def test_a_source_of_any_length_may_lose_every_16th_picture_of_the_video(profile: str, count: int) -> None:
    content = noise(count)
    pictures = pictures_of(made(content, profile=profile, geometry="360p"))
    for first in range(0, 16, 5):
        assert restored(filmed([p for number, p in enumerate(pictures) if number % 16 != first])) == content


def test_balanced_brings_lost_pictures_back_by_parity_across_segments() -> None:
    content = noise(240_000)
    reel = made(content, profile=short_bursts("balanced", 16), geometry="144p", parity_percent=40)
    lossy = through(one_in_16_lost_of_first(reel, 2), HARD["balanced"])
    assert restored(lossy) == content


def one_in_16_lost_of_first(video: bytes, bursts: int) -> bytes:
    """The video without one picture of each of the first few bursts of data."""

    def edit(pictures: list[Picture]) -> list[Picture]:
        strips = strips_in(pictures, "144p")
        return [
            picture
            for picture, strip in zip(pictures, strips, strict=True)
            if strip is None or strip.kind != Kind.DATA or strip.number >= bursts or strip.picture != 3
        ]

    return edited(video, edit)


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("damage", ["double", "shuffle=8", "double,shuffle=16"])
def test_pictures_may_come_twice_and_in_another_order(profile: str, damage: str) -> None:
    one = sample(profile, "144p", 40)
    assert restored(harmed(one, damage)) == one.content


def test_segments_may_be_mixed_up_altogether() -> None:
    content = noise(60_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p")
    pictures = pictures_of(reel)
    for order in (list(reversed(pictures)), random.Random(5).sample(pictures, len(pictures))):
        assert restored(edited(reel, lambda _, order=order: order)) == content


def test_a_reel_may_come_twice_or_behind_other_pictures() -> None:
    one = sample("rugged", "144p", 20)
    pictures = pictures_of(one.reel)
    chooser = np.random.default_rng(2)
    foreign = [
        Picture(
            *(
                np.kron(
                    chooser.integers(16, 235, (9, 16), np.uint8), np.ones((p.shape[0] // 9, p.shape[1] // 16))
                ).astype(np.uint8)
                for p in pictures[0]
            )
        )
        for _ in range(70)
    ]
    black = Picture(
        *(np.full(plane.shape, rest, np.uint8) for plane, rest in zip(pictures[0], (16, 128, 128), strict=True))
    )
    for video in (pictures * 2, [*foreign, *pictures, *foreign], [black] * 90 + pictures, foreign[:5] + pictures):
        assert restored(through(filmed(video), HARD["rugged"])) == one.content


def test_leader_pictures_of_another_reel_in_front_mislead_no_way_of_reading() -> None:
    one, other = sample("rugged"), made(noise(3000), seed=7, profile="rugged", geometry="360p")
    theirs = pictures_of(other)
    leaders = [
        picture
        for picture, strip in zip(theirs, strips_in(theirs, "360p"), strict=True)
        if strip is not None and (strip.kind, strip.number) == (Kind.LEADER, 0)
    ]
    video = filmed(leaders + pictures_of(one.reel))
    assert restored(video) == restored_by_the_road(video) == one.content
    with open_reel(BytesReader(video)) as file:
        assert file.read() == one.content


def forged_bursts(geometry: str, kinds: Sequence[Kind], profile: str) -> list[Picture]:
    """The pictures of bursts of these kinds of another reel under the same id, not sealed."""
    theirs = pictures_of(made(noise(3000)[::-1], profile=profile, geometry=geometry, name="forged"))
    strips = strips_in(theirs, geometry)
    return [picture for picture, strip in zip(theirs, strips, strict=True) if strip is not None and strip.kind in kinds]


@pytest.mark.parametrize("profile", ["balanced", "rugged"])
@pytest.mark.parametrize("secret", [None, Secret(key=b"k" * 32)], ids=["open", "sealed"])
@pytest.mark.parametrize("place", ["in front", "behind", "behind the leader", "mixed in"])
def test_a_forged_burst_under_its_own_id_does_not_hide_the_true_one(profile, secret, place) -> None:
    content = noise(3000)
    own = pictures_of(made(content, profile=profile, geometry="360p", secret=secret))
    forged = forged_bursts("360p", [Kind.DATA], profile)
    strips = strips_in(own, "360p")
    first = next(number for number, strip in enumerate(strips) if strip is not None and strip.kind == Kind.DATA)
    pictures = {
        "in front": [*forged, *own],
        "behind": [*own, *forged],
        "behind the leader": [*own[:first], *forged, *own[first:]],
        "mixed in": [*own[: first + 1], *forged, *own[first + 1 :]],
    }[place]
    video = filmed(pictures)
    assert restored(video, secret=secret) == restored_by_the_road(video, secret) == content
    with open_reel(BytesReader(video), secret) as file:
        assert file.read() == content


def test_forged_leaders_and_bursts_in_front_of_a_sealed_reel_hide_nothing() -> None:
    content, secret = noise(3000), Secret(key=b"k" * 32)
    own = pictures_of(made(content, profile="balanced", geometry="360p", secret=secret))
    video = filmed([*forged_bursts("360p", [Kind.LEADER, Kind.DATA], "balanced"), *own])
    assert restored(video, secret=secret) == restored_by_the_road(video, secret) == content


def test_two_lossy_reels_in_a_row_are_two_on_every_way_of_reading() -> None:
    one, other = sample("rugged"), made(noise(3000), seed=7, profile="rugged", geometry="360p")
    video = filmed(pictures_of(one.reel) + pictures_of(other))

    def opened() -> None:
        with open_reel(BytesReader(video)):
            pass

    for read in (lambda: restored(video), lambda: restored_by_the_road(video), opened):
        with pytest.raises(Permanent) as raised:
            read()
        assert raised.value.error_id == "reel.several"


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("rate", [25, 60])
def test_the_rate_may_change(profile: str, rate: int) -> None:
    one = sample(profile, "144p", 48 if profile == "classic16" else 8)
    assert restored(harmed(one, f"fps={rate}")) == one.content


def test_a_reel_of_30_pictures_a_second_loses_some_at_25_and_24_and_is_whole_all_the_same() -> None:
    one = sample("classic16", "144p", 60)
    channel = PROFILES["classic16"].channel
    assert channel is not None
    assert channel.frames_per_second == 30
    written = data_pictures(one.reel)
    for rate in (25, 24):
        slower = harmed(one, f"fps={rate}")
        assert len(data_pictures(slower)) <= 0.86 * len(written)
        assert restored(slower) == one.content


def data_pictures(video: bytes) -> set[int]:
    """Which pictures of the first burst of data a video of 144p shows."""
    strips = strips_in(pictures_of(video), "144p")
    return {strip.picture for strip in strips if strip and (strip.kind, strip.number) == (Kind.DATA, 0)}


@pytest.mark.parametrize("profile", ALL)
def test_no_container_matters(profile: str) -> None:
    one = sample(profile, "144p", 20)
    for video in (
        through(one.reel, "copy:mkv"),
        through(one.reel, "copy:mov"),
        through(one.reel, "copy:ts"),
        through(one.reel, "copy:ts > copy:mkv > copy"),
        raw_stream(one.reel),
        raw_stream(harmed(one, "double")),
        through(one.reel, f"{HARD[profile]},mkv > copy:ts"),
    ):
        assert restored(video) == one.content


@pytest.mark.parametrize(
    ("profile", "recipe"),
    [
        ("rugged", "x264:crf=23,size=480p,back"),
        ("stream", "x264:crf=23,preset=veryfast,size=240p,back"),
        ("classic16", "x264:crf=18,preset=veryfast,size=480p,back"),
        ("balanced", "lossless:size=720p,back"),
    ],
)
def test_a_picture_may_be_scaled_and_scaled_back(profile: str, recipe: str) -> None:
    one = sample(profile, pictures=4)
    assert restored(through(one.reel, recipe)) == one.content


@pytest.mark.parametrize(
    ("profile", "recipe"),
    [
        ("stream", "x264:crf=23,preset=veryfast,size=240p"),
        ("stream", "x264:crf=28,preset=veryfast,size=300p"),
        ("rugged", "x264:crf=28,preset=veryfast,size=540p"),
        ("balanced", "x264:crf=23,preset=veryfast,size=720p"),
        ("classic16", "x264:crf=18,preset=veryfast,size=800x400"),
    ],
)
def test_a_picture_may_be_delivered_in_another_size(profile: str, recipe: str) -> None:
    one = sample(profile, pictures=4)
    assert restored(through(one.reel, recipe)) == one.content


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("damage", ["pad=640x480", "pad=720x404"])
def test_a_picture_may_stand_in_a_frame(profile: str, damage: str) -> None:
    one = sample(profile)
    assert restored(harmed(one, damage)) == one.content


@pytest.mark.parametrize("profile", TOUGH)
@pytest.mark.parametrize("damage", ["crop=3", "crop=8", "shift=-5:2", "shift=8:-8"])
def test_a_few_pixels_may_be_cropped_or_the_picture_shifted(profile: str, damage: str) -> None:
    one = sample(profile)
    assert restored(harmed(one, damage)) == one.content


@pytest.mark.parametrize("damage", ["crop=4", "shift=3", "shift=-6:4"])
def test_balanced_pictures_of_1080p_may_be_cropped_and_shifted(damage: str) -> None:
    one = sample("balanced", "1080p", 2)
    assert restored(harmed(one, damage)) == one.content


@pytest.mark.parametrize("profile", ["balanced", "rugged", "stream", "classic16"])
@pytest.mark.parametrize("damage", ["shift=-3:0", "crop=3", "crop=5,shift=-1:3", "shift=1:-1,shift=2:2"])
def test_several_croppers_may_each_round_where_chroma_stands(profile: str, damage: str) -> None:
    pad = "pad=1400x800" if profile == "classic16" else "pad=800x480"
    one = sample(profile, "720p" if profile == "classic16" else "360p")
    assert restored(through(one.reel, f"lossless:{pad},{damage}")) == one.content


def test_each_side_may_be_cropped_alone() -> None:
    one = sample("rugged")
    for columns, rows in ((slice(6, None), slice(None)), (slice(None, -6), slice(None)), (slice(None), slice(6, None))):
        cropped = edited(one.reel, cropped_to(columns, rows))
        assert restored(through(cropped, HARD["rugged"])) == one.content


def cropped_to(columns: slice, rows: slice) -> Edit:
    def half(part: slice) -> slice:
        return slice(*(None if end is None else end // 2 for end in (part.start, part.stop)))

    def edit(pictures: list[Picture]) -> list[Picture]:
        places = ((rows, columns), *[(half(rows), half(columns))] * 2)
        return [Picture(*(plane[place] for plane, place in zip(p, places, strict=True))) for p in pictures]

    return edit


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("damage", ["range=limited", "range=full", "range=full,range=limited", "gain=0.7", "gain=1.3"])
def test_range_and_gain_may_change(profile: str, damage: str) -> None:
    one = sample(profile, "144p", 20)
    assert restored(harmed(one, damage)) == one.content


@pytest.mark.parametrize(
    ("profile", "recipe"),
    [
        *((profile, "{hard},drop=16,double,shuffle=8,range=limited") for profile in TOUGH),
        *((profile, "{hard},shift=3:-2,range=full > copy:mkv") for profile in TOUGH),
        ("rugged", "{hard},fps=24,pad=720x480,gain=0.9 > copy:ts"),
        ("rugged", "x264:crf=23,drop=16,gain=1.1 > copy:mkv > x264:crf=28,double"),
        ("rugged", "x264:crf=23,size=480p,pad=1280x500,gain=0.85"),
        ("stream", "{hard},drop=16,crop=2,range=limited"),
        ("stream", "{hard},drop=18,size=480x270,pad=480x360,gain=1.1 > copy:ts"),
        ("stream", "x264:crf=23,pad=640x480 > vp9:bitrate=500k,size=600x450,preset=8"),
        ("classic16", "{hard},fps=25,crop=2,gain=0.9"),
        ("classic16", "{hard},drop=16,pad=800x480 > x264:crf=18,double,range=full > copy:ts"),
        ("balanced", "{hard},double,shuffle=8,pad=720x480,range=limited > copy:mkv"),
    ],
)
def test_damages_may_come_together(profile: str, recipe: str) -> None:
    one = sample(profile, pictures=18 if "drop" in recipe or "fps" in recipe else 6)
    assert restored(through(one.reel, recipe.format(hard=HARD[profile]))) == one.content


ORDERS = st.sampled_from(["double", "shuffle=8", "shuffle=16", "drop=16", "drop=20", "fps=24", "fps=25"])
LEVELS = st.sampled_from(["range=limited", "range=full", "gain=0.8", "gain=0.95", "gain=1.2"])
FRAMES = st.sampled_from(["pad=360x200", "pad=288x176", "pad=256x240"])


@settings(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.sampled_from(TOUGH), ORDERS, LEVELS, FRAMES, st.permutations(range(3)), st.sampled_from(["copy:ts", ""]))
def test_any_damage_to_order_levels_and_frame_together(
    profile: str, order: str, level: str, frame: str, places: Sequence[int], container: str
) -> None:
    one = sample(profile, "144p", 48)
    damages = [(order, level, frame)[place] for place in places]
    video = harmed(one, ",".join(damages))
    assert restored(through(video, container) if container else video) == one.content


@pytest.mark.parametrize("profile", ALL)
def test_the_middle_third_of_a_reel_gives_that_third(profile: str) -> None:
    reel, content = cut_sample(profile)
    cut = through(reel, f"{HARD[profile]},cut=1/3:2/3")
    with pytest.raises(Integrity) as raised:
        restored(cut)
    assert raised.value.error_id == "reel.damaged"
    saved = restored(cut, salvage=True)
    kept = [i for i in range(0, len(saved) - 64, 64) if saved[i : i + 64] == content[i : i + 64]]
    assert obeys_the_law(cut, content) == "salvaged"
    share = 64 * len(kept) / len(content)
    assert 1 / 3 - 2 / 12 < share <= 1 / 3 + 1 / 12
    assert min(kept) > 0.25 * len(content)
    assert max(kept) < 0.75 * len(content)


@lru_cache(maxsize=4)
def cut_sample(profile: str) -> tuple[bytes, bytes]:
    """A reel of twelve segments, and what it holds."""
    short = short_bursts(profile, {"balanced": 8, "rugged": 12, "stream": 40, "classic16": 28}[profile])
    size = {"balanced": 300_000, "rugged": 240_000, "stream": 250_000, "classic16": 260_000}[profile]
    content = noise(size)
    return made(content, profile=short, geometry="144p"), content


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("lost", [[1, 2], [-1, 0]])
def test_whole_segments_lost_come_back_by_parity(profile: str, lost: list[int]) -> None:
    reel, content, segments = parity_sample(profile)
    gone = [(Kind.DATA, number % segments) for number in lost]
    video = without_segments(reel, "144p", gone)
    assert restored(through(video, HARD[profile])) == content


@lru_cache(maxsize=4)
def parity_sample(profile: str) -> tuple[bytes, bytes, int]:
    content = noise({"balanced": 150_000, "rugged": 150_000, "stream": 120_000, "classic16": 150_000}[profile])
    short = short_bursts(profile, {"balanced": 8, "rugged": 14, "stream": 48, "classic16": 32}[profile])
    reel = made(content, profile=short, geometry="144p", parity_percent=40)
    strips = strips_in(pictures_of(reel), "144p")
    return reel, content, 1 + max(s.number for s in strips if s and s.kind == Kind.DATA)


def test_leaders_and_a_parity_segment_lost_as_well_change_nothing() -> None:
    reel, content, _ = parity_sample("rugged")
    gone = [(Kind.LEADER, 0), (Kind.LEADER, 1), (Kind.PARITY, 0), (Kind.DATA, 2)]
    assert restored(through(without_segments(reel, "144p", gone), HARD["rugged"])) == content


def test_one_segment_more_than_parity_has_columns_is_named_and_the_rest_salvaged() -> None:
    reel, content, segments = parity_sample("rugged")
    columns = 1 + max(s.number for s in strips_in(pictures_of(reel), "144p") if s and s.kind == Kind.PARITY)
    video = without_segments(reel, "144p", [(Kind.DATA, number) for number in range(columns + 1)])
    with pytest.raises(Integrity) as raised:
        restored(video)
    ((start, end),) = raised.value.facts["lost"]
    assert start == 0
    assert 0 < end < len(content)
    assert end == pytest.approx(len(content) * (columns + 1) / segments, rel=0.3)
    saved = restored(video, salvage=True)
    assert_honest(saved, content, [(start, end)])
    assert saved[end:] == content[end:]


@pytest.mark.parametrize(("recipe", "times"), [("lossless", 1), ("lossless:pad=800x480", 2)])
def test_pictures_that_were_glanced_at_are_not_decoded_again_where_they_stand_as_written(
    recipe: str, times: int
) -> None:
    whole = pictures_of(through(sample("stream").reel, recipe))
    shown = 0

    def show() -> Iterator[Picture]:
        nonlocal shown
        shown += 1
        return iter(whole)

    found = placed(show)
    assert found is not None
    seen = list(found[1])
    assert (shown, len(seen)) == (times, len(whole))
    assert all(picture is each for picture, each in zip(seen, whole, strict=True))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.data())
def test_any_pictures_lost_at_all_never_give_a_wrong_byte(data: st.DataObject) -> None:
    reel, content, _ = parity_sample("rugged")
    pictures = pictures_of(reel)
    order = data.draw(st.lists(st.integers(0, len(pictures) - 1), min_size=1, max_size=len(pictures), unique=True))
    obeys_the_law(filmed([pictures[place] for place in order]), content)


PAINTED = {
    (30, 70): dict.fromkeys(ALL, "whole"),
    (120, 200): dict.fromkeys(TOUGH, "whole") | {"balanced": "salvaged"},
    (200, 400): dict.fromkeys(ALL, "salvaged"),
}
"""How many lines and samples of every picture of 360 x 640 are painted over, and what comes back of which profile."""


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize(("lines", "samples"), PAINTED)
def test_pictures_painted_over_in_part_come_back_as_far_as_parity_reaches_and_never_wrong(
    profile: str, lines: int, samples: int
) -> None:
    one: Sample = sample(profile)

    def edit(pictures: list[Picture]) -> list[Picture]:
        chooser = np.random.default_rng(4)
        for picture in pictures:
            top, left = chooser.integers(0, 360 - lines), chooser.integers(0, 640 - samples)
            picture.y[top : top + lines, left : left + samples] = 200
        return pictures

    assert obeys_the_law(edited(one.reel, edit), one.content) == PAINTED[lines, samples][profile]


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("worse_first", ["always", "never", "now and then"])
def test_of_a_picture_that_comes_twice_the_surest_copy_counts_whichever_came_first(
    profile: str, worse_first: str
) -> None:
    one = sample(profile, "144p", 8)

    def edit(pictures: list[Picture]) -> list[Picture]:
        chooser = np.random.default_rng(6)
        pairs = [(blotted(picture, chooser), picture) for picture in pictures]
        assert strips_in([worse for worse, _ in pairs], "144p") == strips_in(pictures, "144p")
        turned = {"always": (False,), "never": (True,), "now and then": (False, True)}[worse_first] * len(pairs)
        return [each for pair, turn in zip(pairs, turned, strict=False) for each in (pair[::-1] if turn else pair)]

    assert restored(edited(one.reel, edit)) == one.content


def blotted(picture: Picture, chooser: np.random.Generator) -> Picture:
    """The picture with faint noise where its content was, its strips as they were: it is told, and says nothing."""
    planes = [chooser.integers(126, 131, plane.shape, np.uint8) for plane in picture]
    kept = RASTERS["144p"].height // 6
    for plane, whole in zip(planes, picture, strict=True):
        rows = kept * plane.shape[0] // picture.y.shape[0]
        plane[:rows], plane[-rows:] = whole[:rows], whole[-rows:]
    return Picture(*planes)


@pytest.mark.parametrize(("profile", "pictures", "most"), [("rugged", 40, 4), ("stream", 60, 6)])
def test_as_many_pictures_may_be_lost_as_parity_has_bytes_and_no_more(profile: str, pictures: int, most: int) -> None:
    one = sample(profile, "144p", pictures)
    whole = pictures_of(one.reel)
    strips = strips_in(whole, "144p")
    for lost, expected in ((most, "whole"), (most + 1, "salvaged")):
        kept = [p for p, s in zip(whole, strips, strict=True) if s is None or s.kind != Kind.DATA or s.picture >= lost]
        assert obeys_the_law(filmed(kept), one.content) == expected


def test_bytes_of_pictures_that_did_not_come_are_known_to_be_lost_and_not_guessed_at() -> None:
    """A guess must leave two bytes of parity over, a known loss none: here 30 or 31 of 32 rows are lost."""
    whole = pictures_of(sample("stream", "144p", 60).reel)
    strips = strips_in(whole, "144p")
    kept = [p for p, s in zip(whole, strips, strict=True) if s is None or s.kind != Kind.DATA or s.picture >= 7]
    failed = []

    def note(report: BurstReport) -> None:
        if report.key[1] == Kind.DATA:
            failed.append(int((report.corrected < 0).sum()))

    read_bursts(lambda: shown_pictures(io.BytesIO(filmed(kept))), lambda image: None, note)
    assert len(failed) == 1
    assert failed[0] <= 5, "but for columns in which the channel hurt a byte too"
