"""Half-written files: a living run's are left alone, a killed one's are cleared, nobody else's are touched."""

import fcntl
import os
from pathlib import Path

import pytest
from bytereel_codec import Temporary
from bytereel_codec.files import parts
from bytereel_codec.files.parts import RUNS_MAX, new_part
from bytereel_codec.files.sink import TargetFile


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_runs_to_the_same_target_write_to_files_of_their_own_up_to_a_bound(tmp_path: Path) -> None:
    held = [new_part(tmp_path / "x", 0o600) for _ in range(RUNS_MAX)]
    assert len({path for path, _ in held}) == RUNS_MAX
    with pytest.raises(Temporary) as raised:
        new_part(tmp_path / "x", 0o600)
    assert raised.value.error_id == "target.busy"
    for _, descriptor in held:
        os.close(descriptor)


def test_what_killed_runs_left_is_cleared_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    held = [new_part(tmp_path / "x", 0o600) for _ in range(4)]
    for path, _ in held:
        path.write_bytes(path.name.encode())
    for number in (0, 2, 3):
        os.close(held[number][1])
    path, descriptor = new_part(tmp_path / "x", 0o600)
    assert (path, path.read_bytes()) == (held[0][0], b"")
    assert names_in(tmp_path) == sorted([path.name, held[1][0].name])
    assert held[1][0].read_bytes() == held[1][0].name.encode()
    os.close(descriptor)
    os.close(held[1][1])


def test_files_for_other_targets_are_left_alone(tmp_path: Path) -> None:
    for name in ("x", "x.0"):
        os.close(new_part(tmp_path / name, 0o600)[1])
    path, descriptor = new_part(tmp_path / "x", 0o600)
    assert names_in(tmp_path) == sorted([path.name, ".x.0.0.bytereel-part"])
    os.close(descriptor)


@pytest.mark.parametrize("what", ["link", "folder", "pipe", "another user's"])
def test_what_is_not_ours_stays_and_is_not_followed(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / ".x.0.bytereel-part"
    (tmp_path / "victim").write_bytes(b"mine")
    if what == "another user's":
        taken.write_bytes(b"theirs")
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        {
            "link": lambda: taken.symlink_to("victim"),
            "folder": taken.mkdir,
            "pipe": lambda: os.mkfifo(taken),
        }[what]()
    path, descriptor = new_part(tmp_path / "x", 0o600)
    os.close(descriptor)
    assert path.name == ".x.1.bytereel-part"
    assert os.path.lexists(taken)
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_without_locks_nothing_is_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", flock)
    first, one = new_part(tmp_path / "x", 0o600)
    second, two = new_part(tmp_path / "x", 0o600)
    assert (first.exists(), second.exists(), first != second) == (True, True, True)
    os.close(one)
    os.close(two)


def test_a_file_taken_for_dead_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run looks at it between its making and its lock."""
    lock, looks = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not looks:
            looks.append(1)
            (path,) = tmp_path.iterdir()
            assert parts._cleared(path)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    path, descriptor = new_part(tmp_path / "x", 0o600)
    assert os.path.samestat(os.fstat(descriptor), path.stat())
    os.close(descriptor)


def test_a_run_that_ended_leaves_the_half_written_file_of_the_next_alone(tmp_path: Path) -> None:
    with TargetFile(tmp_path / "x", replace=True) as first:
        first.write_at(0, b"first")
        first.commit(5)
        second = TargetFile(tmp_path / "x", replace=True)
    assert second.partial == first.partial
    with second:
        second.write_at(0, b"second")
        second.commit(6)
    assert (names_in(tmp_path), (tmp_path / "x").read_bytes()) == (["x"], b"second")


def test_a_run_that_gives_up_clears_its_half_written_file_while_the_name_is_still_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    unlink = Path.unlink

    def cleared(path: Path, missing_ok: bool = False) -> None:
        assert not closed
        unlink(path, missing_ok)

    with TargetFile(tmp_path / "x") as given_up:
        close = os.close
        monkeypatch.setattr(Path, "unlink", cleared)
        monkeypatch.setattr(os, "close", lambda fd: (closed.append(fd), close(fd)))
    assert closed == [given_up.fd]
    assert names_in(tmp_path) == []
