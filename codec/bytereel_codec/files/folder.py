"""A folder as one stream of bytes (tar, POSIX pax) and a folder from such a stream, safely.

On the way out nothing in the stream is trusted: every name stays below the target, files are only ever created anew,
and symbolic links are made last, so that no file is written through one. Devices, sockets and pipes are left out.
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
from bytereel_codec.files.sink import write_error

MEMBERS_MAX = 10_000_000
SYMLINKS_MAX = 1_000_000
DEPTH_MAX = 256
_COPY_BYTES = 1 << 20
_HEADER_BYTES_MAX = 1 << 20
_TIME_MAX = 1 << 40
_KINDS = (
    tarfile.REGTYPE,
    tarfile.AREGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)


@dataclass(frozen=True, slots=True)
class FolderStream:
    """The reading end of a folder's tar stream, and the writing of it, which goes on beside the reading."""

    stream: BinaryIO
    writing: Future[None]

    def check(self) -> None:
        """Raise what ended the stream early, if something did; only after this is its end the end of the folder."""
        self.writing.result()


@contextmanager
def folder_stream(folder: Path) -> Iterator[FolderStream]:
    """The folder's tar stream, members in sorted order, made by a thread while it is read."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1, "tar") as pool, os.fdopen(reading, "rb", buffering=0) as stream:
        yield FolderStream(stream, pool.submit(_write_tar, folder, writing))


def _write_tar(folder: Path, descriptor: int) -> None:
    try:
        with (
            os.fdopen(descriptor, "wb", buffering=_COPY_BYTES) as pipe,
            tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_COPY_BYTES) as tar,
        ):
            for path in _members(folder):
                _add_member(tar, folder, path)
    except BrokenPipeError:
        return  # the reader gave up, and knows why
    except (OSError, ValueError, tarfile.TarError) as error:
        raise Permanent(
            "source.unreadable",
            f"a file of {str(folder)!r} cannot be read: {error}",
            hint="check the permissions below the folder, and that nothing changes it meanwhile",
        ) from error


def _members(folder: Path) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        _check_depth(os.path.relpath(parent, folder))
        folders.sort()
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*files, *linked]):
            yield Path(parent) / name
        for name in folders:
            if name not in linked:
                yield Path(parent) / name


def _check_depth(name: str) -> None:
    """Refuse what the standard library's own walks, which recurse, would not come back from."""
    if name.count("/") > DEPTH_MAX:
        raise Permanent(
            "folder.too_deep", f"the folder is more than {DEPTH_MAX} levels deep", expected=DEPTH_MAX, name=name[:1024]
        )


def _add_member(tar: tarfile.TarFile, folder: Path, path: Path) -> None:
    mode = path.lstat().st_mode
    name = str(path.relative_to(folder))
    if stat.S_ISREG(mode):
        _add_file(tar, name, path)
    elif stat.S_ISLNK(mode) and _leads_out(name, str(path.readlink())):
        raise Permanent(
            "folder.unsafe",
            f"a link in the folder leads out of it, and could not come back: {name!r} -> {str(path.readlink())!r}",
            hint="remove the link, or encode a tar stream: tar c FOLDER | bytereel encode - OUT.mp4",
            name=name,
        )
    elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        tar.add(path, arcname=name, recursive=False)


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a regular file. Raises: Integrity `source.changed` when it changed meanwhile."""
    with path.open("rb") as file:
        before = os.fstat(file.fileno())

        def changed() -> bool:
            now = os.fstat(file.fileno())
            return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)

        try:
            tar.addfile(tar.gettarinfo(arcname=name, fileobj=file), file)
        except OSError as error:
            if changed():
                raise _changed(path) from error
            raise
        if changed():
            raise _changed(path)


def _changed(path: Path) -> Integrity:
    return Integrity(
        "source.changed",
        f"{str(path)!r} changed while it was read",
        hint="run it again when nothing writes to the folder",
        path=str(path),
    )


class _Member(tarfile.TarInfo):
    """A member whose extended header cannot grow without bound, and that is not a sparse file."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in _KINDS and (self.type != tarfile.XHDTYPE or self.size > _HEADER_BYTES_MAX):
            raise Integrity("folder.unsafe", "the folder in the reel has a member of a kind that no reel holds")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


