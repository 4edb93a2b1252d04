"""Where results go: what is there and is no file stays what it is; a file appears whole, behind links too."""

import os
import random
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bytereel_codec import BytereelError, DecodeOptions, EncodeOptions, decode_file, encode_file
from bytereel_codec.files.targets import opened_target
from reels import made

CONTENT = random.Random(3).randbytes(150_000)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def reel(tmp_path: Path) -> Path:
    (tmp_path / "reel.mp4").write_bytes(made(CONTENT, name="original"))
    return tmp_path / "reel.mp4"


def read_from(pipe: Path, act) -> bytes:
    """What comes out of a named pipe while `act` runs."""
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    act()
    reader.join(20)
    return read[0]


@pytest.mark.parametrize("replace", [False, True])
def test_a_named_pipe_gives_its_reader_the_bytes_and_stays_a_pipe(reel: Path, replace: bool) -> None:
    pipe = reel.with_name("pipe")
    os.mkfifo(pipe)
    assert read_from(pipe, lambda: decode_file(reel, pipe, DecodeOptions(workers=2, replace=replace))) == CONTENT
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.parametrize("parity", [0.0, 50.0])
def test_a_reel_is_encoded_into_a_pipe(reel: Path, parity: float) -> None:
    pipe, source = reel.with_name("pipe"), reel.with_name("source")
    os.mkfifo(pipe)
    source.write_bytes(CONTENT)
    options = EncodeOptions(parity_percent=parity, workers=2, replace=False)
    video = read_from(pipe, lambda: encode_file(source, pipe, options))
    reel.write_bytes(video)
    decode_file(reel, reel.with_name("back"))
    assert reel.with_name("back").read_bytes() == CONTENT


def test_a_range_goes_into_a_pipe(reel: Path) -> None:
    pipe = reel.with_name("pipe")
    os.mkfifo(pipe)
    assert read_from(pipe, lambda: decode_file(reel, pipe, DecodeOptions(start=9, end=99_999))) == CONTENT[9:99_999]


@pytest.mark.parametrize("replace", [False, True])
def test_the_null_device_stays_a_device(reel: Path, replace: bool) -> None:
    decode_file(reel, "/dev/null", DecodeOptions(replace=replace))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_an_error_and_stays(reel: Path) -> None:
    with pytest.raises(BytereelError) as raised:
        decode_file(reel, "/dev/full")
    assert raised.value.error_id == "target.full"
    assert "/dev/full" in raised.value.message
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"])
@pytest.mark.parametrize("into", ["pipe", "file"])
def test_the_paths_of_standard_output_are_standard_output(reel: Path, name: str, into: str, tmp_path: Path) -> None:
    script = f"from bytereel_codec import decode_file; decode_file({str(reel)!r}, {name!r})"
    command = [sys.executable, "-c", script]
    if into == "pipe":
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == CONTENT
    else:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run(command, stdout=out, check=True)
        assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_file_behind_links_is_replaced_where_it_lies(reel: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/real").write_bytes(b"old")
    (tmp_path / "second").symlink_to("elsewhere/real")
    (tmp_path / "first").symlink_to("second")
    with pytest.raises(BytereelError, match="exists"):
        decode_file(reel, tmp_path / "first", DecodeOptions(replace=False))
    assert (tmp_path / "elsewhere/real").read_bytes() == b"old"
    decode_file(reel, tmp_path / "first")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "elsewhere/real").read_bytes() == CONTENT
    assert names_in(tmp_path / "elsewhere") == ["real"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_link_to_nothing_is_refused_before_any_work(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BytereelError) as raised, opened_target(str(tmp_path / "link"), replace=replace):
        raise AssertionError("it was opened")
    assert (raised.value.error_id, names_in(tmp_path)) == ("target.dangling", ["link"])
    assert "force" not in f"{raised.value.hint}"


def test_a_socket_is_refused_and_stays(reel: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(BytereelError) as raised:
            decode_file(reel, tmp_path / "s")
        assert raised.value.error_id == "target.special"
        assert stat.S_ISSOCK((tmp_path / "s").lstat().st_mode)


def test_a_block_device_is_refused(reel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytereel_codec.files.targets._kind", lambda _: stat.S_IFBLK)
    with pytest.raises(BytereelError) as raised:
        decode_file(reel, reel.with_name("disk"))
    assert raised.value.error_id == "target.special"


@pytest.mark.parametrize("name", ["", "absent/", "reel.mp4/"])
def test_what_names_no_file_is_refused(reel: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reel.parent)
    for replace in (False, True):
        with pytest.raises(BytereelError) as raised:
            decode_file(reel, name, DecodeOptions(replace=replace))
        assert raised.value.error_id == "target.no_name"
    assert names_in(reel.parent) == ["reel.mp4"]


def test_in_a_folder_a_reel_takes_the_sources_name_and_a_source_the_one_in_the_reel(tmp_path: Path) -> None:
    source, folder = tmp_path / "a.b", tmp_path / "folder"
    source.write_bytes(CONTENT)
    folder.mkdir()
    assert encode_file(source, folder).target == str(folder / "a.b.mp4")
    assert decode_file(folder / "a.b.mp4", folder).target == str(folder / "a.b")
    assert (folder / "a.b").read_bytes() == CONTENT
    (folder / "a.b").write_bytes(b"mine")
    with pytest.raises(BytereelError) as raised:  # whoever made the reel chose that name
        decode_file(folder / "a.b.mp4", folder, DecodeOptions(replace=True))
    assert raised.value.error_id == "target.exists"
    assert (folder / "a.b").read_bytes() == b"mine"


def test_a_folder_comes_out_in_a_folder(tmp_path: Path) -> None:
    for name in ("tree", "into"):
        (tmp_path / name).mkdir()
    (tmp_path / "tree/leaf").write_bytes(b"leaf")
    encode_file(tmp_path / "tree", tmp_path / "into")
    decode_file(tmp_path / "into/tree.mp4", tmp_path / "into")
    assert (tmp_path / "into/tree/leaf").read_bytes() == b"leaf"
