"""`up` as a real process, with real workers, while the state file is taken away, or the clock is set back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import Integrity, Temporary
from bytereel.settings import Settings, load_settings
from bytereel.wiring import Home, open_home
from bytereel.workers import supervisor as supervisor_module
from bytereel.workers.chores import Chore
from bytereel.workers.heartbeat import Heartbeat
from bytereel.workers.supervisor import Supervisor

pytestmark = pytest.mark.e2e

SECONDS_MAX = 60.0
INTEGRITY = 5
DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment() -> dict[str, str]:
    chosen = {"WORKERS": "1", "THREADS": "1", "SWEEP_SECONDS": "0.5", "SETTLE_SECONDS": "0.1"}
    return {**os.environ, **{f"BYTEREEL_{name}": value for name, value in chosen.items()}}


def command(*arguments: object, clock_seconds: float = 0.0) -> list[str]:
    """The command line; its process, and no other, has a clock that says so much more."""
    program = "import sys, time; real = time.time; import bytereel.cli.main as cli; "
    program += f"time.time = lambda: real() + {clock_seconds}; sys.exit(cli.run(sys.argv[1:]))"
    return [sys.executable, "-c", program, *map(str, arguments)]


def call(environment: dict[str, str], *arguments: object, clock_seconds: float = 0.0) -> str:
    program = command(*arguments, clock_seconds=clock_seconds)
    return subprocess.run(
        program, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=SECONDS_MAX
    ).stdout


@contextmanager
def up(folder: Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command("up", "--home", folder), env=environment, stderr=file, stdout=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def delete(state: Path) -> None:
    for path in state.parent.glob("state.sqlite*"):
        path.unlink()


def replace(state: Path) -> None:
    other = state.parent / "other"
    other.mkdir()
    SqliteQueue(Database(other / "state.sqlite"), SystemClock()).send("intake", [])
    (other / "state.sqlite").replace(state)


def rename_home(state: Path) -> None:
    state.parent.rename(state.parent.with_name("elsewhere"))


@pytest.mark.parametrize("happening", [delete, replace, rename_home], ids=lambda each: each.__name__)
def test_up_ends_with_a_clear_word_when_the_state_is_taken_from_it_and_begins_anew(
    folder: Path, environment: dict[str, str], tmp_path: Path, happening: Callable[[Path], None]
) -> None:
    source, log = tmp_path / "source", tmp_path / "log"
    source.write_bytes(b"hello")
    with up(folder, environment, log) as process:
        call(environment, "put", source, "--home", folder, "--wait", "--timeout", SECONDS_MAX)
        happening(folder / "state.sqlite")
        assert process.wait(20.0) == INTEGRITY
    said = log.read_text()
    assert "was deleted, moved or changed by somebody else while it was in use" in said
    assert "Traceback" not in said
    assert living_workers(folder) == []
    assert not (happening is rename_home and folder.exists()), "nothing is made anew where it was"
    job_id = call(environment, "put", source, "--home", folder).strip()
    call(environment, "up", "--home", folder, "--until-idle")
    assert job_of(environment, folder, job_id)["state"] == "done"


def living_workers(folder: Path) -> list[Path]:
    pids = [int(path.name.partition("-")[0]) for path in folder.parent.glob("*/.workers/*.lock")]
    return [Path("/proc") / str(pid) for pid in pids if (Path("/proc") / str(pid)).exists()]


def job_of(environment: dict[str, str], folder: Path, job_id: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(call(environment, "status", job_id, "--home", folder, "--json"))
    return found


@pytest.mark.parametrize("ahead_seconds", [120.0, DAY, 400 * DAY])
def test_jobs_of_before_the_clock_was_set_back_are_done_at_once(
    folder: Path, environment: dict[str, str], tmp_path: Path, ahead_seconds: float
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    job_id = call(environment, "put", source, "--home", folder, clock_seconds=ahead_seconds).strip()
    started_at = time.monotonic()
    call(environment, "up", "--home", folder, "--until-idle")
    assert time.monotonic() - started_at < 30.0
    job = job_of(environment, folder, job_id)
    assert job["state"] == "done"
    assert float(str(job["created_at"])) <= time.time()


def test_a_message_leased_by_a_worker_of_tomorrow_that_was_killed_is_had_today(
    folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    job_id = call(environment, "put", source, "--home", folder).strip()
    program = f"""
