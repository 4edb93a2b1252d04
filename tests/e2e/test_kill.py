"""kill -9 of real processes on the real road: nothing acknowledged is lost, nothing finished is done again."""

import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.model import Segment, SegmentState
from command_line import SECONDS_MAX, Cli

SEGMENT_DONE = re.compile(r"job (\w+) segment (\d+) done")
LEASE_SECONDS = "600"
"""Longer than the test takes: a lease of the dead that nobody frees keeps the road from its end."""
END_SECONDS_MAX = 240
KILLS = ("everybody", "a worker", "the supervisor", "a worker", "everybody")

Held = Mapping[int, Sequence[Segment]]


def family(process: "subprocess.Popen[bytes]") -> list[int]:
    """The process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [process.pid, *map(int, children.read_text().split())]


def send_all(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_all(pids: Sequence[int]) -> None:
    send_all(pids, signal.SIGKILL)


def gone(pids: Sequence[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


class Killer:
    """Kills processes of a road while a segment is under way, and counts which segments it met."""

    def __init__(self, cli: Cli, log: Path, job_ids: Sequence[str]) -> None:
        self._cli = cli
        self._log = log
        self._ids = job_ids
        self._jobs = SqliteJobs(Database(cli.home / "state.sqlite"))
        self.process = self.up()
        self.hits: Counter[tuple[str, int]] = Counter()

    def up(self, *options: str) -> "subprocess.Popen[bytes]":
        """A road of two workers on the home."""
        with self._log.open("ab") as log:
            return self._cli.start("up", "--workers", "2", *options, stderr=log, stdout=subprocess.DEVNULL)

    def kill(self, whom: str) -> None:
        """Kill them with a segment under way in their hands; the road starts anew where nobody is left of it."""
        held = self._met(whom)
        members = family(self.process)
        doomed = {"everybody": members, "a worker": list(held), "the supervisor": members[:1]}[whom]
        kill_all(doomed)
        if whom == "the supervisor":  # its workers notice, and end what they do
            send_all(list(held), signal.SIGCONT)
        else:
            self.hits.update((each.job_id, each.index) for segments in held.values() for each in segments)
        if whom != "a worker":
            self.process.wait(SECONDS_MAX)
        self.wait(lambda: gone(doomed if whom == "a worker" else members))
        if whom != "a worker":
            self.process = self.up()

    def _met(self, whom: str) -> Held:
        """Who holds segments, and has been stopped so; of several workers that are to go one by one, the first."""
        found: Held = {}

        def is_met() -> bool:
            nonlocal found
            workers = list(self.held())[: 1 if whom == "a worker" else None]
            send_all(workers, signal.SIGSTOP)
            found = {pid: segments for pid, segments in self.held().items() if pid in workers}
            if not found:
                send_all(workers, signal.SIGCONT)
            return bool(found)

        self.wait(is_met)
        return found

    def held(self) -> Held:
        """The segments under way, by the process that leased them: its owner's name starts with its number."""
        held: dict[int, list[Segment]] = {}
        for segment in self.segments():
            pid = int(segment.owner.partition("-")[0] or "0")
            if segment.state is SegmentState.LEASED and Path(f"/proc/{pid}").exists():
                held.setdefault(pid, []).append(segment)
        return held

    def segments(self) -> Sequence[Segment]:
        return [segment for job_id in self._ids for segment in self._jobs.segments(job_id)]

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.005)


@pytest.mark.alone
@pytest.mark.slow
def test_a_road_that_is_killed_again_and_again_with_work_under_way_comes_to_its_end(tmp_path: Path) -> None:
    cli = Cli(tmp_path, tmp_path / "home")
    cli.environment["BYTEREEL_LEASE_SECONDS"] = LEASE_SECONDS
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    sources = {"classic16": chance.randbytes(3_000_000), "archive": chance.randbytes(100_000), "balanced": b""}
    jobs = {}
    for profile, content in sources.items():
        (tmp_path / profile).write_bytes(content)
        jobs[cli("put", profile, "--to", f"archive/{profile}", "--json").json["job"]] = content
    killer = Killer(cli, tmp_path / "up.log", list(jobs))
    for whom in KILLS:
        killer.kill(whom)
    kill_all(family(killer.process)[:1])
    assert killer.up("--until-idle").wait(END_SECONDS_MAX) == 0
    assert killer.hits.total() >= len(KILLS) - 1, "every kill but the supervisor's met one"
    attempts = {(each.job_id, each.index): each.attempt for each in killer.segments()}
    assert attempts == {key: 1 + killer.hits[key] for key in attempts}, "leased again after a kill that met it alone"
    for job, content in jobs.items():
        assert cli("status", job, "--json").json["state"] == "done"
        cli("get", job, "-o", "reel", "--force")
        cli("decode", "reel", "back", "--force")
        assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(content).digest()
    done = Counter(SEGMENT_DONE.findall((tmp_path / "up.log").read_text()))
    assert len(done) >= 6
    assert set(done.values()) == {1}, "no finished segment is encoded again"


def test_workers_end_when_their_supervisor_is_killed_at_its_start(tmp_path: Path) -> None:
    cli = Cli(tmp_path, tmp_path / "home")
    for pause in (0.0, 0.1, 0.3):
        process = cli.start("up", "--workers", "2", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(members := family(process)) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(pause)
        kill_all(members[:1])
        process.wait(60)
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in members) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [pid for pid in members if Path(f"/proc/{pid}").exists()]
