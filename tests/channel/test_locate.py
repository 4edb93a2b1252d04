"""Pictures framed, cropped, shifted, scaled and dimmed are found to a fraction of a pixel, and put back."""

import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.placing.locate import locate
from bytereel_codec.channel.placing.placement import Area, Placement, Placer
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, RASTERS, Picture, Raster
from bytereel_codec.channel.strip import StripHeader, draw
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.kinds import Kind
from hypothesis import given, settings
from hypothesis import strategies as st

ALL_NAMES = tuple(RASTERS)
SMALL_NAMES = ("144p", "360p", "480p")
Step = Callable[[Picture], Picture]


@lru_cache(maxsize=3 * len(RASTERS))
def reel(name: str, amplitude: int = 64, rows_used: int | None = None) -> tuple[Picture, ...]:
    """A grey picture and two data pictures, their data areas noise."""
    raster, rng = RASTERS[name], np.random.default_rng(11)
    pictures = [raster.grey()]
    for number in range(2):
        picture = raster.grey()
        area = slice(16 * raster.first_row, 16 * replace(raster, rows_used=rows_used).last_row)
        picture.y[area] = rng.integers(LUMA_REST - 40, LUMA_REST + 41, picture.y[area].shape)
        modulation = Modulation(Family.DCT4, 6, 6, 36)
        header = StripHeader(b"ab", Kind.DATA, 77, number, 96, raster, modulation, rows_used or raster.rows_max)
        draw(header, picture, raster, amplitude)
        pictures.append(picture)
    return tuple(pictures)


def through(pictures: tuple[Picture, ...], *steps: Step) -> list[Picture]:
    done = list(pictures)
    for step in steps:
        done = [step(picture) for picture in done]
    return done


