"""What platforms do, done here: each recipe does what it says to pictures, times and containers, nothing else."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from bytereel_codec.errors import Permanent, Temporary
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.recipes import STEPS_MAX, Recipe, Step
from bytereel_codec.reading.decode import decode_file
from hypothesis import given
from hypothesis import strategies as st

WIDTH, HEIGHT, PICTURES, RATE = 192, 112, 24, 8
CODECS = ("x264:crf=28", "x265:crf=28,preset=ultrafast", "svtav1:crf=30,preset=12", "vp9:bitrate=400k,preset=8")


class Shown(NamedTuple):
    """A video as a player sees it: planes in a row for each picture, uint8[pictures, height * 3 / 2, width]."""

    pictures: Any
    seconds: list[Fraction]
    container: str
    codec: str


def shown(path: Path) -> Shown:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        seconds = [frame.pts * frame.time_base for frame in frames]
        planes = np.stack([frame.to_ndarray() for frame in frames])
        return Shown(planes, seconds, container.format.name, stream.codec_context.codec.canonical_name)


def numbers(video: Shown) -> list[int]:
    """Which picture of the source each one is, by its brightness in the middle."""
    middle = video.pictures[:, HEIGHT // 2 - 8 : HEIGHT // 2 + 8, WIDTH // 2 - 8 : WIDTH // 2 + 8]
    return [round((mean - 40) / 6) for mean in middle.mean(axis=(1, 2))]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are brighter each than the one before, with texture at the left and colour at the right."""
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    texture = np.random.default_rng(5).integers(-30, 30, (HEIGHT, 32))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, options={"qp": "0", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(PICTURES):
            planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            planes[:HEIGHT] = 40 + 6 * number
            planes[:HEIGHT, :32] = 120 + texture
            planes[HEIGHT:, 10:20] = 180
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def done(source: Path, tmp_path: Path) -> Any:
    """Applies a recipe to the source."""

    def apply(text: str) -> Shown:
        recode(source, tmp_path / "target", Recipe.parse(text))
        assert [each.name for each in tmp_path.iterdir()] == ["target"]
        return shown(tmp_path / "target")

    return apply


@pytest.mark.parametrize("text", CODECS)
def test_an_encoder_changes_pictures_a_little_and_keeps_their_order_and_times(
    source: Path, done: Any, text: str
) -> None:
    before, after = shown(source), done(text)
    assert numbers(after) == numbers(before) == list(range(PICTURES))
    assert [round(each, 2) for each in after.seconds] == [round(each, 2) for each in before.seconds]
    difference = np.abs(after.pictures.astype(int) - before.pictures).mean()
    assert 0 < difference < 6
    assert text.startswith({"h264": "x264", "hevc": "x265", "av1": "svtav1", "vp9": "vp9"}[after.codec])


def test_a_higher_crf_and_a_lower_rate_make_smaller_files(source: Path, tmp_path: Path) -> None:
    def size(text: str) -> int:
        recode(source, tmp_path / "target", Recipe.parse(text))
        return (tmp_path / "target").stat().st_size

    assert size("lossless") > size("x264:crf=18") > size("x264:crf=28") > size("x264:crf=40")
    assert size("x264:bitrate=400k") > size("x264:bitrate=40k")
    assert size("x264:crf=18") > size("x264:crf=18,vbv=40k")
    assert size("x264:qp=20,keyint=1") > size("x264:qp=20")


@pytest.mark.parametrize(
    "text", ["lossless", "copy", "copy:mkv", "copy:ts", "copy:mkv > copy:mov > lossless:mkv > copy"]
)
def test_copying_and_lossless_encoding_change_no_sample(source: Path, done: Any, text: str) -> None:
    before, after = shown(source), done(text)
    assert (after.pictures == before.pictures).all()
    steps = [after.seconds[n + 1] - after.seconds[n] for n in range(PICTURES - 1)]
    assert max(steps) - min(steps) < Fraction(1, 100)


def test_copying_out_of_matroska_keeps_pictures_that_are_stored_out_of_order(source: Path, tmp_path: Path) -> None:
    recode(source, tmp_path / "coded", Recipe.parse("x264:crf=23,mkv"))
    recode(tmp_path / "coded", tmp_path / "copied", Recipe.parse("copy:mp4"))
    before, after = shown(tmp_path / "coded"), shown(tmp_path / "copied")
    assert after.pictures.shape == before.pictures.shape
    assert (after.pictures == before.pictures).all()


def test_the_encoder_chooses_its_own_kinds_of_pictures(source: Path, tmp_path: Path) -> None:
    def keys(text: str) -> int:
        recode(source, tmp_path / "target", Recipe.parse(text))
        with av.open(str(tmp_path / "target")) as container:
            return sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)

    assert keys("x264:qp=20,keyint=1") == PICTURES
    assert keys("x264:qp=20,keyint=1 > x264:crf=23,preset=ultrafast") == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [("copy:mkv", "matroska"), ("copy:ts", "mpegts"), ("x264:mkv", "matroska"), ("vp9", "webm"), ("vp9:mp4", "mp4")],
)
def test_the_container_is_the_one_asked_for(done: Any, text: str, name: str) -> None:
    assert name in done(text).container


