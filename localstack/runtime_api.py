"""A function's container without a container: Lambda's Runtime API, and the unmodified `awslambdaric` as its child.

As in Lambda, a child serves one invocation at a time and is kept warm for the next; one that is past its deadline is
killed, and the next invocation starts another. Memory is not limited, and the file system is this machine's.

Source: "Using the Lambda runtime API for custom runtimes", AWS Lambda Developer Guide, version 2018-06-01.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localstack.servers import HOST, REGION

log = logging.getLogger(__name__)

PREFIX = "/2018-06-01/runtime/"
ANSWER_BYTES_MAX = 6 * 1024 * 1024
"""Of a synchronous invocation."""
ACCOUNT = "000000000000"
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
LOOK_SECONDS = 0.05
"""How often a child that does not answer is looked after."""


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """What a deployment says of a function."""

    name: str
    handler: str
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 60.0
    init_seconds_max: float = 60.0
    memory_mebibytes: int = 2048

    @property
    def arn(self) -> str:
        """The function's name for the cloud."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


class FunctionFailedError(Exception):
    """An invocation without an answer: what Lambda would report as the function's error."""

    def __init__(self, error_type: str, message: str, stack: tuple[str, ...] = ()) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message
        self.stack = stack


class LocalFunction:
    """One function in at most one child at a time. Invocations of several threads queue up."""

    def __init__(self, config: FunctionConfig, folder: Path, *, logged: bool = True) -> None:
        """`folder` is where the child works; its output goes to `log_path`, or, not `logged`, where ours goes."""
        self.config = config
        self._folder = folder
        self._logged = logged
        self._lock = threading.Lock()
        self._sandbox: _Sandbox | None = None

    @property
    def log_path(self) -> Path:
        """Where all the children of this function write, one after another."""
        return self._folder / f"{self.config.name}.log"

    def invoke(self, event: Mapping[str, Any], timeout_seconds: float | None = None) -> Any:
        """What the handler answers to `event` within `timeout_seconds` (as the configuration says, for None).

        Raises: FunctionFailedError for an error of the handler, one while it started, a child that ended
        (`Runtime.ExitError`), or the deadline (`Sandbox.Timedout`).
        """
        with self._lock:
            if self._sandbox is None:
                self._sandbox = _Sandbox(self.config, self._folder, self.log_path if self._logged else None)
            try:
                return self._sandbox.invoke(event, timeout_seconds or self.config.timeout_seconds)
            finally:
                if not self._sandbox.is_usable():
                    self._sandbox.close()
                    self._sandbox = None

    def kill(self) -> bool:
        """Kill the child, whatever it does; False when there was none. An invocation under way fails."""
        sandbox = self._sandbox
        return sandbox is not None and sandbox.kill()

    def close(self) -> None:
        """End the child, once its invocation is over."""
        with self._lock:
            if self._sandbox is not None:
                self._sandbox.close()
                self._sandbox = None


@dataclass(frozen=True, slots=True)
class _Invocation:
    id: str
    event: bytes
    deadline_milliseconds: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What the child told the API: that it is `ready`, a `response`, an `error`, or an `init_error`."""

    kind: str
    invocation: str = ""
    body: bytes = b""


class _Sandbox:
    """One child with an API of its own."""

    def __init__(self, config: FunctionConfig, folder: Path, log_path: Path | None) -> None:
        self._config = config
        self._invocations: queue.SimpleQueue[_Invocation | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self._broken = False
        self._server = _Server(self._invocations, self._said, config.arn)
        self._serving = threading.Thread(target=self._server.serve_forever, args=(LOOK_SECONDS,), daemon=True)
        self._serving.start()
        folder.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") if log_path else nullcontext() as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "awslambdaric", config.handler],
                cwd=folder,
                env=self._environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )

    def invoke(self, event: Mapping[str, Any], seconds: float) -> Any:
        self._await("ready", self._config.init_seconds_max, "while it started")
        deadline = int((time.time() + seconds) * 1000)  # rounded down: never more than was granted
        invocation = _Invocation(str(uuid.uuid4()), json.dumps(event).encode(), deadline)
        self._invocations.put(invocation)
        said = self._await("response", seconds, f"RequestId: {invocation.id}")
        if said.invocation != invocation.id:
            raise self._break("Runtime.InvalidAnswer", f"the answer is to the invocation {said.invocation!r}")
        return json.loads(said.body)

    def is_usable(self) -> bool:
        return not self._broken and self._process.poll() is None

    def kill(self) -> bool:
        if self._process.poll() is not None:
            return False
        os.killpg(self._process.pid, signal.SIGKILL)
        return True

    def close(self) -> None:
        self.kill()
        self._process.wait()
        self._invocations.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def _await(self, kind: str, seconds: float, what: str) -> _Said:
        """What the child says next, which must be of that kind. Raises: FunctionFailedError."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ended = self._process.poll()
            try:
                said = self._said.get(timeout=0.0 if ended is not None else min(left, LOOK_SECONDS))
            except queue.Empty:
                if ended is not None:
                    raise self._break("Runtime.ExitError", f"{what} the child ended with status {ended}") from None
                continue
            if said.kind != kind:
                raise self._error_in(said)
            return said
        self.kill()
        raise self._break("Sandbox.Timedout", f"{what} Error: Task timed out after {seconds:.2f} seconds")

    def _error_in(self, said: _Said) -> FunctionFailedError:
        self._broken = said.kind != "error"
        try:
            error = json.loads(said.body)
            stack = tuple(map(str, error.get("stackTrace") or ()))
            return FunctionFailedError(str(error["errorType"]), str(error["errorMessage"]), stack)
        except (ValueError, KeyError, TypeError, AttributeError):
            return FunctionFailedError("Runtime.Unknown", f"{said.kind}: {said.body[:1000]!r}")

    def _break(self, error_type: str, message: str) -> FunctionFailedError:
        self._broken = True
        return FunctionFailedError(error_type, message)

    def _environment(self, folder: Path) -> dict[str, str]:
        config = self._config
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
            **config.environment,
            "AWS_LAMBDA_RUNTIME_API": f"{HOST}:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": config.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.memory_mebibytes),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{config.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": uuid.uuid4().hex,
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": config.handler,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, invocations: "queue.SimpleQueue[_Invocation | None]", said: "queue.SimpleQueue[_Said]", arn: str
    ) -> None:
        super().__init__((HOST, 0), _Requests)
        self.invocations = invocations
        self.said = said
        self.arn = arn

    def handle_error(self, *where: Any) -> None:
        """A child that was killed breaks off its call; anything else is a bug, and printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)


class _Requests(BaseHTTPRequestHandler):
    """The four calls of the API. Each is one put or get; what they mean is the sandbox's business."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}invocation/next":
            self._answer(404, b"{}")
            return
        self.server.said.put(_Said("ready"))
        invocation = self.server.invocations.get()
        if invocation is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_milliseconds),
            "Lambda-Runtime-Invoked-Function-Arn": self.server.arn,
        }
        self._answer(200, invocation.event, headers)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if length > ANSWER_BYTES_MAX:
            self.close_connection = True
            self._answer(413, b"{}")
            return
        body = self.rfile.read(length)
        match self.path.removeprefix(PREFIX).split("/"):
            case ["invocation", invocation, "response" | "error" as kind]:
                said = _Said(kind, invocation, body)
            case ["init", "error"]:
                said = _Said("init_error", body=body)
            case _:
                self._answer(404, b"{}")
                return
        self.server.said.put(said)
        self._answer(202, b'{"status":"OK"}')

    def log_message(self, *said: Any) -> None:
        log.debug(*said)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
