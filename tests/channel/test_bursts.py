"""Bursts at their bounds: pictures that no reader can take, sources that hardly fill one."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bytereel_codec import decode_file
from bytereel_codec.bursts.reader import BURST_BYTES_MAX, BurstReader
from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.placing.placement import Area, Placement, Placer
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.channel.strip import StripHeader, draw
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.profiles.profiles import PROFILES, USER_DEFINED
from bytereel_codec.video.kept_frames import KeptFrames
from bytereel_codec.writing.encode import EncodeOptions, encode_file

RASTER = RASTERS["144p"]
WHOLE = Placement(RASTER, 0, 0, RASTER.width, RASTER.height, Area(0, 0, RASTER.width, RASTER.height))


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
    reader = BurstReader(Placer(WHOLE, RASTER.width, RASTER.height), images.append)
    reader.add(picture)
    reader.finish()
    assert images == []


def test_strips_of_ever_new_bursts_open_only_so_many() -> None:
    reader = BurstReader(Placer(WHOLE, RASTER.width, RASTER.height), lambda image: None)
    modulation = Modulation(Family.DCT4, 8, 8, 32)
    for number in range(200):
        picture = RASTER.grey()
        draw(StripHeader(b"ab", Kind.DATA, number, 0, 255, RASTER, modulation, RASTER.rows_max), picture, RASTER)
        assert reader.add(picture) is not None
    assert 200 - reader.report.bursts <= 64
    reader.finish()
    assert reader.report.bursts == 200


def test_a_strip_of_a_burst_larger_than_any_is_read_and_not_opened() -> None:
    raster = RASTERS["2160p"]
    modulation = Modulation(Family.DCT4, 16, 16, 2)
    shape = BurstShape(raster, modulation, 255)
    assert shape.total_bytes > BURST_BYTES_MAX
    picture = raster.grey()
    draw(StripHeader(b"ab", Kind.DATA, 0, 0, 255, raster, modulation, raster.rows_max), picture, raster)
    whole = Placement(raster, 0, 0, raster.width, raster.height, Area(0, 0, raster.width, raster.height))
    reader = BurstReader(Placer(whole, raster.width, raster.height), lambda image: None)
    assert reader.add(picture) is not None
    assert reader.finish().bursts == 0


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


def test_what_is_kept_of_a_video_has_no_name_that_could_be_left_behind(tmp_path: Path) -> None:
    image = np.frombuffer(random.Random(2).randbytes(1000), np.uint8)
    with KeptFrames(tmp_path) as kept:
        place = kept.write(image)
        assert kept.size_bytes > place + len(image)
        assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        kept.read_into(0, memoryview(bytearray(1)))
