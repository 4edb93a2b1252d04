"""The instruments: real processes with their time and memory, a RAM disk to work on, and content to work with."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

COMMAND = str(Path(sys.executable).with_name("bytereel"))
MEBIBYTE = 1 << 20
RAM_DISK = Path("/dev/shm")
_KIB_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


def core_seconds_so_far() -> float:
    """Seconds of cores that this process has taken, and all that it started: foreign videos are read by children."""
    of_those_that_ended = os.times()
    total = time.process_time() + of_those_that_ended.children_user + of_those_that_ended.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of a process: seconds by the clock and of its cores, peak resident bytes, what it printed."""

    seconds: float
    core_seconds: float
    peak_bytes: int
    output: bytes


def run_process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Timed:
    """Run a command to its end. Raises: CalledProcessError when it fails.

    The peak is never below that of this very process, from which the command is started: keep it small.
    """
    with tempfile.TemporaryFile() as printed:
        started_at = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=printed, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started_at
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, [str(word) for word in command], output)
    return Timed(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB_OF_MAXRSS, output)


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where the files of a run lie; `on_ram` where that is a RAM disk."""

    path: Path
    on_ram: bool

    def fresh(self, name: str) -> Path:
        """A path at which nothing lies any more: its memory is free before the next run takes some."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def warm(self, size: int) -> None:
        """Touch as much memory as the next run will take from the RAM disk, just before it.

        A virtual machine is slow to give a page for the first time, and takes back what is free for a few seconds.
        """
        if not self.on_ram:
            return
        chunk = bytes(8 * MEBIBYTE)
        with self.fresh("warm").open("wb") as file:
            for _ in range(-(-size // len(chunk))):
                file.write(chunk)
        self.fresh("warm")


@contextmanager
def working_place(needed_bytes: int) -> Iterator[Scratch]:
    """A folder on the RAM disk where that has the room, else on the disk of temporary files; removed at the end."""
    on_ram = RAM_DISK.is_dir() and shutil.disk_usage(RAM_DISK).free > needed_bytes * 1.1
    with tempfile.TemporaryDirectory(prefix="bytereel-bench-", dir=RAM_DISK if on_ram else None) as folder:
        yield Scratch(Path(folder), on_ram)


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes."""
    with path.open("wb") as file:
        for offset in range(0, size, MEBIBYTE):
            file.write(os.urandom(min(MEBIBYTE, size - offset)))
    return path


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]
