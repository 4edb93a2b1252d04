"""Sources that move while they are read, disks that are full, and the memory that any size may take."""

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from bytereel_codec import EncodeOptions, Integrity, Temporary, decode_file, encode_file
from reels import PEAK_KIB, SMALL, SPAN, made

CONTENT = random.Random(8).randbytes(30 * SPAN)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def change(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("move", "error_id"),
    [
        (grow, "source.changed"),
        (change, "source.changed"),
        (Path.unlink, "source.changed"),
        (lambda path: os.truncate(path, SPAN), "source.short"),
    ],
    ids=["grows", "changes", "vanishes", "shrinks"],
)
def test_a_source_that_moves_while_it_is_read_leaves_no_reel(tmp_path, move, error_id, workers):
    source, target = tmp_path / "source", tmp_path / "out" / "reel.mp4"
    target.parent.mkdir()
    source.write_bytes(CONTENT)
    moved = []

    def progress(done: int, total: int | None) -> None:
        if not moved:
            moved.append(move(source))

    with pytest.raises(Integrity) as raised:
        encode_file(source, target, EncodeOptions(geometry=SMALL, workers=workers, progress=progress))
    assert raised.value.error_id == error_id
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("call", ["encode", "decode"])
@pytest.mark.parametrize("limit", [1, 100_000, 1_000_000])
def test_a_full_disk_asks_for_space_and_leaves_nothing(tmp_path, call, limit):
    source, target = tmp_path / "source", tmp_path / "out" / "target"
    target.parent.mkdir()
    source.write_bytes(CONTENT if call == "encode" else made(CONTENT))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(Temporary) as raised:
            if call == "encode":
                encode_file(source, target, EncodeOptions(geometry=SMALL, workers=2))
            else:
                decode_file(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.error_id == "target.full"
    assert list(target.parent.iterdir()) == []


PEAK = (
    PEAK_KIB
    + """
import sys
from bytereel_codec import *
encode_file(sys.argv[1], sys.argv[2], EncodeOptions(workers=int(sys.argv[4])))
decode_file(sys.argv[2], sys.argv[3], DecodeOptions(workers=int(sys.argv[4])))
print(peak_kib() >> 10)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_peak_memory_is_bounded_whatever_the_size(tmp_path, workers):
    source = tmp_path / "source"
    block = random.Random(1).randbytes(1 << 20)
    with source.open("wb") as file:
        for _ in range(400):
            file.write(block)
    command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / "reel"), str(tmp_path / "back"), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 300 * workers
    assert subprocess.run(["cmp", str(source), str(tmp_path / "back")], check=False).returncode == 0
