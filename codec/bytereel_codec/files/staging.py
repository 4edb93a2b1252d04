"""Where a folder or file is made before it has its name: beside it, under a name bound to it, held by a lock.

The lock tells a run under way from one that was killed: the next run to the same target finds what that one left, and
clears it. Nothing is followed or taken over that another user put there.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from bytereel_codec.errors import Permanent, Temporary
from bytereel_codec.files.names import fitted_name
from bytereel_codec.files.parts import PART_SUFFIX
from bytereel_codec.files.sink import write_error

_LOCK = "lock"
_TRIES_MAX = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFolder:
    """An empty folder of our own beside `target`, for one run at a time. Closing it clears it away.

    Raises: Temporary `target.busy` while another run makes the same target; Permanent `target.unwritable`,
    `target.staging_taken` where its name belongs to somebody else.
    """

    def __init__(self, target: Path) -> None:
        self.path = staging_path(target)
        self._folder, self._lock = self._held(target)
        try:
            clear_folder(self._folder, keep=_LOCK)
        except OSError as error:
            self._let_go()
            raise write_error(error, self.path) from error

    def close(self) -> None:
        """Remove the folder and all that is left in it."""
        with suppress(OSError):  # what cannot be removed now is for the next run
            clear_folder(self._folder, keep=_LOCK)
            os.unlink(_LOCK, dir_fd=self._folder)
            self.path.rmdir()
        self._let_go()

    def _let_go(self) -> None:
        os.close(self._lock)
        os.close(self._folder)

    def _held(self, target: Path) -> tuple[int, int]:
        """Make or find the folder and take its lock, anew where another run has just cleared it away.

        Returns the descriptors of both.
        """
        try:
            for _ in range(_TRIES_MAX):
                with suppress(FileExistsError):
                    self.path.mkdir(mode=0o700)
                with suppress(FileNotFoundError):  # cleared away since
                    folder = self._own_folder()
                    if (lock := _locked(folder)) is not None:
                        return folder, lock
        except OSError as error:
            raise write_error(error, self.path) from error
        raise Temporary(
            "target.busy", f"another run is writing {str(target)!r}", hint="wait for it, or give another name"
        )

    def _own_folder(self) -> int:
        """The descriptor of the folder. Refuses a link, a file, a folder that others may change."""
        try:
            folder = os.open(self.path, _FOLDER)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # a file, or a link: none is followed
                raise self._taken() from error
            raise
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            os.close(folder)
            raise self._taken()
        return folder

    def _taken(self) -> Permanent:
        return Permanent(
            "target.staging_taken",
            f"{str(self.path)!r}, where the target would be made, is not ours",
            hint="remove it, or write to another folder",
        )


def _locked(folder: int) -> int | None:
    """The descriptor of the folder's lock, held; None, and `folder` closed, where another run has or just had it."""
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        if try_lock(lock) and _is_at(lock, folder):
            return lock
    except OSError:
        os.close(folder)
        raise
    os.close(lock)
    os.close(folder)
    return None


def staging_path(target: Path) -> Path:
    """The name under which that target is made."""
    return target.with_name(fitted_name(f".{target.name}", PART_SUFFIX))


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file for as long as it stays open; False while another has it.

    True too where the file system knows no locks: then nothing tells a live run from a dead one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _is_at(lock: int, folder: int) -> bool:
    """Whether the open lock is the one in the folder: another run may have removed it since."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(_LOCK, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def clear_folder(folder: int, below: str = ".", *, keep: str = "") -> None:
    """Remove what is below the open folder, which is ours alone, but for `keep`.

    Memory does not grow with what is there; one descriptor a level is open.
    """
    descriptor = os.open(below, _FOLDER, dir_fd=folder)
    try:
        entries = os.scandir(descriptor)  # which has a descriptor of its own
    finally:
        os.close(descriptor)
    with entries:
        for entry in entries:
            path = f"{below}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                clear_folder(folder, path)
                os.rmdir(path, dir_fd=folder)
            elif entry.name != keep:
                os.unlink(path, dir_fd=folder)