def cropped(left: int, top: int, right: int, bottom: int) -> Step:
    """As FFmpeg's crop: chroma from half of an odd offset, rounded down; half of an odd size, rounded up."""

    def crop(picture: Picture) -> Picture:
        height, width = picture.y.shape
        columns, rows = width - left - right, height - top - bottom
        y = picture.y[top : top + rows, left : left + columns].copy()
        part = slice(top // 2, top // 2 + (rows + 1) // 2), slice(left // 2, left // 2 + (columns + 1) // 2)
        return Picture(y, picture.u[part].copy(), picture.v[part].copy())

    return crop


def framed(left: int, top: int, right: int, bottom: int, luma: int = 16) -> Step:
    def frame(picture: Picture) -> Picture:
        sides, halves = ((top, bottom), (left, right)), ((top // 2, bottom // 2), (left // 2, right // 2))
        y = np.pad(picture.y, sides, constant_values=luma)
        return Picture(y, *(np.pad(p, halves, constant_values=CHROMA_REST) for p in picture[1:]))

    return frame


def scaled(width: int, height: int) -> Step:
    """As an antialiasing scaler does it."""

    def scale(picture: Picture) -> Picture:
        is_smaller = width < picture.y.shape[1] or height < picture.y.shape[0]
        method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
        sizes = ((width, height), (width // 2, height // 2), (width // 2, height // 2))
        return Picture(*(cv2.resize(p, s, interpolation=method) for p, s in zip(picture, sizes, strict=True)))

    return scale


def altered(gain: float = 1, offset: float = 0, sigma: float = 0) -> Step:
    rng = np.random.default_rng(5)

    def alter(picture: Picture) -> Picture:
        y = picture.y * gain + offset + rng.normal(0, sigma, picture.y.shape)
        return picture._replace(y=np.clip(y + 0.5, 0, 255).astype(np.uint8))

    return alter


SQUEEZED, STRETCHED = altered(219 / 255, 16), altered(255 / 219, -16 * 255 / 219)


def edges_of(placement: Placement | None) -> npt.NDArray[np.float64]:
    assert placement is not None
    p = placement
    return np.array([p.x, p.y, p.x + p.width, p.y + p.height], np.float64)


def assert_shift(pictures: list[Picture], name: str, x: int, y: int) -> None:
    found = locate(pictures)
    assert found is not None
    assert found.is_shift
    assert (found.raster, found.x, found.y) == (RASTERS[name], x, y)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_pictures_as_written_stand_where_they_were_written(name: str) -> None:
    found = locate(list(reel(name)))
    assert found is not None
    assert found.raster == RASTERS[name]
    assert found.is_identity


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SMALL_NAMES), st.integers(-7, 7), st.integers(-7, 7), st.sampled_from((0, 16, 128, 255)))
def test_a_shift_is_found_to_the_pixel(name: str, x: int, y: int, filled: int) -> None:
    moved = through(
        reel(name),
        framed(max(0, x), max(0, y), max(0, -x), max(0, -y), filled),
        cropped(*(max(0, v) for v in (-x, -y, x, y))),
    )
    assert moved[0].y.shape == reel(name)[0].y.shape
    assert_shift(moved, name, x, y)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SMALL_NAMES), st.tuples(*[st.integers(2, 7)] * 4))
def test_a_crop_is_found_to_the_pixel(name: str, crop: tuple[int, int, int, int]) -> None:
    assert_shift(through(reel(name), cropped(*crop)), name, -crop[0], -crop[1])


@pytest.mark.parametrize("name", ["720p", "1080p", "2160p"])
@pytest.mark.parametrize("crop", [(4, 4, 4, 4), (7, 2, 3, 6)])
def test_a_crop_of_a_large_picture_is_found_to_the_pixel(name: str, crop: tuple[int, int, int, int]) -> None:
    assert_shift(through(reel(name), cropped(*crop)), name, -crop[0], -crop[1])


@pytest.mark.parametrize(
    "frame", [(0, 180, 0, 180), (320, 0, 320, 0), (160, 90, 160, 90), (0, 0, 0, 8), (0, 40, 0, 200)], ids=str
)
@pytest.mark.parametrize("luma", [0, 16, 255])
def test_bars_are_found_and_told_from_the_picture(frame: tuple[int, int, int, int], luma: int) -> None:
    pictures = through(reel("1080p"), framed(*frame, luma))
    assert_shift(pictures, "1080p", frame[0], frame[1])
    found = locate(pictures)
    assert found is not None
    assert found.visible == Area(frame[0], frame[1], frame[0] + 1920, frame[1] + 1080)


SCALES = [
    ("1080p", 1280, 720),
    ("2160p", 1920, 1080),
    ("1080p", 854, 480),
    ("1080p", 2560, 1440),
    ("720p", 1920, 1080),
    ("1080p", 1440, 1080),
    ("144p", 192, 108),
]


@pytest.mark.parametrize(("name", "width", "height"), SCALES)
@pytest.mark.parametrize("alter", [altered(), altered(0.7, 0, 20), altered(1.2, 0, 20)], ids=["plain", "dark", "light"])
def test_a_scaled_video_is_found_whole(name: str, width: int, height: int, alter: Step) -> None:
    found = locate(through(reel(name), scaled(width, height), alter))
    assert edges_of(found).tolist() == [0, 0, width, height]


@pytest.mark.parametrize(("width", "height", "bar"), [(1440, 810, 134), (640, 360, 60), (1280, 720, 152)])
def test_a_scaled_picture_between_bars_is_found(width: int, height: int, bar: int) -> None:
    found = locate(through(reel("1080p"), scaled(width, height), framed(0, bar, 0, bar)))
    assert edges_of(found).tolist() == [0, bar, width, bar + height]


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize(
    "steps",
    [(SQUEEZED,), (SQUEEZED, STRETCHED), (STRETCHED,), (altered(0.7),), (altered(1.2),), (altered(0.7, 30, 20),)],
    ids=["squeezed", "and back", "stretched", "dark", "light", "pale and noisy"],
)
def test_range_gain_and_noise_do_not_move_the_picture(name: str, steps: tuple[Step, ...]) -> None:
    assert_shift(through(reel(name), *steps), name, 0, 0)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(("360p", "480p")),
    st.tuples(*[st.sampled_from((0, 2, 3, 4, 6, 7))] * 4),
    st.sampled_from((2 / 3, 0.75, 0.9, 1.0, 4 / 3, 2.0)),
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)),
    st.floats(0.7, 1.2),
    st.sampled_from((0, 5, 20)),
)
def test_everything_at_once_is_found(
    name: str,
    crop: tuple[int, int, int, int],
    scale: float,
    halves: tuple[int, int, int, int],
    gain: float,
    sigma: float,
) -> None:
    raster, frame = RASTERS[name], [2 * half for half in halves]
    width, height = raster.width - crop[0] - crop[2], raster.height - crop[1] - crop[3]
    columns, rows = (2 * int(v * scale / 2) for v in (width, height))
    steps = [cropped(*crop), scaled(columns, rows)] if scale != 1 else [cropped(*crop)]
    columns, rows = (columns, rows) if scale != 1 else (width, height)
    found = locate(through(reel(name), *steps, framed(*frame), SQUEEZED, altered(gain, 0, sigma)))
    x, y = frame[0] - crop[0] * columns / width, frame[1] - crop[1] * rows / height
    expected = np.array([x, y, x + raster.width * columns / width, y + raster.height * rows / height])
    assert found is not None
    assert found.raster == raster
    assert np.abs(edges_of(found) - expected).max() < 0.2


