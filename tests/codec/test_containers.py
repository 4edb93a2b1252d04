"""What others read: libavcodec sees the same bytes, other containers and codecs keep them, the MP4 is right."""

import io
import random
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from bytereel_codec import Permanent, decode_file
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.whitening import whitening_table
from bytereel_codec.libav.samples import decoded_pictures
from bytereel_codec.reading.scan import find_frames
from bytereel_codec.video.picture import PictureReader

from bytereel_codec.frame.header import HEADER_MASK, whitening_shift  # isort: skip
from reels import SPAN, chunks_of, made, restored

CONTENT = random.Random(9).randbytes(5 * SPAN + 321)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[bytes, int, int]]:
    """(kind, start of content, end) of each box in a range; they must fill it."""
    found, end = [], len(data) if end is None else end
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        assert size >= 8
        assert start + size <= end
        found.append((kind, start + 8, start + size))
        start += size
    return found


def inside(data: bytes, box: tuple[bytes, int, int], *path: bytes) -> tuple[bytes, int, int]:
    for kind in path:
        box = next(found for found in boxes(data, box[1], box[2]) if found[0] == kind)
    return box


def image_of(coded: bytes, place: int) -> bytes:
    """A picture's samples as the kernel reads them: masked header, whitened payload."""
    frame = PictureReader().frame(np.frombuffer(coded, np.uint8), place)
    assert frame is not None
    assert frame.payload is not None
    packed = frame.header.pack()
    table = whitening_table(frame.header.reel_id)[:65536].tobytes()
    start = whitening_shift(packed) + len(packed)
    sequence = (table * (2 + (start + len(frame.payload)) // 65536))[start : start + len(frame.payload)]
    payload = np.frombuffer(frame.payload, np.uint8) ^ np.frombuffer(sequence, np.uint8)
    return bytes(a ^ b for a, b in zip(packed, HEADER_MASK, strict=True)) + payload.tobytes()


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("fill", ["random", "zeros"])
def test_libavcodec_reads_the_bytes_that_the_kernel_reads(tmp_path, name, fill):
    geometry = GEOMETRIES[name]
    size = geometry.span_bytes + (1 if name == "2160p" else geometry.span_bytes // 3)
    content = bytes(size) if fill == "zeros" else random.Random(4).randbytes(size)
    reel = made(content, geometry=geometry, compress=False)
    (tmp_path / "reel.mp4").write_bytes(reel)
    places = [place for place, _ in find_frames(BytesReader(reel))]
    pictures = list(decoded_pictures(tmp_path / "reel.mp4"))
    assert len(pictures) == len(places) == 4
    for picture, place in zip(pictures, places, strict=True):
        image = image_of(reel, place)
        assert picture[: len(image)].tobytes() == image


def remuxed(reel: bytes, format_name: str) -> bytes:
    out = io.BytesIO()
    with av.open(io.BytesIO(reel)) as source, av.open(out, "w", format=format_name) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("parity", [0.0, 30.0])
@pytest.mark.parametrize("format_name", ["matroska", "mp4", "mov", "mpegts", "h264", "flv"])
def test_a_reel_copied_into_another_container_decodes(format_name, parity):
    assert restored(remuxed(made(CONTENT, parity_percent=parity), format_name)) == CONTENT


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"qp": "0", "preset": "ultrafast"}), ("ffv1", {}), ("libx264", {"qp": "0", "preset": "medium"})],
)
def test_a_lossless_encode_of_the_pictures_decodes(codec, options):
    out = io.BytesIO()
    with av.open(io.BytesIO(made(CONTENT))) as source, av.open(out, "w", format="matroska") as target:
        stream = target.add_stream(codec, rate=8, options=options)
        stream.width, stream.height, stream.pix_fmt = 256, 144, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            pictured = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="JPEG")
            pictured.pts, pictured.time_base = number, Fraction(1, 8)
            target.mux(stream.encode(pictured))
        target.mux(stream.encode(None))
    assert restored(out.getvalue()) == CONTENT


@pytest.mark.parametrize(("width", "height"), [(640, 360), (256, 144), (322, 242)])
def test_another_video_is_no_reel(tmp_path, width, height):
    path = tmp_path / "caf\udce9.mkv"
    with av.open(path.open("wb"), "w", format="matroska") as target:
        stream = target.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(3):
            target.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        target.mux(stream.encode(None))
    with pytest.raises(Permanent) as raised:
        decode_file(path, tmp_path / "out")
    assert raised.value.error_id == "reel.none"


@pytest.mark.parametrize("content", [b"", b"\x00", b"hello" * 1000, b"\x47" * 4000, b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_video_is_no_reel(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Permanent) as raised:
        decode_file(tmp_path / "file", tmp_path / "out")
    assert raised.value.error_id == "reel.none"


@pytest.mark.parametrize("parity", [0.0, 50.0])
def test_players_see_a_video_of_the_right_length_and_can_seek(parity):
    reel = made(CONTENT, parity_percent=parity)
    pictures = len(chunks_of(reel))
    with av.open(io.BytesIO(reel)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (256, 144, 8)
        assert container.duration == pytest.approx(pictures / 8 * av.time_base, abs=2)
        container.seek(int(pictures / 2 / 8 * av.time_base))
        frame = next(container.decode(stream))
        assert 0 < frame.time <= pictures / 2 / 8
        container.seek(0)
        assert sum(1 for _ in container.decode(stream)) == pictures


@pytest.mark.parametrize("parity", [0.0, 50.0])
@pytest.mark.parametrize("size", [0, 1, 3 * SPAN, len(CONTENT)])
def test_the_boxes_count_on_and_the_index_adds_up(size, parity):
    reel = made(CONTENT[:size], parity_percent=parity)
    top = boxes(reel)
    kinds = [kind for kind, _, _ in top]
    assert kinds[:3] == [b"ftyp", b"moov", b"sidx"]
    moofs = [box for box in top if box[0] == b"moof"]
    assert kinds.count(b"mdat") == len(moofs)
    for number, moof in enumerate(moofs):
        mfhd, tfdt = inside(reel, moof, b"mfhd"), inside(reel, moof, b"traf", b"tfdt")
        assert struct.unpack_from(">I", reel, mfhd[1] + 4) == (number + 1,)
        assert struct.unpack_from(">Q", reel, tfdt[1] + 4) == (1000 * number,)
        trun = inside(reel, moof, b"traf", b"trun")
        count, offset, sample = struct.unpack_from(">IiI", reel, trun[1] + 4)
        assert count == 1
        mdat = next(box for box in top if box[0] == b"mdat" and box[1] > moof[1])
        assert moof[1] - 8 + offset == mdat[1]
        assert sample == mdat[2] - mdat[1]
        assert struct.unpack_from(">I", reel, mdat[1]) == (sample - 4,)
    sidx = top[2]
    count = struct.unpack_from(">H", reel, sidx[1] + 30)[0]
    rows = list(struct.iter_unpack(">III", reel[sidx[1] + 32 : sidx[2]]))
    assert len(rows) == count
    assert sidx[2] + sum(row[0] for row in rows) == len(reel)
    assert sum(row[1] for row in rows) == 1000 * len(moofs)
    mehd = inside(reel, top[1], b"mvex", b"mehd")
    assert struct.unpack_from(">Q", reel, mehd[1] + 4) == (1000 * len(moofs),)


def test_data_frames_stand_in_the_order_of_the_source():
    data = [c.header for c in chunks_of(made(CONTENT, parity_percent=20, workers=3)) if c.header.kind == Kind.DATA]
    assert [(h.segment, h.frame) for h in data] == sorted((h.segment, h.frame) for h in data)
