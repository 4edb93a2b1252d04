"""Permission bits of single files: kept in the leader, and never wider on the way back than they were."""

import errno
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytereel_codec.errors import Integrity
from bytereel_codec.files import sink
from bytereel_codec.files.sink import TargetFile
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.decode import DecodeOptions, decode_file
from bytereel_codec.reading.inspect import inspect
from bytereel_codec.writing.encode import EncodeOptions, encode_file

SECRET = Secret(key=b"k" * 32)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def reel_of(folder: Path, mode: int, *, secret: Secret | None = None, keep_mode: bool = True) -> Path:
    source = folder / "source"
    source.write_bytes(b"some content")
    source.chmod(mode)
    encode_file(source, folder / "reel.mp4", EncodeOptions(secret=secret, keep_mode=keep_mode))
    return folder / "reel.mp4"


@pytest.mark.parametrize(
    ("mode", "restored"),
    [(0o600, 0o600), (0o400, 0o400), (0o640, 0o640), (0o777, 0o750), (0o4711, 0o710), (0o2755, 0o750)],
)
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_file_comes_back_no_more_open_than_it_was_or_the_umask_allows(
    tmp_path: Path, umask: None, mode: int, restored: int, secret: Secret | None
) -> None:
    reel = reel_of(tmp_path, mode, secret=secret)
    decode_file(reel, tmp_path / "back", DecodeOptions(secret=secret))
    assert mode_of(tmp_path / "back") == restored


@pytest.mark.parametrize(("mode", "restored"), [(0o600, 0o600), (0o777, 0o777), (0o4755, 0o755)])
def test_preserving_keeps_the_bits_that_the_umask_takes_but_no_set_user_id(
    tmp_path: Path, umask: None, mode: int, restored: int
) -> None:
    decode_file(reel_of(tmp_path, mode), tmp_path / "back", DecodeOptions(preserve=True))
    assert mode_of(tmp_path / "back") == restored


@pytest.mark.parametrize("options", [DecodeOptions(start=5), DecodeOptions(salvage=True)])
def test_a_part_of_a_file_is_no_more_open_than_the_whole(tmp_path: Path, options: DecodeOptions) -> None:
    decode_file(reel_of(tmp_path, 0o600), tmp_path / "back", options)
    assert mode_of(tmp_path / "back") == 0o600


def test_a_reel_whose_encoder_kept_no_mode_gives_a_file_as_the_umask_has_it(tmp_path: Path, umask: None) -> None:
    reel = reel_of(tmp_path, 0o600, keep_mode=False)
    leader = inspect(reel).leader
    assert isinstance(leader, Leader)
    assert leader.mode is None
    decode_file(reel, tmp_path / "back")
    assert mode_of(tmp_path / "back") == 0o640


def test_the_tar_stream_of_a_folder_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "private").write_bytes(b"x")
    encode_file(tmp_path / "folder", tmp_path / "reel.mp4")
    decode_file(tmp_path / "reel.mp4", tmp_path / "back.tar", DecodeOptions(salvage=True))
    assert mode_of(tmp_path / "back.tar") == 0o600
    with tarfile.open(tmp_path / "back.tar") as tar:
        assert "private" in tar.getnames()


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o400, 0o000])
def test_a_file_is_its_owners_alone_until_it_is_complete(tmp_path: Path, mode: int) -> None:
    with TargetFile(tmp_path / "file", mode=mode) as file:
        assert mode_of(file.partial) == mode & 0o600
        file.write_at(0, b"half")
        assert mode_of(file.partial) == mode & 0o600
        file.commit(4)
    assert mode_of(tmp_path / "file") == mode


def test_what_a_killed_process_left_open_does_not_open_the_next_file(tmp_path: Path) -> None:
    with TargetFile(tmp_path / "file", mode=0o600) as file:
        partial = file.partial
    partial.write_bytes(b"left behind")
    partial.chmod(0o666)
    with TargetFile(tmp_path / "file", mode=0o600) as file:
        assert mode_of(file.partial) == 0o600
        file.commit(0)


@pytest.mark.parametrize(("number", "is_told"), [(errno.EPERM, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_without_permissions_takes_the_file_and_a_broken_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    def refused(descriptor: int, mode: int) -> None:
        raise OSError(number, os.strerror(number))

    reel = reel_of(tmp_path, 0o600)
    monkeypatch.setattr(sink.os, "fchmod", refused)
    if is_told:
        with pytest.raises(Exception, match="cannot be written"):
            decode_file(reel, tmp_path / "back")
        assert not (tmp_path / "back").exists()
    else:
        decode_file(reel, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"some content"


@pytest.mark.parametrize("mode", [0, 0o777])
def test_a_leader_keeps_nine_bits(mode: int) -> None:
    assert Leader.from_bytes(Leader("a", mode=mode).to_bytes()).mode == mode


@pytest.mark.parametrize("mode", [0o1000, 0o100644, -1, True, "644", 6.5])
def test_a_leader_with_another_mode_is_refused(mode: object) -> None:
    with pytest.raises(Integrity) as raised:
        Leader.from_bytes(json.dumps({"name": "a", "mode": mode}).encode())
    assert raised.value.error_id == "reel.bad_leader"
