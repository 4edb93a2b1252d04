"""What happens in the inbox folder is noticed, and nothing that happens elsewhere."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytereel.workers.inbox_watch import InboxWatch

SECONDS_MAX = 10.0
QUIET_SECONDS = 1.0


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "inbox/archive").mkdir(parents=True)
    (tmp_path / "inbox/link").symlink_to(tmp_path / "outside")
    return tmp_path / "inbox"


@pytest.fixture
def watch(inbox: Path) -> Iterator[InboxWatch]:
    with InboxWatch(inbox) as watch:
        notices_soon(watch, inbox / "archive/first")
        yield watch


def notices(watch: InboxWatch, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if watch.has_changed():
            return True
        time.sleep(0.02)
    return False


def come_to_rest(watch: InboxWatch) -> None:
    end = time.monotonic() + SECONDS_MAX
    while notices(watch, QUIET_SECONDS):
        assert time.monotonic() < end


def notices_soon(watch: InboxWatch, path: Path) -> None:
    """Write the file until that is noticed: the watch starts in its own time."""
    end = time.monotonic() + SECONDS_MAX
    while True:
        path.write_bytes(b"x")
        if notices(watch, 0.5):
            break
        assert time.monotonic() < end
    come_to_rest(watch)


def test_a_dropped_file_is_noticed(watch: InboxWatch, inbox: Path) -> None:
    (inbox / "archive/file").write_bytes(b"x")
    assert notices(watch, SECONDS_MAX)


def test_a_file_in_a_folder_that_was_dropped_later_is_noticed(watch: InboxWatch, inbox: Path) -> None:
    (inbox / "archive/new/er").mkdir(parents=True)
    assert notices(watch, SECONDS_MAX)
    come_to_rest(watch)
    (inbox / "archive/new/er/file").write_bytes(b"x")
    assert notices(watch, SECONDS_MAX)


def test_a_folder_that_goes_and_comes_again_is_watched(watch: InboxWatch, inbox: Path) -> None:
    (inbox / "archive/first").unlink()
    (inbox / "archive").rmdir()
    assert notices(watch, SECONDS_MAX)
    (inbox / "archive").mkdir()
    come_to_rest(watch)
    (inbox / "archive/file").write_bytes(b"x")
    assert notices(watch, SECONDS_MAX)


def test_what_happens_behind_a_link_is_not_noticed(watch: InboxWatch, inbox: Path) -> None:
    (inbox / "later").symlink_to(inbox.parent / "outside")
    assert notices(watch, SECONDS_MAX)
    come_to_rest(watch)
    for name in ("file", "deep/file"):
        (inbox.parent / "outside" / name).write_bytes(b"x")
    assert not notices(watch, QUIET_SECONDS)


def test_an_inbox_that_is_a_link_is_not_watched_until_it_is_a_folder_again(
    inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.rename(inbox.parent / "aside")
    inbox.symlink_to(inbox.parent / "outside")
    with InboxWatch(inbox) as watch:
        time.sleep(QUIET_SECONDS)
        inbox.unlink()
        (inbox.parent / "aside").rename(inbox)
        deadline, number = time.monotonic() + SECONDS_MAX, 0
        while not notices(watch, QUIET_SECONDS) and time.monotonic() < deadline:
            number += 1
            (inbox / f"archive/file{number}").write_bytes(b"x")
        assert time.monotonic() < deadline
    assert caplog.text.count("cannot be watched") == 1
