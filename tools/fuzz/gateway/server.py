"""A `bytereel gateway` as a process of its own, with a home, an address and a log."""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from tools.fuzz.target import LawBroken

_LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
_RECORD = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (DEBUG|INFO|WARNING|ERROR) [a-z_.]+: [^\x00-\x1f\x7f]*"
)
_START_SECONDS_MAX = 60.0
_HEALTH_SECONDS_MAX = 20.0
_LOG_BYTES_MAX = 64 << 20


class Server:
    """The gateway's process; a new one takes the place of one that was ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "gateway.log"
        self._read = 0
        self.port = 0

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None and self._process.poll() is None and self._log.stat().st_size < _LOG_BYTES_MAX:
            return
        self.stop()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BYTEREEL_", "AWS_"))}
        buckets = {"INBOX_BUCKET": "uploads", "WORK_BUCKET": "fragments", "OUTBOX_BUCKET": "reels"}
        told = {
            "HOME": str(self._folder / "home"),
            "ENDPOINT_URL": "http://127.0.0.1:9",
            "REGION": "us-east-1",
            **buckets,
        }
        environment = {**kept, **{f"BYTEREEL_{name}": value for name, value in (told | buckets).items()}}
        command = [sys.executable, "-m", "bytereel.cli.main", "gateway", "--listen", "127.0.0.1:0"]
        self._read = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        end = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            if found := _LISTENS.search(self._log.read_text("utf-8", "replace")):
                return int(found[1])
            time.sleep(0.05)
        raise RuntimeError(f"the gateway does not start: {self._log.read_text('utf-8', 'replace')[-2000:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), _HEALTH_SECONDS_MAX)

    def check_health(self) -> None:
        """Raises: LawBroken when the health endpoint does not answer 200 in time; a new process is then started."""
        try:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_HEALTH_SECONDS_MAX)
            client.request("GET", "/healthz", headers={"Connection": "close"})
            status = client.getresponse().status
            client.close()
        except (OSError, http.client.HTTPException) as error:
            self.stop()
            raise LawBroken("no_health", f"{type(error).__name__}: {error}") from error
        if status != http.HTTPStatus.OK:
            raise LawBroken(f"no_health {status}", "the health endpoint refuses")

    def check_log(self) -> None:
        """Raises: LawBroken when what was logged since is not one record a line."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.split(b"\n")[:-1]:
            if not _RECORD.fullmatch(line):
                raise LawBroken("log_line", repr(line[:300]))

    def peak_bytes(self) -> int:
        """The most memory that the process has had."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii", "replace")
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
