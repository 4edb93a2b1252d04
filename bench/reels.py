"""What a reel costs: expansion by content, the smallest reel, what a range reads, how long a start takes."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import COMMAND, MEBIBYTE, Scratch, random_file, run_process
from bench.rows import Row

if TYPE_CHECKING:
    from bytereel_codec.files.ranged import RangedReader

EXPANSION_MAX = 1.006
SMALL_REEL_KIB_MAX = 32
HELP_SECONDS_MAX = 0.3
START_SECONDS_MAX = 0.25
COMPILE_SECONDS_MAX = 5.0
RANGE_PERCENT_MAX = 1.0
TEXT = b"It was a bright cold day in April, and the clocks were striking thirteen.\n"


def measure_start(scratch: Scratch, rounds: int) -> Iterator[Row]:
    """What a command costs before it does anything, beside the least that numpy costs; and the first use of kernels."""
    helps = [run_process([COMMAND, "--help"]).seconds for _ in range(rounds)]
    yield Row("Start", "bytereel --help", min(helps), "s", HELP_SECONDS_MAX)
    numpy = min(run_process([sys.executable, "-c", "import numpy"]).seconds for _ in range(rounds))
    yield Row("Start", "python, and numpy imported", numpy, "s")
    source = random_file(scratch.fresh("small"), 1024)
    reel = scratch.path / "small.mp4"
    encode: list[str | Path] = [COMMAND, "encode", source, reel, "--force", "--json"]
    decode: list[str | Path] = [COMMAND, "decode", reel, scratch.path / "back", "--force", "--json"]
    for name, words in (("encode", encode), ("decode", decode)):
        seconds = min(run_process(words).seconds for _ in range(2 * rounds))
        note = f"{seconds / numpy:.1f} x what numpy takes"
        yield Row("Start", f"{name} of 1 KiB", seconds, "s", START_SECONDS_MAX, note=note)
    with tempfile.TemporaryDirectory(dir=scratch.path) as cache:
        parity = [*encode, "--parity", "100%"]
        first = run_process(parity, {"NUMBA_CACHE_DIR": cache}).seconds
    warm = min(run_process(parity).seconds for _ in range(rounds))
    yield Row("Start", "the first encode with parity waits for compiling", first - warm, "s", COMPILE_SECONDS_MAX)
    for file in ("small", "small.mp4", "back"):
        scratch.fresh(file)


def measure_expansion(scratch: Scratch, size: int) -> Iterator[Row]:
    """Bytes of the reel for each of the source: random bytes as they come, the others with compression off."""
    from bytereel_codec import EncodeOptions, encode_file

    source, reel = random_file(scratch.fresh("source"), size), scratch.fresh("reel.mp4")
    summary = encode_file(source, reel, EncodeOptions(workers=2))
    what = f"{size // MEBIBYTE} MiB of random bytes"
    yield Row("Expansion, no parity", what, summary.expansion, "x", EXPANSION_MAX)
    for name, pattern in (("zeros", b"\0"), ("runs of 00 00 03", b"\0\0\3"), ("text", TEXT)):
        _fill(source, pattern, size)
        summary = encode_file(source, reel, EncodeOptions(workers=2, compress=False))
        what = f"{size // MEBIBYTE} MiB of {name}, not compressed"
        yield Row("Expansion, no parity", what, summary.expansion, "x", EXPANSION_MAX)
    summary = encode_file(source, reel, EncodeOptions(workers=2))
    yield Row("Expansion, no parity", "the same text, compressed", summary.expansion, "x")
    small = random_file(scratch.fresh("source"), 1024)
    scratch.fresh("reel.mp4")
    summary = encode_file(small, reel)
    yield Row("The smallest reels", "1 KiB of random bytes", summary.reel_bytes / 1024, "KiB", SMALL_REEL_KIB_MAX)
    pictures = _decoded_pictures(reel)
    what = "pictures of it that libavcodec plays"
    yield Row("The smallest reels", what, pictures, "", at_least=summary.pictures)
    scratch.fresh("source")
    scratch.fresh("reel.mp4")


def measure_range(scratch: Scratch, size: int) -> Iterator[Row]:
    """What `open_reel` reads for 1 MiB from the middle, the opening included."""
    from bytereel_codec import EncodeOptions, encode_file, open_reel
    from bytereel_codec.files.ranged import FileReader

    source, reel = random_file(scratch.fresh("source"), size), scratch.fresh("reel.mp4")
    encode_file(source, reel, EncodeOptions(workers=2))
    with FileReader(reel) as file:
        counting = _CountingReader(file)
        with open_reel(counting) as original, source.open("rb") as expected:
            for stream in (original, expected):
                stream.seek(size // 2)
            right = original.read(MEBIBYTE) == expected.read(MEBIBYTE)
        share = 100 * counting.bytes_read / file.size_bytes
    note = f"{counting.bytes_read:,} bytes in {counting.reads} reads, {'the right ones' if right else 'WRONG ONES'}"
    what = f"open_reel: 1 MiB of {size // MEBIBYTE} MiB reads, of the reel"
    bound = RANGE_PERCENT_MAX if size >= 512 * MEBIBYTE else None  # a picture alone is more of a smaller reel
    yield Row("Random access", what, share, "%", bound if right else 0.0, note=note)
    scratch.fresh("source")
    scratch.fresh("reel.mp4")


class _CountingReader:
    """A `RangedReader` that counts what is read through it."""

    def __init__(self, reader: "RangedReader") -> None:
        self._reader = reader
        self.bytes_read = 0
        self.reads = 0

    @property
    def size_bytes(self) -> int:
        return self._reader.size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> int:
        count = self._reader.read_into(offset, buffer)
        self.bytes_read += count
        self.reads += 1
        return count


def _decoded_pictures(reel: Path) -> int:
    import av

    with av.open(str(reel)) as container:
        return sum(1 for _ in container.decode(video=0))


def _fill(path: Path, pattern: bytes, size: int) -> None:
    chunk = pattern * (MEBIBYTE // len(pattern))
    with path.open("wb") as file:
        for _ in range(-(-size // len(chunk))):
            file.write(chunk)
