"""Which workers of a home live: each holds a lock on a file of its own, which the kernel drops when it dies.

An owner's name is used once. A lock that can be taken therefore belongs to the dead, whose leases are freed
at once instead of when they end.
"""

import fcntl
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from bytereel.errors import Temporary
from bytereel.ports import OwnerLeases

log = logging.getLogger(__name__)

SUFFIX = ".lock"
OWNERS_MAX = 10_000
LOCK_ATTEMPTS_MAX = 100


def new_owner() -> str:
    """A name that no process had before."""
    return f"{os.getpid()}-{uuid.uuid4().hex[:12]}"


class OwnerLock:
    """This process's name and lock in `folder`, from the constructor to `close` or the process's end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.owner = new_owner()
        self._path = folder / (self.owner + SUFFIX)
        self._descriptor = _locked(self._path)

    def close(self) -> None:
        """Let go of the name."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def __enter__(self) -> "OwnerLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_the_dead(owned: Sequence[OwnerLeases], folder: Path) -> int:
    """Free what dead workers held, in the order of `owned`; return how many workers were found dead.

    Segments go before messages: a message that is had again finds its segment free. Safe in several processes at once.
    """
    dead = 0
    for path in sorted(folder.glob(f"*{SUFFIX}"))[:OWNERS_MAX]:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            _free(owned, path.name.removesuffix(SUFFIX))
            path.unlink(missing_ok=True)
            dead += 1
        finally:
            os.close(descriptor)
    return dead


def count_living(folder: Path) -> int:
    """How many workers hold their lock now; takes none of the locks for longer than the look."""
    return sum(_is_held(path) for path in sorted(folder.glob(f"*{SUFFIX}"))[:OWNERS_MAX])


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _free(owned: Sequence[OwnerLeases], owner: str) -> None:
    freed = sum(leases.release_owner(owner) for leases in owned)
    log.info("worker %s is dead: %d of its leases are free again", owner, freed)


def _locked(path: Path) -> int:
    """Make the file and lock it; again, when a search for the dead took the file away between the two.

    Raises: Temporary `worker.unlocked` when that happened time and again.
    """
    for _ in range(LOCK_ATTEMPTS_MAX):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)
    raise Temporary("worker.unlocked", f"{str(path)!r} was taken away {LOCK_ATTEMPTS_MAX} times", path=str(path))
