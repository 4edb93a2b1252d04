"""Cells: exact as written, nearest by table as by search, and read through noise, range, gain and a real re-encode."""

from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Raster, raster_named
from bytereel_codec.channel.symbols.cells import Cells
from bytereel_codec.channel.symbols.modulator import MARGIN_NOMINAL
from bytereel_codec.channel.symbols.palettes import colours_of, nearest_table
from bytereel_codec.errors import Permanent
from hypothesis import given, settings
from hypothesis import strategies as st

YUV_1, YUV_3, EGA_3 = 2, 6, 7
EVERY = tuple(product((2, 4, 6, 8), (YUV_1, YUV_3, EGA_3)))


def cells_for(raster: str | Raster, first: int = 4, second: int = YUV_3) -> Cells:
    chosen = raster_named(raster) if isinstance(raster, str) else raster
    return Cells(chosen, Modulation(Family.CELLS, first, second, 32))


def noise_bytes(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def rendered(cells: Cells, content: np.ndarray) -> Picture:
    picture = cells.raster.grey()
    cells.render(content, picture)
    return picture


def read(cells: Cells, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    content, margin = np.empty(cells.picture_bytes, np.uint8), np.empty(cells.picture_bytes, np.uint8)
    cells.demodulate(picture, content, margin)
    return content, margin


def changed(picture: Picture, luma, chroma) -> Picture:
    """The picture with a function of floats applied to its planes, rounded and clipped."""
    planes = (change(plane.astype(np.float64)) for plane, change in zip(picture, (luma, chroma, chroma), strict=True))
    return Picture(*(np.rint(plane).clip(0, 255).astype(np.uint8) for plane in planes))


def drawn_by_hand(cells: Cells, content: np.ndarray) -> Picture:
    """The same picture from the format's words alone: bits, cells, means of pairs in x, then in y."""
    bits = np.zeros(cells.cells * cells.bits, np.int64)
    bits[: 8 * content.size] = np.unpackbits(content)
    symbols = bits.reshape(-1, cells.bits) @ (1 << np.arange(cells.bits)[::-1])
    colours = cells.colours[symbols].reshape(cells.rows, cells.columns, 3).astype(np.int64)
    side, top = cells.side, cells.raster.first_row * 16
    picture = cells.raster.grey()
    whole = colours.repeat(side, axis=0).repeat(side, axis=1)
    picture.y[top : top + whole.shape[0], : whole.shape[1]] = whole[..., 0]
    if side == 3:
        for plane, channel in ((picture.u, 1), (picture.v, 2)):
            full = np.full((2 * plane.shape[0], 2 * plane.shape[1]), CHROMA_REST)
            full[top : top + whole.shape[0], : whole.shape[1]] = whole[..., channel]
            in_x = (full[:, ::2] + full[:, 1::2] + 1) // 2
            plane[:] = (in_x[::2] + in_x[1::2] + 1) // 2
    return picture


@pytest.mark.parametrize("raster", ["144p", "720p"])
@pytest.mark.parametrize(("first", "second"), EVERY)
def test_what_is_drawn_is_read_with_nominal_margins(raster: str, first: int, second: int) -> None:
    cells = cells_for(raster, first, second)
    content = noise_bytes(cells.picture_bytes)
    found, margin = read(cells, rendered(cells, content))
    assert (found == content).all()
    assert (margin == MARGIN_NOMINAL).all()


@given(
    shape=st.tuples(st.integers(2, 9), st.integers(1, 3)),
    kind=st.sampled_from(EVERY),
    seed=st.integers(0, 1 << 30),
    value=st.none() | st.integers(0, 255),
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_content_is_drawn_as_the_format_says_and_read_back(shape, kind, seed, value) -> None:
    columns, rows = shape
    cells = cells_for(Raster("odd", 0, 16 * columns, 16 * (rows + 4)), *kind)
    content = noise_bytes(cells.picture_bytes, seed) if value is None else np.full(cells.picture_bytes, value, np.uint8)
    picture = rendered(cells, content)
    for plane, wanted in zip(picture, drawn_by_hand(cells, content), strict=True):
        assert (plane == wanted).all()
    assert (read(cells, picture)[0] == content).all()


@pytest.mark.parametrize(("first", "second"), [(4, YUV_3), (6, EGA_3), (8, YUV_1)])
def test_nothing_but_the_used_rows_and_whole_cells_is_touched(first: int, second: int) -> None:
    raster = Raster("360p", 1, 640, 360, rows_used=7)
    cells = cells_for(raster, first, second)
    picture = Picture(*(np.full_like(plane, 77) for plane in raster.grey()))
    cells.render(noise_bytes(cells.picture_bytes), picture)
    top, bottom, right = 16, 16 + cells.rows * cells.side, cells.columns * cells.side
    inside = np.zeros(picture.y.shape, bool)
    inside[top:bottom, :right] = True
    assert (picture.y[~inside] == 77).all()
    touched = inside.reshape(180, 2, 320, 2).any(axis=(1, 3)) if cells.side == 3 else np.zeros((180, 320), bool)
    assert (picture.u[~touched] == 77).all()
    assert (picture.v[~touched] == 77).all()


@pytest.mark.parametrize(("first", "name"), [*product((2, 4, 6, 8), ("yuv", "ega"))])
def test_the_table_agrees_with_a_search_up_to_its_resolution(first: int, name: str) -> None:
    nearest, colours = nearest_table(first, name), colours_of(first, name).astype(np.float64)
    points = np.random.default_rng(first).integers(0, 256, (4000, 3))
    deltas = points[:, None, :] - colours[None]
    distances = np.sqrt(deltas[..., 0] ** 2 + (deltas[..., 1] ** 2 + deltas[..., 2] ** 2) / 2)
    entries = nearest.table[(points >> 2) @ np.array([4096, 64, 1])]
    chosen = distances[np.arange(len(points)), entries & 255]
    half_a_bin = np.sqrt(2**2 + (2**2 + 2**2) / 2)
    assert (chosen <= distances.min(axis=1) + 2 * half_a_bin).all()
    sure = np.diff(np.sort(distances, axis=1)[:, :2], axis=1)[:, 0] > 2 * half_a_bin
    assert (entries[sure] & 255 == distances.argmin(axis=1)[sure]).all()
    assert sure.mean() > 0.15


@pytest.mark.parametrize("first", [2, 4, 6, 8])
def test_a_grey_table_is_exact(first: int) -> None:
    colours = colours_of(first, "grey").astype(int)
    found = colours[nearest_table(first, "grey").table & 255, 0]
    away = np.abs(np.arange(256)[:, None] - colours[None, :, 0]).min(axis=1)
    assert (np.abs(found - np.arange(256)) == away).all()


def test_a_step_along_an_axis_of_a_yuv_palette_costs_one_bit() -> None:
    for first in (2, 4, 6, 8):
        colours = [tuple(int(value) for value in colour) for colour in colours_of(first, "yuv")]
        axes = [sorted({colour[axis] for colour in colours}) for axis in range(3)]
        for symbol, colour in enumerate(colours):
            for axis, levels in enumerate(axes):
                place = levels.index(colour[axis])
                for other in levels[place + 1 : place + 2]:
                    neighbour = colours.index((*colour[:axis], other, *colour[axis + 1 :]))
                    assert (symbol ^ neighbour).bit_count() == 1


def test_the_ega_palette_is_bt709_in_limited_range() -> None:
    colours = colours_of(4, "ega").tolist()
    assert len({tuple(colour) for colour in colours}) == 16
    assert colours[0] == [16, 128, 128]
    assert colours[15] == [235, 128, 128]
    assert colours[12] == [120, 111, 203]  # light red 255 85 85: E'Y 0.4751, E'Pb -0.0764, E'Pr 0.3333


@pytest.mark.parametrize("second", [YUV_3, EGA_3])
def test_sixteen_colours_survive_noise(second: int) -> None:
    cells, generator = cells_for("360p", second=second), np.random.default_rng(6)
    content = noise_bytes(cells.picture_bytes)

    def noisy(plane: np.ndarray) -> np.ndarray:
        return plane + generator.normal(0, 6, plane.shape)

    found, margin = read(cells, changed(rendered(cells, content), noisy, noisy))
    assert (found == content).mean() > (1 - 1e-4 if second == YUV_3 else 0.995)
    assert 60 < margin.mean() < MARGIN_NOMINAL


@pytest.mark.parametrize("second", [YUV_3, EGA_3])
@pytest.mark.parametrize(
    ("gain", "offset", "chroma_gain"),
    [
        (219 / 255, 16, 224 / 255),
        (255 / 219, -16 * 255 / 219, 255 / 224),
        (0.8, 0, 0.8),
        (0.8, 0, 1),
        (0.9, 20, 0.9),
        (1.15, 0, 1.15),
        (1.15, -12, 1),
    ],
)
def test_sixteen_colours_survive_a_squeezed_range_and_another_gain(second, gain, offset, chroma_gain) -> None:
    cells, generator = cells_for("360p", second=second), np.random.default_rng(7)
    content = noise_bytes(cells.picture_bytes)
    picture = changed(
        rendered(cells, content),
        lambda plane: plane * gain + offset + generator.normal(0, 2, plane.shape),
        lambda plane: (plane - 128) * chroma_gain + 128 + generator.normal(0, 2, plane.shape),
    )
    found, margin = read(cells, picture)
    assert (found == content).mean() > 1 - 1e-4
    assert margin.mean() > 80


@pytest.mark.parametrize(("first", "second"), [(2, YUV_3), (6, YUV_3), (8, YUV_3), (6, EGA_3), (2, YUV_1), (4, YUV_1)])
def test_the_other_palettes_survive_a_squeezed_range(first: int, second: int) -> None:
    cells = cells_for("360p", first, second)
    content = noise_bytes(cells.picture_bytes)
    squeezed = changed(
        rendered(cells, content), lambda y: 16 + y * 219 / 255, lambda c: (c - 128) * 224 / 255 + CHROMA_REST
    )
    assert (read(cells, squeezed)[0] == content).all()


def test_one_colour_alone_is_read_at_another_gain_of_a_range() -> None:
    cells = cells_for("144p")
    for value in (0x00, 0x99, 0xFF):
        content = np.full(cells.picture_bytes, value, np.uint8)
        assert (
            read(cells, changed(rendered(cells, content), lambda y: y * 0.97 + 2, lambda c: c + 1))[0] == content
        ).all()


def test_margins_fall_with_noise_and_tell_wrong_bytes_from_right_ones() -> None:
    cells, generator = cells_for("360p"), np.random.default_rng(8)
    content = noise_bytes(cells.picture_bytes)
    picture = rendered(cells, content)
    means = []
    for sigma in (0, 8, 24):
        noisy = changed(picture, *(lambda plane, s=sigma: plane + generator.normal(0, s, plane.shape),) * 2)
        found, margin = read(cells, noisy)
        means.append(margin.mean())
    assert means[0] == MARGIN_NOMINAL
    assert means[0] > means[1] > means[2]
    wrong = found != content
    assert 0.01 < wrong.mean() < 0.6
    assert margin[wrong].mean() < 0.6 * margin[~wrong].mean()


def test_a_picture_without_data_has_small_margins() -> None:
    cells = cells_for("144p")
    generator = np.random.default_rng(9)
    picture = Picture(*(generator.integers(0, 256, plane.shape, np.uint8) for plane in cells.raster.grey()))
    assert read(cells, picture)[1].mean() < 60
    read(cells, cells.raster.grey())  # and one at rest, where there is nothing to fit


def test_planes_may_be_views_of_wider_ones() -> None:
    cells = cells_for("360p")
    content = noise_bytes(cells.picture_bytes)
    wide = [np.full((plane.shape[0], plane.shape[1] + 64), LUMA_REST, np.uint8) for plane in cells.raster.grey()]
    views = Picture(*(plane[:, :-64] for plane in wide))
    cells.render(content, views)
    assert (read(cells, views)[0] == content).all()
    assert all((plane[:, -64:] == LUMA_REST).all() for plane in wide)


@pytest.mark.parametrize(
    ("first", "second"), [(1, YUV_3), (3, YUV_3), (16, YUV_3), (4, 3), (4, 0), (4, 4), (4, 8), (0, YUV_3), (4, 255)]
)
def test_cells_that_the_format_does_not_know_are_refused(first: int, second: int) -> None:
    with pytest.raises(Permanent) as refused:
        cells_for("144p", first, second)
    assert refused.value.error_id == "modulation.unknown"


def test_pictures_and_bytes_of_another_size_are_refused() -> None:
    cells = cells_for("144p")
    content, picture = noise_bytes(cells.picture_bytes), cells.raster.grey()
    with pytest.raises(Permanent, match="size"):
        cells.render(content[:-1], picture)
    with pytest.raises(Permanent, match="size"):
        cells.render(content.astype(np.uint16), picture)
    for index in range(3):
        cut = Picture(*(plane[:-2] if place == index else plane for place, plane in enumerate(picture)))
        with pytest.raises(Permanent, match="size"):
            cells.demodulate(cut, content, content.copy())


def through_x264(pictures: list[Picture], options: dict[str, str]) -> list[Picture]:
    """The pictures after x264 and libavcodec, planes copied as they are."""
    height, width = pictures[0].y.shape
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 30)
    encoder.options = {"threads": "1", **options}
    packets = []
    for pts, picture in enumerate(pictures):
        frame = av.VideoFrame(width, height, "yuv420p")
        frame.pts = pts
        for target, plane in zip(frame.planes, picture, strict=True):
            np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[:, : plane.shape[1]] = plane
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [
        Picture(*(np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width].copy() for p in frame.planes))
        for frame in sorted(frames, key=lambda frame: frame.pts)
    ]


@pytest.mark.parametrize(("crf", "second"), [("18", YUV_3), ("23", YUV_3), ("18", EGA_3)])
def test_sixteen_colours_survive_an_own_encode_and_another_one(crf: str, second: int) -> None:
    cells = cells_for("360p", second=second)
    contents = [noise_bytes(cells.picture_bytes, seed) for seed in range(4)]
    own = {"preset": "veryfast", "x264-params": "qp=30:keyint=1:aq-mode=0:no-psy=1:ipratio=1"}
    written = through_x264([rendered(cells, content) for content in contents], own)
    arrived = through_x264(written, {"preset": "medium", "crf": crf})
    wrong = [(read(cells, picture)[0] != content).mean() for picture, content in zip(arrived, contents, strict=True)]
    assert max(wrong) < 1e-3
