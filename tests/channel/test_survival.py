"""Real bytes through real re-encodes, files compared: each profile, each claim, at the size of small reels.

Rates are those of the claims, less by as much as the pictures are smaller. The whole matrix at 1080p is a benchmark's.
"""

import io
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bytereel.conversions.archive import ArchiveConversion
from bytereel.conversions.restore import RestoreConversion
from bytereel.model import JobState
from bytereel_codec import (
    DecodeOptions,
    EncodeOptions,
    Integrity,
    Permanent,
    Secret,
    decode_file,
    encode_file,
    inspect,
    open_reel,
    verify,
)
from bytereel_codec.channel.raster import Picture
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.profiles.profiles import PROFILES
from lossy_reels import (
    HARD,
    Road,
    edited,
    harmed,
    noise,
    raw_stream,
    sample,
    short_bursts,
    strips_in,
    through,
    without_segments,
)
from reels import made, obeys_the_law, restored

KEY = Secret(key=b"k" * 32)
LOSSY = ("balanced", "rugged", "stream", "classic16")


def at_360p(recipe: str) -> str:
    """A claim about 1080p as one about 360p: heights by a third, rates by a ninth."""
    recipe = re.sub(r"=([0-9.]+)M", lambda found: f"={round(float(found[1]) * 1000 / 9)}k", recipe)
    return re.sub(r"=([0-9]+)p", lambda found: f"={int(found[1]) // 6 * 2}p", recipe)


@pytest.mark.parametrize(
    ("profile", "recipe"), [(name, at_360p(recipe)) for name in LOSSY for recipe in PROFILES[name].rehearsal]
)
def test_a_profile_survives_what_it_says(profile: str, recipe: str) -> None:
    one = sample(profile, pictures=9)
    assert restored(through(one.reel, recipe)) == one.content


@pytest.mark.parametrize(
    ("profile", "recipe"),
    [
        ("archive", "copy:mkv > copy:ts > copy:mov"),
        ("archive", "lossless"),
        ("balanced", "x264:crf=23,preset=veryfast > x264:crf=23,preset=veryfast"),
        ("rugged", "x264:crf=28 > vp9:crf=30,preset=8 > x264:crf=28"),
        ("stream", "x264:crf=28 > x265:crf=28,preset=fast > x264:crf=28"),
        ("classic16", "x264:crf=18 > x264:crf=18,preset=veryfast"),
    ],
)
def test_a_video_may_be_encoded_again_and_again(profile: str, recipe: str) -> None:
    content = noise(60_000)
    assert restored(through(made(content, profile=profile, geometry="360p"), recipe)) == content


@pytest.mark.parametrize("profile", LOSSY)
@pytest.mark.parametrize("recipe", ["x264:crf=40,preset=veryfast", "x264:crf=51,preset=veryfast"])
def test_beyond_the_cliff_nothing_comes_back_wrong(profile: str, recipe: str) -> None:
    content = noise(50_000)
    reel = made(content, profile=short_bursts(profile, 40), geometry="144p")
    obeys_the_law(through(reel, recipe), content)


def test_a_profile_of_samples_does_not_survive_an_encoder_and_says_so() -> None:
    with pytest.raises(Permanent) as raised:
        restored(through(made(noise(50_000)), "x264:crf=18"))
    assert raised.value.error_id == "reel.none"
    assert "encoded again" in raised.value.hint


SOURCES = {
    "empty": b"",
    "one byte": b"\x00",
    "a header's length": bytes(128),
    "zeros": bytes(500_000),
    "text": b"a line of text that compresses well, and another one;\n" * 20_000,
    "its own magic": bytes.fromhex("3bbe8679f404240e") * 5000,
    "all bytes": bytes(range(256)) * 200,
}


@pytest.mark.parametrize("profile", LOSSY)
@pytest.mark.parametrize("name", SOURCES)
def test_sources_of_every_kind_survive(profile: str, name: str) -> None:
    content = SOURCES[name]
    reel = made(content, profile=profile, geometry="144p")
    assert restored(through(reel, HARD[profile])) == content


@pytest.mark.parametrize("geometry", ["144p", "360p", "480p", "720p", "1080p"])
def test_a_source_of_a_few_bytes_survives_in_pictures_of_any_size(geometry: str) -> None:
    reel = made(b"a few bytes", profile="stream", geometry=geometry)
    assert restored(through(reel, "x264:crf=28,preset=ultrafast")) == b"a few bytes"