@pytest.mark.parametrize(
    ("text", "expected", "rate"),
    [
        ("drop=4", [n for n in range(PICTURES) if n % 4 != 3], None),
        ("double", [n // 2 for n in range(2 * PICTURES)], 16),
        ("fps=16", [n // 2 for n in range(2 * PICTURES)], 16),
        ("fps=4", list(range(0, PICTURES, 2)), 4),
        ("cut=1/3:2/3", list(range(8, 16)), 8),
        ("cut=0:0.5,double", [n // 2 for n in range(PICTURES)], 16),
        ("double,drop=2", list(range(PICTURES)), 8),
    ],
)
def test_filters_of_time_lose_and_repeat_the_pictures_they_say(
    done: Any, text: str, expected: list[int], rate: int | None
) -> None:
    after = done(f"lossless:{text}")
    assert numbers(after) == expected
    if rate is not None:
        assert after.seconds == [Fraction(n, rate) for n in range(len(expected))]


@given(rate=st.fractions(2, 60, max_denominator=1001))
def test_retiming_shows_at_each_time_the_picture_that_libav_would(rate: Fraction) -> None:
    from bytereel_codec.libav.film import Film, paced

    film = Film(((number, Fraction(number, RATE)) for number in range(PICTURES)), 2, 2, Fraction(RATE), Fraction(3))  # type: ignore[misc]
    made = list(paced(film, rate=rate).shots)
    assert made == _paced_by_libav(rate)
    assert len(made) == int(Fraction(PICTURES, RATE) * rate + Fraction(1, 2))


def _paced_by_libav(rate: Fraction) -> list[tuple[int, Fraction]]:
    graph = av.filter.Graph()
    time_base = Fraction(1, 1000 * RATE)
    source = graph.add_buffer(width=16, height=16, format=av.VideoFormat("gray"), time_base=time_base)
    graph.link_nodes(source, graph.add("fps", f"{rate}"), graph.add("buffersink")).configure()
    made: list[tuple[int, Fraction]] = []

    def pull() -> None:
        try:
            while True:
                frame = graph.vpull()
                assert frame.pts is not None
                made.append((int(frame.to_ndarray()[0, 0]), frame.pts * frame.time_base))
        except (av.BlockingIOError, av.EOFError):
            return

    for number in range(PICTURES):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), number, np.uint8), "gray")
        frame.pts, frame.time_base, frame.duration = number * 1000, time_base, 1000
        graph.vpush(frame)
        pull()
    graph.vpush(None)
    pull()
    return made


def test_shuffling_moves_pictures_inside_windows_and_alike_each_time(done: Any) -> None:
    after = numbers(done("lossless:shuffle=8"))
    assert after != list(range(PICTURES))
    assert [sorted(after[n : n + 8]) for n in (0, 8, 16)] == [list(range(n, n + 8)) for n in (0, 8, 16)]
    assert numbers(done("lossless:shuffle=8")) == after


def test_crop_pad_and_shift_move_the_samples_they_say(source: Path, done: Any) -> None:
    luma = shown(source).pictures[:, :HEIGHT]
    assert (done("lossless:crop=6").pictures[:, : HEIGHT - 12] == luma[:, 6:-6, 6:-6]).all()
    padded = done("lossless:pad=224x144").pictures[:, :144]
    assert (padded[:, 16:-16, 16:-16] == luma).all()
    assert (padded[:, :16] == 16).all()
    assert (padded[:, :, -16:] == 16).all()
    shifted = done("lossless:shift=3:-5").pictures[:, :HEIGHT]
    assert (shifted[:, :-5, 3:] == luma[:, 5:, :-3]).all()
    assert (shifted[:, -5:] == 16).all()
    assert (shifted[:, :, :3] == 16).all()


def test_colour_moves_with_the_luma_it_belongs_to(source: Path, done: Any) -> None:
    def edge(pictures: Any, height: int) -> int:
        two_lines = pictures[0, height + 2].reshape(2, -1)  # of chroma; in the source every other line is coloured
        return int(np.argmax(two_lines.max(axis=0) > 150))

    assert edge(shown(source).pictures, HEIGHT) == 10
    assert edge(done("lossless:shift=8").pictures, HEIGHT) == 14
    assert edge(done("lossless:shift=3").pictures, HEIGHT) == 11
    assert edge(done("lossless:shift=-3").pictures, HEIGHT) == 9
    assert edge(done("lossless:crop=8").pictures, HEIGHT - 16) == 6
    assert edge(done("lossless:crop=3").pictures, HEIGHT - 6) == 9


def test_range_and_gain_are_what_they_are_called(source: Path, done: Any) -> None:
    before = shown(source).pictures.astype(float)
    luma, chroma = before[:, :HEIGHT], before[:, HEIGHT:]
    limited = done("lossless:range=limited").pictures
    assert np.abs(limited[:, :HEIGHT] - (16 + luma * 219 / 255)).max() <= 0.5
    assert np.abs(limited[:, HEIGHT:] - (128 + (chroma - 128) * 224 / 255)).max() <= 0.5
    full = done("lossless:range=full").pictures
    assert np.abs(full[:, :HEIGHT] - ((luma - 16) * 255 / 219).clip(0, 255)).max() <= 0.5
    assert np.abs(done("lossless:gain=0.8").pictures[:, :HEIGHT] - luma * 0.8).max() <= 0.5
    again = done("lossless:range=limited,range=full").pictures
    assert np.abs(again.astype(float) - before).max() <= 1


def test_scaling_delivers_the_small_picture_or_goes_back(source: Path, done: Any) -> None:
    small = done("x264:crf=18,size=56p")
    assert small.pictures.shape[1:] == (56 * 3 // 2, 96)
    back = done("x264:crf=18,size=56p,back")
    assert back.pictures.shape == shown(source).pictures.shape
    assert numbers(back) == list(range(PICTURES))
    texture = slice(0, HEIGHT), slice(0, 32)
    assert back.pictures[3][texture].std() < 0.8 * shown(source).pictures[3][texture].std()


def test_back_goes_to_the_size_that_the_step_before_left(done: Any) -> None:
    assert done("lossless:crop=8 > lossless:size=48p,back").pictures.shape[1:] == ((HEIGHT - 16) * 3 // 2, WIDTH - 16)


def test_filters_act_in_the_order_they_are_written_in(done: Any) -> None:
    first = done("lossless:range=limited,gain=0.5").pictures
    second = done("lossless:gain=0.5,range=limited").pictures
    assert np.abs(first.astype(int) - second).max() > 4


def test_two_steps_are_two_encodings(source: Path, done: Any) -> None:
    before = shown(source).pictures.astype(int)
    once = np.abs(done("x264:crf=35").pictures - before).mean()
    thrice = np.abs(done("x264:crf=35 > x264:crf=37 > x264:crf=39").pictures - before).mean()
    assert thrice > once


@pytest.mark.parametrize(
    ("text", "error_id", "named"),
    [
        ("x266:crf=20", "recipe.unknown", "x264"),
        ("", "recipe.unknown", "svtav1"),
        ("x264:crf=20 > ", "recipe.unknown", "copy"),
        ("x264:quality=20", "recipe.unknown", "crf"),
        ("vp9:qp=20", "recipe.unknown", "bitrate"),
        ("copy:crop=4", "recipe.unknown", "mkv"),
        ("x264:webm", "recipe.unknown", "mkv"),
        ("x264:", "recipe.unknown", "preset"),
        ("x264:crf", "recipe.bad", "crf="),
        ("x264:back=1", "recipe.bad", "back"),
        ("x264:crf=52", "recipe.bad", "0 to 51"),
        ("x264:crf=-1", "recipe.bad", "0 to 51"),
        ("x264:crf=nan", "recipe.bad", "0 to 51"),
        ("x264:crf=١٢", "recipe.bad", "0 to 51"),
        ("x264:crf=20,crf=21", "recipe.bad", "rate"),
        ("x264:crf=20,bitrate=1M", "recipe.bad", "rate"),
        ("x264:mkv,mp4", "recipe.bad", "container"),
        ("x264:double,double", "recipe.bad", "double"),
        ("x264:preset=turbo", "recipe.bad", "medium"),
        ("svtav1:preset=medium", "recipe.bad", "0 to 13"),
        ("x264:bitrate=fast", "recipe.bad", "2.5M"),
        ("x264:vbv=5M/", "recipe.bad", "2.5M"),
        ("x264:size=721p", "recipe.bad", "even"),
        ("x264:size=big", "recipe.bad", "1280x720"),
        ("x264:size=99999x2", "recipe.bad", "1280x720"),
        ("x264:fps=0", "recipe.bad", "1 to 240"),
        ("x264:fps=1/0", "recipe.bad", "1 to 240"),
        ("x264:fps=1/00", "recipe.bad", "1 to 240"),
        ("x264:drop=1", "recipe.bad", "whole number from 2"),
        ("x264:cut=2/3:1/3", "recipe.bad", "before"),
        ("x264:cut=1/3", "recipe.bad", "1/3:2/3"),
        ("x264:range=wide", "recipe.bad", "limited"),
        (">".join(["copy"] * (STEPS_MAX + 1)), "recipe.bad", str(STEPS_MAX)),
        ("x264:" + ",".join(["shift=1"] * 1000), "recipe.bad", "characters"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_and_what_would_is_named(text: str, error_id: str, named: str) -> None:
    with pytest.raises(Permanent) as refused:
        Recipe.parse(text)
    assert refused.value.error_id == error_id
    assert named in refused.value.message + refused.value.hint


@pytest.mark.parametrize("rate", ["29.97", "30000/1001", "24.999999999", "100000007/10000007"])
def test_a_rate_has_a_time_base_that_containers_can_hold(done: Any, rate: str) -> None:
    video = done(f"lossless:fps={rate}")
    assert abs(len(video.pictures) / (PICTURES / RATE) - Fraction(rate)) < 1


@given(st.text(alphabet="x264:crf=8,>size70pbak/.-dum \n", max_size=40))
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    try:
        recipe = Recipe.parse(text)
    except Permanent as error:
        assert error.error_id in ("recipe.unknown", "recipe.bad")
    else:
        assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize("text", ["lossless:crop=60", "lossless:pad=100x100"])
def test_a_filter_that_the_pictures_do_not_suit_is_refused_and_leaves_nothing(
    source: Path, tmp_path: Path, text: str
) -> None:
    with pytest.raises(Permanent) as refused:
        recode(source, tmp_path / "target", Recipe.parse(text))
    assert refused.value.error_id == "recipe.bad"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("playlist", [
    "ffconcat version 1.0\nfile {}\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
])  # fmt: skip
def test_a_file_that_names_another_is_not_followed(source: Path, tmp_path: Path, playlist: str) -> None:
    path = source.with_name("list.m3u8")
    path.write_text(playlist.format(source.name))
    with av.open(str(path)) as container:
        assert container.streams.video  # libav by itself would follow it
    with pytest.raises(Permanent):
        recode(path, tmp_path / "target", Recipe.parse("copy"))
    with pytest.raises(Permanent) as refused:
        decode_file(path, tmp_path / "out")
    assert refused.value.error_id == "reel.none"


@pytest.mark.parametrize("content", [b"", b"no video at all", bytes(5000)])
def test_a_file_without_a_video_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "source"
    source.write_bytes(content)
    with pytest.raises(Permanent) as refused:
        recode(source, tmp_path / "target", Recipe.parse("lossless"))
    assert refused.value.error_id == "recode.source"
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


def test_places_that_are_not_there_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Permanent) as refused:
        recode(tmp_path / "none.mp4", tmp_path / "target", Recipe.parse("copy"))
    assert refused.value.error_id == "source.missing"
    with pytest.raises((Permanent, Temporary)) as refused:
        recode(source, tmp_path / "no" / "target", Recipe.parse("copy"))
    assert refused.value.error_id == "target.unwritable"


def test_an_encoder_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    recipe = Recipe("future", (Step("libfuture", {}, "mp4"),))
    with pytest.raises(Permanent) as refused:
        recode(source, tmp_path / "target", recipe)
    assert (refused.value.error_id, "libfuture" in refused.value.message) == ("recode.encoder", True)
