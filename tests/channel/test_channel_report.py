"""The channel report finds damage where it was put, in the amount in which it was put there."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from bytereel_codec.bursts.reader import BurstReport
from bytereel_codec.channel.burst import CODEWORD_BYTES, BurstShape
from bytereel_codec.channel.byte_places import lost_bytes, macroblock_of_bytes
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.on_device import modulator_for
from bytereel_codec.channel.raster import RASTERS, Picture
from bytereel_codec.channel.strip import read
from bytereel_codec.codes import xor_blocks
from bytereel_codec.codes.reed_solomon import correct, encode
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.libav.images import outlined, picture_at, png_of
from bytereel_codec.libav.planes import lines_of
from bytereel_codec.trials.figures import Cliff
from bytereel_codec.trials.survey import ChannelSurvey, survey_channel
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from hypothesis import given, settings
from hypothesis import strategies as st

RUGGED = Modulation(Family.DCT4, 6, 6, 20)
SMALL = BurstShape(replace(RASTERS["144p"], rows_used=3), RUGGED, 3)
MODULATIONS = (
    (RUGGED, 40),
    (Modulation(Family.DCT4, 16, 0, 8), 30),
    (Modulation(Family.DCT8, 6, 0, 32), 44),
    (Modulation(Family.CELLS, 4, 6, 64), 18),
    (Modulation(Family.CELLS, 6, 6, 64), 18),
    (Modulation(Family.CELLS, 4, 2, 64), 18),
)
NOISE = np.random.default_rng(3).bytes(60_000)
Bytes = npt.NDArray[np.uint8]


def damaged(
    shape: BurstShape, places: Collection[int], unseen: Collection[int] = (), kind: Kind = Kind.DATA, number: int = 0
) -> BurstReport:
    """A burst of random bytes as it comes back with wrong bytes at `places`, and without the pictures `unseen`."""
    rng = np.random.default_rng(len(places))
    stored = rng.integers(0, 256, shape.total_bytes, np.uint8)
    size = CODEWORD_BYTES * shape.width
    matrix = stored[:size].reshape(CODEWORD_BYTES, shape.width)
    encode(matrix, shape.modulation.parity)
    margin = np.full(shape.total_bytes, 128, np.uint8)
    for place in places:
        stored[place] ^= 0x55
        margin[place] = 3
    lost = np.zeros(shape.total_bytes, bool)
    for picture in unseen:
        part = slice(picture * shape.picture_bytes, (picture + 1) * shape.picture_bytes)
        stored[part], margin[part], lost[part] = 0, 0, True
    read = stored.copy()
    done = correct(matrix, shape.modulation.parity, lost[:size].reshape(matrix.shape))
    key = (b"ab", kind, number, shape)
    return BurstReport(key, done.corrected, stored, read, margin, ~lost)


@settings(deadline=None)
@given(st.sets(st.integers(0, CODEWORD_BYTES * SMALL.width - 1), max_size=60))
def test_every_count_is_that_of_the_bytes_that_were_damaged(places: set[int]) -> None:
    report = damaged(SMALL, places)
    survey = ChannelSurvey("x")
    survey.observe(report)
    known = {p for p in places if report.corrected[p % SMALL.width] >= 0}
    burst = survey.in_order[0]
    assert int(burst.wrong.sum()) + burst.filled == int(report.corrected[report.corrected > 0].sum()) == len(known)
    assert burst.wrong.tolist() == np.bincount([p // SMALL.picture_bytes for p in known], minlength=3).tolist()
    assert survey.bytes_read == survey.margins.sum() == SMALL.total_bytes
    assert survey.margins[1, 3] == survey.margins[1].sum() == len(known)
    assert survey.margins.sum(axis=0)[3] == len(places)
    assert survey.heat_wrong.sum() == len(known)
    assert survey.heat_known.sum() == CODEWORD_BYTES * int((report.corrected >= 0).sum())
    assert survey.cliff.codewords == SMALL.width
    assert survey.cliff.lost == int((report.corrected < 0).sum())
    errors = np.bincount([p % SMALL.width for p in known], minlength=SMALL.width)[report.corrected >= 0]
    assert survey.cliff.worst == 2 * errors.max(initial=0)
    assert survey.cliff.mean == pytest.approx(2 * errors.mean())
    assert survey.cliff.sigma == pytest.approx(2 * errors.std())


def test_a_picture_that_was_not_seen_is_lost_and_no_place_for_errors() -> None:
    shape = replace(SMALL, pictures=40)
    report = damaged(shape, [5, 6, 7], unseen=[2])
    assert (report.corrected >= 0).all()
    survey = ChannelSurvey("x")
    survey.observe(report)
    burst = survey.in_order[0]
    assert burst.wrong.tolist() == [3] + [0] * 39
    assert burst.seen.tolist() == [True, True, False] + [True] * 37
    assert burst.filled == shape.picture_bytes
    assert int(burst.wrong.sum()) + burst.filled == int(report.corrected.sum())
    assert survey.bytes_read == 39 * shape.picture_bytes
    assert survey.heat_wrong.sum() == 3
    assert survey.cliff.worst <= survey.cliff.allowed
    assert survey.cliff.mean == pytest.approx((burst.filled + 6) / shape.width)


def test_what_was_cut_off_is_neither_right_nor_wrong() -> None:
    cut_off = np.zeros(RASTERS["144p"].columns * RASTERS["144p"].rows_max, bool)
    cut_off[[0, 17]] = True
    survey = ChannelSurvey("x")
    report = damaged(SMALL, [0, 40 * 18 + 1])
    report.present &= np.tile(~lost_bytes(SMALL, cut_off), SMALL.pictures)
    survey.observe(report)
    assert (survey.heat_known[cut_off] == 0).all()
    assert survey.heat_wrong.sum() == survey.heat_wrong[40] == 1
    assert survey.bytes_read == SMALL.total_bytes - 2 * SMALL.pictures * 18


@pytest.mark.parametrize(("modulation", "quantiser"), MODULATIONS)
def test_a_byte_lies_in_the_macroblock_that_changes_with_it(modulation: Modulation, quantiser: int) -> None:
    shape = BurstShape(replace(RASTERS["144p"], rows_used=4), modulation, 1)
    raster = shape.raster
    modulator = modulator_for(raster, modulation, quantiser)
    content = np.random.default_rng(1).integers(0, 256, shape.picture_bytes, np.uint8)
    places = macroblock_of_bytes(shape)
    assert places.shape == content.shape
    one, other = raster.grey(), raster.grey()
    modulator.render(content, one)
    for place in [0, 1, *range(2, shape.picture_bytes, 97), shape.picture_bytes - 1]:
        changed = content.copy()
        changed[place] ^= 0x80 if modulation.family == Family.CELLS else 0xFF
        modulator.render(changed, other)
        differs = one.y != other.y
        for old, new in ((one.u, other.u), (one.v, other.v)):
            differs |= (old != new).repeat(2, axis=0).repeat(2, axis=1)
        rows, columns = np.nonzero(differs)
        middle = int(np.median(rows)) // 16 - raster.first_row, int(np.median(columns)) // 16
        assert middle == divmod(int(places[place]), raster.columns), place


def test_the_xor_code_counts_groups_and_their_wrong_blocks() -> None:
    modulation = Modulation(Family.DCT4, 16, 16, 4, Code.XOR)
    shape = BurstShape(replace(RASTERS["144p"], rows_used=5), modulation, 4)
    groups = shape.total_bytes // xor_blocks.SLOT_BYTES - shape.data_bytes // xor_blocks.BLOCK_BYTES
    assert groups >= 2
    stored = xor_blocks.encode(np.frombuffer(NOISE, np.uint8)[: shape.data_bytes].copy(), shape.total_bytes, 4)
    stored[[7, 9, xor_blocks.SLOT_BYTES, xor_blocks.SLOT_BYTES * (groups + 1) + 3]] ^= 1
    margin, none = np.full(len(stored), 128, np.uint8), np.zeros(0, np.int16)
    survey = ChannelSurvey("x")
    present = np.ones(len(stored), bool)
    survey.observe(BurstReport((b"ab", Kind.DATA, 0, shape), none, stored, stored, margin, present))
    cliff = survey.cliff
    assert (cliff.allowed, cliff.codewords, cliff.lost, cliff.worst) == (1, groups, 1, 1)
    assert survey.in_order[0].wrong.tolist() == [2, 0, 0, 0]
    assert survey.margins.sum() == shape.total_bytes


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1), st.integers(2, 40))
def test_the_cliff_is_described_by_its_own_figures(used: list[int], allowed: int) -> None:
    cliff = Cliff(allowed, np.bincount(used), 0)
    assert (cliff.codewords, cliff.worst) == (len(used), max(used))
    assert cliff.fraction == pytest.approx((np.mean(used) + 3 * np.std(used)) / allowed)
    worse = Cliff(allowed, np.bincount([each + allowed for each in used]), 0)
    assert worse.distance == "at the very edge of the cliff"
    assert (cliff.distance == "far from the cliff") == (cliff.nearness < 0.25)
    assert Cliff(allowed, np.bincount(used), 1).distance == "over the cliff"


def test_of_a_burst_that_comes_twice_the_better_reading_counts() -> None:
    survey = ChannelSurvey("x")
    beyond = damaged(SMALL, range(0, 30 * SMALL.width, SMALL.width))
    assert (beyond.corrected < 0).any()
    for report in (beyond, damaged(SMALL, [1]), beyond):
        survey.observe(report)
    assert len(survey.bursts) == 1
    assert survey.cliff.lost == 0
    assert survey.in_order[0].wrong.sum() == 1


def test_bursts_that_nobody_saw_are_named() -> None:
    survey = ChannelSurvey("x")
    for kind, number in ((Kind.DATA, 0), (Kind.DATA, 3), (Kind.LEADER, 0)):
        survey.observe(damaged(SMALL, [], kind=kind, number=number))
    assert survey.missing == ["leader 1", "data 1", "data 2"]
    assert [each.name for each in survey.in_order] == ["leader 0", "data 0", "data 3"]
    assert survey.verdict == ("Damaged: 3 bursts are missing. Verifying the reel says whether parity brings them back.")


Change = Callable[[int, Picture], Iterator[Picture]]


def encoded_again(source: Path, target: Path, change: Change) -> Path:
    """The video with its pictures changed, in a lossless re-encode."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream, shown = None, 0
        for number, frame in enumerate(old.decode(video=0)):
            planes = Picture(*(lines_of(plane)[:, : plane.width].copy() for plane in frame.planes))
            for picture in change(number, planes):
                if stream is None:
                    stream = new.add_stream("libx264", rate=8, options={"qp": "0", "preset": "ultrafast"})
                    stream.height, stream.width = picture.y.shape
                    stream.pix_fmt = "yuv420p"
                made = av.VideoFrame(stream.width, stream.height, "yuv420p")
                for plane, samples in zip(made.planes, picture, strict=True):
                    lines_of(plane)[:, : plane.width] = samples
                made.pts, shown = shown, shown + 1
                new.mux(stream.encode(made))
        assert stream is not None
        new.mux(stream.encode(None))
    return target


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reel of NOISE in small pictures."""
    folder = tmp_path_factory.mktemp("reel")
    (folder / "noise").write_bytes(NOISE)
    encode_file(folder / "noise", folder / "reel.mp4", EncodeOptions(profile="rugged", geometry="360p"))
    return folder / "reel.mp4"


def test_a_reel_as_it_was_written_is_far_from_the_cliff(reel: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    survey = survey_channel(reel, progress=lambda done, total: progress.append((done, total)))
    assert survey.channel is not None
    assert survey.profile == "rugged"
    assert survey.cliff.distance == "far from the cliff"
    assert survey.missing == []
    assert {name for name, count in survey.pictures.items() if count} == {"shown", "read", "grey"}
    assert survey.pictures["read"] + survey.pictures["grey"] == survey.pictures["shown"]
    assert survey.channel.corrected_bytes == sum(int(each.wrong.sum()) for each in survey.bursts.values())
    assert progress[-1] == (reel.stat().st_size, reel.stat().st_size)


def test_the_heat_map_peaks_where_noise_was_put(reel: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)

    def noisy(number: int, picture: Picture) -> Iterator[Picture]:
        part = picture.y[16:64, 240:400]
        part[:] = np.clip(part + rng.normal(0, 45, part.shape), 0, 255)
        yield picture

    survey = survey_channel(encoded_again(reel, tmp_path / "noisy.mp4", noisy))
    rates = (survey.heat_wrong / np.maximum(1, survey.heat_known)).reshape(-1, RASTERS["360p"].columns)
    inside = np.zeros(rates.shape, bool)
    inside[:3, 15:25] = True
    assert rates[inside].mean() > 0.01
    assert rates[inside].mean() > 8 * rates[~inside].mean()
    assert inside.ravel()[int(rates.argmax())]
    assert survey.pictures["unread"] == 0


def test_lost_doubled_and_unread_pictures_are_told_apart(reel: Path, tmp_path: Path) -> None:
    total = survey_channel(reel).pictures

    def change(number: int, picture: Picture) -> Iterator[Picture]:
        strip = read(picture.y, RASTERS["360p"])
        place = strip.picture if strip and strip.kind == Kind.DATA else None
        if place == 0:
            return
        if place == 1:
            yield picture
        if place == 2:
            picture.y[:] = np.random.default_rng(1).integers(0, 256, picture.y.shape)
            picture.y[::40] = 255
        yield picture

    survey = survey_channel(encoded_again(reel, tmp_path / "mixed.mp4", change))
    assert survey.pictures == {**total, "read": total["read"] - 1, "unread": 1, "doubled": 1, "lost": 2}


def test_a_cropped_picture_is_placed_and_its_rim_is_not_known(reel: Path, tmp_path: Path) -> None:
    def cropped(number: int, picture: Picture) -> Iterator[Picture]:
        yield Picture(picture.y[4:-4, 4:-4], picture.u[2:-2, 2:-2], picture.v[2:-2, 2:-2])

    survey = survey_channel(encoded_again(reel, tmp_path / "cropped.mp4", cropped))
    place, known = survey.placement, survey.heat_known.reshape(-1, RASTERS["360p"].columns)
    assert (place.x, place.y, place.is_shift, survey.video_size) == (-4, -4, True, (632, 352))
    assert (known[:, [0, -1]] == 0).all()
    assert (known[0, 1:-1] > 0).all()
    assert survey.error_rate < 0.01
    assert survey.cliff.worst > survey_channel(reel).cliff.worst


def test_a_reel_of_samples_has_no_channel_and_no_reel_has_none_either(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(NOISE)
    encode_file(tmp_path / "noise", tmp_path / "reel.mp4", EncodeOptions(geometry="144p"))
    with pytest.raises(Permanent) as caught:
        survey_channel(tmp_path / "reel.mp4")
    assert caught.value.error_id == "channel.none"
    assert "verifying" in caught.value.hint
    with pytest.raises(Permanent) as caught:
        survey_channel(tmp_path / "noise")
    assert caught.value.error_id == "reel.none"


def staircase(path: Path, codec: str, pixels: str) -> Path:
    """A video of 40 flat pictures, each lighter than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 64, pixels
        for number in range(40):
            grey = np.full((64, 128, 3), 6 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p10le"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
    ],
)
def test_a_picture_is_found_by_its_number_in_any_video(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = staircase(tmp_path / name, codec, pixels)
    for number in (0, 1, 13, 38, 39):
        shown = picture_at(path, number)
        assert shown.rgb.shape == (64, 128, 3)
        assert shown.planes.y.shape == (64, 128)
        assert abs(float(shown.rgb.mean()) - 6 * number) < 2.5
    with pytest.raises(Permanent, match="has 40") as caught:
        picture_at(path, 40)
    assert caught.value.error_id == "picture.range"


def test_what_is_no_video_shows_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(NOISE)
    with pytest.raises(Permanent) as caught:
        picture_at(tmp_path / "x", 0)
    assert caught.value.error_id == "picture.none"
    with pytest.raises(Permanent) as caught:
        picture_at(tmp_path / "y", 0)
    assert caught.value.error_id == "source.missing"


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_png_holds_the_very_pixels(width: int, height: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    read = cv2.imdecode(np.frombuffer(png_of(image), np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.array_equal(read[:, :, ::-1], image)


def test_strips_and_data_are_outlined_where_they_lie(reel: Path) -> None:
    shown = picture_at(reel, 1)
    drawn = (outlined(shown) != shown.rgb).any(axis=2)
    raster = RASTERS["360p"]
    assert drawn[0].mean() > 0.9
    assert drawn[16 * raster.first_row].mean() > 0.9
    assert drawn[16 * raster.lower_strip_row + 15].mean() > 0.9
    assert not drawn[30:300, 10:-10].any()
    with pytest.raises(Permanent) as caught:
        outlined(picture_at(reel, 0))
    assert caught.value.error_id == "picture.no_strip"
