"""The embedded road as a user meets it: `bytereel up` on a home, large and small files put through it."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import COMMAND, MEBIBYTE, Scratch, median, random_file, run_process
from bench.rows import Row
from bench.speed import encode_command

if TYPE_CHECKING:
    from bytereel.wiring import Home

ROAD_RATIO_MIN = 0.5
SMALL_SECONDS_MAX = 0.5
SLOWER_MAX = 1.25
TREND = 3
"""Of so many tenths the fastest is compared: what else a machine does makes one slower, and never faster."""
WORKERS = 2
START_SECONDS_MAX = 30.0
BATCH_SECONDS_MAX = 600.0
SAMPLES = 100


@contextmanager
def road_on(folder: Path) -> "Iterator[Home]":
    """`bytereel up` on a home until the context ends, its workers ready."""
    from bytereel.settings import load_settings
    from bytereel.wiring import open_home
    from bytereel.workers.owners import count_living

    home = open_home(load_settings(home=folder))
    with (folder / "up.log").open("wb") as log:
        command = [COMMAND, "up", "--home", str(folder), "--workers", str(WORKERS)]
        up = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while count_living(folder_of(home) / ".workers") < WORKERS and time.monotonic() < deadline:
                time.sleep(0.01)
            yield home
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait()


def measure_large(scratch: Scratch, size: int, rounds: int) -> Iterator[Row]:
    """`put --wait` of one large file, in turns with plain `encode` of the same, both with two workers."""
    source = random_file(scratch.fresh("source"), size)
    plain: list[float] = []
    road: list[float] = []
    with road_on(scratch.fresh("home")) as home:
        put_and_wait(home, random_file(scratch.fresh("small"), 4 * MEBIBYTE))
        for _ in range(rounds):
            scratch.warm(size + 32 * MEBIBYTE)
            plain.append(run_process(encode_command(source, scratch.fresh("reel.mp4"), WORKERS)).seconds)
            scratch.fresh("reel.mp4")
            scratch.warm(3 * (size + 32 * MEBIBYTE))
            road.append(put_and_wait(home, source)[0])
            for bucket in ("inbox", "outbox"):
                shutil.rmtree(folder_of(home) / bucket / "archive")
    section = f"The embedded road, {size // MEBIBYTE} MiB, {WORKERS} workers"
    yield Row(section, "plain encode", size / min(plain) / 1e6, "MB/s")
    yield Row(section, "put --wait", size / min(road) / 1e6, "MB/s")
    middle = median([left / right for left, right in zip(plain, road, strict=True)])
    note = f"middle of the rounds {middle:.2f}"
    yield Row(section, "put --wait / plain encode", min(plain) / min(road), "x", at_least=ROAD_RATIO_MIN, note=note)
    for name in ("source", "small", "home"):
        scratch.fresh(name)


def measure_small(scratch: Scratch, rounds: int) -> Iterator[Row]:
    """1 KiB: the whole command, and from upload to done."""
    source = random_file(scratch.fresh("source"), 1024)
    with road_on(scratch.fresh("home")) as home:
        put_and_wait(home, source)
        runs = [put_and_wait(home, source) for _ in range(rounds)]
    section = "The embedded road, 1 KiB"
    whole, job = (median([run[index] for run in runs]) for index in (0, 1))
    yield Row(section, "put --wait, the whole command", whole, "s", SMALL_SECONDS_MAX, note=f"middle of {rounds}")
    yield Row(section, "from upload to done", job, "s", SMALL_SECONDS_MAX, note=f"middle of {rounds}")
    scratch.fresh("source")
    scratch.fresh("home")


def folder_of(home: "Home") -> Path:
    """The folder of a home that is one."""
    assert home.path is not None
    return home.path


def put_and_wait(home: "Home", source: Path) -> tuple[float, float]:
    """Seconds of the whole command, and of the job."""
    timed = run_process([COMMAND, "put", source, "--home", folder_of(home), "--wait", "--json"])
    return timed.seconds, json.loads(timed.output)["seconds"]


def measure_many(scratch: Scratch, files: int) -> Iterator[Row]:
    """Many files of 1 KiB, a tenth at a time: the first tenth meets an empty home, the last one all other jobs."""
    batch = files // 10
    contents = [random_file(scratch.fresh("source"), 1024).read_bytes() + b"%d" % number for number in range(files)]
    with road_on(scratch.fresh("home")) as home:
        seconds = [_put_batch(home, contents[start : start + batch], start) for start in range(0, len(contents), batch)]
        lost, wrong = _check(home, contents, scratch)
    section = f"The embedded road, {files:,} files of 1 KiB, {WORKERS} workers"
    yield Row(section, "files a second, over all", files / sum(seconds), "/s")
    yield Row(section, f"the first {batch:,}", seconds[0], "s")
    yield Row(section, f"the last {batch:,}", seconds[-1], "s")
    note = "in tenths: " + " ".join(f"{each:.1f}" for each in seconds) + " s"
    slower = min(seconds[-TREND:]) / min(seconds[:TREND])
    yield Row(section, f"fastest of the last {TREND} tenths / the first {TREND}", slower, "x", SLOWER_MAX, note=note)
    yield Row(section, "files without a video", lost, "", 0)
    yield Row(section, f"of {min(SAMPLES, files)} decoded, not the same", wrong, "", 0)
    scratch.fresh("source")
    scratch.fresh("home")


def _put_batch(home: "Home", contents: Sequence[bytes], first: int) -> float:
    """Upload the contents one by one and wait until all their jobs are done; the seconds of it all.

    Raises: TimeoutError.
    """
    from bytereel.model import JobState

    started_at = time.monotonic()
    for number, content in enumerate(contents, first):
        home.inbox.upload(f"archive/{number:06d}", [content])
    while home.ports.jobs.count().get(JobState.DONE, 0) < first + len(contents):
        if time.monotonic() - started_at > BATCH_SECONDS_MAX:
            raise TimeoutError(f"the jobs are not done: {home.ports.jobs.count()}")
        time.sleep(0.01)
    return time.monotonic() - started_at


def _check(home: "Home", contents: Sequence[bytes], scratch: Scratch) -> tuple[int, int]:
    """How many files have no video, and how many of a sample do not come back the same."""
    from bytereel_codec import DecodeOptions, decode_file

    reels = [
        folder_of(home) / "outbox" / "archive" / "archive" / f"{number:06d}.mp4" for number in range(len(contents))
    ]
    lost = sum(not reel.is_file() for reel in reels)
    wrong, back = 0, scratch.fresh("back")
    for number in range(0, len(contents), max(1, len(contents) // SAMPLES)):
        decode_file(reels[number], back, DecodeOptions(workers=1))
        wrong += back.read_bytes() != contents[number]
    return lost, wrong
