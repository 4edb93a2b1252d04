"""Bounds that must hold on any machine: what a reel costs in bytes, and what a range costs to read."""

import contextlib
import io
import os
import random

import pytest
from bytereel_codec import open_reel
from bytereel_codec.files.ranged import BytesReader
from reels import made

CONTENTS = {
    "random": random.Random(5).randbytes(24 << 20),
    "zeros": bytes(24 << 20),
    "escapes": b"\x00\x00\x03" * (8 << 20),
    "text": b"the quick brown fox jumps over the lazy dog\n" * (24 << 20 >> 5),
}


class CountingReader(BytesReader):
    """Counts what is read."""

    read_bytes = 0

    def read_into(self, offset: int, buffer: memoryview) -> int:
        count = super().read_into(offset, buffer)
        self.read_bytes += count
        return count


@pytest.mark.parametrize("kind", CONTENTS)
def test_expansion_is_the_same_for_any_content(kind):
    content = CONTENTS[kind]
    assert len(made(content, compress=False, geometry=None)) / len(content) <= 1.0065


def test_a_kibibyte_becomes_a_small_video():
    assert len(made(os.urandom(1024), geometry=None)) <= 32 << 10


def test_a_range_reads_the_pictures_that_hold_it_and_little_else():
    content = CONTENTS["random"]
    reader = CountingReader(made(content, geometry=None))
    with open_reel(reader) as file:
        opened = reader.read_bytes
        file.seek(9_999_999)
        assert file.read(100_000) == content[9_999_999:10_099_999]
    picture_bytes = 1_389_700  # one 720p picture as coded; the range lies in one of them
    assert opened < 64 << 10
    assert reader.read_bytes - opened < 1.02 * picture_bytes


@pytest.mark.parametrize("kind", ["memory", "file", "buffered reads of one byte"])
def test_any_seekable_binary_file_is_opened(kind, tmp_path):
    content = CONTENTS["random"][:200_000]
    video = made(content)

    class Slow(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, 1000))

    (tmp_path / "reel").write_bytes(video)
    with contextlib.ExitStack() as stack:
        file = {
            "memory": lambda: io.BytesIO(video),
            "file": lambda: stack.enter_context((tmp_path / "reel").open("rb")),
            "buffered reads of one byte": lambda: Slow(video),
        }[kind]()
        with open_reel(file) as opened:
            opened.seek(150_000)
            assert opened.read() == content[150_000:]
            opened.seek(0)
            assert opened.read(10) == content[:10]
        assert not file.closed
