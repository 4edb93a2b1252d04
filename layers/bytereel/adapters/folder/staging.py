"""New files, written aside and synced before they are moved to their place; and those that a dead process left.

A staged file is locked while it is written, and the kernel drops a dead process's locks: one whose lock can be taken is
written by nobody any more.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bytereel.adapters.folder.beneath import PathBelow, entries_of, open_folder, open_in, sync_folder
from bytereel.adapters.folder.files import move, translated

NEW_FILE_ATTEMPTS_MAX = 100
NEW_FILE_MODE = 0o666
NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StagedFile:
    """A new file in a folder aside, to be written, synced and moved; a context that leaves nothing behind.

    Its lock is held until the context or the process ends. `mode`: its permission bits, less what the umask takes.
    """

    def __init__(self, top: Path, folder: str, mode: int | None = None) -> None:
        self._path = PathBelow(top, (folder,))
        self._kept = False
        with translated(self._path):
            self._folder = open_folder(top, (folder,), make=True)
            try:
                self.name, self._descriptor = _new_file(self._folder, NEW_FILE_MODE if mode is None else mode)
            except BaseException:
                os.close(self._folder)
                raise

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self._kept:
                with suppress(FileNotFoundError):
                    os.unlink(self.name, dir_fd=self._folder)
        finally:
            os.close(self._descriptor)
            os.close(self._folder)

    def keep(self) -> None:
        """Leave the file where it is when the context ends: from now on somebody else answers for it."""
        self._kept = True

    def write(self, buffer: bytes | bytearray | memoryview) -> None:
        """Append the whole buffer, without copying it."""
        rest = memoryview(buffer).cast("B")
        with translated(self._path):
            while len(rest):
                rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> os.stat_result:
        """Make the content durable; return what the file now is."""
        with translated(self._path):
            os.fsync(self._descriptor)
        return self.stat()

    def sync_name(self) -> None:
        """Make the staged file's name durable too."""
        sync_folder(self._folder)

    def can_be_moved_to(self, folder: int) -> bool:
        """Whether the open folder lies on the same file system, as far as device numbers tell."""
        return os.fstat(self._folder).st_dev == os.fstat(folder).st_dev

    def stat(self) -> os.stat_result:
        """What the file is, wherever it was moved to; no link is left when somebody removed it."""
        return os.fstat(self._descriptor)

    def move(self, target: PathBelow, *, if_absent: bool = False) -> None:
        """As `move`, for this file."""
        move(self._folder, self.name, target, if_absent=if_absent)


def _new_file(folder: int, mode: int) -> tuple[str, int]:
    """Make and lock a file: its name and descriptor; another, where one was taken for abandoned between the two."""
    for _ in range(NEW_FILE_ATTEMPTS_MAX):
        name = uuid.uuid4().hex
        descriptor = os.open(name, NEW_FILE_FLAGS, mode, dir_fd=folder)
        try:
            is_ours = is_lockable(descriptor) and os.fstat(descriptor).st_nlink > 0
        except OSError:
            os.close(descriptor)
            raise
        if is_ours:
            return name, descriptor
        os.close(descriptor)
    raise OSError(errno.EAGAIN, "every new file was taken away")


def is_lockable(descriptor: int) -> bool:
    """Whether nobody else holds the file's lock; it is held from now on, until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def abandoned(folder: int) -> Iterator[str]:
    """The names of the folder's files that nobody writes any more; each is locked until the next is asked for."""
    for entry in entries_of(folder):
        if not entry.is_file:
            continue
        with suppress(FileNotFoundError, PermissionError):
            descriptor = open_in(folder, entry.name, os.O_RDONLY)
            try:
                if is_lockable(descriptor):
                    yield entry.name
            finally:
                os.close(descriptor)
