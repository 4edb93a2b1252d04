"""Folders of a home that somebody swaps for links all the time, while the whole road runs on it."""

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bytereel.errors import BytereelError
from bytereel.settings import load_settings
from bytereel.wiring import open_home
from test_processes import up, wait_for, worker_pids

SECRET = b"what lies outside of the home"
SWAPS, OUTPUTS = 60, 5
SECONDS_MAX = 60.0


class Swapper:
    """Puts links in the place of folders and the folders back, in a thread of its own while the context lasts."""

    def __init__(self, folders: Sequence[Path], target: Path, aside: Path) -> None:
        self._folders = folders
        self._target = target
        self._aside = aside
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.swaps = 0

    def __enter__(self) -> "Swapper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            for folder in self._folders:
                with suppress(OSError), self._swapped(folder):
                    self.swaps += 1
                    time.sleep(0.002)
                time.sleep(0.004)

    @contextmanager
    def _swapped(self, folder: Path) -> Iterator[None]:
        with suppress(FileNotFoundError):  # where nothing is, a link comes and goes alone
            folder.rename(self._aside)
        try:
            folder.symlink_to(self._target)  # fails where it was made anew already
            yield
        finally:
            if folder.is_symlink():
                folder.unlink()
            self._put_back(folder)

    def _put_back(self, folder: Path) -> None:
        """Give the folder its name again; one that was made anew in that moment goes out of the way."""
        for number in itertools.count():
            try:
                self._aside.rename(folder)
            except FileNotFoundError:
                return
            except OSError:
                folder.rename(self._aside.with_name(f"{folder.name} made anew {self.swaps} {number}"))
            else:
                return


def state_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """What every change below the folder moves, of each file and folder."""
    return {
        str(path): (found.st_ino, found.st_nlink, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        for path in (folder, *folder.rglob("*"))
        for found in [path.lstat()]
    }


def make_outside(folder: Path) -> None:
    """A tree of the same shape as a bucket, with files that would be taken at once."""
    for name in ("private", "deep/private", "archive/private", "archive/deep/private", "archive/plain/private"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SECRET)
        os.utime(folder / name, (1, 1))


def drop(folder: int, name: str) -> None:
    """Write a file into an open folder: a path would lead this test itself through the link."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
    os.write(descriptor, b"dropped")
    os.close(descriptor)


def outputs_in(home: Path) -> int:
    found = os.walk(home / "outbox/archive/plain")  # goes on where a folder is gone
    return sum(name.endswith(".mp4") for _, _, names in found for name in names)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "swapped",
    [("inbox", "inbox/archive", "inbox/archive/deep"), ("outbox", "outbox/archive", "outbox/archive/plain", "work")],
)
def test_nothing_outside_is_touched_while_uploads_are_taken_jobs_run_and_retention_deletes(
    tmp_path: Path, swapped: Sequence[str]
) -> None:
    settings = load_settings(
        home=tmp_path / "home", workers=1, settle_seconds=0.0, sweep_seconds=0.1, keep_done_days=1e-5
    )
    home, outside = open_home(settings), tmp_path / "outside"
    make_outside(outside)
    before, inbox = state_of(outside), os.open(settings.home / "inbox", os.O_RDONLY)
    swapper = Swapper([settings.home / name for name in swapped], outside, settings.home / "aside")
    outputs = 0
    with up(home, settings):
        wait_for(lambda: worker_pids(home))  # a worker that finds a link when it starts says that it cannot work
        with swapper:
            end = time.monotonic() + SECONDS_MAX
            while (swapper.swaps < SWAPS or outputs < OUTPUTS) and time.monotonic() < end:
                outputs = max(outputs, outputs_in(settings.home))
                with suppress(BytereelError):
                    home.inbox.upload(f"archive/deep/{time.monotonic_ns()}", [b"a few bytes"])
                drop(inbox, f"dropped {time.monotonic_ns()}")
                time.sleep(0.02)
    os.close(inbox)
    assert swapper.swaps >= SWAPS
    assert outputs >= OUTPUTS
    assert state_of(outside) == before
    assert [path for path in settings.home.rglob("*") if "private" in path.name] == []
    inside = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    assert not any(SECRET in content or SECRET.upper() in content for content in inside)