class FolderExtractor:
    """Takes a tar stream through `write_at` and lays its members out below `root`, which must not exist.

    Raises (from `finish`): Integrity `folder.unsafe` for a member that would leave the root, `folder.damaged`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._offset = 0
        reading, self._writing = os.pipe()
        self._pool = ThreadPoolExecutor(1)
        self._extraction = self._pool.submit(self._extract, reading)

    def write_at(self, offset: int, content: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        assert offset == self._offset
        self._offset += len(content)
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._writing, view) :]
        except BrokenPipeError:
            self.finish()
            raise

    def finish(self) -> None:
        """End the stream and wait for the last member."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        self._pool.shutdown()
        self._extraction.result()

    def _extract(self, descriptor: int) -> None:
        try:
            with os.fdopen(descriptor, "rb", buffering=_COPY_BYTES) as pipe:
                self._root.mkdir()
                with tarfile.open(fileobj=pipe, mode="r|", tarinfo=_Member) as tar:
                    _lay_out(tar, self._root)
                while pipe.read(_COPY_BYTES):
                    continue
        except (tarfile.TarError, ValueError, ArithmeticError, RecursionError) as error:
            raise Integrity("folder.damaged", f"the folder in the reel cannot be read: {error}") from error
        except OSError as error:
            raise write_error(error, self._root) from error


def _lay_out(tar: tarfile.TarFile, root: Path) -> None:
    symlinks: list[tarfile.TarInfo] = []
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    for count, member in enumerate(tar):
        tar.members.clear()  # type: ignore[attr-defined]  # the list would grow with the stream
        if member.issparse():
            raise Integrity("folder.unsafe", f"the folder in the reel holds a sparse file: {member.name!r}")
        if count >= MEMBERS_MAX or len(symlinks) >= SYMLINKS_MAX:
            raise Integrity("folder.unsafe", "the folder in the reel has too many members", expected=MEMBERS_MAX)
        path = root / _inside(member.name)
        if member.issym():
            symlinks.append(member)
        elif member.isdir():
            _make_folder(path)
            folders.append((path, member))
        elif member.isreg() or member.islnk():
            _make_folder(path.parent)
            _write_file(tar, member, path, root)
    for member in symlinks:
        _check_link(member)
        _make_folder((root / member.name).parent)
    for member in symlinks:  # all folders are there by now: no link can take the place of one and lead out
        (root / member.name).symlink_to(member.linkname)
    for path, member in reversed(folders):
        _set_attributes(path, member, extra=0o700)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, however deep it lies."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir()


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if member.islnk():
        os.link(root / _inside(member.linkname), path, follow_symlinks=False)
        return
    content = tar.extractfile(member)
    assert content is not None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while part := content.read(_COPY_BYTES):
            file.write(part)
    _set_attributes(path, member, extra=0o400)


def _set_attributes(path: Path, member: tarfile.TarInfo, *, extra: int) -> None:
    path.chmod(member.mode & 0o755 | extra)
    if 0 <= member.mtime <= _TIME_MAX:
        os.utime(path, (member.mtime, member.mtime))


def _inside(name: str) -> str:
    """The member's name if it can only lie below the root."""
    _check_depth(name)
    parts = name.split("/")
    if name.startswith("/") or "\x00" in name or ".." in parts:
        raise Integrity("folder.unsafe", f"the folder in the reel names a path outside of it: {name!r}", name=name)
    return name


def _check_link(member: tarfile.TarInfo) -> None:
    if _leads_out(member.name, member.linkname):
        raise Integrity(
            "folder.unsafe",
            f"the folder in the reel has a link out of it: {member.name!r} -> {member.linkname!r}",
            hint="bytereel decode --range 0: gives the folder as a tar stream",
            name=member.name,
        )


def _leads_out(name: str, target: str) -> bool:
    """Whether a link could lead out of the root: it must be relative, with `..` at its start alone, and no more of them
    than the link lies deep."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    depth = len(os.path.normpath(name).split("/")) - 1
    return target.startswith("/") or "\x00" in target or ".." in parts[ups:] or ups > depth
