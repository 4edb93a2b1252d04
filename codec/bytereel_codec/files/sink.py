"""Writing a file by several threads, each its own segment, in the order of the segments; whole or not at all."""

import errno
import os
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from bytereel_codec.errors import BytereelError, Permanent, Temporary
from bytereel_codec.files.parts import new_part
from bytereel_codec.files.ranged import PERMISSION_BITS, Buffer
from bytereel_codec.files.renaming import rename_new

T = TypeVar("T")

_UMASK_DECIDES = 0o666
_OWNER_ALONE = 0o600
_KEEPS_NO_MODES = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of space."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_error(error: OSError, path: object) -> BytereelError:
    """The error of a write as one of the families."""
    if is_full(error):
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


def _stream_error(error: OSError, name: str) -> BytereelError:
    """The error of a write to a stream: what it goes to is not ours to clear up."""
    family = Temporary if is_full(error) else Permanent
    return family(
        "target.full" if family is Temporary else "target.unwritable",
        f"{name} cannot be written: {error.strerror}",
        hint="what was written so far is not complete: throw it away",
    )


def _exists(path: Path) -> Permanent:
    return Permanent("target.exists", f"{str(path)!r} exists", hint="give another name")


class Target(Protocol):
    """Takes bytes at offsets."""

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write all of `content` at `offset`."""


class TargetFile:
    """A file that appears under its name when it is complete: written beside it, synced, then renamed.

    A context: leaving it by an error removes what was written; the next run to the same path removes what a killed one
    left. `mode`: its permission bits once it is complete, until then only its owner has any; what the umask takes is
    taken from them too, unless `exact`. None: as the umask allows.
    Raises: Permanent `target.exists` (unless `replace`), `target.unwritable`; Temporary `target.full`, `target.busy`.
    """

    def __init__(self, path: Path, *, replace: bool = True, mode: int | None = None, exact: bool = False) -> None:
        self.path = path
        self._mode = mode
        self._replace = replace
        self._is_placed = False
        if path.is_dir():
            raise Permanent("target.is_folder", f"{str(path)!r} is a folder", hint="name a file in it")
        if path.exists() and not replace:
            raise _exists(path)
        try:
            self.partial, self.fd = new_part(path, _UMASK_DECIDES if mode is None else mode)
            if mode is not None:
                self._mode = mode if exact else os.fstat(self.fd).st_mode & PERMISSION_BITS
                self._permit(self._mode & _OWNER_ALONE)
        except OSError as error:
            raise write_error(error, path) from error

    def _permit(self, mode: int) -> None:
        """Set the permission bits, where the file system keeps any."""
        try:
            os.fchmod(self.fd, mode)
        except OSError as error:
            if error.errno not in _KEEPS_NO_MODES:
                raise

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
            if self._mode is not None:
                self._permit(self._mode)
            os.fsync(self.fd)
            if self._replace:
                self.partial.replace(self.path)
            else:
                self._take_new_name()
            self._is_placed = True
        except FileExistsError as error:
            raise _exists(self.path) from error
        except OSError as error:
            raise write_error(error, self.path) from error

    def _take_new_name(self) -> None:
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            rename_new(self.partial.name, self.path.name, from_folder=folder, to_folder=folder)
        finally:
            os.close(folder)

    def __enter__(self) -> "TargetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._is_placed:  # else another run may have the name by now
                with suppress(FileNotFoundError):
                    self.partial.unlink()
        finally:
            os.close(self.fd)  # and with it the lock: the name is nobody's before


class StreamTarget:
    """A pipe or other stream: written in order only. `name`: what messages call it."""

    def __init__(self, fd: int, name: str = "standard output") -> None:
        self._fd = fd
        self._name = name
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
            raise _stream_error(error, self._name) from error

    def commit(self, size: int) -> None:
        """What was written has its place already."""
        assert size == self._offset


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


def poured(chunks: Generator[memoryview, None, T], index: int, sink: OrderedSink, kept: bytearray) -> T | None:
    """Write a segment's chunks in its turn, keeping them until then; its facts, or None when another thread failed."""
    held = 0
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as stop:
            if not sink.wait(index):
                return None
            sink.write(memoryview(kept)[:held])
            facts: T = stop.value
            return facts
        if sink.is_turn(index):
            sink.write(memoryview(kept)[:held])
            sink.write(chunk)
            held = 0
        else:
            kept[held : held + len(chunk)] = chunk
            held += len(chunk)
