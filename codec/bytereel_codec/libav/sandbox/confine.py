"""What a child gives up before it looks at a foreign byte. Nothing of it can be taken back.

No memory, time or files beyond its limits; no descriptor but its connection; no new privileges, another user where it
may; it dies with the server. Landlock and seccomp are not used here.

Source: setrlimit(2), prctl(2), credentials(7).
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

from bytereel_codec.libav.sandbox.limits import PROBING_BYTES, decoding_bytes
from bytereel_codec.libav.sandbox.wire import Job

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_NOBODY = 65534
CONNECTION = 3
DESCRIPTORS_MAX = 1024
"""The server has none above."""

_ADDRESS_SLACK_BYTES = 1 << 30  # libraries, shared memory, what an allocator reserves and does not use
_LIBC = ctypes.CDLL(None, use_errno=True)


def confine(job: Job, connection_fd: int, server_pid: int) -> None:
    """Confine this process for the job; the connection becomes descriptor 3. Raises: OSError where a limit fails."""
    _keep_only(connection_fd)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.environ.clear()  # noqa: TID251 - nothing is read from it, and nothing shall be
    _become_nobody()
    _set_limits(job)
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # last: another user's process loses it
        if os.getppid() != server_pid:
            os._exit(1)


def _keep_only(connection_fd: int) -> None:
    """Leave no descriptor but the connection, and /dev/null in the places of the standard ones."""
    nothing = os.open(os.devnull, os.O_RDWR)
    connection = os.dup(connection_fd) if connection_fd < CONNECTION else connection_fd
    os.dup2(connection, CONNECTION)
    for standard in range(CONNECTION):
        os.dup2(nothing, standard)
    os.closerange(CONNECTION + 1, DESCRIPTORS_MAX)


def _become_nobody() -> None:
    """Be another user where this one is root and may; in a container it may be neither."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def allow_pictures(job: Job, pixels: int, sample_bytes: int) -> None:
    """Raise the limit of memory to what decoding such pictures takes: the file's start was read with less."""
    if sys.platform == "linux":
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = decoding_bytes(pixels, sample_bytes, job.threads)
        resource.setrlimit(resource.RLIMIT_DATA, (max(soft, min(wanted, hard)), hard))


def _set_limits(job: Job) -> None:
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (CONNECTION + 1, CONNECTION + 1),
        resource.RLIMIT_CPU: (job.cpu_seconds, job.cpu_seconds + 1),  # so that the signal says which limit it was
    }
    if sys.platform == "linux":  # others count these differently, or not at all
        most = job.data_bytes + _ADDRESS_SLACK_BYTES
        limits[resource.RLIMIT_DATA] = (min(PROBING_BYTES, job.data_bytes), job.data_bytes)
        limits[resource.RLIMIT_AS] = (most, most)
        if job.threads == 1:
            limits[resource.RLIMIT_NPROC] = (0, 0)  # threads count too
    for limit, (soft, hard) in limits.items():
        _, highest = resource.getrlimit(limit)
        lowered = hard if highest == resource.RLIM_INFINITY else min(hard, highest)
        resource.setrlimit(limit, (min(soft, lowered), lowered))
