"""Files and folders below a top folder, reached by descriptor: no link is followed at any component.

A path is looked up anew at every use, so a folder that somebody swaps for a link leads elsewhere from one call to the
next. Here each folder is opened in the one before it, never through a link, and every name is looked up in an open
folder: whatever is swapped and whenever, what is touched lay below the top at that moment. The top itself is opened by
its path; it and what is above it may be links. Mount points below it are passed like folders.

Only regular files are opened, and looking whether one is never waits: pipes, sockets and devices stay untouched.
"""

import errno
import os
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TOP_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""With O_PATH a folder that may be passed but not read is passed, as a path would."""
FOLDER_FLAGS = TOP_FLAGS | os.O_NOFOLLOW
LISTED_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
NO_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
"""What opening a link as a folder gives. Source: open(2), O_NOFOLLOW and O_DIRECTORY."""
NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""What opening a link, a socket or a device without a driver gives."""


class LinkInTheWayError(NotADirectoryError):
    """A link stands where a folder is needed; `filename` is its whole path, `depth` 1 when it is just below the top."""

    depth = 0


def says_absent(error: OSError) -> bool:
    """Whether the error says that there is no such file: what leads to it is absent, a file, or a link below depth 1.

    A link at depth 1 stands for a whole bucket: what is in that is unknown, and not absent.
    """
    if isinstance(error, LinkInTheWayError):
        return error.depth > 1
    return isinstance(error, FileNotFoundError | NotADirectoryError)


def open_folder(top: Path, names: Sequence[str] = (), *, make: bool = False) -> int:
    """A descriptor of the folder `names` below `top`, to look names up in; the caller closes it.

    With `make`, absent folders are made, each name durable. Raises: LinkInTheWayError; OSError.
    """
    descriptor = os.open(top, TOP_FLAGS)
    for depth, name in enumerate(names, 1):
        above = descriptor
        try:
            descriptor = _open_below(above, name, make=make)
        except OSError as error:
            error.filename = str(Path(top, *names[:depth]))
            if isinstance(error, LinkInTheWayError):
                error.depth = depth
            raise
        finally:
            os.close(above)
    return descriptor


@contextmanager
def opened_folder(top: Path, names: Sequence[str] = (), *, make: bool = False) -> Iterator[int]:
    """As `open_folder`, for as long as the context lasts."""
    descriptor = open_folder(top, names, make=make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(folder: int) -> None:
    """Make the names in the open folder durable."""
    descriptor = os.open(".", LISTED_FLAGS, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder; of a link, a pipe, a socket and a device neither holds."""

    name: str
    is_folder: bool
    is_file: bool


def entries_of(folder: int) -> list[Entry]:
    """What is in the open folder, in no order."""
    descriptor = os.open(".", LISTED_FLAGS, dir_fd=folder)
    try:
        with os.scandir(descriptor) as entries:
            return [
                Entry(each.name, each.is_dir(follow_symlinks=False), each.is_file(follow_symlinks=False))
                for each in entries
            ]
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class PathBelow:
    """A file below `top`: the names of the folders that lead to it, then its own. `str` of it is the whole path."""

    top: Path
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name in its folder."""
        return self.names[-1]

    def __str__(self) -> str:
        return str(Path(self.top, *self.names))

    @contextmanager
    def parent(self, *, make: bool = False) -> Iterator[int]:
        """The open folder that the file is in, or would be. Raises: as `open_folder`."""
        with opened_folder(self.top, self.names[:-1], make=make) as folder:
            yield folder

    def stat(self) -> os.stat_result:
        """What the name is itself, also where it is a link. Raises: LinkInTheWayError; OSError."""
        with self.parent() as folder:
            return stat_in(folder, self.name)

    def open(self) -> int:
        """A descriptor to read the file with; the caller closes it.

        Raises: FileNotFoundError where there is no regular file; LinkInTheWayError; OSError.
        """
        with self.parent() as folder:
            return open_in(folder, self.name, os.O_RDONLY)


def stat_in(folder: int, name: str) -> os.stat_result:
    """What the name is in the open folder, also where it is a link."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def open_in(folder: int, name: str, access: int) -> int:
    """A descriptor of the regular file of the open folder, for `access` (O_RDONLY, O_RDWR).

    What is none is not even opened, for that alone starts some devices; one swapped in meanwhile is let go unread.
    Raises: FileNotFoundError where there is no regular file; OSError.
    """
    _require_regular(stat_in(folder, name), name)
    try:
        descriptor = os.open(name, access | FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in NO_FILE:
            raise _no_regular_file(name) from error
        raise
    try:
        _require_regular(os.fstat(descriptor), name)
    except FileNotFoundError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(found: os.stat_result, name: str) -> None:
    if not modes.S_ISREG(found.st_mode):
        raise _no_regular_file(name)


def _no_regular_file(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no regular file", name)


def _open_below(above: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, FOLDER_FLAGS, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        if error.errno in NO_FOLDER and _is_link(above, name):
            raise LinkInTheWayError(errno.ELOOP, "a link is in the way", name) from error
        raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
    sync_folder(above)
    return _open_below(above, name, make=False)


def _is_link(folder: int, name: str) -> bool:
    try:
        return modes.S_ISLNK(stat_in(folder, name).st_mode)
    except FileNotFoundError:
        return False