import os, time
real = time.time
time.time = lambda: real() + {DAY}
from pathlib import Path
from bytereel.settings import load_settings
from bytereel.wiring import open_home
home = open_home(load_settings(home=Path({str(folder)!r})))
assert home.ports.queue.lease(["intake"], "nobody with a lock", 5.0)
os.kill(os.getpid(), {signal.SIGKILL.value})
"""
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode < 0
    started_at = time.monotonic()
    call(environment, "up", "--home", folder, "--until-idle")
    assert 1.0 < time.monotonic() - started_at < 30.0
    assert job_of(environment, folder, job_id)["state"] == "done"


# In one process


@pytest.fixture
def settings(folder: Path) -> Settings:
    return load_settings(home=folder, workers=1, settle_seconds=0.1, sweep_seconds=0.5)


@pytest.fixture
def home(settings: Settings) -> Home:
    return open_home(settings)


def test_until_idle_never_says_idle_of_a_state_that_is_gone(home: Home, settings: Settings) -> None:
    delete(settings.home / "state.sqlite")
    sleeping = (sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(60)")
    supervisor = Supervisor(home, settings, sleeping)
    started_at = time.monotonic()
    with pytest.raises(Integrity) as caught:
        supervisor.run(until_idle=True)
    assert caught.value.error_id == "state.replaced"
    assert time.monotonic() - started_at < 10.0, "a worker that sleeps is not waited for"


def test_a_worker_that_notices_first_does_not_hide_the_reason(home: Home, settings: Settings) -> None:
    state = settings.home / "state.sqlite"
    program = f"import os, sys; sys.stdin.read(); os.rename({str(state)!r}, {str(state)!r} + '.aside'); sys.exit(78)"
    with pytest.raises(Integrity) as caught:
        Supervisor(home, settings, (sys.executable, "-c", program)).run()
    assert caught.value.error_id == "state.replaced"


def test_a_state_that_is_away_for_a_moment_ends_nothing(
    home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def away() -> None:
        looks.append(1)
        if len(looks) < 5:
            raise Temporary("state.unavailable", "it cannot be used just now")

    monkeypatch.setattr(supervisor_module, "TICK_SECONDS", 0.01)
    object.__setattr__(home, "check_state", away)
    sleeping = (sys.executable, "-c", "import sys; sys.stdin.read()")
    Supervisor(home, settings, sleeping).run(until_idle=True)
    assert len(looks) >= 5


@pytest.mark.parametrize(
    ("error", "goes_on"), [(Temporary("state.busy", ""), True), (Integrity("state.damaged", ""), False)]
)
def test_a_chore_ends_everything_only_for_a_lost_state(error: Exception, goes_on: bool) -> None:
    def work() -> None:
        raise error

    chore = Chore("toy", 1.0, work)
    if goes_on:
        chore.run_if_due()
    else:
        with pytest.raises(Integrity):
            chore.run_if_due()


def test_what_is_held_is_lost_with_the_state_and_not_for_a_passing_failure(home: Home, settings: Settings) -> None:
    home.ports.queue.send("q", [{"n": 1}])
    message = home.ports.queue.lease(["q"], "w", 60.0)
    assert message is not None
    with Heartbeat(home.ports, 60.0, 0.02) as heartbeat, heartbeat.holding(message) as held:
        time.sleep(0.2)
        assert not held.lost()
        shutil.move(settings.home / "state.sqlite", settings.home / "aside")
        end = time.monotonic() + 10.0
        while not held.lost():
            assert time.monotonic() < end
            time.sleep(0.01)
