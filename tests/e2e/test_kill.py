"""kill -9 of real processes on the real road: nothing acknowledged is lost, nothing finished is done again."""

import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from command_line import Cli

SIZE = 60 << 20
SEGMENT_DONE = re.compile(r"job (\w+) segment (\d+) done")


def family(process: "subprocess.Popen[bytes]") -> list[int]:
    """The process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [process.pid, *map(int, children.read_text().split())]


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_road_that_is_killed_again_and_again_comes_to_its_end(tmp_path: Path) -> None:
    cli = Cli(tmp_path, tmp_path / "home")
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    sources = [chance.randbytes(SIZE), chance.randbytes(100_000), b""]
    jobs = []
    for number, content in enumerate(sources):
        (tmp_path / f"source-{number}").write_bytes(content)
        jobs.append(cli("put", f"source-{number}", "--json").json["job"])
    with (tmp_path / "up.log").open("wb") as log:
        for turn in range(5):
            process = cli.start("up", "--workers", "2", stderr=log, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.8, 2.2))
            members = family(process)
            kill_all(members[:1] if turn % 2 else members)
            process.wait(60)
        assert cli.start("up", "--workers", "2", "--until-idle", stderr=log, stdout=subprocess.DEVNULL).wait(120) == 0
    for job, content in zip(jobs, sources, strict=True):
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
