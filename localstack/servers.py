"""Servers from wheels that speak the APIs of the cloud, each a process on 127.0.0.1 with its state in one folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
REGION = "us-east-1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
SCRIPTS = Path(sys.executable).parent

MINISTACK = """
import crc32c, ministack.app, ministack.services.s3 as s3
if callable(getattr(s3, "_crc32c", None)):
    s3._crc32c = crc32c.crc32c
ministack.app.main()
"""
"""Its own CRC32C is a loop in Python, 10 MB/s; the same sum from a library keeps an upload from waiting for it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it is, and credentials that it takes."""

    endpoint_url: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What every client of the AWS family reads, so that it talks to this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def ministack(folder: Path, port: int | None = None, *, keep: bool = False) -> Iterator[Server]:
    """The AWS emulator; `keep` has its state survive the end of the process, in `folder`.

    Raises: TimeoutError when it does not answer, RuntimeError when it ends at once (the log says why).
    """
    port = port or free_port()
    persisted = {"PERSIST_STATE": "1", "S3_PERSIST": "1"} if keep else {}
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",  # it would listen on every interface
        "S3_DATA_DIR": str(folder / "s3"),
        "STATE_DIR": str(folder / "state"),
        **persisted,
    }
    server = Server(f"http://{HOST}:{port}", "test", "test")
    with process([sys.executable, "-c", MINISTACK], folder / "ministack", settings) as running:
        wait_until_it_answers(running, f"{server.endpoint_url}/_ministack/health")
        yield server


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    """An S3 store that checks signatures: only the credentials of the server it yields are taken."""
    server_folder = folder / "seaweedfs"
    (server_folder / "blobs").mkdir(parents=True)
    access_key, secret_key = "bytereel", "not-a-secret-but-checked"
    identity = {
        "name": "bytereel",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config = server_folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}), "ascii")
    port, master, volume, filer = (free_port_below(50_000) for _ in range(4))
    command = [str(SCRIPTS / "weed"), "server", f"-dir={server_folder / 'blobs'}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    command += ["-s3", f"-s3.port={port}", f"-s3.config={config}", f"-master.port={master}", f"-volume.port={volume}"]
    command += [f"-filer.port={filer}", "-volume.max=0", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.volumeSizeLimitMB=1024", "-master.telemetry=false"]
    server = Server(f"http://{HOST}:{port}", access_key, secret_key)
    # It ignores SIGTERM for long, and what it holds is thrown away here.
    with process(command, server_folder, {}, stop_seconds=0.5) as running:
        wait_until_it_answers(running, server.endpoint_url)
        yield server


@contextmanager
def process(
    command: Sequence[str], folder: Path, settings: Mapping[str, str], *, stop_seconds: float = STOP_SECONDS_MAX
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in `folder`, its output in `log` there, and end it and its children with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            _end(running, stop_seconds)


def wait_until_it_answers(running: "subprocess.Popen[bytes]", url: str) -> None:
    """Return once `url` answers, with whatever status. Raises: TimeoutError; RuntimeError when the process ended."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise RuntimeError(f"{running.args!r} ended with status {running.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} does not answer after {START_SECONDS_MAX:g} s")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def free_port_below(limit: int) -> int:
    """A free port below `limit` whose gRPC sister, 10,000 above, is free too: SeaweedFS listens on both."""
    for _ in range(100):
        port = limit // 2 + free_port() % (limit // 2)
        if _is_free(port) and _is_free(port + 10_000):
            return port
    raise OSError("no pair of free ports was found")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def _end(running: "subprocess.Popen[bytes]", stop_seconds: float) -> None:
    try:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(stop_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    except ProcessLookupError:
        running.wait()
