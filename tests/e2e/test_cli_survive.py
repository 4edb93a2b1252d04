"""`bytereel survive`: the profile that is cheapest for a platform of one's own, found by trying."""

import random
from pathlib import Path

import pytest
from command_line import Cli

pytestmark = pytest.mark.e2e

NOISE = random.Random(4).randbytes(300_000)
GENTLE, HARD, DEADLY = "copy:mkv", "x264:crf=30,preset=veryfast", "x264:crf=51,preset=ultrafast"
MINE = """
[profile.mine]
based_on = "balanced"
survives = ["copy:mkv"]
parity = 2
"""


@pytest.fixture
def noise(cli: Cli) -> Path:
    """A file of random bytes, with an empty place for temporary files beside it."""
    (cli.folder / "noise").write_bytes(NOISE)
    (cli.folder / "temporary").mkdir()
    cli.environment["TMPDIR"] = str(cli.folder / "temporary")
    return cli.folder / "noise"


def through(*recipes: str) -> list[str]:
    return [part for recipe in recipes for part in ("--through", recipe)]


def test_each_recipe_gets_the_cheapest_profile_that_holds(cli: Cli, noise: Path) -> None:
    profiles = ("--profile", "rugged", "--profile", "balanced")
    found = cli("survive", "noise", *through(GENTLE, HARD), *profiles, "--json").json
    assert (found["source"], found["source_bytes"]) == ("noise", len(NOISE))
    assert [(each["recipe"], each["profile"]) for each in found["cheapest"]] == [(GENTLE, "balanced"), (HARD, "rugged")]
    exact = {(trial["profile"], trial["recipe"]): trial["exact"] for trial in found["trials"]}
    assert exact == {
        ("rugged", GENTLE): True,
        ("rugged", HARD): True,
        ("balanced", GENTLE): True,
        ("balanced", HARD): False,
    }
    whole = next(trial for trial in found["trials"] if trial["profile"] == "balanced")
    assert whole["sample_bytes"] == len(NOISE)
    assert found["cheapest"][0]["expansion"] == pytest.approx(whole["reel_bytes"] / len(NOISE), abs=1e-4)
    assert not list((cli.folder / "temporary").iterdir())


def test_the_table_says_what_holds_and_why_the_rest_does_not(cli: Cli, noise: Path) -> None:
    answer = cli("survive", "noise", *through(GENTLE, DEADLY), "--profile", "rugged", "--sample", "20KiB", code=5)
    lines = answer.out.decode().splitlines()
    assert lines[0].startswith("THROUGH")
    assert lines[1].split()[:2] == [GENTLE, "rugged"]
    assert lines[2].split()[:2] == [DEADLY, "nothing"]
    trials = [line for line in lines if "20.00 KiB" in line]
    assert [("exact" in line, "no: " in line) for line in trials] == [(True, False), (False, True)]
    assert DEADLY in answer.err


def test_a_sample_comes_from_standard_input_too(cli: Cli, noise: Path) -> None:
    arguments = ("survive", "-", *through(GENTLE), "--profile", "balanced", "--sample", "30000", "--json")
    found = cli(*arguments, stdin=NOISE).json
    assert found["source_bytes"] is None
    assert found["trials"][0]["sample_bytes"] == 30_000
    short = cli(*arguments, stdin=NOISE[:1000]).json
    assert (short["source_bytes"], short["trials"][0]["sample_bytes"]) == (1000, 1000)


def test_profiles_of_ones_own_take_part(cli: Cli, noise: Path) -> None:
    (cli.folder / "mine.toml").write_text(MINE)
    arguments = ("survive", "noise", *through(GENTLE), "--profiles-file", "mine.toml", "--json")
    found = cli(*arguments, "--profile", "mine", "--profile", "balanced").json
    assert found["cheapest"][0]["profile"] == "mine"
    assert [trial["profile"] for trial in found["trials"]] == ["mine", "balanced"]


def test_without_a_name_every_lossy_profile_is_tried(cli: Cli, noise: Path) -> None:
    noise.write_bytes(NOISE[:5000])
    (cli.folder / "mine.toml").write_text(MINE)
    found = cli("survive", "noise", *through(GENTLE), "--profiles-file", "mine.toml", "--json").json
    assert [trial["profile"] for trial in found["trials"]] == ["balanced", "rugged", "stream", "classic16", "mine"]


def test_an_empty_file_comes_back_too(cli: Cli, noise: Path) -> None:
    noise.write_bytes(b"")
    found = cli("survive", "noise", *through(GENTLE), "--profile", "balanced", "--json").json
    assert (found["cheapest"][0]["profile"], found["cheapest"][0]["expansion"]) == ("balanced", None)


@pytest.mark.parametrize(
    ("arguments", "code", "error_id"),
    [
        (["noise"], 2, "usage"),
        (["noise", *through("x264:crf=99")], 3, "recipe.bad"),
        (["noise", *through("x266")], 3, "recipe.unknown"),
        (["noise", *through(GENTLE), "--profile", "mine"], 3, "profile.unknown"),
        (["noise", *through(GENTLE), "--profiles-file", "none.toml"], 3, "source.missing"),
        (["noise", *through(GENTLE), "--profiles-file", "noise"], 3, "profiles.bad"),
        (["noise", *through(GENTLE), "--sample", "0"], 2, "usage"),
        (["noise", *through(GENTLE), "--sample", "1GiB"], 2, "usage"),
        (["noise", *through(GENTLE), "--sample", "many"], 2, "usage"),
        (["none", *through(GENTLE)], 3, "source.missing"),
        (["temporary", *through(GENTLE)], 3, "source.not_a_file"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, noise: Path, arguments: list[str], code: int, error_id: str) -> None:
    answer = cli("survive", *arguments, "--json", code=code)
    assert (answer.out, answer.error["id"]) == (b"", error_id)
