"""Sources that move while they are read, disks that are full, and the memory that any size may take."""

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from bytereel_codec import (
    DecodeOptions,
    EncodeOptions,
    Integrity,
    Permanent,
    Temporary,
    decode_file,
    encode_file,
)
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


@pytest.mark.parametrize("target", ["/etc/hosts", "../up", "a/../../up"])
def test_a_link_that_could_not_come_back_is_refused_when_it_goes_in(tmp_path, target):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(target)
    with pytest.raises(Permanent) as raised:
        encode_file(folder, tmp_path / "reel")
    assert raised.value.error_id == "source.link_out"
    assert not (tmp_path / "reel").exists()


def test_links_inside_a_folder_come_back(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_bytes(b"x")
    (folder / "link").symlink_to("./file")
    (folder / "deep" / "up").symlink_to("../file")
    encode_file(folder, tmp_path / "reel")
    decode_file(tmp_path / "reel", tmp_path / "out")
    assert (tmp_path / "out" / "link").read_bytes() == (tmp_path / "out" / "deep" / "up").read_bytes() == b"x"


def test_a_file_in_a_folder_that_changes_while_it_is_read_is_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(64 << 20))

    def touch(done: int, total: int | None) -> None:
        with (folder / "file").open("r+b") as file:
            file.write(b"changed")

    with pytest.raises(Integrity) as raised:
        encode_file(folder, tmp_path / "reel", EncodeOptions(progress=touch))
    assert raised.value.error_id == "source.changed"
    assert not (tmp_path / "reel").exists()


def test_a_reel_that_is_cut_while_it_is_read_is_soon_refused(tmp_path):
    reel = tmp_path / "reel"
    reel.write_bytes(made(CONTENT * 40, workers=1))
    cut = reel.stat().st_size // 4
    with pytest.raises(Integrity):
        decode_file(reel, tmp_path / "out", DecodeOptions(progress=lambda done, total: os.truncate(reel, cut)))
    assert not (tmp_path / "out").exists()
