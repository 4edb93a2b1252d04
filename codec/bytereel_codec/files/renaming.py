"""A complete file takes its name where no file has it yet, on file systems with hard links and without.

A hard link is the plain way: it never replaces, and every kernel knows it. exFAT, FAT, many network shares and FUSE
have none: there Linux can rename without replacing. Where neither is to be had, those that rename into a folder take
turns by its lock, and a file that another program makes in the very moment is replaced.

Source: link(2), rename(2): RENAME_NOREPLACE; flock(2).
"""

import errno
import fcntl
import os
from contextlib import suppress

_NO_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK,
                       errno.EINVAL})  # fmt: skip
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_REPLACE = 1


def has_no_links(error: OSError) -> bool:
    """Whether what `link` said may mean that the file system knows no hard links."""
    return error.errno in _NO_LINKS


def rename_new(staged: str, name: str, *, from_folder: int, to_folder: int) -> None:
    """Rename a file of one open folder to a name in another on the same file system, in which it must be new.

    Raises: FileExistsError where something has the name already; OSError.
    """
    try:
        os.link(staged, name, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    except OSError as error:
        if not has_no_links(error):
            raise
    else:
        with suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=from_folder)
        return
    if not _renamed_by_flag(staged, name, from_folder, to_folder):
        _rename_in_turn(staged, name, from_folder, to_folder)


def _renamed_by_flag(staged: str, name: str, from_folder: int, to_folder: int) -> bool:
    """Rename without replacing, by the kernel; False where kernel, C library or file system know no such thing."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    if library.renameat2(from_folder, os.fsencode(staged), to_folder, os.fsencode(name), _NO_REPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_FLAGS:
        return False
    raise OSError(number, os.strerror(number), name)


def _rename_in_turn(staged: str, name: str, from_folder: int, to_folder: int) -> None:
    lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=to_folder)
    try:
        with suppress(OSError):  # a file system without locks: then it is the best that can be done
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=to_folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(staged, name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
    finally:
        os.close(lock)
