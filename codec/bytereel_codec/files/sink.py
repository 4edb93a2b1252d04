"""Writing a file by several threads, each its own segment, in the order of the segments; whole or not at all."""

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from bytereel_codec.errors import BytereelError, Permanent, Temporary
from bytereel_codec.files.ranged import Buffer


def write_error(error: OSError, path: object) -> BytereelError:
    """The error of a write as one of the families."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Temporary(
            "target.full",
            f"no space left for {str(path)!r}",
            hint="free some space, or write to another disk; nothing half-written was left behind",
        )
    return Permanent(
        "target.unwritable",
        f"{str(path)!r} cannot be written: {error.strerror}",
        hint="check that the folder exists and may be written to",
    )


class Target(Protocol):
    """Takes bytes at offsets."""

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write all of `content` at `offset`."""


class TargetFile:
    """A file that appears under its name when it is complete: written beside it, synced, then renamed.

    A context: leaving it by an error removes what was written. Raises: Permanent `target.exists` (unless `replace`),
    `target.unwritable`; Temporary `target.full`.
    """

    def __init__(self, path: Path, *, replace: bool = True) -> None:
        self.path = path
        self._replace = replace
        if path.is_dir() or (path.exists() and not replace):
            raise Permanent("target.exists", f"{str(path)!r} exists", hint="give another name, or --force")
        self.partial = path.with_name(f".{os.getpid()}.{threading.get_ident()}.bytereel-part")
        try:
            self.fd = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise write_error(error, path) from error

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write all of `content` at `offset`."""
        view = memoryview(content)
        try:
            while view:
                count = os.pwrite(self.fd, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise write_error(error, self.path) from error

    def commit(self, size: int) -> None:
        """Make the file durable at that size, under its name."""
        try:
            os.ftruncate(self.fd, size)
            os.fsync(self.fd)
            if self._replace:
                self.partial.replace(self.path)
            else:
                os.link(self.partial, self.path)
        except FileExistsError as error:
            raise Permanent(
                "target.exists", f"{str(self.path)!r} exists", hint="give another name, or --force"
            ) from error
        except OSError as error:
            raise write_error(error, self.path) from error

    def __enter__(self) -> "TargetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        with suppress(FileNotFoundError):
            self.partial.unlink()


class StreamTarget:
    """A pipe or other stream: written in order only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._offset = 0

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write `content`, which must follow what was written before."""
        assert offset == self._offset
        view = memoryview(content)
        self._offset += len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except BrokenPipeError as error:
            raise Permanent("target.closed", "the reader of the output went away") from error
        except OSError as error:
            raise write_error(error, "standard output") from error


class OrderedSink:
    """Lets threads write segments to a target in the order of their numbers.

    The segment whose turn it is writes through; a later one is kept in its thread's buffer until its turn comes.
    """

    def __init__(self, target: TargetFile | StreamTarget, offset: int) -> None:
        self._target = target
        self.offset = offset
        self._turn = 0
        self._changed = threading.Condition()
        self._aborted = False

    def start_again(self) -> None:
        """Count segments from 0 again, behind what was written."""
        self._turn = 0

    def is_turn(self, index: int) -> bool:
        """Whether segment `index` may write through."""
        return self._turn == index

    def write(self, content: Buffer) -> None:
        """Write for the segment whose turn it is."""
        self._target.write_at(self.offset, content)
        self.offset += len(content)

    def wait(self, index: int) -> bool:
        """Wait for the turn of segment `index`; False when another thread failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == index or self._aborted)
            return not self._aborted

    def pass_on(self) -> None:
        """Give the turn to the next segment."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake every waiting thread to give up."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
