"""Reading bytes by range: the one way the codec takes input that can be sought."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, Protocol

from bytereel_codec.errors import Integrity, Permanent

_FILE_BUFFER_BYTES = 1 << 20
PERMISSION_BITS = 0o777
Buffer = bytes | bytearray | memoryview


class RangedReader(Protocol):
    """A fixed number of bytes that can be read at any offset, by several threads at once."""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were read, fewer only at the end."""


def mode_of(reader: RangedReader) -> int | None:
    """The 9 permission bits of what is read, where the reader knows any: its attribute `mode`."""
    mode: int | None = getattr(reader, "mode", None)
    return mode


class FileReader:
    """A local file as a `RangedReader`; notices when the file changes under it. `mode`: its 9 permission bits.

    Raises: Permanent `source.missing`, `source.unreadable` or `source.not_a_file` when opened; Integrity
    `source.changed` from `check_unchanged`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise Permanent("source.missing", f"{str(path)!r} does not exist", path=str(path)) from error
        except OSError as error:
            raise Permanent(
                "source.unreadable",
                f"{str(path)!r} cannot be read: {error.strerror}",
                hint="check the permissions of the file and its folders",
                path=str(path),
            ) from error
        stat = os.fstat(self._fd)
        # A file of /proc states no size and has content: what it holds cannot be cut into ranges.
        if not S_ISREG(stat.st_mode) or (stat.st_size == 0 and os.pread(self._fd, 1, 0)):
            os.close(self._fd)
            raise Permanent(
                "source.not_a_file",
                f"{str(path)!r} is not a regular file of a known size",
                hint="give it as a stream",
                path=str(path),
            )
        self._identity = (stat.st_size, stat.st_mtime_ns)
        self.mode = stat.st_mode & PERMISSION_BITS

    @property
    def size_bytes(self) -> int:
        """The size when the file was opened."""
        return self._identity[0]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset` with as few system calls as the kernel allows."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._fd, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def check_unchanged(self) -> None:
        """Raise Integrity `source.changed` when size or modification time moved since the file was opened."""
        stat = os.fstat(self._fd)
        if (stat.st_size, stat.st_mtime_ns) != self._identity or stat.st_nlink == 0:
            raise Integrity(
                "source.changed",
                f"{str(self.path)!r} changed while it was read",
                hint="run it again when nothing writes to the file",
                path=str(self.path),
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> "FileReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BytesReader:
    """Bytes in memory as a `RangedReader`."""

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(content).cast("B")

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return len(self._view)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Copy from the bytes."""
        part = self._view[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


class SeekableReader:
    """A `RangedReader` of any seekable binary file, for several threads; the file's position is nobody's any more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._size = file.seek(0, io.SEEK_END)

    @property
    def size_bytes(self) -> int:
        """The size that it had when it was given."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """As `RangedReader.read_into`."""
        with self._lock:
            self._file.seek(offset)
            done = 0
            while done < len(buffer) and (part := self._file.read(len(buffer) - done)):
                buffer[done : done + len(part)] = part
                done += len(part)
            return done


class SeekableFile(io.RawIOBase):
    """A read-only file of a known size, but for its `readinto`, which reads from `_position` on and moves it."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`. Raises: ValueError for a negative position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position


class RangedFile(SeekableFile):
    """A `RangedReader` as a seekable binary file. One thread at a time."""

    def __init__(self, reader: RangedReader) -> None:
        super().__init__(reader.size_bytes)
        self._reader = reader

    def readinto(self, buffer: Any, /) -> int:
        """As many bytes as there are."""
        count = self._reader.read_into(self._position, memoryview(buffer).cast("B"))
        self._position += count
        return count


def buffered_file(reader: RangedReader) -> io.BufferedReader:
    """A `RangedReader` as a file that is read a MiB at a time."""
    return io.BufferedReader(RangedFile(reader), _FILE_BUFFER_BYTES)


def read_exactly(reader: RangedReader, offset: int, buffer: memoryview) -> None:
    """Fill the whole buffer, or raise Integrity `source.short`: the source ended early."""
    count = reader.read_into(offset, buffer)
    if count != len(buffer):
        raise Integrity(
            "source.short",
            "the source ended before its stated size",
            hint="it was cut while it was read; run it again when nothing writes to it",
            offset=offset,
            expected=len(buffer),
            actual=count,
        )


def read_range(reader: RangedReader, offset: int, length: int) -> bytearray:
    """Up to `length` bytes from `offset`, fewer only at the end. `length` is the caller's own bound."""
    content = bytearray(max(0, min(length, reader.size_bytes - offset)))
    count = reader.read_into(offset, memoryview(content))
    del content[count:]
    return content


def read_fully(stream: BinaryIO, buffer: memoryview) -> int:
    """Fill the buffer from a stream that may give less at a time; return the count, less only at the end."""
    done = 0
    while done < len(buffer):
        read: Callable[[memoryview], int | None] = stream.readinto  # type: ignore[attr-defined]
        count = read(buffer[done:])
        if not count:
            break
        done += count
    return done
