"""Real worker processes on a real home: put, drop, drain, kill -9, poison."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bytereel.model import JobState, job_id_of
from bytereel.settings import Settings, load_settings
from bytereel.wiring import Home, open_home
from bytereel.workers import supervisor as supervisor_module
from bytereel.workers.owners import OwnerLock, free_the_dead
from bytereel.workers.supervisor import Supervisor
from bytereel_codec.errors import Permanent
from toys import loud

from tests.by_the_clock import fastest

TOY_WORKER = (sys.executable, str(Path(__file__).with_name("toy_worker.py")))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", workers=2, settle_seconds=0.1, sweep_seconds=0.5)


@pytest.fixture
def home(settings: Settings) -> Home:
    return open_home(settings)


@contextmanager
def up(home: Home, settings: Settings) -> Iterator[Supervisor]:
    supervisor = Supervisor(home, settings, TOY_WORKER)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join(30.0)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def state_of(home: Home, job_id: str) -> JobState | None:
    job = home.ports.jobs.get(job_id)
    return job.state if job else None


def put(home: Home, key: str, content: bytes) -> str:
    return job_id_of(home.inbox.upload(key, [content]).ref)


def worker_pids(home: Home) -> list[int]:
    return [int(path.name.partition("-")[0]) for path in home.owners_folder.glob("*.lock")]


@pytest.mark.e2e
def test_uploads_and_dropped_files_become_outputs_and_until_idle_ends(home: Home, settings: Settings) -> None:
    job_ids = [put(home, f"folder/{number}", b"abcdefgh") for number in range(5)]
    (home.inbox_folder / "dropped by hand").write_bytes(b"hello")
    Supervisor(home, settings, TOY_WORKER).run(until_idle=True)
    assert {state_of(home, job_id) for job_id in job_ids} == {JobState.DONE}
    assert (home.path / "outbox/archive/plain/dropped by hand.mp4").read_bytes() == loud(b"hello")
    assert list(home.owners_folder.glob("*")) == []


@pytest.mark.e2e
def test_of_two_files_dropped_within_a_second_neither_waits_for_the_sweep(home: Home) -> None:
    settings = load_settings(home=home.path, workers=1, settle_seconds=1.0, sweep_seconds=600.0)
    with up(home, settings):
        done = put(home, "first", b"a")
        wait_for(lambda: state_of(home, done) is JobState.DONE)
        (home.inbox_folder / "a").write_bytes(b"a")
        time.sleep(0.7)
        (home.inbox_folder / "b").write_bytes(b"b")
        wait_for(lambda: home.ports.jobs.count().get(JobState.DONE) == 3)


@pytest.mark.alone
@pytest.mark.e2e
def test_a_file_dropped_while_up_runs_is_noticed_and_a_small_one_is_done_at_once(
    home: Home, settings: Settings
) -> None:
    with up(home, settings):
        first = put(home, "first", b"a")
        wait_for(lambda: state_of(home, first) is JobState.DONE)

        def put_and_wait() -> None:
            job_id = put(home, "another", b"a")
            wait_for(lambda: state_of(home, job_id) is JobState.DONE)

        assert fastest(put_and_wait) < 1.0
        (home.inbox_folder / "dropped").write_bytes(b"hello")
        wait_for((home.path / "outbox/archive/plain/dropped.mp4").exists)


@pytest.mark.e2e
def test_kill_9_of_workers_loses_nothing_and_converts_no_finished_segment_again(home: Home, settings: Settings) -> None:
    content = bytes(range(97, 123)) * 8
    job_id = put(home, "a", content)
    kills = 0
    with up(home, settings) as supervisor:
        while state_of(home, job_id) is not JobState.DONE:
            time.sleep(0.15)
            if kills < 5:
                supervisor._workers[kills % 2].kill()
                kills += 1
            assert state_of(home, job_id) is not JobState.FAILED
    assert (home.path / "outbox/archive/plain/a.mp4").read_bytes() == loud(content)
    converted = Counter((home.path / "converted").read_text().split())
    assert len(converted) == len(content) // 4
    assert sum(converted.values()) - len(converted) <= kills * settings.threads


@pytest.mark.e2e
def test_a_source_that_kills_every_worker_fails_its_job(home: Home, settings: Settings) -> None:
    job_id = put(home, "a", b"abcd")
    (home.path / "poison").touch()
    with up(home, settings.model_copy(update={"deaths_max": 2})):
        wait_for(lambda: state_of(home, job_id) is JobState.FAILED)
    job = home.ports.jobs.get(job_id)
    assert job is not None
    assert "workers ended without an answer" in job.reason


@pytest.mark.e2e
def test_a_worker_drains_on_sigterm_and_leaves_when_its_parent_is_gone(home: Home, settings: Settings) -> None:
    quick = settings.model_copy(update={"workers": 1})
    for end in (signal.SIGTERM, None):
        script = (
            "import subprocess, time\n"
            f"p = subprocess.Popen({list(TOY_WORKER)!r}, stdin=subprocess.PIPE)\n"
            f"p.stdin.write({quick.model_dump_json()!r}.encode()); p.stdin.close()\n"
            "print(p.pid, flush=True)\ntime.sleep(60)"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(lambda of=pid: worker_pids(home) == [of])
        if end:
            os.kill(pid, end)
        else:
            parent.kill()
        wait_for(lambda: worker_pids(home) == [], seconds=10.0)
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.e2e
def test_a_worker_that_does_not_drain_in_time_is_killed(
    home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "DRAIN_SECONDS_MAX", 0.5)
    deaf = "import pathlib, signal, sys, time; sys.stdin.read(); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    deaf += f"pathlib.Path({str(home.path)!r}, 'deaf').touch(); time.sleep(60)"
    one = settings.model_copy(update={"workers": 1})
    supervisor = Supervisor(home, one, (sys.executable, "-c", deaf))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    wait_for((home.path / "deaf").exists)
    supervisor.stop()
    thread.join(10.0)
    assert not thread.is_alive()


@pytest.mark.e2e
@pytest.mark.parametrize("until_idle", [False, True])
def test_settings_that_no_worker_can_use_end_the_supervisor_with_a_reason(
    home: Home, settings: Settings, until_idle: bool
) -> None:
    refusing = (sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(1); sys.exit(78)")
    with pytest.raises(Permanent, match="a worker could not start"):
        Supervisor(home, settings, refusing).run(until_idle=until_idle)


def test_the_leases_of_the_dead_are_freed_and_those_of_the_living_are_not(home: Home) -> None:
    put(home, "a", b"abcd")
    put(home, "b", b"abcd")
    dead, alive = OwnerLock(home.owners_folder), OwnerLock(home.owners_folder)
    queue = home.ports.queue
    assert queue.lease(["intake"], dead.owner, 60.0)
    assert queue.lease(["intake"], alive.owner, 60.0)
    assert free_the_dead(home.owned, home.owners_folder) == 0
    os.close(dead._descriptor)
    assert free_the_dead(home.owned, home.owners_folder) == 1
    assert queue.lease(["intake"], alive.owner, 60.0)
    assert queue.lease(["intake"], alive.owner, 60.0) is None
    alive.close()


def test_opening_a_home_and_looking_at_jobs_imports_nothing_slow(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom bytereel.wiring import open_home\n"
        "from bytereel.settings import load_settings\n"
        f"import bytereel.operations\nopen_home(load_settings(home={str(tmp_path)!r}))\n"
        "slow = {'numpy', 'numba', 'av', 'watchfiles', 'rich'}\nprint(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
