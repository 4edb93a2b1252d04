"""Half-written files: beside their target, under a name bound to it, each locked by the run that writes it.

The kernel drops the lock of a run that was killed, so that the next run to the same target knows what that one left,
and clears it. Where the file system knows no locks, nothing is taken for dead.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from bytereel_codec.errors import Temporary
from bytereel_codec.files.names import fitted_name

PART_SUFFIX = ".bytereel-part"
RUNS_MAX = 16
"""So many runs may write to the same target at once; the last one to end wins, or finds that it exists."""
_TRIES_MAX = 100
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def new_part(target: Path, mode: int) -> tuple[Path, int]:
    """A new, locked file beside the target, and its descriptor, whose closing unlocks it.

    What killed runs to the same target left is cleared. Raises: Temporary `target.busy` where too many runs write to
    it; OSError.
    """
    for number in range(RUNS_MAX):
        path = target.with_name(fitted_name(f".{target.name}.{number}", PART_SUFFIX))
        for _ in range(_TRIES_MAX):
            descriptor = _made(path, mode)
            if descriptor is not None:
                _clear_dead(target, number + 1)
                return path, descriptor
            if not _cleared(path):
                break
    raise Temporary(
        "target.busy", f"{RUNS_MAX} other runs are writing {str(target)!r}", hint="wait for one, or give another name"
    )


def is_free(descriptor: int) -> bool:
    """Whether an open file's lock could be taken; it is held then for as long as the file stays open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _made(path: Path, mode: int) -> int | None:
    """The new file, locked; None where one is there, or another run took this one for dead before it was locked."""
    try:
        descriptor = os.open(path, _NEW, mode)
    except FileExistsError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(descriptor)
            return None
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


def _clear_dead(target: Path, number: int) -> None:
    """Clear what else is left by killed runs, up to the first number that none took."""
    while number < RUNS_MAX:
        path = target.with_name(fitted_name(f".{target.name}.{number}", PART_SUFFIX))
        if not path.is_symlink() and not path.exists():
            return
        with suppress(OSError):
            _cleared(path)
        number += 1


def _cleared(path: Path) -> bool:
    """Remove a file of our own that no run writes any more; False where it stays."""
    try:
        descriptor = os.open(path, _FOUND)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or not is_free(descriptor):
            return False
        with suppress(FileNotFoundError):
            if os.path.samestat(found, os.lstat(path)):
                path.unlink()
        return True
    finally:
        os.close(descriptor)
