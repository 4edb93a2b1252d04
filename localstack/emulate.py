"""The cloud on this machine without containers: ministack from its wheel, the bootstrap, the functions.

`make emulate` runs it until Ctrl-C or SIGTERM, with its state in a folder, so that the next run goes on where this
one ended; what was lost when it was killed, the sweep finds again in the inbox. Tests use `emulation`.
"""

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil
from bytereel.cli.exits import exit_code_of
from bytereel.errors import BytereelError, Permanent, Temporary, reason_of
from bytereel.logs import shown
from bytereel.model import Job
from bytereel.ports.jobs import JobTable
from bytereel.settings import Settings, load_settings
from bytereel.wiring import open_jobs

from localstack.servers import HOST, SCRIPTS, Server, free_port, ministack, process

ROOT = Path(__file__).absolute().parents[1]
FOLDER = Path(".emulation")
PORT = 4566
BOOTSTRAP_SECONDS_MAX = 120.0
JOBS_SHOWN_MAX = 50
LOOK_SECONDS = 0.5

NAMES = {
    "BYTEREEL_INBOX_BUCKET": "bytereel-inbox",
    "BYTEREEL_WORK_BUCKET": "bytereel-work",
    "BYTEREEL_OUTBOX_BUCKET": "bytereel-outbox",
    "BYTEREEL_TABLE": "bytereel",
    "BYTEREEL_QUEUES": "bytereel",
}


@dataclass(frozen=True, slots=True)
class Emulation:
    """A running cloud: `environment` is what bytereel, aws, boto3, rclone and mc read to find it."""

    folder: Path
    server: Server
    settings: Settings
    environment: Mapping[str, str]


@contextmanager
def emulation(
    folder: Path, *, port: int | None = None, keep: bool = False, functions: bool = True
) -> Iterator[Emulation]:
    """Run the emulator, the bootstrap and, unless told otherwise, the functions; end all of it with the context.

    With `keep` the state stays in `folder`. Raises: Permanent `emulation.running`; Temporary `emulation.failed`;
    TimeoutError and RuntimeError as `servers.ministack`.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", "ascii")
    _refuse_second(folder)
    with ExitStack() as stack:
        server = stack.enter_context(ministack(folder, port or free_port(), keep=keep))
        environment = environment_of(server)
        _write_exports(folder, environment)
        _bootstrap(folder, environment)
        if functions:
            stack.enter_context(running_functions(folder, environment))
        stack.enter_context(_noted(folder, server))
        yield Emulation(folder, server, settings_of(server), environment)


def environment_of(server: Server) -> Mapping[str, str]:
    """What every program needs in its environment to work on this cloud."""
    credentials = f"{server.access_key}:{server.secret_key}@"
    return {
        **server.environment,
        **NAMES,
        "BYTEREEL_ENDPOINT_URL": server.endpoint_url,
        "RCLONE_CONFIG_EMULATION_TYPE": "s3",
        "RCLONE_CONFIG_EMULATION_PROVIDER": "Other",
        "RCLONE_CONFIG_EMULATION_ENV_AUTH": "true",
        "RCLONE_CONFIG_EMULATION_ENDPOINT": server.endpoint_url,
        "MC_HOST_emulation": server.endpoint_url.replace("://", f"://{credentials}"),
    }


def settings_of(server: Server) -> Settings:
    """The settings that name this cloud, whatever this process's environment says."""
    chosen = {name.removeprefix("BYTEREEL_").lower(): value for name, value in NAMES.items()}
    return load_settings(endpoint_url=server.endpoint_url, region=server.environment["AWS_REGION"], **chosen)


