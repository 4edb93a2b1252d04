"""Videos made to take memory or time from those who look at them; small files, each of a kind that was seen."""

import struct
import zlib
from pathlib import Path

import av

_ROW_PIXELS = 16000


def png(width: int, height: int) -> bytes:
    """A PNG of 64-bit pixels, all zero: at 16000 x 16000 two GB in two MB."""
    row = 1 + 8 * width
    piece = bytes(1 << 20)
    compressor = zlib.compressobj(9)
    first = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    pixels = first + again * (row * height >> 20) + compressor.flush()
    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def avi(codec: bytes, size: tuple[int, int], packets: list[tuple[int, bytes]], streams: int = 1) -> bytes:
    """An AVI that states pictures of that size; `packets`: each with its stream's number."""
    width, height = size
    count = len(packets)
    stream_head = struct.pack("<IHHIIIIIIIIHHHH", 0, 0, 0, 0, 1, 25, 0, count, 0, 0, 0, 0, 0, width, height)
    stream_format = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, codec, 0, 0, 0, 0, 0)
    stream = b"strl" + _riff(b"strh", b"vids" + codec + stream_head) + _riff(b"strf", stream_format)
    head = struct.pack("<IIIIIIIIII4I", 40000, 0, 0, 16, count, 0, streams, 0, width, height, 0, 0, 0, 0)
    heads = b"hdrl" + _riff(b"avih", head) + _riff(b"LIST", stream) * streams
    content = b"movi" + b"".join(_riff(b"%02ddc" % number, packet) for number, packet in packets)
    return _riff(b"RIFF", b"AVI " + _riff(b"LIST", heads) + _riff(b"LIST", content))


def film(
    path: Path, container: str, codec: str, size: tuple[int, int], pictures: int, *, streams: int = 1, pix: str = ""
) -> Path:
    """A grey video of that many pictures in each of its streams."""
    width, height = size
    fast = {"preset": "ultrafast", "crf": "51"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=container) as out:
        made = [out.add_stream(codec, rate=25, options=fast) for _ in range(streams)]
        for stream in made:
            stream.width, stream.height, stream.pix_fmt = width, height, pix or "yuv420p"
        frame = av.VideoFrame(width, height, pix or "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(pictures):
            frame.pts = number
            for stream in made:
                out.mux(stream.encode(frame))
        for stream in made:
            out.mux(stream.encode(None))
    return path


def hostile(kind: str, path: Path) -> Path:
    """Write the hostile video of that kind."""
    side = (_ROW_PIXELS, _ROW_PIXELS)
    if kind == "png states its size":
        path.write_bytes(avi(b"MPNG", side, [(0, png(*side))]))
    elif kind == "png lies about its size":
        path.write_bytes(avi(b"MPNG", (64, 64), [(0, png(*side))]))
    elif kind == "ten streams of png":
        path.write_bytes(avi(b"MPNG", (64, 64), [(n, png(*side)) for n in range(10)], streams=10))
    elif kind == "later pictures are larger":
        small = png(64, 64)
        path.write_bytes(avi(b"MPNG", (64, 64), [(0, small)] * 3 + [(0, png(*side))] * 3))
    elif kind == "a thousand streams":
        film(path, "matroska", "mpeg4", (16, 16), 1, streams=900)
    elif kind == "67 megapixels":
        film(path, "mp4", "libx264", (8192, 8192), 3)
    elif kind == "67 megapixels without a header":
        film(path, "mpegts", "libx264", (8192, 8192), 3)
    elif kind == "67 megapixels, called 64":
        h264 = film(path, "h264", "libx264", (8192, 8192), 2).read_bytes()
        path.write_bytes(avi(b"H264", (64, 64), [(0, h264)]))
    else:
        film(path, "mp4", "mpeg4", (16, 16), 20_000)
    return path


KINDS = (
    "png states its size",
    "png lies about its size",
    "ten streams of png",
    "later pictures are larger",
    "a thousand streams",
    "67 megapixels",
    "67 megapixels without a header",
    "67 megapixels, called 64",
    "twenty thousand pictures",
)
