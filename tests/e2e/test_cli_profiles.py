"""Profiles on the command line: those of a file, the classic family, and what a reel will be like."""

import random
from pathlib import Path

import av
import pytest

from tests.e2e.command_line import Cli

NOISE = random.Random(9).randbytes(40_000)
MINE = """
[profile.mine]
based_on = "rugged"
purpose = "a test"
survives = ["{claim}"]
quantiser = 44
geometry = "360p"
"""


@pytest.fixture
def noise(cli: Cli) -> Path:
    path = cli.folder / "noise"
    path.write_bytes(NOISE)
    return path


@pytest.mark.parametrize(
    ("options", "symbols", "protection"),
    [
        (("--colours", "64"), "3 x 3 pixels in 64 colours (yuv)", "Reed-Solomon"),
        (("--colours", "4", "--pixels", "1"), "1 x 1 pixels in 4 colours (grey)", "Reed-Solomon"),
        (("--palette", "ega", "--interleaver", "xor"), "3 x 3 pixels in 16 colours (ega)", "XOR"),
        (("--colours", "256", "--pixels", "1", "--interleaver", "xor"), "1 x 1 pixels in 256 colours (grey)", "XOR"),
    ],
)
def test_members_of_the_classic_family_come_back(
    cli: Cli, noise: Path, options: tuple[str, ...], symbols: str, protection: str
) -> None:
    cli("encode", noise.name, "reel.mp4", "-p", "classic16", "--geometry", "480p", *options)
    said = cli("inspect", "reel.mp4", "--json").json
    assert said["leader"]["profile"].startswith("classic")
    assert (said["width"], said["height"]) == (848, 480)
    assert symbols in said["symbols"]
    assert protection in said["protection"]
    cli("decode", "reel.mp4", "back")
    assert (cli.folder / "back").read_bytes() == NOISE


def test_options_of_the_family_are_refused_elsewhere(cli: Cli, noise: Path) -> None:
    refused = cli("encode", noise.name, "reel.mp4", "-p", "rugged", "--colours", "64", code=3)
    assert "classic16" in refused.err
    assert cli("encode", noise.name, "reel.mp4", "-p", "classic16", "--colours", "17", code=3).err
    assert not (cli.folder / "reel.mp4").exists()


@pytest.mark.parametrize("profile", ["archive", "balanced", "rugged", "stream", "classic16"])
def test_an_estimate_is_what_comes_out(cli: Cli, profile: str) -> None:
    (cli.folder / "big").write_bytes(random.Random(1).randbytes(900_000))
    size = "480p" if profile == "classic16" else "360p"
    told = cli("estimate", "big", "-p", profile, "--geometry", size, "--json").json
    made = cli("encode", "big", "reel.mp4", "-p", profile, "--geometry", told["geometry"], "--json").json
    assert (told["pictures"], told["segments"]) == (made["pictures"], made["segments"])
    with av.open(str(cli.folder / "reel.mp4")) as video:
        pictures = sum(packet.size > 0 for packet in video.demux(video=0))
    assert 0.7 * told["pictures"] < pictures <= told["pictures"]
    assert pictures == told["pictures"] or profile != "archive"
    assert told["reel_bytes"] == pytest.approx(made["reel_bytes"], rel=0.35)


def test_a_number_can_be_estimated(cli: Cli) -> None:
    assert cli("estimate", "10GiB", "-p", "stream", "--json").json["source_bytes"] == 10 << 30
    assert "does not exist" in cli("estimate", "nothing-there", code=3).err


def test_a_profile_of_a_file_is_rehearsed_and_its_reel_needs_no_file(cli: Cli, noise: Path) -> None:
    (cli.folder / "mine.toml").write_text(MINE.format(claim="x264:crf=28,preset=ultrafast"))
    told = cli("profiles", "--profiles-file", "mine.toml", "--rehearse", "--json").json
    assert [(trial["profile"], trial["exact"]) for trial in told["trials"]] == [("mine", True)]
    cli("encode", noise.name, "reel.mp4", "--profiles-file", "mine.toml", "-p", "mine")
    (cli.folder / "mine.toml").unlink()
    cli("decode", "reel.mp4", "back")
    assert (cli.folder / "back").read_bytes() == NOISE


def test_a_profile_that_does_not_live_up_to_its_claim_is_refused(cli: Cli, noise: Path) -> None:
    (cli.folder / "mine.toml").write_text(MINE.format(claim="x264:crf=51,preset=ultrafast"))
    arguments = ("encode", noise.name, "reel.mp4", "--profiles-file", "mine.toml", "-p", "mine")
    assert "does not survive x264:crf=51" in cli(*arguments, code=3).err
    assert not (cli.folder / "reel.mp4").exists()
    cli(*arguments, "--no-rehearse")
    assert (cli.folder / "reel.mp4").exists()


def test_the_road_takes_the_profiles_of_a_file(cli: Cli, noise: Path) -> None:
    (cli.folder / "mine.toml").write_text(MINE.format(claim="copy"))
    variables = {"BYTEREEL_PROFILES_FILE": "mine.toml", "BYTEREEL_WORKERS": "1"}
    job = cli("put", noise.name, "--to", "archive/mine", **variables).out.decode().strip()
    cli("up", "--until-idle", **variables)
    cli("get", job, "-o", "reel.mp4")
    assert cli("inspect", "reel.mp4", "--json").json["leader"]["profile"] == "mine"
    cli("decode", "reel.mp4", "back")
    assert (cli.folder / "back").read_bytes() == NOISE


def test_a_card_that_is_not_there_is_refused(cli: Cli, noise: Path) -> None:
    from bytereel_codec.channel.device import has_card

    if has_card():
        pytest.skip("there is a card")
    refused = cli("encode", noise.name, "reel.mp4", "-p", "rugged", "--device", "cuda", code=3)
    assert "no CUDA card" in refused.err