@contextmanager
def running_functions(folder: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The functions behind the runtime API, heard through the queues of this cloud; their log is in `functions/log`."""
    with process([sys.executable, "-m", "localstack.functions"], folder / "functions", _of_child(environment)) as child:
        yield child


def _bootstrap(folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localstack.bootstrap"],
        cwd=folder,
        env={**os.environ, **_of_child(environment)},
        capture_output=True,
        encoding="utf-8",
        timeout=BOOTSTRAP_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise Temporary("emulation.failed", done.stderr.strip() or f"the bootstrap ended with {done.returncode}")


def _of_child(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def _refuse_second(folder: Path) -> None:
    """Two emulators on one folder would undo each other's state; one whose parent was killed may still run."""
    try:
        noted = json.loads((folder / "running.json").read_text("utf-8"))
        with urllib.request.urlopen(f"{noted['endpoint_url']}/_ministack/health", timeout=2):
            pass
    except (OSError, ValueError, KeyError, TypeError):
        return
    raise Permanent(
        "emulation.running",
        f"an emulator already works in {str(folder)!r}: it answers at {noted['endpoint_url']}",
        hint=f"use it, end it (kill {noted['pids']}), or choose another folder with --folder",
    )


@contextmanager
def _noted(folder: Path, server: Server) -> Iterator[None]:
    note = folder / "running.json"
    pids = " ".join(str(child.pid) for child in psutil.Process().children())
    note.write_text(json.dumps({"endpoint_url": server.endpoint_url, "pids": pids}), "utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _write_exports(folder: Path, environment: Mapping[str, str]) -> None:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    (folder / "environment").write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until it is told to stop; return its exit code, as those of `bytereel`."""
    parser = argparse.ArgumentParser(prog="python -m localstack.emulate", description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where its state stays (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="another one is taken where this one is (%(default)s)")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with emulation(chosen.folder, port=_port_near(chosen.port), keep=True) as cloud:
            print("\n".join(guide(cloud)), flush=True)
            os.environ.update(cloud.environment)
            follow(open_jobs(cloud.settings))
    except StoppedError:
        print("emulate: ended; its state is kept", file=sys.stderr)
    except BytereelError as error:
        print(f"emulate: {reason_of(error)}", file=sys.stderr)
        return exit_code_of(error)
    except (TimeoutError, RuntimeError) as error:
        print(f"emulate: {error}; {chosen.folder}/ministack/log may say why", file=sys.stderr)
        return exit_code_of(Temporary("emulation.failed", str(error)))
    return 0


class StoppedError(BaseException):
    """Somebody pressed Ctrl-C or sent SIGTERM. No Exception: nothing on the way may take it for a failure."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End what runs, once: a second signal must not cut the ending short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise StoppedError


def _port_near(port: int) -> int:
    """The port, where nothing listens on it; connections of an earlier run that still linger there do not count."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return free_port()
    return port


def guide(cloud: Emulation) -> Sequence[str]:
    """What a user can type next, line by line."""
    inbox, outbox = cloud.settings.inbox_bucket, cloud.settings.outbox_bucket
    folder, bin_folder = _path_text(cloud.folder), _path_text(SCRIPTS)
    return [
        f"The cloud answers at {cloud.server.endpoint_url}; its state stays in {folder}. Ctrl-C ends it.",
        "In another terminal, in this folder:",
        "",
        f"  . {folder}/environment              # endpoint, credentials, buckets: for every line below",
        f"  PATH={bin_folder}:$PATH",
        "",
        f"  aws s3 cp FILE s3://{inbox}/archive/         # each of these uploads makes a job",
        f"  rclone copy FILE emulation:{inbox}/archive",
        f"  mc cp FILE emulation/{inbox}/archive/",
        '  python -c \'import boto3, sys; boto3.client("s3").upload_file(sys.argv[1],'
        f' "{inbox}", "archive/" + sys.argv[1])\' FILE',
        "  bytereel put --wait FILE",
        "",
        "  bytereel jobs                             # what became of them; status JOB, get JOB, retry JOB",
        f"  aws s3 ls --recursive s3://{outbox}/",
        f"  aws s3 cp s3://{outbox}/archive/archive/FILE.mp4 . && bytereel decode FILE.mp4 back",
        "",
        "What happens to jobs, as it happens:",
    ]


def _path_text(path: Path) -> str:
    """The path as a shell takes it, short where it lies in the current folder."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def follow(jobs: JobTable) -> None:
    """Print every change of a job's state, until the process is stopped."""
    seen = {job.id: _standing(job) for job in _newest(jobs)}
    while True:
        time.sleep(LOOK_SECONDS)
        for job in reversed(_newest(jobs)):
            standing = _standing(job)
            if seen.get(job.id) != standing:
                print(f"{time.strftime('%H:%M:%S')}  {job.id}  {shown(standing)}", flush=True)
            seen[job.id] = standing


def _newest(jobs: JobTable) -> Sequence[Job]:
    try:
        return jobs.list(limit=JOBS_SHOWN_MAX)
    except Temporary:
        return []


def _standing(job: Job) -> str:
    segments = f"{job.segments_done}/{job.segments_total}" if job.segments_total else ""
    return "  ".join(part for part in (f"{job.state:<10}", segments, job.source.key, job.reason) if part)


if __name__ == "__main__":
    sys.exit(main())
