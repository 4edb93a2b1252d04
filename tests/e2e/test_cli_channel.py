"""The commands that show a channel: the report on reels that came back, and single pictures."""

import json
import random
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from command_line import Cli

pytestmark = pytest.mark.e2e

NOISE = random.Random(21).randbytes(30_000)
VOID = {"meta", "br", "image", "rect", "line", "path"}


class Page(HTMLParser):
    """Notes tags, attributes and text of a page, and that what is opened is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


@pytest.fixture(scope="module")
def reels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A reel that survives re-encoding, one of samples."""
    folder = tmp_path_factory.mktemp("reels")
    (folder / "noise").write_bytes(NOISE)
    encode_file(folder / "noise", folder / "lossy.mp4", EncodeOptions(profile="rugged", geometry="360p"))
    encode_file(folder / "noise", folder / "samples.mp4", EncodeOptions(geometry="144p"))
    return {path.stem: path for path in folder.glob("*.mp4")}


def test_a_report_is_one_page_that_needs_nothing_else(cli: Cli, reels: dict[str, Path]) -> None:
    made = cli("channel", reels["lossy"], "-o", "report.html")
    assert b"far from the cliff" in made.out
    content = (cli.folder / "report.html").read_text("utf-8")
    page = Page(content)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("svg") == 5
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"]
    assert not re.search(r"https?:|url\(|@import", content)
    assert "prefers-color-scheme: dark" in content
    for said in ("rugged", "640 x 360", "as written", "Exact: all", "leader 0", "data 0", "leader 1"):
        assert said in page.text


def test_several_reels_are_compared_in_a_table(cli: Cli, reels: dict[str, Path]) -> None:
    hostile = cli.folder / "<b onclick=x>&amp;\u202e\n.mp4"
    hostile.write_bytes(reels["lossy"].read_bytes())
    figures = cli("channel", reels["lossy"], hostile.name, "-o", "report.html", "--json").json
    assert figures["report"] == "report.html"
    assert [each["source"] for each in figures["reels"]] == [str(reels["lossy"]), hostile.name]
    page = Page((cli.folder / "report.html").read_text("utf-8"))
    assert page.tags.count("table") == 3
    assert "b" not in page.tags
    assert page.text.count("<b onclick=x>&amp;\\u202e\\n.mp4") == 3


def test_the_figures_are_those_of_the_reel(cli: Cli, reels: dict[str, Path]) -> None:
    (figures,) = cli("channel", reels["lossy"], "--json").json["reels"]
    bursts, margins = figures["bursts"], figures["margins"]
    corrected = sum(sum(burst["corrected"]) for burst in bursts)
    assert corrected == sum(margins["wrong"]) == sum(figures["heat"]["wrong"])
    assert [burst["name"] for burst in bursts] == ["leader 0", "data 0", "leader 1"]
    assert sum(len(burst["pictures_seen"]) for burst in bursts) == figures["pictures"]["read"]
    assert figures["profile"] == "rugged"
    assert figures["cliff"]["lost"] == 0
    assert len(figures["heat"]["wrong"]) == figures["heat"]["columns"] * figures["heat"]["rows"]


def test_an_existing_report_is_replaced_only_by_force(cli: Cli, reels: dict[str, Path]) -> None:
    (cli.folder / "report.html").write_text("mine")
    assert cli("channel", reels["lossy"], "-o", "report.html", "--json", code=3).err.count("target.exists") == 1
    assert (cli.folder / "report.html").read_text() == "mine"
    cli("channel", reels["lossy"], "-o", "report.html", "--force")
    assert (cli.folder / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_what_has_no_channel_is_told_so_and_leaves_no_report(cli: Cli, reels: dict[str, Path]) -> None:
    error = cli("channel", reels["samples"], "-o", "report.html", "--json", code=3).error
    assert (error["family"], error["id"]) == ("permanent", "channel.none")
    assert "bytereel verify" in error["hint"]
    (cli.folder / "plain").write_bytes(NOISE)
    assert cli("channel", "plain", "--json", code=3).error["id"] == "reel.none"
    assert cli("channel", "nowhere", "--json", code=3).error["id"] == "source.missing"
    assert [path.name for path in cli.folder.iterdir()] == ["plain"]
    cli("channel", reels["lossy"], code=2)
    cli("channel", code=2)


@pytest.mark.parametrize(("name", "size"), [("lossy", (640, 360)), ("samples", (256, 144))])
def test_a_picture_of_any_reel_is_shown(cli: Cli, reels: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    made = cli("inspect", reels[name], "--frame", "1", "-o", "x.png", "--json").json
    assert made == {"picture": "x.png", "frame": 1, "width": size[0], "height": size[1]}
    assert png_size(cli.folder / "x.png") == size
    before = (cli.folder / "x.png").read_bytes()
    assert cli("inspect", reels[name], "--frame", "0", "-o", "x.png", "--json", code=3).error["id"] == "target.exists"
    assert (cli.folder / "x.png").read_bytes() == before
    cli("inspect", reels[name], "--frame", "0", "-o", "x.png", "--force")
    assert (cli.folder / "x.png").read_bytes() != before


def test_a_picture_and_a_page_go_to_standard_output_and_what_is_said_of_them_beside_it(
    cli: Cli, reels: dict[str, Path]
) -> None:
    shown = cli("inspect", reels["lossy"], "--frame", "1", "-o", "-", "--json")
    assert shown.out.startswith(b"\x89PNG\r\n") and shown.out.endswith(b"IEND\xaeB`\x82")
    assert json.loads(shown.err)["picture"] == "-"
    page = cli("channel", reels["lossy"], "-o", "-", "--json")
    assert page.out.rstrip().endswith(b"</html>")
    assert json.loads(page.err)["report"] == "-"


def test_a_picture_that_is_not_there_is_an_error_that_says_how_many_there_are(cli: Cli, reels: dict[str, Path]) -> None:
    error = cli("inspect", reels["samples"], "--frame", "4000", "-o", "x.png", "--json", code=3).error
    assert error["id"] == "picture.range"
    assert f"has {error['facts']['expected']}" in error["message"]
    last = error["facts"]["expected"] - 1
    assert f"0 to {last}" in error["hint"]
    cli("inspect", reels["samples"], "--frame", str(last), "-o", "x.png")
    assert [path.name for path in cli.folder.iterdir()] == ["x.png"]


def test_data_and_strips_are_outlined_where_there_are_any(cli: Cli, reels: dict[str, Path]) -> None:
    for name, options in (("plain.png", ()), ("outlined.png", ("--outline",))):
        cli("inspect", reels["lossy"], "--frame", "1", "-o", name, *options)
    assert (cli.folder / "plain.png").read_bytes() != (cli.folder / "outlined.png").read_bytes()
    asked = ("inspect", reels["samples"], "--frame", "1", "-o", "x.png", "--outline", "--json")
    assert cli(*asked, code=3).error["id"] == "picture.no_strip"


@pytest.mark.parametrize(
    "arguments",
    [("IN", "--frame", "1"), ("IN", "-o", "x.png"), ("IN", "--frame", "-1", "-o", "x.png"), ("IN", "--outline")],
)
def test_picture_and_place_are_given_together(cli: Cli, reels: dict[str, Path], arguments: tuple[str, ...]) -> None:
    cli("inspect", reels["lossy"], *arguments[1:], code=2)
    cli("inspect", "-", "--frame", "1", "-o", "x.png", code=2)
    assert not list(cli.folder.iterdir())
