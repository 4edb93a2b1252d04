"""Profiles of one's own: what the file says is what the encoder does, what makes no sense is refused by its place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bytereel_codec.channel.modulation import Code, Family
from bytereel_codec.errors import Permanent
from bytereel_codec.profiles.files import FILE_BYTES_MAX, PROFILES_MAX, load_profiles
from bytereel_codec.profiles.profiles import PROFILES, USER_DEFINED, Channel, Profile
from bytereel_codec.trials.rehearsal import Trial, check_profile, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CLAIM = 'survives = ["copy"]'
MINE = """
[profile.mine]
based_on = "rugged"
purpose = "our own platform"
survives = ["x264:crf=28,preset=veryfast", "copy:mkv"]
coefficients = [8, 4]
quantiser = 44
parity = 40
pictures = 48
frames_per_second = 12
geometry = "360p"
preset = "veryfast"
strip_amplitude = 24
[profile.mine.encoder]
subme = "2"
"""


def loaded(folder: Path, text: str) -> dict[str, Profile]:
    (folder / "profiles.toml").write_text(text)
    return load_profiles(folder / "profiles.toml")


def channel_of(folder: Path, base: str, *lines: str) -> Channel:
    text = "\n".join(["[profile.mine]", f'based_on = "{base}"', CLAIM, *lines])
    channel = loaded(folder, text)["mine"].channel
    assert channel is not None
    return channel


def test_every_value_of_the_file_is_in_the_profile(tmp_path: Path) -> None:
    profile = loaded(tmp_path, MINE)["mine"]
    channel, base = profile.channel, PROFILES["rugged"].channel
    assert channel is not None
    assert base is not None
    assert (profile.name, profile.purpose, profile.number) == ("mine", "our own platform", USER_DEFINED)
    assert profile.rehearsal == ("x264:crf=28,preset=veryfast", "copy:mkv")
    assert channel.modulation == replace(base.modulation, first=8, second=4, parity=40)
    assert (channel.quantiser, channel.pictures, channel.frames_per_second) == (44, 48, 12)
    assert (channel.preset, channel.strip_amplitude, channel.geometries) == ("veryfast", 24, ((None, "360p"),))
    assert dict(channel.encoder_options) == {**dict(base.encoder_options), "qp": "44", "subme": "2"}
    assert channel.expansion > base.expansion * 1.01


def test_what_the_file_does_not_say_is_as_in_the_profile_it_is_based_on(tmp_path: Path) -> None:
    for name, base in PROFILES.items():
        if base.channel:
            assert channel_of(tmp_path, name) == base.channel


def test_a_profile_survives_being_written_down(tmp_path: Path) -> None:
    profile = loaded(tmp_path, MINE)["mine"]
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


@pytest.mark.parametrize(
    ("lines", "first", "second"),
    [
        (["colours = 4"], 2, 6),
        (["colours = 256", 'palette = "ega"'], 8, 7),
        (["colours = 64", "pixels = 1"], 6, 2),
    ],
)
def test_cells_have_colours_pixels_and_a_palette(tmp_path: Path, lines: list[str], first: int, second: int) -> None:
    modulation = channel_of(tmp_path, "classic16", *lines).modulation
    assert (modulation.family, modulation.first, modulation.second) == (Family.CELLS, first, second)


def test_cells_may_be_protected_by_xor_blocks(tmp_path: Path) -> None:
    modulation = channel_of(tmp_path, "classic16", 'interleaver = "xor"', "parity = 7").modulation
    assert (modulation.code, modulation.parity) == (Code.XOR, 7)
    assert channel_of(tmp_path, "classic16", 'interleaver = "rs"').modulation.code == Code.REED_SOLOMON


@pytest.mark.parametrize(
    ("base", "line", "key", "allowed"),
    [
        ("rugged", "coefficients = [17, 0]", "coefficients", "1 to 16"),
        ("rugged", "coefficients = [0, 0]", "coefficients", "1 to 16"),
        ("rugged", "coefficients = [6]", "coefficients", "[luma, chroma]"),
        ("rugged", "coefficients = [6, true]", "coefficients", "[luma, chroma]"),
        ("rugged", "coefficients = 6", "coefficients", "[luma, chroma]"),
        ("stream", "coefficients = [5, 0]", "coefficients", "even"),
        ("stream", "coefficients = [6, 2]", "coefficients", "[luma, 0]"),
        ("classic16", "coefficients = [6, 6]", "coefficients", "colours"),
        ("rugged", "colours = 16", "colours", "coefficients"),
        ("rugged", 'interleaver = "xor"', "interleaver", "coefficients"),
        ("rugged", "quantiser = 52", "quantiser", "0 to 51"),
        ("rugged", 'quantiser = "40"', "quantiser", "0 to 51"),
        ("rugged", "quantiser = 40.0", "quantiser", "0 to 51"),
        ("rugged", "quantiser = true", "quantiser", "0 to 51"),
        ("rugged", "parity = 7", "parity", "even number from 2 to 128"),
        ("rugged", "parity = 130", "parity", "even number from 2 to 128"),
        ("rugged", "pictures = 0", "pictures", "1 to 255"),
        ("rugged", "pictures = 256", "pictures", "1 to 255"),
        ("rugged", "frames_per_second = 0", "frames_per_second", "1 to 120"),
        ("rugged", "strip_amplitude = 121", "strip_amplitude", "8 to 120"),
        ("rugged", 'geometry = "1080i"', "geometry", "1080p"),
        ("rugged", 'geometry = "144p"\npictures = 1', "geometry", "carry too little"),
        ("rugged", 'preset = "turbo"', "preset", "superfast"),
        ("rugged", 'purpose = ""', "purpose", "line of text"),
        ("rugged", 'purpose = "a\\nb"', "purpose", "line of text"),
        ("rugged", 'encoder.qp = "40"', "encoder.qp", "quantiser"),
        ("rugged", 'encoder.stats = "/tmp/x"', "encoder.stats", "deadzone-inter"),
        ("rugged", 'encoder.subme = "1:stats=x"', "encoder.subme", "letters"),
        ("rugged", "encoder.subme = 1", "encoder.subme", "letters"),
        ("rugged", "encoder = 3", "encoder", "table"),
        ("rugged", "size = 3", "size", "coefficients"),
        ("classic16", "colours = 8", "colours", "4, 16, 64, 256"),
        ("classic16", "colours = 16.0", "colours", "4, 16, 64, 256"),
        ("classic16", "pixels = 4", "pixels", "1, 9"),
        ("classic16", "pixels = true", "pixels", "1, 9"),
        ("classic16", 'palette = "rgb"', "palette", "yuv, ega"),
        ("classic16", 'pixels = 1\npalette = "ega"', "palette", "yuv"),
        ("classic16", 'interleaver = "xor"', "parity", "1 to 255"),
        ("classic16", 'interleaver = "xor"\nparity = 0', "parity", "1 to 255"),
        ("archive", "", "based_on", "rugged"),
        ("mine", "", "based_on", "rugged"),
    ],
)
def test_a_wrong_value_is_refused_with_file_key_and_what_is_allowed(
    tmp_path: Path, base: str, line: str, key: str, allowed: str
) -> None:
    with pytest.raises(Permanent) as refused:
        channel_of(tmp_path, base, line)
    assert refused.value.error_id == "profiles.bad"
    assert refused.value.facts["key"] == f"profile.mine.{key}"
    assert "profiles.toml" in refused.value.message
    assert allowed in refused.value.message


@pytest.mark.parametrize(
    ("claims", "key"),
    [
        ("[]", "survives"),
        ('"x264:crf=28"', "survives"),
        ("[1]", "survives[0]"),
        ('["copy", "x264:crf=99"]', "survives[1]"),
        ('["x266"]', "survives[0]"),
        (str(["copy"] * 65), "survives"),
    ],
)
def test_claims_have_to_be_recipes(tmp_path: Path, claims: str, key: str) -> None:
    with pytest.raises(Permanent) as refused:
        loaded(tmp_path, f'[profile.mine]\nbased_on = "rugged"\nsurvives = {claims}')
    assert refused.value.facts["key"] == f"profile.mine.{key}"


def test_a_profile_has_to_claim_something_and_be_based_on_something(tmp_path: Path) -> None:
    for text, key in (('based_on = "rugged"', "survives"), (CLAIM, "based_on")):
        with pytest.raises(Permanent) as refused:
            loaded(tmp_path, f"[profile.mine]\n{text}")
        assert refused.value.facts["key"] == f"profile.mine.{key}"


@pytest.mark.parametrize("name", ["rugged", "archive", "Mine", "a b", "x" * 33, '""', "-a"])
def test_a_name_that_is_taken_or_odd_is_refused(tmp_path: Path, name: str) -> None:
    quoted = name if name == '""' else f'"{name}"'
    with pytest.raises(Permanent) as refused:
        loaded(tmp_path, f'[profile.{quoted}]\nbased_on = "rugged"\n{CLAIM}')
    assert refused.value.error_id == "profiles.bad"
    assert "named" in refused.value.message


@pytest.mark.parametrize(
    ("text", "error_id"),
    [
        ("", "profiles.bad"),
        ("profile = 3", "profiles.bad"),
        ("[profile]\nmine = 3", "profiles.bad"),
        ("[profile]", "profiles.bad"),
        ("version = 1\n[profile.mine]", "profiles.bad"),
        ("".join(f"[profile.p{n}]\n" for n in range(PROFILES_MAX + 1)), "profiles.bad"),
        ("[profile.mine", "profiles.syntax"),
        ("a = " + "9" * 5000, "profiles.syntax"),
        ("a = " + "[" * 50_000, "profiles.syntax"),
        ("#" * (FILE_BYTES_MAX + 1), "profiles.bad"),
        (".".join("a" * 1000) + " = 1", "profiles.bad"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, error_id: str) -> None:
    with pytest.raises(Permanent) as refused:
        loaded(tmp_path, text)
    assert refused.value.error_id == error_id
    assert "profiles.toml" in refused.value.message


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, error_id in (("binary", "profiles.syntax"), ("none", "source.missing")):
        with pytest.raises(Permanent) as refused:
            load_profiles(tmp_path / name)
        assert refused.value.error_id == error_id


TOML = st.recursive(
    st.booleans() | st.integers(-300, 300) | st.sampled_from(["rugged", "copy", "16", "yuv", "xor", "360p", ""]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from(["quantiser", "parity", "coefficients", "pictures", "survives", "palette", "geometry", "pixels"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=st.sampled_from(["rugged", "stream", "classic16"]), values=st.dictionaries(KEYS, TOML, max_size=4))
def test_any_values_make_a_profile_or_are_refused(tmp_path: Path, base: str, values: dict[str, object]) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"survives": ["copy"], **values}.items()]
    try:
        loaded(tmp_path, "\n".join(["[profile.mine]", f'based_on = "{base}"', *lines]))
    except Permanent as error:
        assert error.error_id == "profiles.bad"


def test_a_profile_of_ones_own_encodes_and_comes_back(tmp_path: Path) -> None:
    profile = loaded(tmp_path, MINE)["mine"]
    (trial,) = survives(profile, ["copy:mkv"], sample=bytes(range(256)) * 100)
    assert (trial.profile, trial.exact) == ("mine", True)


def test_claims_that_come_true_are_accepted_with_their_figures(tmp_path: Path) -> None:
    profile = loaded(tmp_path, MINE)["mine"]
    trials = check_profile(profile)
    assert [trial.recipe for trial in trials] == list(profile.rehearsal)
    assert all(trial.exact and trial.codewords > 0 for trial in trials)


def test_a_claim_that_does_not_come_true_is_named(tmp_path: Path) -> None:
    weak = MINE.replace('"copy:mkv"', '"x264:crf=51,preset=ultrafast"')
    seen: list[Trial] = []
    with pytest.raises(Permanent) as refused:
        check_profile(loaded(tmp_path, weak)["mine"], watch=seen.append)
    assert refused.value.error_id == "profile.fails"
    assert "x264:crf=51,preset=ultrafast" in refused.value.message
    assert [trial.exact for trial in seen] == [True, False]


def test_symbols_that_clip_are_found_out_by_the_rehearsal(tmp_path: Path) -> None:
    text = MINE.replace("[8, 4]", "[16, 16]").replace("quantiser = 44", "quantiser = 51")
    with pytest.raises(Permanent) as refused:
        check_profile(loaded(tmp_path, text)["mine"])
    assert refused.value.error_id == "profile.fails"


def test_a_profile_without_claims_is_not_accepted() -> None:
    with pytest.raises(Permanent) as refused:
        check_profile(replace(PROFILES["rugged"], rehearsal=()))
    assert refused.value.error_id == "profile.claims_nothing"
