"""Starting the fork server, once a process and only when a foreign video is met; starting children by it.

Several threads may ask at once. A process that was forked off this one gets a server of its own. The server is a fresh
interpreter: it has none of this process's memory, secrets, descriptors, environment or threads.
"""

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from bytereel_codec.errors import Temporary
from bytereel_codec.libav.sandbox.wire import Job

_START_SECONDS_MAX = 60.0
_END_SECONDS_MAX = 5.0
_STARTS_MAX = 2
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from bytereel_codec.libav.sandbox.server import main; main(int(sys.argv[1]))"
)
_LOADER_PATH = "LD_LIBRARY_PATH"  # without it an interpreter may not find its own library (AWS Lambda's)
_ARENAS = {"MALLOC_ARENA_MAX": "2"}  # an allocator's reserves count as memory, those of each thread


class ForkServer:
    """A running server."""

    def __init__(self) -> None:
        """Start it; that it is ready shows with the first job."""
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(theirs.fileno()), *_module_paths()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self.owner = os.getpid()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs, and is this process's own."""
        return self.owner == os.getpid() and self._process.poll() is None

    def start(self, job: Job, memory_fd: int) -> socket.socket:
        """Start a child for the job; return the connection to it. Raises: OSError when the server is gone."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [job.pack()], [theirs.fileno(), memory_fd])
        except OSError:
            ours.close()
            raise
        return ours

    def close(self) -> None:
        """End it and its children. Idempotent."""
        self._control.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(_END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class _Servers:
    """The one of this process, from when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: ForkServer | None = None

    def get(self) -> ForkServer:
        """The server, a new one where there is none that lives."""
        with self._lock:
            if self._server is None or not self._server.is_alive():
                self.end()
                self._server = ForkServer()
            return self._server

    def end(self) -> None:
        """End it, if there is one."""
        if self._server is not None:
            self._server.close()
        self._server = None

    def forget_after_fork(self) -> None:
        """In a process that was forked off: the server is its parent's, and so may the lock be."""
        self._lock = threading.Lock()
        self.end()


_servers = _Servers()
os.register_at_fork(after_in_child=_servers.forget_after_fork)


def server() -> ForkServer:
    """This process's server, started where there is none that lives. Raises: OSError when it cannot be."""
    return _servers.get()


@atexit.register
def end_server() -> None:
    """End the server and its children; the next job starts another one. Idempotent."""
    _servers.end()


def start_child(job: Job, memory_fd: int) -> socket.socket:
    """The connection to a new child that runs the job. Raises: Temporary `media.no_sandbox`."""
    failure: OSError | None = None
    for _ in range(_STARTS_MAX):
        try:
            return server().start(job, memory_fd)
        except OSError as error:
            failure = error
    raise no_sandbox(failure)


def no_sandbox(cause: BaseException | None = None) -> Temporary:
    """That foreign videos cannot be read here."""
    error = Temporary(
        "media.no_sandbox",
        "the process that reads foreign videos cannot be started, or was killed",
        hint="the machine may be short of memory or processes",
    )
    error.__cause__ = cause
    return error


def _module_paths() -> list[str]:
    """Where modules are looked for; never in the folder that the user stands in."""
    return [str(Path(__file__).resolve().parents[3]), *(path for path in sys.path if Path(path).is_absolute())]


def _environment() -> dict[str, str]:
    with contextlib.suppress(KeyError):
        return {**_ARENAS, _LOADER_PATH: os.environ[_LOADER_PATH]}  # noqa: TID251 - for the loader alone
    return dict(_ARENAS)
