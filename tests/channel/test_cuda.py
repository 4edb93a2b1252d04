"""A card, or numba's simulator of one, gives the same pictures, bytes, margins and parity as the CPU, byte for byte."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from bytereel_codec.channel import device as devices
from bytereel_codec.channel.device import Device, chosen, has_card
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.on_device import column_code, modulator_for
from bytereel_codec.channel.raster import Picture, Raster
from bytereel_codec.channel.symbols.modulator import Modulator
from bytereel_codec.codes import reed_solomon
from bytereel_codec.errors import Permanent
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config

Bytes = npt.NDArray[np.uint8]

SIMULATED = bool(config.ENABLE_CUDASIM)
LOW = Raster("low", 9, 64, 96, rows_used=1)  # 21 x 5 cells of three pixels: odd both ways
SLIM = Raster("slim", 9, 32, 96, rows_used=1)
EVEN = Raster("even", 9, 48, 96, rows_used=2)  # 16 x 10 cells
TALL = Raster("tall", 9, 16, 144)  # five rows, two of which are measured
ROWS = 255

dct4 = st.tuples(st.just(Family.DCT4), st.integers(1, 16), st.integers(0, 16))
dct8 = st.tuples(st.just(Family.DCT8), st.integers(1, 8).map(lambda half: 2 * half), st.just(0))
seeds = st.integers(0, 2**32)
few = settings(max_examples=3, deadline=None)


def noise(raster: Raster, rng: np.random.Generator, spread: int = 256) -> Picture:
    """A picture of random samples around the middle."""
    grey = raster.grey()
    return Picture(*(rng.integers(128 - spread // 2, 128 + spread // 2, p.shape, dtype=np.uint8) for p in grey))


def copy_of(picture: Picture) -> Picture:
    return Picture(*(plane.copy() for plane in picture))


def read(modulator: Modulator, picture: Picture) -> tuple[Bytes, Bytes]:
    content, margin = np.zeros(modulator.picture_bytes, np.uint8), np.zeros(modulator.picture_bytes, np.uint8)
    modulator.demodulate(picture, content, margin)
    return content, margin


def check_drawing(raster: Raster, modulation: Modulation, quantiser: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected, actual = (modulator_for(raster, modulation, quantiser, d) for d in (Device.CPU, Device.CUDA))
    content = rng.integers(0, 256, expected.picture_bytes, dtype=np.uint8)
    pictures = [noise(raster, rng)]
    pictures.append(copy_of(pictures[0]))
    for modulator, picture in zip((expected, actual), pictures, strict=True):
        modulator.render(content, picture)
    for plane, same in zip(*pictures, strict=True):
        np.testing.assert_array_equal(plane, same)


def check_reading(raster: Raster, modulation: Modulation, quantiser: int | None, picture: Picture) -> None:
    expected, actual = (modulator_for(raster, modulation, quantiser, d) for d in (Device.CPU, Device.CUDA))
    for values, same in zip(read(expected, picture), read(actual, picture), strict=True):
        np.testing.assert_array_equal(values, same)


def modulation_of(symbols: tuple[Family, int, int]) -> Modulation:
    return Modulation(*symbols, 8)


@pytest.mark.skipif(not has_card(), reason="neither a card nor the simulator")
class TestCard:
    """What runs kernels."""

    @few
    @given(st.one_of(dct4, dct8), st.sampled_from((LOW, SLIM)), st.integers(0, 51), seeds)
    def test_blocks_are_drawn_alike(
        self, symbols: tuple[Family, int, int], raster: Raster, quantiser: int, seed: int
    ) -> None:
        check_drawing(raster, modulation_of(symbols), quantiser, seed)

    @few
    @given(st.one_of(dct4, dct8), st.none() | st.integers(0, 51), st.integers(1, 128), seeds)
    def test_bytes_and_margins_are_read_alike_from_any_picture(
        self, symbols: tuple[Family, int, int], quantiser: int | None, half: int, seed: int
    ) -> None:
        picture = noise(SLIM, np.random.default_rng(seed), 2 * half)
        check_reading(SLIM, modulation_of(symbols), quantiser, picture)

    def test_the_same_rows_are_measured(self) -> None:
        picture = noise(TALL, np.random.default_rng(1), 8)
        picture.y[64 + 32 :] = noise(TALL, np.random.default_rng(2), 128).y[64 + 32 :]
        check_reading(TALL, Modulation(Family.DCT8, 6, 0, 8), None, picture)

    @pytest.mark.parametrize(("symbols", "quantiser"), [((Family.DCT4, 16, 16), 34), ((Family.DCT8, 16, 0), 46)])
    def test_what_was_drawn_is_read_alike(self, symbols: tuple[Family, int, int], quantiser: int) -> None:
        modulation, picture = modulation_of(symbols), LOW.grey()
        writer, reader = (modulator_for(LOW, modulation, q, Device.CUDA) for q in (quantiser, None))
        content = np.random.default_rng(1).integers(0, 256, writer.picture_bytes, dtype=np.uint8)
        writer.render(content, picture)
        np.testing.assert_array_equal(read(reader, picture)[0], content)
        check_reading(LOW, modulation, None, picture)

    @pytest.mark.parametrize(
        ("bits", "side", "palette", "raster"),
        [(2, 1, 0, SLIM), (6, 1, 0, SLIM), (2, 3, 1, LOW), (6, 3, 0, LOW), (4, 3, 0, EVEN), (8, 3, 1, SLIM)],
    )
    def test_cells_are_drawn_and_read_alike(self, bits: int, side: int, palette: int, raster: Raster) -> None:
        modulation = Modulation(Family.CELLS, bits, 2 * side + palette, 8)
        check_drawing(raster, modulation, 0, bits)
        picture = noise(raster, np.random.default_rng(bits), 192)
        check_reading(raster, modulation, None, picture)
        writer = modulator_for(raster, modulation, None)
        writer.render(np.arange(writer.picture_bytes).astype(np.uint8), picture)
        squeezed = Picture(*((16 + plane * 0.85).astype(np.uint8) for plane in picture))
        check_reading(raster, modulation, None, squeezed)

    def test_planes_need_not_be_in_one_piece(self) -> None:
        modulation = Modulation(Family.DCT4, 6, 6, 8)
        wide = [np.zeros((p.shape[0], p.shape[1] + 8), np.uint8) for p in LOW.grey()]
        picture = Picture(*(plane[:, 4:-4] for plane in wide))
        modulator = modulator_for(LOW, modulation, 41, Device.CUDA)
        content = np.arange(modulator.picture_bytes).astype(np.uint8)
        modulator.render(content, picture)
        np.testing.assert_array_equal(read(modulator, picture)[0], content)
        assert not any(plane[:, :4].any() or plane[:, -4:].any() for plane in wide)

    @few
    @given(st.integers(1, 64), st.integers(1, 9), seeds)
    def test_parity_is_the_same(self, half: int, width: int, seed: int) -> None:
        expected = np.random.default_rng(seed).integers(0, 256, (ROWS, width), dtype=np.uint8)
        actual = expected.copy()
        reed_solomon.encode(expected, 2 * half)
        column_code(Device.CUDA).encode(actual, 2 * half)
        np.testing.assert_array_equal(actual, expected)

    @few
    @given(st.integers(1, 64), st.integers(0, 80), seeds)
    def test_columns_are_corrected_alike(self, half: int, damaged: int, seed: int) -> None:
        rng, shape = np.random.default_rng(seed), (ROWS, 7)
        expected = rng.integers(0, 256, shape, dtype=np.uint8)
        reed_solomon.encode(expected, 2 * half)
        for column in (2, 3, 5):
            expected[rng.integers(0, ROWS, damaged), column] ^= rng.integers(0, 256, damaged, dtype=np.uint8)
        lost, margin = rng.random(shape) < 0.01, rng.integers(0, 256, shape, dtype=np.uint8)
        actual = expected.copy()
        first = reed_solomon.correct(expected, 2 * half, lost, margin, 1, 6)
        second = column_code(Device.CUDA).correct(actual, 2 * half, lost, margin, 1, 6)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(second.corrected, first.corrected)

    def test_automatic_takes_the_card(self) -> None:
        assert chosen(Device.AUTO) == chosen(Device.CUDA) == Device.CUDA


@pytest.mark.skipif(SIMULATED, reason="this is the simulator")
def test_all_of_it_holds_in_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{Path(__file__)}::TestCard", "-p", "no:cacheprovider"],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout, done.stdout


def test_nothing_of_cuda_is_loaded_before_it_is_asked_for() -> None:
    code = (
        "import sys, bytereel_codec, bytereel_codec.channel.on_device as m\n"
        "from bytereel_codec.channel.device import Device; from bytereel_codec.channel.on_device import column_code\n"
        "from bytereel_codec.channel.modulation import Family, Modulation\n"
        "from bytereel_codec.channel.raster import RASTERS\n"
        "m.modulator_for(RASTERS['144p'], Modulation(Family.DCT8, 6, 0, 8), 40, Device.CPU)\n"
        "column_code(Device.CPU)\n"
        "sys.exit('numba.cuda' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_without_a_card_automatic_is_the_cpu_and_asking_for_one_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_card", lambda: False)
    assert chosen(Device.AUTO) == chosen(Device.CPU) == Device.CPU
    with pytest.raises(Permanent) as raised:
        modulator_for(LOW, Modulation(Family.DCT8, 6, 0, 8), None, Device.CUDA)
    assert raised.value.error_id == "device.none"
    assert "take the CPU" in raised.value.hint


SIGNATURES = {  # a letter and dimensions an array: B uint8, H uint16, h int16, i int32, I uint32, Q uint64; q int64
    "signs": {"_collect": "h2 h2 H2 I1 B1 B1", "_weigh": "h2 h2 H2 q Q1"},
    "dct4": {
        "_draw_luma": "B1 q q I2 I2",
        "_draw_chroma": "B1 q q q I2 I2",
        "_analyse_luma": "I2 h2",
        "_analyse_chroma": "I2 q h2",
    },
    "dct8": {"_draw": "B1 q Q2 Q2", "_analyse": "Q2 h2"},
    "cells": {
        "_draw_pixels": "B1 q B2 B2",
        "_draw_groups": "B1 q B2 q q B2 B2 B2",
        "_measure": "B2 B2 B2 h3",
        "_take": "h3 q h2",
        "_classify": "h3 i1 i1 H1 q q H1",
        "_look_up": "B2 H1 H1",
        "_pack": "H1 q B1 B1",
    },
    "reed_solomon": {"_parity_kernel": "B2 q Q2 B2", "_remainder_kernel": "B2 q Q2 Q2"},
}


@pytest.mark.skipif(has_card(), reason="what runs is compiled, and the simulator has no compiler")
@pytest.mark.parametrize("name", list(SIGNATURES))
def test_kernels_compile_for_a_card_in_whole_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    from numba import cuda, types
    from numba.cuda.cudadrv import nvvm

    if not nvvm.is_available():
        pytest.skip("no compiler for cards is installed")
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: SimpleNamespace(compute_capability=(8, 0)))
    module = import_module(f"bytereel_codec.channel.cuda.{name}")
    names = ("uint8", "uint16", "int16", "int32", "uint32", "uint64")
    letters = dict(zip("BHhiIQ", (getattr(types, each) for each in names), strict=True))
    for kernel, shapes in SIGNATURES[name].items():
        signature = [
            types.int64 if shape == "q" else types.Array(letters[shape[0]], int(shape[1]), "C")
            for shape in shapes.split()
        ]
        made = getattr(module, kernel)
        made = made(2) if name == "reed_solomon" else made
        code, _ = cuda.compile_ptx(made.py_func, tuple(signature), cc=(8, 0))
        assert ".entry" in code and ".f64" not in code and ".f32" not in code, kernel
