"""The child that reads foreign videos: what it may, what happens when it is killed or takes too much."""

import io
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from bytereel_codec import Permanent, Temporary
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.libav.sandbox import launch, memory, run
from bytereel_codec.libav.sandbox.limits import within_limits
from hostile_videos import film

PICTURES = 40
START_SECONDS_MAX = 0.02
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = film(tmp_path_factory.mktemp("film") / "film.mp4", "mp4", "libx264", (320, 192), PICTURES)
    return path.read_bytes()


def shown(content: bytes, **options: int) -> int:
    return sum(1 for _ in shown_pictures(io.BytesIO(content), **options))


def child() -> psutil.Process:
    """The one child that runs, as soon as earlier ones are gone."""
    assert soon(lambda: len(psutil.Process(launch.server().pid).children()) == 1)
    (found,) = psutil.Process(launch.server().pid).children()
    return found


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def is_idle() -> bool:
    return not psutil.Process(launch.server().pid).children()


def test_pictures_come_alike_from_several_threads_at_once(video):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: shown(video, threads=1 + n % 2), range(8))) == [PICTURES] * 8


def test_a_child_starts_in_no_time_once_the_server_is_there():
    seconds = []
    for _ in range(20):
        started = time.monotonic()
        assert shown(b"") == 0
        seconds.append(time.monotonic() - started)
    assert min(seconds) < START_SECONDS_MAX, seconds


@linux
def test_nothing_is_left_behind(video):
    shown(video)
    before = names_in("/proc/self/fd")
    for _ in range(5):
        shown(video)
        pictures = shown_pictures(io.BytesIO(video))
        next(pictures)
        pictures.close()
    assert names_in("/proc/self/fd") == before
    assert soon(is_idle)


@linux
def test_a_child_has_given_up_what_it_could_do_harm_with(video):
    pictures = shown_pictures(io.BytesIO(video))
    next(pictures)
    found = child()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{found.pid}/status").read_text().splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Threads"].strip() == "1"
    assert os.getsid(found.pid) == found.pid
    limits = Path(f"/proc/{found.pid}/limits").read_text()
    for name in ("Max core file size", "Max file size", "Max processes"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == ["0", "0"]
    if os.geteuid() == 0:
        assert status["Uid"].split() == ["65534"] * 4
        assert status["Gid"].split() == ["65534"] * 4
        assert status["Groups"].split() == []
        assert names_in(f"/proc/{found.pid}/fd") == ["0", "1", "2", "3"]
        assert {str(Path(f"/proc/{found.pid}/fd/{n}").readlink()) for n in range(3)} == {"/dev/null"}
        assert Path(f"/proc/{found.pid}/cwd").readlink() == Path("/")
    pictures.close()


@pytest.mark.parametrize(
    ("number", "error_id"),
    [(signal.SIGKILL, "media.interrupted"), (signal.SIGSEGV, "media.refused"), (signal.SIGXCPU, "media.refused")],
)
def test_a_child_that_dies_is_an_error_with_a_word_for_it_and_the_next_one_works(video, number, error_id):
    with pytest.raises((Permanent, Temporary)) as raised:
        for position, _ in enumerate(shown_pictures(io.BytesIO(video * 2))):
            if position == 0:
                child().send_signal(number)
    assert raised.value.error_id == error_id
    assert shown(video) == PICTURES


def test_a_server_that_dies_is_temporary_takes_its_children_along_and_is_replaced(video):
    pictures = shown_pictures(io.BytesIO(video))
    next(pictures)
    server, orphan = launch.server().pid, child()
    os.kill(server, signal.SIGKILL)
    with pytest.raises(Temporary) as raised:
        list(pictures)
    assert raised.value.error_id == "media.no_sandbox"
    assert soon(lambda: not orphan.is_running())
    assert shown(video) == PICTURES
    assert launch.server().pid != server


def test_a_process_that_was_forked_off_has_a_server_of_its_own(video):
    ours = launch.server().pid
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, f"{shown(video)} {launch.server().pid}".encode())
            launch.end_server()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    count, theirs = map(int, os.read(reading, 100).split())
    os.close(reading)
    os.close(writing)
    assert count == PICTURES
    assert theirs != ours
    assert shown(video) == PICTURES


def test_it_works_where_no_memory_without_a_name_can_be_had(video, monkeypatch):
    monkeypatch.setattr(memory, "_sealed_memory", lambda size: None)
    assert shown(video) == PICTURES


def test_shared_memory_cannot_be_cut_under_the_other_side():
    fd = memory.new_shared_file(4096)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(fd, 100)
    os.close(fd)


@pytest.mark.parametrize(("mebibytes", "fits"), [(8, False), (192, True)])
def test_memory_is_bounded(video, monkeypatch, mebibytes, fits):
    monkeypatch.setattr(run, "within_limits", lambda job: replace(within_limits(job), data_bytes=mebibytes << 20))
    if fits:
        assert shown(video) == PICTURES
        return
    with pytest.raises(Permanent) as raised:
        shown(video)
    assert raised.value.error_id == "media.refused"


@pytest.mark.parametrize(("seconds", "times", "fits"), [(1, 2000, False), (300, 100, True)])
def test_time_is_bounded(tmp_path, monkeypatch, seconds, times, fits):
    monkeypatch.setattr(run, "within_limits", lambda job: replace(within_limits(job), cpu_seconds=seconds))
    content = film(tmp_path / "film", "h264", "libx264", (1920, 1088), 5).read_bytes() * times
    if fits:
        assert shown(content) == 5 * times
        return
    with pytest.raises(Permanent) as raised:
        shown(content)
    assert raised.value.error_id == "media.refused"
    assert "time" in raised.value.message


def test_what_reading_the_file_raises_comes_out_and_the_child_goes(video):
    class Broken(io.BytesIO):
        def readinto(self, buffer):
            raise Temporary("store.gone", "the store is gone")

    with pytest.raises(Temporary) as raised:
        shown_all = shown_pictures(Broken(video))
        next(shown_all)
    assert raised.value.error_id == "store.gone"
    assert soon(is_idle)
