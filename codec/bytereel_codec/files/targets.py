"""Where a result goes, decided before any work is done: standard output, a pipe, a device, or a file of its own.

As `cp` does: what is there and is no file is written into and stays what it is, and a file behind a link is replaced
where it lies, the link kept. A file's own content is never written over in place: it appears whole or not at all.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bytereel_codec.errors import Permanent
from bytereel_codec.files.sink import StreamTarget, TargetFile, write_error

STANDARD = "-"
_DEVICES = ("/dev/", "/proc/")


def is_standard_output(target: str) -> bool:
    """Whether it is standard output, by `-` or by one of its paths (`/dev/stdout`, `/dev/fd/1`)."""
    if target == STANDARD:
        return True
    try:
        return target.startswith(_DEVICES) and os.path.samestat(Path(target).stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is none, or nothing is open as such
        return False


def is_stream(target: str) -> bool:
    """Whether bytes go there in order only, and cannot be taken back: standard output, a pipe, a character device."""
    return is_standard_output(target) or _kind(Path(target)) in (stat.S_IFIFO, stat.S_IFCHR)


@contextmanager
def opened_target(
    target: str, *, replace: bool = True, mode: int | None = None, exact: bool = False
) -> Iterator[TargetFile | StreamTarget]:
    """The target opened to be written; a file is as `TargetFile` says.

    Opening a pipe waits for its reader. Raises: Permanent `target.exists` (unless `replace`), `target.special` for what
    is neither file, pipe nor character device, `target.dangling` for a link to nothing, `target.unwritable`.
    """
    path = Path(target)
    if not target or (target.endswith("/") and not path.is_dir()):
        raise Permanent("target.no_name", f"{target!r} names no file", hint="name one, or make the folder first")
    if is_standard_output(target):
        yield StreamTarget(sys.stdout.fileno())
    elif is_stream(target):
        with _opened(path) as descriptor:
            yield StreamTarget(descriptor, repr(target))
    else:
        with TargetFile(_behind_links(path), replace=replace, mode=mode, exact=exact) as file:
            yield file


def named_in(target: str, name: str) -> str:
    """The path of that name in the folder that `target` is; `target` itself where it is no folder."""
    return str(Path(target, name)) if target not in ("", STANDARD) and Path(target).is_dir() else target


def _kind(path: Path) -> int | None:
    """The type of what the path leads to, as in `st_mode`; None where nothing is."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise write_error(error, path) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _behind_links(path: Path) -> Path:
    """The path of the file itself. Refuses what is there and cannot become one."""
    kind = _kind(path)
    if kind in (stat.S_IFBLK, stat.S_IFSOCK):
        what = "block device" if kind == stat.S_IFBLK else "socket"
        raise Permanent(
            "target.special", f"{str(path)!r} is a {what}", hint="write to standard output, and send that there"
        )
    if not path.is_symlink():
        return path
    if kind is None:
        raise Permanent(
            "target.dangling",
            f"{str(path)!r} is a link to {str(path.readlink())!r}, which is not there",
            hint="remove the link, or name the file that it should lead to",
        )
    return path.resolve()
