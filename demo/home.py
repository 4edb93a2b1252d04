"""A home with `bytereel up` running on it, and files put through it by the command line."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bytereel.settings import load_settings
from bytereel.wiring import Home, open_home
from bytereel.workers.owners import count_living

COMMAND = Path(sys.executable).with_name("bytereel")
WORKERS = 2
LOOK_SECONDS = 0.002
START_SECONDS_MAX = 30.0
JOB_SECONDS_MAX = 3600.0
DRAIN_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is done. `job_seconds` go from upload to done, `command_seconds` are those of the whole command."""

    source_bytes: int
    output_bytes: int
    job_seconds: float
    command_seconds: float
    path: Path


class DemoHome:
    """`bytereel up` on a new home while the context lasts; whatever ends the context ends every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._up: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "DemoHome":
        self.folder.mkdir(parents=True)
        self._home: Home = open_home(load_settings(home=self.folder))
        self._log = (self.folder.parent / "up.log").open("wb")
        # A process group of its own: Ctrl-C reaches this program alone, which then ends the others in order.
        self._up = subprocess.Popen(
            [COMMAND, "up", "--home", self.folder, "--workers", str(WORKERS)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            self._await_workers()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._up is not None
        end(self._up)
        self._log.close()

    def put(self, file: Path, conversion: str) -> Finished:
        """Upload a file and wait for its job, printing how the job moves. Raises: RuntimeError when it fails."""
        command = [str(COMMAND), "put", str(file), "--to", conversion]
        command += ["--home", str(self.folder), "--wait", "--json"]
        known = {job.id for job in self._home.ports.jobs.list()}
        started_at = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as putting:
            try:
                self._watch(putting, known, started_at)
                output = putting.communicate(timeout=DRAIN_SECONDS_MAX)[0]
            finally:
                end(putting)
        if putting.returncode != 0:
            raise RuntimeError(f"`bytereel put` ended with status {putting.returncode}; {self._log.name} may say why")
        ended = json.loads(output)
        seconds = time.monotonic() - started_at
        return Finished(ended["bytes"], ended["output_bytes"], ended["seconds"], seconds, Path(ended["path"]))

    def _await_workers(self) -> None:
        started_at = time.monotonic()
        owners = self._home.owners_folder
        assert owners is not None, "the demo's home is a folder"
        while count_living(owners) < WORKERS:
            self._check_up()
            if time.monotonic() - started_at > START_SECONDS_MAX:
                raise RuntimeError(f"the workers do not start: see {self._log.name}")
            time.sleep(LOOK_SECONDS)
        print(f"The road   `bytereel up` with {WORKERS} workers, started in {time.monotonic() - started_at:.1f} s")

    def _check_up(self) -> None:
        assert self._up is not None
        if self._up.poll() is not None:
            raise RuntimeError(f"`bytereel up` ended with status {self._up.returncode}: see {self._log.name}")

    def _watch(self, putting: "subprocess.Popen[bytes]", known: set[str], started_at: float) -> None:
        """Print each change of the new job until the command has ended."""
        last = ""
        while putting.poll() is None:
            self._check_up()
            if time.monotonic() - started_at > JOB_SECONDS_MAX:
                raise RuntimeError("the job took too long")
            for job in self._home.ports.jobs.list(limit=1):
                moved = f"{job.state:<11}{job.segments_done} of {job.segments_total} segments"
                if job.id not in known and moved != last:
                    last = moved
                    print(f"  {time.monotonic() - started_at:5.2f} s  job {job.id[:8]}  {moved}", flush=True)
            time.sleep(LOOK_SECONDS)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Let the process drain, or end it where that takes too long; no effect when it has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(DRAIN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
