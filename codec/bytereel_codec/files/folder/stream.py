"""A folder as one stream of bytes: tar, POSIX pax, members in sorted order.

Names go in as the bytes they are, whatever the locale; times to the nanosecond; the folder itself is the first member.
What could not come back is refused: links that lead out, what is too deep, files that change meanwhile or have more in
them than they state. Devices, sockets and pipes are left out, and counted. Extended attributes of users go in. Memory
is bounded but for the names of one folder on each level and of files with several hard links.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.folder.links import check_depth, leads_out

_COPY_BYTES = 1 << 20
_ATTRIBUTES_BYTES_MAX = 512 << 10
_OTHER_ATTRIBUTES = ("system.posix_acl", "security.capability", "trusted.")
_MEMBER_BYTES = 3 * tarfile.BLOCKSIZE  # a header, and another one with its text for the fraction of a second
_END_BYTES = 2 * tarfile.BLOCKSIZE


@dataclass(slots=True)
class StreamReport:
    """What of a folder is not in its stream: devices, sockets and pipes; attributes of files and folders."""

    left_out: int = 0
    without_attributes: int = 0


@dataclass(frozen=True, slots=True)
class FolderStream:
    """The reading end of a folder's tar stream, and the writing of it, which goes on beside the reading."""

    stream: BinaryIO
    writing: Future[None]
    report: StreamReport
    """Complete with the stream."""

    def check(self) -> None:
        """Raise what ended the stream early, if something did; only after this is its end the end of the folder."""
        self.writing.result()


