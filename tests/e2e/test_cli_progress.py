"""What a terminal shows while a command works: something from the first second on, and nothing that is not so."""

import os
import pty
import random
import re
import subprocess
import time

import pytest
from bytereel.cli.printing.progress import time_left
from command_line import COMMAND, SECONDS_MAX, Cli, environment

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("done", "total", "seconds", "shown"),
    [
        (0, 100, 5.0, ""),
        (50, None, 5.0, ""),
        (50, 100, 5.0, "0:05 left"),
        (1, 100, 12.0, "19:48 left"),
        (1, 1000, 12.0, "3:19:48 left"),
        (100, 100, 5.0, "0:00 left"),
    ],
)
def test_the_time_left_is_told_by_all_of_the_time_so_far(
    done: int, total: int | None, seconds: float, shown: str
) -> None:
    assert time_left(done, total, seconds) == shown


def on_a_terminal(cli: Cli, *arguments: str, feed: bytes, pause: float, **more: str) -> str:
    """What is shown of a command whose input comes after a pause."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cli.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(TERM="xterm", **more),
    )
    os.close(theirs)
    assert process.stdin is not None
    time.sleep(pause)
    process.stdin.write(feed)
    process.stdin.close()
    shown, end = b"", time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(SECONDS_MAX) == 0
    return shown.decode()


def test_a_bar_is_there_after_a_second_though_nothing_is_done_yet(cli: Cli) -> None:
    shown = on_a_terminal(cli, "encode", "-", "x.mp4", feed=b"x" * 1000, pause=2.5)
    assert "encoding" in shown
    assert not re.search(r"\d left", shown.partition("1000")[0] if "1000" in shown else "")


def test_what_is_done_at_once_shows_no_bar(cli: Cli) -> None:
    assert on_a_terminal(cli, "encode", "-", "x.mp4", feed=b"x", pause=0.0) == ""


def test_the_first_lossy_reel_says_that_it_compiles_and_the_second_does_not(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(random.Random(1).randbytes(2000))
    words = ("encode", "noise", "x.mp4", "-f", "-p", "classic16")
    cache = {"NUMBA_CACHE_DIR": str(cli.folder / "cache")}
    assert "compiles its kernels" in cli(*words, **cache).err
    assert "compiles" not in cli(*words, **cache).err
    assert cli(*words, "--json", **cache).err == ""


def test_a_table_of_jobs_fits_a_line_of_80_and_its_ids_can_be_pasted(cli: Cli) -> None:
    (cli.folder / "name-of-a-file").write_bytes(b"x")
    job_id = cli("put", "name-of-a-file").out.decode().strip()
    lines = cli("jobs").out.decode().splitlines()
    assert max(map(len, lines)) <= 80
    shown = lines[1].split()[0]
    assert job_id.startswith(shown)
    assert cli("status", shown, "--json").json["id"] == job_id