def recoded(pictures: list[Picture], crf: int) -> list[Picture]:
    """Through x264 as a platform would: preset medium."""
    height, width = pictures[0].y.shape
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.options = Fraction(1, 8), {"crf": str(crf), "preset": "medium"}
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.pts = number
        for plane, samples in zip(frame.planes, picture, strict=True):
            plane.update(np.pad(samples, ((0, 0), (0, plane.line_size - samples.shape[1]))).tobytes())
        packets += encoder.encode(frame)
    frames = [f for packet in (*packets, *encoder.encode(None), None) for f in decoder.decode(packet)]
    return [
        Picture(*(np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in f.planes)) for f in frames
    ]


@pytest.mark.parametrize("amplitude", [16, 64])
@pytest.mark.parametrize("crf", [23, 33])
def test_another_encoder_moves_nothing(amplitude: int, crf: int) -> None:
    pictures = reel("720p", amplitude)
    found = locate(recoded(list(pictures), crf))
    assert found is not None
    assert found.is_identity
    assert_shift(recoded(through(pictures, cropped(4, 2, 6, 4)), crf), "720p", -4, -2)
    found = locate(recoded(through(pictures, scaled(852, 480), framed(0, 50, 0, 50)), crf))
    assert np.abs(edges_of(found) - [0, 50, 852, 530]).max() < 0.5


@pytest.mark.parametrize("name", ALL_NAMES)
def test_faint_strips_around_one_row_of_data_are_found(name: str) -> None:
    pictures = reel(name, 16, 1)
    found = locate(list(pictures))
    assert found is not None
    assert found.is_identity
    assert_shift(through(pictures, cropped(3, 4, 5, 2)), name, -3, -4)
    width, height = RASTERS[name].width * 3 // 4, RASTERS[name].height * 3 // 4
    found = locate(through(pictures, scaled(width, height)))
    assert edges_of(found).tolist() == [0, 0, width, height]


