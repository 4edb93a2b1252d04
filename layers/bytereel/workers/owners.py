"""Which workers of a home live: each holds a lock on a file of its own, which the kernel drops when it dies.

An owner's name is used once. A lock that can be taken therefore belongs to the dead, whose leases are freed
at once instead of when they end. The folder of the locks, and what is in it, is reached through no link.
"""

import fcntl
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from bytereel.adapters.folder.beneath import entries_of, open_in, opened_folder
from bytereel.adapters.folder.files import translated
from bytereel.errors import Temporary
from bytereel.ports.queues import OwnerLeases

log = logging.getLogger(__name__)

SUFFIX = ".lock"
OWNERS_MAX = 10_000
LOCK_ATTEMPTS_MAX = 100


def new_owner() -> str:
    """A name that no process had before."""
    return f"{os.getpid()}-{uuid.uuid4().hex[:12]}"


class OwnerLock:
    """This process's name and lock in `folder`, from the constructor to `close` or the process's end.

    Raises: Permanent `home.link` where the folder is a link; as `translated`.
    """

    def __init__(self, folder: Path) -> None:
        self.owner = new_owner()
        self._folder = folder
        with translated(folder), _opened(folder, make=True) as locks:
            self._descriptor = _locked(locks, self.owner + SUFFIX)

    def close(self) -> None:
        """Let go of the name."""
        with translated(self._folder), suppress(FileNotFoundError), _opened(self._folder) as locks:
            os.unlink(self.owner + SUFFIX, dir_fd=locks)
        os.close(self._descriptor)

    def __enter__(self) -> "OwnerLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_the_dead(owned: Sequence[OwnerLeases], folder: Path) -> int:
    """Free what dead workers held, in the order of `owned`; return how many workers were found dead.

    Segments go before messages: a message that is had again finds its segment free. Safe in several processes at once.
    Raises: as `OwnerLock`.
    """
    dead = 0
    with translated(folder), suppress(FileNotFoundError), _opened(folder) as locks:
        for name in _names(locks):
            with _tried(locks, name, os.O_RDWR, fcntl.LOCK_EX) as is_free:
                if is_free:
                    _free(owned, name.removesuffix(SUFFIX))
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=locks)
                    dead += 1
    return dead


def count_living(folder: Path) -> int:
    """How many workers hold their lock now; takes none of the locks for longer than the look.

    Raises: as `OwnerLock`.
    """
    living = 0
    with translated(folder), suppress(FileNotFoundError), _opened(folder) as locks:
        for name in _names(locks):
            with _tried(locks, name, os.O_RDONLY, fcntl.LOCK_SH) as is_free:
                living += is_free is False
    return living


def _opened(folder: Path, *, make: bool = False) -> AbstractContextManager[int]:
    return opened_folder(folder.parent, (folder.name,), make=make)


def _names(locks: int) -> Sequence[str]:
    names = sorted(entry.name for entry in entries_of(locks) if entry.is_file and entry.name.endswith(SUFFIX))
    return names[:OWNERS_MAX]


@contextmanager
def _tried(locks: int, name: str, access: int, operation: int) -> Iterator[bool | None]:
    """Whether the lock could be taken, which is then held while the context lasts; None where the file is gone."""
    try:
        descriptor = open_in(locks, name, access)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _free(owned: Sequence[OwnerLeases], owner: str) -> None:
    freed = sum(leases.release_owner(owner) for leases in owned)
    log.info("worker %s is dead: %d of its leases are free again", owner, freed)


def _locked(locks: int, name: str) -> int:
    """Make the file and lock it; again, when a search for the dead took the file away between the two.

    Raises: Temporary `worker.unlocked` when that happened time and again.
    """
    for _ in range(LOCK_ATTEMPTS_MAX):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=locks)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
    raise Temporary("worker.unlocked", f"{name!r} was taken away {LOCK_ATTEMPTS_MAX} times", path=name)
