"""Bursts at their bounds: pictures that no reader can take, sources that hardly fill one."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from bytereel_codec import decode_file
from bytereel_codec.burst_reader import BurstReader
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.place import Area, Placement, Placer
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.channel.strip import StripHeader, draw
from bytereel_codec.encode import EncodeOptions, encode_file
from bytereel_codec.kinds import Kind
from bytereel_codec.profiles import PROFILES, USER_DEFINED

RASTER = RASTERS["144p"]


@pytest.mark.parametrize(
    "modulation",
    [
        Modulation(Family.CELLS, 4, 6, 8, Code.XOR),  # one row of one picture: not one group of blocks
        Modulation(Family.DCT4, 1, 0, 8),  # fewer bytes than one codeword has
    ],
)
def test_a_picture_that_no_reader_can_take_is_passed_over(modulation: Modulation) -> None:
    picture, images = RASTER.grey(), []
    draw(StripHeader(b"ab", Kind.DATA, 0, 0, 1, RASTER, modulation, 1), picture, RASTER)
    whole = Placement(RASTER, 0, 0, RASTER.width, RASTER.height, Area(0, 0, RASTER.width, RASTER.height))
    reader = BurstReader(Placer(whole, RASTER.width, RASTER.height), images.append)
    reader.add(picture)
    reader.finish()
    assert images == []


@pytest.mark.parametrize("size", [0, 1, 300, 1000, 2500])
def test_a_small_source_fits_in_a_burst_of_xor_blocks(tmp_path: Path, size: int) -> None:
    base = PROFILES["classic16"]
    modulation = replace(base.channel.modulation, code=Code.XOR, parity=8)
    profile = replace(base, name="x", number=USER_DEFINED, channel=replace(base.channel, modulation=modulation))
    content = random.Random(1).randbytes(size)
    (tmp_path / "source").write_bytes(content)
    encode_file(tmp_path / "source", tmp_path / "reel", EncodeOptions(profile=profile, geometry="144p"))
    decode_file(tmp_path / "reel", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content
