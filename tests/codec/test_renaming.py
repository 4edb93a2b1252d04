"""A complete file takes a new name on file systems without hard links, and never the place of another."""

import errno
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bytereel_codec import EncodeOptions, decode_file, encode_file
from bytereel_codec.files import renaming
from bytereel_codec.files.renaming import rename_new

WAYS = ("link", "flag", "turn")
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system knows: links; renaming without replacing; neither."""
    if request.param != "link":
        refuse(monkeypatch, errno.EPERM)
    if request.param == "turn":
        monkeypatch.setattr(renaming, "_renamed_by_flag", lambda *_: False)
    return str(request.param)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_new_name_is_taken(way: str, folder: int, tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"content")
    rename_new("staged", "name", from_folder=folder, to_folder=folder)
    assert names_in(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"content"


@pytest.mark.parametrize("there", ["file", "empty folder", "link to nothing"])
def test_what_has_the_name_keeps_it(way: str, folder: int, tmp_path: Path, there: str) -> None:
    (tmp_path / "staged").write_bytes(b"content")
    {
        "file": lambda: (tmp_path / "name").write_bytes(b"other"),
        "empty folder": (tmp_path / "name").mkdir,
        "link to nothing": lambda: (tmp_path / "name").symlink_to("nothing"),
    }[there]()
    before = (tmp_path / "name").lstat()
    with pytest.raises(FileExistsError):
        rename_new("staged", "name", from_folder=folder, to_folder=folder)
    assert (tmp_path / "name").lstat().st_ino == before.st_ino
    assert (tmp_path / "staged").read_bytes() == b"content"


def test_of_many_at_once_one_takes_the_name(
    way: str, folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def slow_look(*args, **kwargs):  # type: ignore[no-untyped-def]
        try:
            return look(*args, **kwargs)
        finally:
            time.sleep(0.005)

    monkeypatch.setattr(renaming.os, "stat", slow_look)

    def attempt(number: int) -> bool:
        try:
            rename_new(f"staged{number}", "name", from_folder=folder, to_folder=folder)
        except FileExistsError:
            return False
        return True

    for number in range(64):
        (tmp_path / f"staged{number}").write_bytes(b"%d" % number)
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(64)))
    assert won.count(True) == 1
    assert (tmp_path / "name").read_bytes() == b"%d" % won.index(True)


@pytest.mark.parametrize("number", NO_LINKS)
def test_any_word_for_no_hard_links_is_understood(
    number: int, folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, number)
    test_a_new_name_is_taken("", folder, tmp_path)


def test_a_full_disk_is_none(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSPC)
    (tmp_path / "staged").write_bytes(b"content")
    with pytest.raises(OSError, match="No space"):
        rename_new("staged", "name", from_folder=folder, to_folder=folder)
    assert names_in(tmp_path) == ["staged"]


def test_a_reel_is_made_and_read_back_there(way: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    encode_file(tmp_path / "source", tmp_path / "reel.mp4", EncodeOptions(replace=False))
    decode_file(tmp_path / "reel.mp4", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    assert names_in(tmp_path) == ["back", "reel.mp4", "source"]