def test_what_is_not_compressed_or_of_several_segments_survives_as_well() -> None:
    content = SOURCES["text"][:200_000] + noise(30_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p", compress=False, workers=2)
    assert restored(through(reel, HARD["rugged"]), workers=2) == content


@pytest.mark.parametrize("secret", [KEY, Secret(passphrase=b"open sesame")], ids=["key", "passphrase"])
def test_a_sealed_reel_survives_and_stays_sealed(secret: Secret) -> None:
    content = noise(100_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p", secret=secret, parity_percent=30)
    video = through(without_segments(reel, "144p", [(Kind.DATA, 1)]), HARD["rugged"])
    assert restored(video, secret=secret) == content
    for wrong in (None, Secret(key=b"l" * 32), Secret(passphrase=b"open barley")):
        with pytest.raises(Permanent) as raised:
            restored(video, secret=wrong)
        assert raised.value.error_id in {"reel.sealed", "reel.wrong_key", "secret.wrong_kind"}


@pytest.mark.parametrize("profile", ["balanced", "stream"])
def test_a_folder_survives(tmp_path: Path, profile: str) -> None:
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "noise").write_bytes(noise(30_000))
    (folder / "empty").touch()
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("deep/er")
    encode_file(folder, tmp_path / "reel.mp4", EncodeOptions(profile=profile, geometry="144p"))
    (tmp_path / "video").write_bytes(through((tmp_path / "reel.mp4").read_bytes(), HARD[profile]))
    decode_file(tmp_path / "video", tmp_path / "back")
    assert (tmp_path / "back" / "link" / "noise").read_bytes() == noise(30_000)
    assert sorted(each.name for each in (tmp_path / "back").iterdir()) == ["deep", "empty", "link", "run"]
    assert os.access(tmp_path / "back" / "run", os.X_OK)


@pytest.mark.parametrize("count", [0, 5, 60_000])
def test_a_stream_of_unknown_length_survives_there_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    content = noise(count)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    encode_file("-", tmp_path / "reel.mp4", EncodeOptions(profile=short_bursts("rugged", 12), geometry="144p"))
    video = through((tmp_path / "reel.mp4").read_bytes(), HARD["rugged"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(video)))
    decode_file("-", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_stream_with_parity_is_made_and_survives_the_loss_of_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(70_000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    options = EncodeOptions(profile=short_bursts("rugged", 12), geometry="144p", parity_percent=50)
    encode_file("-", tmp_path / "reel.mp4", options)
    video = without_segments((tmp_path / "reel.mp4").read_bytes(), "144p", [(Kind.DATA, 0)])
    assert restored(through(video, HARD["rugged"])) == content


@pytest.mark.parametrize(
    "recipe",
    [
        "copy",
        "{hard}",
        "{hard},fps=24",
        "{hard},shuffle=8,mkv",
        "{hard},pad=320x240,gain=0.9 > copy:ts",
    ],
)
def test_any_range_of_a_lossy_reel_can_be_read(tmp_path: Path, recipe: str) -> None:
    content = noise(160_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p")
    path = tmp_path / "video"
    path.write_bytes(through(reel, recipe.format(hard=HARD["rugged"])))
    chooser = random.Random(recipe)
    with open_reel(path) as file:
        assert file.seek(0, os.SEEK_END) == len(content)
        for _ in range(8):
            start, length = chooser.randrange(len(content)), chooser.randrange(1, 40_000)
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(0)
        assert file.read() == content
    report = decode_file(path, tmp_path / "part", DecodeOptions(start=70_000, end=70_100))
    assert (tmp_path / "part").read_bytes() == content[70_000:70_100]
    assert report.whole


def test_a_range_whose_segment_is_lost_comes_back_by_parity(tmp_path: Path) -> None:
    content = noise(160_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p", parity_percent=20)
    video = through(without_segments(reel, "144p", [(Kind.DATA, 2)]), HARD["rugged"])
    (tmp_path / "video").write_bytes(video)
    with open_reel(tmp_path / "video") as file:
        file.seek(60_000)
        assert file.read(40_000) == content[60_000:100_000]
    report = decode_file(tmp_path / "video", tmp_path / "part", DecodeOptions(start=60_000, end=100_000))
    assert (tmp_path / "part").read_bytes() == content[60_000:100_000]
    assert report.recovered_frames > 0


def test_a_part_is_decoded_without_looking_at_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = 0

    def counted(*args: Any, **options: Any) -> Iterator[Picture]:
        nonlocal shown
        for picture in shown_pictures(*args, **options):
            shown += 1
            yield picture

    monkeypatch.setattr("bytereel_codec.reading.burst_video.shown_pictures", counted)
    content = noise(1_000_000)
    path = tmp_path / "video"
    path.write_bytes(through(made(content, profile=short_bursts("rugged", 16), geometry="144p"), "copy:mkv"))
    pictures = sum(1 for _ in shown_pictures(io.BytesIO(path.read_bytes())))
    decode_file(path, tmp_path / "part", DecodeOptions(start=500_000, end=500_100))
    assert (tmp_path / "part").read_bytes() == content[500_000:500_100]
    assert 0 < shown < pictures / 2


def lame(pictures: list[Picture]) -> list[Picture]:
    """The pictures without most of those of the second burst of data: its first frame's header is left, little else."""
    return [
        picture
        for picture, strip in zip(pictures, strips_in(pictures, "144p"), strict=True)
        if strip is None or (strip.kind, strip.number) != (Kind.DATA, 1) or strip.picture < 6
    ]


@pytest.mark.parametrize(
    ("parity", "edit"),
    [
        (40, lame),
        (0, lambda pictures: lame(pictures) + pictures),
        (0, lambda pictures: pictures[::2] + pictures[1::2]),
    ],
    ids=["parity comes later", "a good copy comes later", "the rest comes later"],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_a_part_comes_back_from_wherever_it_is(
    tmp_path: Path, parity: int, edit: Callable[[list[Picture]], list[Picture]], key: Secret | None
) -> None:
    content = noise(90_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p", parity_percent=parity, secret=key)
    path = tmp_path / "video"
    path.write_bytes(edited(reel, edit))
    for start, end in ((0, 10), (25_000, 60_000), (89_999, 90_000), (1, None)):
        decode_file(path, tmp_path / "part", DecodeOptions(secret=key, start=start, end=end, replace=True))
        assert (tmp_path / "part").read_bytes() == content[start:end]
    with open_reel(path, key) as file:
        file.seek(25_000)
        assert file.read(35_000) == content[25_000:60_000]


def test_a_part_of_a_sealed_reel_is_read_though_parity_comes_first(tmp_path: Path) -> None:
    content = noise(90_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p", parity_percent=40, secret=KEY)
    path = tmp_path / "video"
    path.write_bytes(edited(reel, lambda pictures: pictures[-30:] + pictures[:-30]))
    decode_file(path, tmp_path / "part", DecodeOptions(secret=KEY, start=40_000, end=50_000))
    assert (tmp_path / "part").read_bytes() == content[40_000:50_000]


def test_a_part_that_is_lost_is_named_and_what_is_left_is_salvaged(tmp_path: Path) -> None:
    content = noise(160_000)
    reel = made(content, profile=short_bursts("rugged", 16), geometry="144p")
    (tmp_path / "video").write_bytes(without_segments(reel, "144p", [(Kind.DATA, 2)]))
    with pytest.raises(Integrity) as lost:
        decode_file(tmp_path / "video", tmp_path / "part", DecodeOptions(start=60_000, end=100_000))
    (start, end), *others = lost.value.facts["lost"]
    assert 60_000 <= start < end <= 100_000
    assert not others
    decode_file(tmp_path / "video", tmp_path / "part", DecodeOptions(start=60_000, end=100_000, salvage=True))
    left = (tmp_path / "part").read_bytes()
    assert left == content[60_000:start] + bytes(end - start) + content[end:100_000]


@pytest.mark.parametrize("profile", LOSSY)
def test_a_reencoded_reel_is_verified_and_described(tmp_path: Path, profile: str) -> None:
    one = sample(profile, "144p", 20)
    (tmp_path / "video").write_bytes(raw_stream(harmed(one, "double")))
    assert verify(tmp_path / "video").whole
    told = inspect(tmp_path / "video")
    assert (told.geometry, told.frames_missing, told.sealed) == ("144p", 0, False)
    assert told.leader is not None
    assert (told.leader.profile, told.leader.size_bytes) == (profile, len(one.content))


@pytest.mark.parametrize(("profile", "secret"), [("balanced", None), ("rugged", KEY)])
def test_the_road_makes_lossy_reels_with_parity_and_restores_them_re_encoded(
    profile: str, secret: Secret | None
) -> None:
    content = noise(400_000)
    road = Road({"archive": ArchiveConversion(25.0, secret), "restore": RestoreConversion(secret)})
    reel = road.output(f"archive/{profile}/a.bin", content)
    assert restored(reel, secret=secret) == content
    assert road.output("restore/a.mp4", reel) == content
    lossy = through(without_segments(reel, "720p", [(Kind.DATA, 1)]), HARD[profile])
    assert road.output("restore/b.mp4", lossy) == content


def test_the_road_refuses_a_reel_that_was_encoded_beyond_its_profile() -> None:
    road = Road({"restore": RestoreConversion()})
    one = sample("balanced", "144p", 20)
    job = road.job_of("restore/a.mp4", through(one.reel, "x264:crf=40"))
    assert job.state is JobState.FAILED
    assert job.reason
