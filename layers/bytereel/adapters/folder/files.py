"""Files that are moved into their place, durably, and removed again; and what an `OSError` about one means.

Every name is looked up in an open folder (`beneath`). Nothing here knows buckets or objects. An `OSError` is translated
where a caller enters `translated`.
"""

import errno
import itertools
import os
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bytereel_codec.files.renaming import rename_new

from bytereel.adapters.folder.beneath import (
    LinkInTheWayError,
    PathBelow,
    opened_folder,
    says_absent,
    stat_in,
    sync_folder,
)
from bytereel.adapters.folder.versions import is_version
from bytereel.errors import Permanent, Temporary

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
UNNAMEABLE = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY})
MOVE_ATTEMPTS_MAX = 100


@contextmanager
def translated(path: Path | PathBelow) -> Iterator[None]:
    """Turn an `OSError` about `path` into the family that says what to do.

    Raises: Temporary `store.full` or `store.unavailable`; Permanent `home.link`, `home.divided`, `object.unreadable`
    or `object.bad_key`.
    """
    try:
        yield
    except LinkInTheWayError as error:
        raise link_in_the_way(str(error.filename)) from error
    except OSError as error:
        name = str(path)
        if error.errno == errno.EXDEV:
            raise Permanent(
                "home.divided",
                f"{name!r} lies on another file system than the home, and files are moved there whole",
                hint="keep the whole home on one file system",
                path=name,
            ) from error
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


def link_in_the_way(path: str) -> Permanent:
    """`home.link`: something below a home would be reached through a link."""
    return Permanent(
        "home.link",
        f"{path!r} is a link, and nothing below a home is reached through one",
        hint="put a folder in its place; to keep it on another disk, keep the whole home there",
        path=path,
    )


def move(staging: int, staged: str, target: PathBelow, *, if_absent: bool = False) -> None:
    """Give a synced file of the open folder `staging` its place, durable on return.

    With `if_absent`, only where no file is. Makes the folders on the way, again when a concurrent `remove` takes an
    empty one. Raises: FileExistsError with `if_absent`, when the target exists; FileNotFoundError when there is no
    staged file; LinkInTheWayError; OSError.
    """
    for attempt in itertools.count(1):
        try:
            with target.parent(make=True) as folder:
                _rename(staging, staged, folder, target.name, if_absent=if_absent)
                with suppress(FileNotFoundError):  # the object was deleted again, and its folder with it
                    sync_folder(folder)
        except FileNotFoundError:
            if attempt == MOVE_ATTEMPTS_MAX or not _exists(staging, staged):
                raise
        else:
            return


def _rename(staging: int, staged: str, folder: int, name: str, *, if_absent: bool) -> None:
    if not if_absent:
        os.replace(staged, name, src_dir_fd=staging, dst_dir_fd=folder)
        return
    rename_new(staged, name, from_folder=staging, to_folder=folder)


def _exists(folder: int, name: str) -> bool:
    try:
        stat_in(folder, name)
    except FileNotFoundError:
        return False
    return True


def remove(path: PathBelow, version: str = "") -> None:
    """Remove the regular file if present and of the version, and the folders that this leaves empty.

    The first folder below the top stays. Not synced: a file that a power failure brings back is removed again by
    whoever finds it. Raises: LinkInTheWayError where the first folder is a link; OSError.
    """
    try:
        with path.parent() as folder:
            found = stat_in(folder, path.name)
            if not modes.S_ISREG(found.st_mode) or (version and not is_version(version, found)):
                return
            os.unlink(path.name, dir_fd=folder)
    except OSError as error:
        if says_absent(error):
            return
        raise
    for depth in range(len(path.names) - 2, 0, -1):
        try:
            with opened_folder(path.top, path.names[:depth]) as above:
                os.rmdir(path.names[depth], dir_fd=above)
        except OSError:  # not empty, or somebody else removed it: either ends the tidying
            return
