"""Durable files: written aside, synced, then moved to their place; and the walk over a folder in key order.

Nothing here knows buckets or objects. An `OSError` is translated where a caller enters `translated`.
"""

import errno
import itertools
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bytereel.adapters.keys import KEY_BYTES_MAX
from bytereel.errors import Permanent, Temporary

log = logging.getLogger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
UNNAMEABLE = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY})
MOVE_ATTEMPTS_MAX = 100


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an `OSError` about `path` into the family that says what to do.

    Raises: Temporary `store.full` or `store.unavailable`; Permanent `object.unreadable` or `object.bad_key`.
    """
    try:
        yield
    except OSError as error:
        name = str(path)
        if error.errno in FULL:
            raise Temporary(
                "store.full",
                f"no space is left for {name!r}",
                hint="free some space, then try again (a job: `bytereel retry`)",
                path=name,
            ) from error
        if error.errno in FORBIDDEN:
            raise Permanent(
                "object.unreadable",
                f"{name!r} cannot be used: {error.strerror}",
                hint="check the permissions of the file and its folders",
                path=name,
            ) from error
        if error.errno in UNNAMEABLE:
            raise Permanent(
                "object.bad_key",
                f"{name!r} cannot be a file here: {error.strerror}",
                hint="choose another name for the file",
                path=name,
            ) from error
        raise Temporary(
            "store.unavailable", f"{name!r} cannot be used just now: {error.strerror}", path=name
        ) from error


def version_of(stat: os.stat_result) -> str:
    """What changes whenever the bytes of a file may have changed: size, modification time and inode."""
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"


class StagedFile:
    """A new file in a folder aside, to be written, synced and moved; a context that leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        self._kept = False
        with translated(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o666)

    def __enter__(self) -> "StagedFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not self._kept:
            self.path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Leave the file where it is when the context ends: from now on somebody else answers for it."""
        self._kept = True

    def write(self, buffer: bytes | bytearray | memoryview) -> None:
        """Append the whole buffer, without copying it."""
        rest = memoryview(buffer).cast("B")
        with translated(self.path):
            while len(rest):
                rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> os.stat_result:
        """Make the content durable; return what the file now is."""
        with translated(self.path):
            os.fsync(self._descriptor)
        return self.stat()

    def stat(self) -> os.stat_result:
        """What the file is; no link is left when somebody removed it."""
        return os.fstat(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make the folder and its parents where absent, each name durable."""
    missing = list(itertools.takewhile(lambda each: not each.is_dir(), (folder, *folder.parents)))
    for each in reversed(missing):
        try:
            each.mkdir()
        except FileExistsError as error:
            if each.is_file():
                raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(each)) from error
        sync_folder(each.parent)


def move(staged: Path, target: Path, *, if_absent: bool = False) -> None:
    """Give a synced file its place, durable on return; with `if_absent`, only where no file is.

    Makes the folders on the way, again when a concurrent `remove` takes an empty one. Raises: FileExistsError
    with `if_absent`, when the target exists; FileNotFoundError when there is no staged file; OSError.
    """
    for attempt in itertools.count(1):
        try:
            make_folders(target.parent)
            if if_absent:
                target.hardlink_to(staged)
            else:
                staged.replace(target)
        except FileNotFoundError:
            if attempt == MOVE_ATTEMPTS_MAX or not staged.exists():
                raise
        else:
            break
    with suppress(FileNotFoundError):  # the object was deleted again, and its folder with it
        sync_folder(target.parent)


def remove(path: Path, top: Path) -> None:
    """Remove the file if present, and the folders below `top` that this leaves empty.

    Not synced: a file that a power failure brings back is removed again by whoever finds it.
    """
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    folder = path.parent
    while folder != top:
        try:
            folder.rmdir()
        except OSError:  # not empty, or somebody else removed it: either ends the tidying
            return
        folder = folder.parent


def walk(folder: Path, prefix: str, after: str, above: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below the folder in key order, as (key, stat), for keys with `prefix` and behind `after`.

    Opens only folders that can hold such a key. A file that vanishes meanwhile is left out, and so is what no key
    can name: paths longer than a key may be. Links are not followed.
    """
    for name, is_folder in _entries(folder):
        key = above + name
        if len(os.fsencode(key)) > KEY_BYTES_MAX:
            log.warning("left out, as its path is longer than %d bytes: %r ...", KEY_BYTES_MAX, key[:80])
        elif is_folder:
            if _may_hold(key, prefix, after):
                yield from walk(folder / name[:-1], prefix, after, key)
        elif key > after and key.startswith(prefix):
            try:
                yield key, (folder / name).lstat()
            except FileNotFoundError:
                continue


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Files and folders of a folder in key order: a folder's name ends in the slash its keys go on with."""
    try:
        with os.scandir(folder) as entries:
            kinds = [
                (each.name, each.is_dir(follow_symlinks=False), each.is_file(follow_symlinks=False)) for each in entries
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        log.warning("left out, as it cannot be read: %r: %s", str(folder), error.strerror)
        return []
    return sorted(
        (name + "/" if is_folder else name, is_folder) for name, is_folder, is_file in kinds if is_folder or is_file
    )


def _may_hold(folder_key: str, prefix: str, after: str) -> bool:
    """Whether a key below `folder_key` (it ends in a slash) can have the prefix and come behind `after`."""
    below_prefix = folder_key.startswith(prefix) or prefix.startswith(folder_key)
    return below_prefix and (folder_key > after or after.startswith(folder_key))