@contextmanager
def folder_stream(folder: Path) -> Iterator[FolderStream]:
    """The folder's tar stream, made by a thread while it is read."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, "tar") as pool, os.fdopen(reading, "rb", buffering=0) as stream:
        report = StreamReport()
        yield FolderStream(stream, pool.submit(_write_tar, folder, writing, report), report)


def stream_bytes(folder: Path) -> int:
    """About how long the folder's stream is, by what its files state: headers, contents, padding. Reads no file.

    Raises: OSError.
    """
    root = os.fsencode(folder)
    total = _END_BYTES + _MEMBER_BYTES
    for path in _members(root):
        found = os.lstat(path)
        total += _MEMBER_BYTES
        if stat.S_ISREG(found.st_mode):
            total += -(-found.st_size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return total


def _write_tar(folder: Path, descriptor: int, report: StreamReport) -> None:
    try:
        with (
            os.fdopen(descriptor, "wb", buffering=_COPY_BYTES) as pipe,
            tarfile.open(
                fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", bufsize=_COPY_BYTES
            ) as tar,
        ):
            _FolderWriter(tar, os.fsencode(folder), report).write()
    except BrokenPipeError:
        return  # the reader gave up, and knows why
    except (OSError, ValueError, tarfile.TarError) as error:
        raise Permanent(
            "source.unreadable",
            f"a file of {str(folder)!r} cannot be read: {error}",
            hint="check the permissions below the folder, and that nothing changes it meanwhile",
        ) from error


class _FolderWriter:
    """Adds the members of one folder to a tar stream."""

    def __init__(self, tar: tarfile.TarFile, root: bytes, report: StreamReport) -> None:
        self._tar = tar
        self._report = report
        self._root = root
        self._linked: dict[tuple[int, int], tuple[bytes, int]] = {}

    def write(self) -> None:
        """Add the folder and all that is in it."""
        self._add(b".", self._root)
        for path in _members(self._root):
            self._add(os.path.relpath(path, self._root), path)

    def _add(self, name: bytes, path: bytes) -> None:
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode):
            self._add_file(name, path)
        elif stat.S_ISLNK(found.st_mode):
            self._put(self._link(name, path, found), found)
        elif stat.S_ISDIR(found.st_mode):
            self._put(self._tar.gettarinfo(os.fsdecode(path), _text(name)), found, attributes_of=path)
        else:
            self._report.left_out += 1

    def _link(self, name: bytes, path: bytes, found: os.stat_result) -> tarfile.TarInfo:
        target = os.readlink(path)
        if leads_out(self._root, name, target):
            raise Permanent(
                "source.link_out",
                "a link in the folder leads out of it, and could not come back: "
                f"{os.fsdecode(name)!r} -> {os.fsdecode(target)!r}",
                hint="remove the link, or give a tar stream of the folder",
                name=os.fsdecode(name),
            )
        info = self._tar.gettarinfo(os.fsdecode(path), _text(name))
        info.linkname = _text(target)
        return info

    def _add_file(self, name: bytes, path: bytes) -> None:
        """Add a regular file. Raises: Integrity `source.changed` when it changed meanwhile."""
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            self._tar.inodes.clear()  # type: ignore[attr-defined]  # it would note every file
            info = self._tar.gettarinfo(arcname=_text(name), fileobj=file)
            first = self._first_of(name, found)
            if first is not None:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, _text(first), 0
                self._put(info, found)
                return
            try:
                self._put(info, found, file, attributes_of=file.fileno())
                is_more = bool(file.read(1))
            except OSError as error:
                if _is_changed(file, found):
                    raise _changed(path) from error
                raise
            if _is_changed(file, found):
                raise _changed(path)
            if is_more:
                raise _unstated(path, found.st_size)

    def _put(
        self,
        info: tarfile.TarInfo,
        found: os.stat_result,
        content: BinaryIO | None = None,
        *,
        attributes_of: bytes | int | None = None,
    ) -> None:
        seconds, rest = divmod(found.st_mtime_ns, 10**9)
        info.mtime = seconds
        if rest or seconds < 0:
            sign, (whole, rest) = "-" if seconds < 0 else "", divmod(abs(found.st_mtime_ns), 10**9)
            info.pax_headers = {"mtime": f"{sign}{whole}.{rest:09}"}
        if attributes_of is not None:
            info.pax_headers = {**info.pax_headers, **self._attributes(attributes_of)}
        self._tar.addfile(info, content)
        self._tar.members.clear()  # type: ignore[attr-defined]  # the list would grow with the stream

    def _attributes(self, path: bytes | int) -> dict[str, str]:
        """The extended attributes of users that a file or folder has; others that say something are counted."""
        try:
            names = os.listxattr(path)
        except OSError:  # the file system has none
            return {}
        found, size = {}, 0
        for name in names:
            if not name.startswith("user."):
                self._report.without_attributes += name.startswith(_OTHER_ATTRIBUTES)
                continue
            try:
                value = os.getxattr(path, name) if "=" not in name else b""  # which ends a keyword in pax
                name.encode()
            except (OSError, UnicodeEncodeError):
                value = b""
            size += len(name) + len(value)
            if not value or size > _ATTRIBUTES_BYTES_MAX:
                self._report.without_attributes += 1
                continue
            found[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
        return found

    def _first_of(self, name: bytes, found: os.stat_result) -> bytes | None:
        """The name under which a file of several hard links went in already, if it did."""
        if found.st_nlink == 1:
            return None
        key = (found.st_dev, found.st_ino)
        first, left = self._linked.pop(key, (None, found.st_nlink))
        if left > 1:
            self._linked[key] = (first or name, left - 1)
        return first


def _members(root: bytes) -> Iterator[bytes]:
    def failed(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(root, onerror=failed):
        check_depth(os.path.relpath(parent, root).split(b"/"))
        folders.sort()
        linked = {name for name in folders if os.path.islink(os.path.join(parent, name))}
        for name in sorted([*files, *linked]):
            yield os.path.join(parent, name)
        for name in folders:
            if name not in linked:
                yield os.path.join(parent, name)


def _text(name: bytes) -> str:
    """The name as the tar writer, told that names are UTF-8, turns it into the same bytes again."""
    return name.decode("utf-8", "surrogateescape")


def _is_changed(file: BinaryIO, before: os.stat_result) -> bool:
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def _changed(path: bytes) -> Integrity:
    return Integrity(
        "source.changed",
        f"{os.fsdecode(path)!r} changed while it was read",
        hint="run it again when nothing writes to the folder",
        path=os.fsdecode(path),
    )


def _unstated(path: bytes, size: int) -> Permanent:
    return Permanent(
        "source.unstated",
        f"{os.fsdecode(path)!r} has more in it than the {size} bytes it states",
        hint="copy it to a plain file first",
        path=os.fsdecode(path),
    )
