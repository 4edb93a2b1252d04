"""What others make of the same bytes: lossless x264 and FFV1 through PyAV, the bytes as 1080p pictures in 4:2:0."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from bench.measure import Scratch, random_file
from bench.rows import Row

WIDTH, HEIGHT = 1920, 1080
PICTURE_BYTES = WIDTH * HEIGHT * 3 // 2
SECTION = "Peers, one thread"
PEERS = {
    "x264 lossless (qp 0, ultrafast)": ("libx264", {"qp": "0", "preset": "ultrafast", "threads": "1"}),
    "FFV1": ("ffv1", {"level": "3", "threads": "1"}),
}


def measure(scratch: Scratch, size: int) -> Iterator[Row]:
    """Rates and expansions on `size` random bytes, and those of bytereel on the same."""
    from bytereel_codec import DecodeOptions, EncodeOptions, decode_file, encode_file

    source, reel, back = random_file(scratch.fresh("source"), size), scratch.fresh("reel.mp4"), scratch.fresh("back")
    summary = encode_file(source, reel, EncodeOptions(workers=1))
    seconds = [_seconds_of(lambda: encode_file(source, reel, EncodeOptions(workers=1))) for _ in range(3)]
    decoding = [_seconds_of(lambda: decode_file(reel, back, DecodeOptions(workers=1))) for _ in range(3)]
    own = (size / min(seconds) / 1e6, size / min(decoding) / 1e6)
    yield from _rows("bytereel archive", *own, summary.expansion, own)
    content = source.read_bytes()
    for name, (codec, options) in PEERS.items():
        file = scratch.fresh("peer.mkv")
        pictures = len(content) // PICTURE_BYTES
        used = pictures * PICTURE_BYTES
        encoding = _encode(content, pictures, str(file), codec, options)
        expansion = file.stat().st_size / used
        rates = used / encoding / 1e6, used / _decode(content, str(file)) / 1e6
        yield from _rows(name, *rates, expansion, own)
    for each in ("source", "reel.mp4", "back", "peer.mkv"):
        scratch.fresh(each)


def _rows(name: str, encoding: float, decoding: float, expansion: float, own: tuple[float, float]) -> Iterator[Row]:
    section = f"{SECTION}, random bytes"
    yield Row(section, f"{name}: encode", encoding, "MB/s", note=f"bytereel is {own[0] / encoding:.1f} x as fast")
    yield Row(section, f"{name}: decode", decoding, "MB/s", note=f"bytereel is {own[1] / decoding:.1f} x as fast")
    yield Row(section, f"{name}: expansion", expansion, "x")


def _seconds_of(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def _encode(content: bytes, pictures: int, file: str, codec: str, options: dict[str, str]) -> float:
    import av
    import numpy as np

    started_at = time.perf_counter()
    with av.open(file, "w") as container:
        stream = container.add_stream(codec, rate=Fraction(8), options=options)
        assert isinstance(stream, av.video.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(pictures):
            plane = np.frombuffer(content, np.uint8, PICTURE_BYTES, number * PICTURE_BYTES)
            frame = av.VideoFrame.from_ndarray(plane.reshape(HEIGHT * 3 // 2, WIDTH), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return time.perf_counter() - started_at


def _decode(content: bytes, file: str) -> float:
    """Decode and put the bytes back in a row, as `decode` does. Raises: RuntimeError where they are not the same."""
    import av

    started_at = time.perf_counter()
    seconds_comparing = 0.0
    with av.open(file) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray().tobytes()
            comparing_at = time.perf_counter()
            if picture != content[number * PICTURE_BYTES : (number + 1) * PICTURE_BYTES]:
                raise RuntimeError(f"{file}: picture {number} is not lossless")
            seconds_comparing += time.perf_counter() - comparing_at
    return time.perf_counter() - started_at - seconds_comparing