@pytest.mark.parametrize("crop", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_a_crop_of_one_pixel_is_noticed_though_it_was_scaled_back(crop: tuple[int, int, int, int]) -> None:
    found = locate(through(reel("720p"), cropped(*crop), scaled(1280, 720)))
    wide, high = 1280 / (1280 - crop[0] - crop[2]), 720 / (720 - crop[1] - crop[3])
    expected = np.array([-crop[0] * wide, -crop[1] * high, 1280 + crop[2] * wide, 720 + crop[3] * high])
    assert np.abs(edges_of(found) - expected).max() < 0.2


def test_one_data_picture_among_flat_ones_is_enough() -> None:
    grey, data = reel("720p")[:2]
    black = grey._replace(y=np.zeros_like(grey.y))
    assert_shift(through((black, grey, grey, data, grey), cropped(2, 4, 2, 4)), "720p", -2, -4)


def pictures_of(kind: str) -> list[Picture]:
    grey, rng = RASTERS["1080p"].grey(), np.random.default_rng(9)
    luma = {
        "grey": lambda: grey.y,
        "black": lambda: np.zeros_like(grey.y),
        "noisy grey": lambda: altered(1, 0, 20)(grey).y,
        "random": lambda: rng.integers(0, 256, grey.y.shape, np.uint8),
        "random, framed": lambda: np.pad(rng.integers(0, 256, (880, 1720), np.uint8), 100),
    }[kind]
    return [grey._replace(y=luma()) for _ in range(6)]


@pytest.mark.parametrize("kind", ["grey", "black", "noisy grey", "random", "random, framed"])
def test_a_video_that_is_no_reel_gives_none_within_seconds(kind: str) -> None:
    locate(list(reel("144p")))  # compiled, or loaded
    pictures = pictures_of(kind)
    start = time.process_time()
    assert locate(pictures) is None
    assert time.process_time() - start < 3  # a third of a second on an idle machine


def test_nothing_is_found_in_no_or_tiny_pictures() -> None:
    tiny = Picture(*(np.arange(n * n, dtype=np.uint8).reshape(n, n) for n in (2, 1, 1)))
    assert locate([]) is None
    assert locate([tiny]) is None


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(Permanent, match="changes its picture size"):
        locate([reel("144p")[1], reel("360p")[1]])


def placed(pictures: list[Picture]) -> tuple[list[Picture], npt.NDArray[np.bool_] | None]:
    found = locate(pictures)
    assert found is not None
    height, width = pictures[0].y.shape
    results = [Placer(found, width, height).place(picture) for picture in pictures]
    return [picture for picture, _ in results], results[0][1]


def test_pictures_in_place_are_handed_on_untouched() -> None:
    pictures = list(reel("360p"))
    results, lost = placed(pictures)
    assert lost is None
    assert all(
        a is b for result, picture in zip(results, pictures, strict=True) for a, b in zip(result, picture, strict=True)
    )


def test_a_framed_picture_comes_back_bit_for_bit() -> None:
    pictures = [
        p._replace(u=np.arange(p.u.size, dtype=np.uint8).reshape(p.u.shape), v=p.y[::2, 1::2].copy())
        for p in reel("360p")
    ]
    results, lost = placed(through(tuple(pictures), framed(30, 0, 30, 44)))
    assert lost is None
    for result, picture in zip(results, pictures, strict=True):
        assert all((a == b).all() for a, b in zip(result, picture, strict=True))


def visible_part(raster: Raster, steps: tuple[Step, ...]) -> list[Picture]:
    """A reel with a third data picture that is 200 everywhere: what of it is not 200 when placed was lost."""
    full = raster.grey()._replace(y=np.full((raster.height, raster.width), 200, np.uint8))
    return through((*reel(raster.name), full), *steps)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(("360p", "480p")),
    st.tuples(st.integers(0, 7), st.integers(0, 30), st.integers(0, 7), st.integers(0, 7)),
)
def test_lost_macroblocks_are_those_with_pixels_that_cannot_be_seen(name: str, crop: tuple[int, int, int, int]) -> None:
    raster = RASTERS[name]
    pictures = visible_part(raster, (cropped(*crop),))
    found = locate(pictures[:-1])
    assert found is not None
    height, width = pictures[0].y.shape
    result, lost = Placer(found, width, height).place(pictures[-1])
    area = result.y[16 * raster.first_row : 16 * raster.last_row] == 200
    whole = area.reshape(-1, 16, raster.columns, 16).all(axis=(1, 3)).ravel()
    assert ((lost if lost is not None else np.zeros(raster.macroblocks, bool)) == ~whole).all()
    assert set(np.unique(result.y)) <= {LUMA_REST, 200}


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(0, 7)] * 4))
def test_a_cropped_picture_comes_back_but_for_what_was_cut(crop: tuple[int, int, int, int]) -> None:
    original = reel("360p")[1]
    chroma = np.random.default_rng(2).integers(0, 256, original.u.shape, np.uint8)
    original = original._replace(u=chroma, v=chroma[::-1])
    (result,), _ = placed(through((original,), cropped(*crop)))
    left, top, right, bottom = crop
    kept = slice(top, 360 - bottom), slice(left, 640 - right)
    halves = slice(-(-top // 2), (360 - bottom) // 2), slice(-(-left // 2), (640 - right) // 2)
    assert (result.y[kept] == original.y[kept]).all()
    assert (result.u[halves] == original.u[halves]).all()
    assert (result.v[halves] == original.v[halves]).all()
    outside = np.ones(result.y.shape, bool)
    outside[kept] = False
    assert (result.y[outside] == LUMA_REST).all()


def smooth(raster: Raster) -> tuple[Picture, ...]:
    """The reel with data that survives scaling: blocks of 8 pixels in luma, 4 in chroma."""
    rng = np.random.default_rng(4)

    def blocks(shape: tuple[int, ...], side: int) -> npt.NDArray[np.uint8]:
        values = rng.integers(86, 167, (-(-shape[0] // side), -(-shape[1] // side)), np.uint8)
        return np.kron(values, np.ones((side, side), np.uint8))[: shape[0], : shape[1]]

    pictures = []
    for picture in reel(raster.name):
        y, area = picture.y.copy(), slice(16 * raster.first_row, 16 * raster.last_row)
        y[area] = blocks(y[area].shape, 8)
        pictures.append(Picture(y, blocks(picture.u.shape, 4), blocks(picture.v.shape, 4)))
    return tuple(pictures)


@pytest.mark.parametrize(
    "steps",
    [
        (scaled(854, 480),),
        (scaled(640, 360),),
        (scaled(1920, 1080),),
        (scaled(2560, 1440),),
        (scaled(960, 540), framed(0, 90, 0, 90)),
        (cropped(4, 6, 2, 4), scaled(1280, 720)),
        (cropped(4, 6, 2, 4), scaled(960, 540), framed(40, 0, 44, 20)),
    ],
    ids=["480p", "360p", "1080p", "1440p", "540p framed", "cropped, scaled back", "cropped, 540p, framed"],
)
def test_a_scaled_picture_comes_back_nearly(steps: tuple[Step, ...]) -> None:
    raster = RASTERS["720p"]
    originals = smooth(raster)
    results, _ = placed(through(originals, *steps))
    for result, original in zip(results, originals, strict=True):
        for one, other in zip(result, original, strict=True):
            inner = slice(24, -24), slice(24, -24)
            assert np.corrcoef(one[inner].ravel(), other[inner].ravel())[0, 1] > 0.9


def test_macroblocks_cut_off_before_scaling_are_lost() -> None:
    raster = RASTERS["720p"]
    steps = (cropped(7, 0, 0, 0), scaled(954, 540), framed(60, 0, 0, 0))
    _, lost = placed(through(reel("720p"), *steps))
    assert lost is not None
    lost = lost.reshape(-1, raster.columns)
    assert lost[:, 0].all()
    assert not lost[:, 1:].any()


def test_a_picture_of_another_size_is_refused() -> None:
    found = locate(list(reel("144p")))
    assert found is not None
    with pytest.raises(Permanent) as caught:
        Placer(found, 256, 144).place(reel("360p")[0])
    assert caught.value.error_id == "picture.size"
