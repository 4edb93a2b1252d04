"""The level that a reel states is the smallest that holds it, and OpenH264 shows of it what libavcodec shows."""

from math import isqrt
from random import Random

import pytest
from bytereel_codec.frame.geometry import GEOMETRIES, geometry_for
from bytereel_codec.video.levels import LEVELS, Level, level_of
from openh264 import assert_shown_alike, stated_level
from reels import made

OPENH264_PICTURE_BYTES_MAX = 7_077_888
"""MAX_ACCESS_UNIT_CAPACITY of OpenH264, whatever the level: half of the samples of the largest picture of 5.2."""
LEVEL_OF_SAMPLES = {"144p": 21, "360p": 32, "720p": 50, "1080p": 51, "2160p": 51}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_reel_of_samples_states_the_smallest_level(geometry: str) -> None:
    assert stated_level(made(b"x", geometry=GEOMETRIES[geometry])) == LEVEL_OF_SAMPLES[geometry]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_another_decoder_shows_full_and_empty_pictures(name: str) -> None:
    geometry = GEOMETRIES[name]
    full = (
        geometry.span_bytes if geometry.picture_bytes < OPENH264_PICTURE_BYTES_MAX else OPENH264_PICTURE_BYTES_MAX // 2
    )
    assert_shown_alike(made(Random(1).randbytes(full + 1000), geometry=geometry))
    assert_shown_alike(made(b"", geometry=geometry))


def test_no_source_of_less_than_a_tebibyte_takes_pictures_too_large_for_another_decoder() -> None:
    assert geometry_for((1 << 40) - 1).picture_bytes < OPENH264_PICTURE_BYTES_MAX


def number_of(columns: int, rows: int, rate: int, size: int) -> int:
    """The level's number; one above all where none holds it."""
    level = level_of(columns, rows, rate, size)
    return level.number if level else LEVELS[-1].number + 1


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: str(level.number))
def test_each_bound_of_a_level_is_exact(level: Level) -> None:
    columns = max(n for n in range(1, isqrt(level.macroblocks) + 1) if level.macroblocks % n == 0)
    rows = level.macroblocks // columns
    assert number_of(columns, rows, 1, 1) <= level.number < number_of(columns + 1, rows, 1, 1)
    longest = isqrt(8 * level.macroblocks)
    assert number_of(longest, 1, 1, 1) <= level.number < number_of(1, longest + 1, 1, 1)
    rate = level.macroblocks_per_second
    assert number_of(1, 1, rate, 0) <= level.number < number_of(1, 1, rate + 1, 0)
    size = 1250 * level.rate // 8
    assert number_of(1, 1, 1, size) <= level.number < number_of(1, 1, 1, size + 1)
