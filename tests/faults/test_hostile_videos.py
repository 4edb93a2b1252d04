"""Videos made to take memory or time: every way to read a file stays within bounds, and says that it is no reel."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
from bytereel_codec.libav.formats import PIXELS_MAX, SAFE
from bytereel_codec.libav.pictures import shown_pictures
from hostile_videos import KINDS, film, hostile
from reels import PEAK_KIB, made

GROWTH_MIB_MAX = 300
EVERY_WAY = (
    PEAK_KIB
    + """
import resource, sys, time
from pathlib import Path
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import *
from bytereel_codec.files.ranged import FileReader
from bytereel_codec.libav.images import picture_at
from bytereel_codec.libav.sandbox.launch import end_server
from bytereel_codec.trials.survey import survey_channel
path, good, growth_max = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
verify(good)
idle = peak_kib()
calls = {
    "decode": lambda: decode_file(path, path.with_suffix(".out")),
    "verify": lambda: verify(path, DecodeOptions(workers=2)),
    "inspect": lambda: inspect(path),
    "open": lambda: open_reel(path).read(9),
    "frame": lambda: picture_at(path, 0),
    "channel": lambda: survey_channel(path),
    "restore": lambda: RestoreConversion().plan(FileReader(path), "x.mp4", "original"),
}
for name, call in calls.items():

    try:
        call()
        print(name, "done")
    except BytereelError as error:
        print(name, error.error_id)
end_server()
children = resource.getrusage(resource.RUSAGE_CHILDREN)
grown = (peak_kib() - idle + children.ru_maxrss) >> 10
print("MiB", grown)
assert grown < growth_max, grown
assert children.ru_utime < 60, children.ru_utime
"""
)


@pytest.fixture
def read_every_way(tmp_path: Path):
    def read(path: Path) -> dict[str, str]:
        (tmp_path / "good").write_bytes(made(b"whole"))
        command = [sys.executable, "-c", EVERY_WAY, str(path), str(tmp_path / "good"), str(GROWTH_MIB_MAX)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return dict(line.split() for line in done.stdout.splitlines())

    return read


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_video_takes_no_more_than_its_bounds_on_any_way(tmp_path, kind, read_every_way):
    found = read_every_way(hostile(kind, tmp_path / "video"))
    refused = {"reel.none", "media.refused"}
    for way in ("decode", "verify", "inspect", "open", "channel", "restore"):
        assert found[way] in refused, found
    shows = kind in ("a thousand streams", "twenty thousand pictures")
    assert found["frame"] in (("done",) if shows else ("picture.none", "picture.range", "media.refused")), found


@pytest.mark.parametrize(("height", "pictures"), [(2160, 1), (2176, 0)])
def test_a_picture_may_have_as_many_pixels_as_a_reels_and_no_row_more(tmp_path, height, pictures):
    assert (3840 * height <= PIXELS_MAX) == bool(pictures)
    path = film(tmp_path / "film.mp4", "mp4", "libx264", (3840, height), 1)
    with path.open("rb") as file:
        assert len(list(shown_pictures(file))) == pictures


@pytest.mark.parametrize(("streams", "opened"), [(64, 64), (65, 64), (200, 64)])
def test_of_a_file_no_more_than_64_streams_are_opened(tmp_path, streams, opened):
    path = film(tmp_path / "film.mkv", "matroska", "mpeg4", (32, 32), 1, streams=streams)
    with path.open("rb") as file, av.open(file, options=SAFE) as container:
        assert len(container.streams) == opened


@pytest.mark.parametrize(("codec", "pictures"), [("ffv1", 3), ("mjpeg", 0)])
def test_no_decoder_runs_but_those_that_reels_come_back_in(tmp_path, codec, pictures):
    pix = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = film(tmp_path / "film.mkv", "matroska", codec, (64, 64), 3, pix=pix)
    with path.open("rb") as file:
        assert len(list(shown_pictures(file))) == pictures


def test_a_packet_that_cannot_be_decoded_hides_none_of_those_behind_it(tmp_path):
    path = film(tmp_path / "film.mkv", "matroska", "ffv1", (64, 64), 9)
    content = bytearray(path.read_bytes())
    block = content.index(b"\xa3", content.index(b"\x1f\x43\xb6\x75") + 8)
    content[block + 8 : block + 24] = os.urandom(16)
    path.write_bytes(content)
    with path.open("rb") as file:
        assert len(list(shown_pictures(file))) >= 8
