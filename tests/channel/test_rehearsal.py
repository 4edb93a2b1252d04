"""A rehearsal says what a profile survives: what comes back exact is told from what does not, with the figures."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bytereel_codec.bursts.writer import encoding_of
from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.device import Device
from bytereel_codec.channel.modulation import Family
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.errors import Integrity, Permanent, Temporary
from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES
from bytereel_codec.libav.encoding import can_encode
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import PROFILES, Profile, coded_by_card
from bytereel_codec.reel.layout import layout_for
from bytereel_codec.trials import rehearsal
from bytereel_codec.trials.rehearsal import (
    PICTURES,
    WORTH_A_REHEARSAL_BYTES,
    Trial,
    best_coded,
    rehearse,
    sample_bytes_for,
    survives,
    with_proven_encoder,
)
from bytereel_codec.video.encoders import NVENC
from hypothesis import given
from hypothesis import strategies as st

SAMPLE = np.random.default_rng(11).bytes(40_000)
BURSTS = [profile for profile in PROFILES.values() if profile.channel]


def small(profile: Profile, **channel: Any) -> Profile:
    """The profile, with long reels of small pictures."""
    assert profile.channel is not None
    return replace(profile, channel=replace(profile.channel, geometries=((None, "360p"),), **channel))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_each_recipe_is_tried_in_turn_and_what_holds_is_told_from_what_does_not(folder: Path) -> None:
    seen: list[Trial] = []
    recipes = ("copy:mkv", "x264:crf=28,preset=veryfast", "x264:crf=51,preset=ultrafast", "lossless:double")
    trials = survives(PROFILES["rugged"], recipes, sample=SAMPLE, geometry="360p", watch=seen.append)
    assert [trial.recipe for trial in trials] == list(recipes)
    assert [trial.exact for trial in trials] == [True, True, False, True]
    assert [bool(trial.why) for trial in trials] == [False, False, True, False]
    assert seen == trials
    assert not list(folder.iterdir())


def test_the_figures_are_those_of_the_reel_and_of_what_was_delivered() -> None:
    copied, hurt, lost = survives(
        PROFILES["rugged"],
        ["copy:mp4", "x264:crf=32,preset=veryfast", "x264:crf=51,preset=ultrafast"],
        sample=SAMPLE,
        geometry="360p",
    )
    assert copied.profile == "rugged"
    assert copied.sample_bytes == len(SAMPLE)
    assert abs(copied.delivered_bytes - copied.reel_bytes) < 0.1 * copied.reel_bytes
    assert 1 < copied.expansion < copied.reel_bytes / len(SAMPLE)
    assert copied.expansion == hurt.expansion == lost.expansion
    assert copied.corrected_bytes <= hurt.corrected_bytes
    assert hurt.corrected_bytes > 0
    assert (copied.codewords_lost, hurt.codewords_lost) == (0, 0)
    assert 0 < copied.codewords == hurt.codewords
    assert lost.codewords_lost > 0 or lost.codewords == 0
    assert lost.delivered_bytes < hurt.delivered_bytes


def test_the_same_seed_gives_the_same_reel() -> None:
    def trial(seed: int) -> Trial:
        (made,) = survives(PROFILES["balanced"], ["copy"], sample=SAMPLE, geometry="360p", seed=seed)
        return replace(made, seconds=0)

    assert trial(1) == trial(1)
    assert trial(1) != trial(2)


def test_bytes_that_are_wrong_though_the_decoder_is_content_are_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_wrongly(source: Path, target: Path, options: object) -> None:
        target.write_bytes(SAMPLE[:-1] + bytes([SAMPLE[-1] ^ 1]))

    monkeypatch.setattr(rehearsal, "decode_file", decode_wrongly)
    (trial,) = survives(PROFILES["rugged"], ["copy"], sample=SAMPLE, geometry="360p")
    assert not trial.exact
    assert trial.why


@pytest.mark.parametrize(("error", "is_trial"), [(Permanent, True), (Integrity, True), (Temporary, False)])
def test_what_cannot_be_read_is_a_trial_and_what_cannot_be_tried_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], is_trial: bool
) -> None:
    def fail(*_: object) -> None:
        raise error("some.id", "the reason")

    monkeypatch.setattr(rehearsal, "decode_file", fail)
    if is_trial:
        (trial,) = survives(PROFILES["rugged"], ["copy"], sample=SAMPLE, geometry="360p")
        assert (trial.exact, trial.why) == (False, "the reason")
    else:
        with pytest.raises(error):
            survives(PROFILES["rugged"], ["copy"], sample=SAMPLE, geometry="360p")
    assert not list(folder.iterdir())


def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "encode_file", None)
    with pytest.raises(Permanent) as refused:
        survives(PROFILES["rugged"], ["copy", "x264:crf=99"], sample=SAMPLE)
    assert refused.value.error_id == "recipe.bad"


def test_a_profile_is_rehearsed_by_its_own_claims_at_the_size_of_long_reels() -> None:
    profile = replace(small(PROFILES["balanced"]), rehearsal=("copy:ts", "x264:crf=51"))
    kept, lost = rehearse(profile)
    assert (kept.recipe, kept.exact, lost.recipe, lost.exact) == ("copy:ts", True, "x264:crf=51", False)
    assert kept.sample_bytes == sample_bytes_for(geometry_of_profile(profile, None, None))


def test_archive_holds_where_packets_are_kept_and_falls_where_they_are_not() -> None:
    kept, lost = survives(PROFILES["archive"], ["copy:mkv", "x264:crf=18"], sample=SAMPLE)
    assert (kept.exact, kept.codewords, lost.exact) == (True, 0, False)


def test_a_sample_may_be_empty() -> None:
    (trial,) = survives(PROFILES["balanced"], ["copy"], sample=b"", geometry="360p")
    assert (trial.exact, trial.expansion) == (True, float("inf"))


@given(profile=st.sampled_from(BURSTS), raster=st.sampled_from(list(RASTERS.values())), pictures=st.integers(1, 255))
def test_the_sample_fills_one_burst_of_a_few_pictures(profile: Profile, raster: Any, pictures: int) -> None:
    assert profile.channel is not None
    geometry = BurstGeometry(small(profile, pictures=pictures), raster)
    if geometry.frame_bytes <= 2 * FRAME_RESERVED_BYTES:
        return
    sample_bytes = sample_bytes_for(geometry)
    layout = layout_for(sample_bytes, geometry=geometry)
    shape = BurstShape(raster, profile.channel.modulation, min(PICTURES, pictures))
    stored = sample_bytes + layout.frames * FRAME_RESERVED_BYTES
    assert layout.segments == 1
    assert stored <= shape.data_bytes * 1.01 + FRAME_RESERVED_BYTES
    if profile.channel.modulation.family != Family.CELLS and sample_bytes > 100_000:
        assert stored > 0.95 * shape.data_bytes


def coded_by(profile: Profile, **options: str) -> Profile:
    """The profile with those options of its own encoder changed."""
    assert profile.channel is not None
    return small(profile, encoder_options=tuple({**dict(profile.channel.encoder_options), **options}.items()))


def test_another_encoder_is_taken_where_a_rehearsal_proves_it() -> None:
    profile, trials = small(PROFILES["balanced"]), list[Trial]()
    candidate = coded_by(profile, subme="1")
    assert with_proven_encoder(profile, candidate, watch=trials.append) is candidate
    assert [trial.recipe for trial in trials] == list(profile.rehearsal)
    assert all(trial.exact for trial in trials)


@pytest.mark.parametrize(("qp", "exact"), [("40", False), ("28", True)], ids=["what is lost", "what is too large"])
def test_another_encoder_is_not_taken_for(qp: str, exact: bool) -> None:
    profile, trials = small(PROFILES["balanced"]), list[Trial]()
    assert with_proven_encoder(profile, coded_by(profile, qp=qp), watch=trials.append) is profile
    assert all(trial.exact for trial in trials) == exact


@pytest.mark.parametrize("profile", BURSTS, ids=lambda profile: profile.name)
def test_the_encoder_of_a_card_is_taken_where_it_answers_and_is_proved(profile: Profile) -> None:
    trials: list[Trial] = []
    found = with_proven_encoder(small(profile), coded_by_card(small(profile)), watch=trials.append)
    assert found.channel is not None
    proved = bool(trials) and all(trial.exact for trial in trials)
    assert proved or found == small(profile)
    assert found.channel.encoder != NVENC or proved


def test_a_source_that_is_small_or_of_unknown_size_is_worth_no_rehearsal() -> None:
    trials: list[Trial] = []
    for size in (None, 0, WORTH_A_REHEARSAL_BYTES - 1):
        assert best_coded(PROFILES["rugged"], size, Device.AUTO, watch=trials.append) is PROFILES["rugged"]
    assert best_coded(PROFILES["archive"], 1 << 40, Device.AUTO, watch=trials.append) is PROFILES["archive"]
    assert best_coded(PROFILES["rugged"], 1 << 40, Device.CPU, watch=trials.append) is PROFILES["rugged"]
    assert trials == []


def test_an_encoder_that_opens_once_and_then_gives_up_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = small(PROFILES["classic16"])
    candidate = coded_by_card(profile)
    geometry = geometry_of_profile(candidate, None, None)
    assert isinstance(geometry, BurstGeometry)
    if can_encode(encoding_of(geometry)):
        pytest.skip("a card answers here")
    monkeypatch.setattr("bytereel_codec.libav.encoding.can_encode", lambda encoding: True)
    trials: list[Trial] = []
    assert with_proven_encoder(profile, candidate, watch=trials.append) is profile
    assert trials == []


def test_a_profile_that_claims_nothing_proves_no_encoder() -> None:
    profile = replace(small(PROFILES["balanced"]), rehearsal=())
    assert with_proven_encoder(profile, coded_by(profile, subme="1")) is profile


def test_a_full_disk_is_not_taken_for_an_encoder_that_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> list[Trial]:
        raise Temporary("target.full", "no space left")

    monkeypatch.setattr(rehearsal, "survives", full)
    profile = small(PROFILES["balanced"])
    with pytest.raises(Temporary):
        with_proven_encoder(profile, coded_by(profile, subme="1"))


def test_a_recipe_that_the_pictures_do_not_suit_is_a_trial_that_failed_and_the_others_go_on() -> None:
    recipes = ["lossless:crop=300", "copy"]
    refused, copied = survives(PROFILES["rugged"], recipes, sample=SAMPLE, geometry="360p")
    assert not refused.exact
    assert "crop" in refused.why or "pixels" in refused.why or "pictures" in refused.why
    assert (refused.delivered_bytes, refused.codewords) == (0, 0)
    assert copied.exact
