"""A folder laid out from its members, safely and in bounded memory.

Nothing in the stream is trusted: every name stays below the root, files are only ever created anew, hard links lead to
files of the folder alone. Symbolic links are made when everything else is there, so that no file is written through
one, and each is proved to stay inside when all of them are there. What has to wait for that (links, and what folders
are given at the end) waits in a file, not in memory.
"""

import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.folder.links import check_depth, leads_out, parts_of
from bytereel_codec.files.folder.members import Member, MemberKind, MemberReader
from bytereel_codec.files.renaming import has_no_links
from bytereel_codec.files.sink import is_full, write_error

MEMBERS_MAX = 10_000_000
LEFT_OUT_NAMED_MAX = 1000
_FILE_MODE, _FOLDER_MODE = 0o777, 0o3777  # a stranger's set-user-id program is nobody's wish
_SPECIAL_BITS = 0o6000
_ODD = frozenset({errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS,
                  errno.EPERM, errno.EACCES, errno.EMLINK})  # fmt: skip
_HOLE_BYTES = 64 << 10
_HOLE = bytes(_HOLE_BYTES)
_BUFFER_BYTES = 1 << 20


class WaitingMembers:
    """Members put aside in a file without a name in `folder`; memory does not grow with them."""

    _RECORD = struct.Struct(">H?qIHH")

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(buffering=_BUFFER_BYTES, dir=folder)  # noqa: SIM115 - closed by `close`

    def add(self, member: Member) -> None:
        """Put one aside: its name, where it leads, its mode and time."""
        moment = member.modified_ns
        facts = (member.mode, moment is not None, *divmod(moment or 0, 10**9), len(member.name), len(member.target))
        self._file.write(self._RECORD.pack(*facts) + member.name + member.target)

    def read(self, kind: MemberKind) -> Iterator[Member]:
        """Those put aside, in their order, as members of that kind."""
        self._file.seek(0)
        while head := self._file.read(self._RECORD.size):
            mode, dated, seconds, rest, name, target = self._RECORD.unpack(head)
            names = self._file.read(name + target)
            moment = seconds * 10**9 + rest if dated else None
            yield Member(kind, names[:name], names[name:], mode=mode, modified_ns=moment)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


@dataclass(slots=True)
class LayoutReport:
    """What did not come out as it went in: members left out and, of some, why; members without what they had."""

    left_out: int = 0
    named: list[str] = field(default_factory=list)
    without_special_bits: int = 0
    without_attributes: int = 0


class FolderLayout:
    """Lays members out below `root`, which must be new and nobody else's; `beside` takes what has to wait.

    Permission bits, times and extended attributes of users are those of the members, whatever the umask; with
    `preserve` set-user-id and set-group-id of files too. A member that the file system cannot take is left out, and
    named in `report`; the others come out. Long runs of zeros become holes.
    """

    def __init__(self, root: Path, beside: Path, *, preserve: bool = False) -> None:
        self._root = os.fsencode(root)
        self._preserve = preserve
        self.report = LayoutReport()
        self._folders = WaitingMembers(beside)
        self._links = WaitingMembers(beside)

    def lay_out(self, stream: BinaryIO) -> None:
        """Take all members of a tar stream. To be called once.

        Raises: Integrity `folder.unsafe`, `folder.damaged`; Permanent `target.member`; Temporary `target.full`.
        """
        try:
            reader = MemberReader(stream)
            for count, member in enumerate(reader):
                if count >= MEMBERS_MAX:
                    raise Integrity(
                        "folder.unsafe", "the folder in the reel has too many members", expected=MEMBERS_MAX
                    )
                self._take(member, reader)
            self._make_links()
            for folder in self._folders.read(MemberKind.FOLDER):
                self._finish(self._path(folder), folder, least=0o700)
        finally:
            self._folders.close()
            self._links.close()

    def _take(self, member: Member, reader: MemberReader) -> None:
        path = self._path(member)
        try:
            match member.kind:
                case MemberKind.FOLDER:
                    make_folder(path)
                    self._set_attributes(path, member)
                    self._folders.add(member)
                case MemberKind.SYMLINK:
                    make_folder(os.path.dirname(path))
                    self._links.add(member)
                case MemberKind.HARDLINK:
                    make_folder(os.path.dirname(path))
                    _link_or_copy(self._path_of_file(member), path)
                case MemberKind.FILE:
                    make_folder(os.path.dirname(path))
                    self._write(path, member, reader)
                case MemberKind.DEVICE:
                    pass
        except OSError as error:
            self._leave_out(error, member)

    def _leave_out(self, error: OSError | ValueError, member: Member) -> None:
        """Go on without a member that this file system cannot take.

        Raises: Permanent `target.member` for one that none could take: it stands in the way of another, or leads to
        nothing; Temporary `target.full`.
        """
        if isinstance(error, OSError) and is_full(error):
            raise write_error(error, os.fsdecode(member.name)) from error
        if not self._is_odd(error, member):
            raise Permanent(
                "target.member",
                f"the {member.kind.value} {shown(member.name)} of the folder in the reel cannot be made: "
                f"{error.strerror if isinstance(error, OSError) else error}",
                hint="a range of the reel gives the folder as a tar stream",
                name=os.fsdecode(member.name),
            ) from error
        why = error.strerror if isinstance(error, OSError) else str(error)
        self.report.left_out += 1
        if len(self.report.named) < LEFT_OUT_NAMED_MAX:
            self.report.named.append(f"the {member.kind.value} {shown(member.name)}: {why}")

    def _is_odd(self, error: OSError | ValueError, member: Member) -> bool:
        """Whether it is this file system that cannot take a member: its name, its kind, or its like beside it."""
        if not isinstance(error, OSError):
            return False
        if error.errno == errno.ENOENT:  # the file that a hard link leads to may have been left out
            return member.kind is MemberKind.HARDLINK and self.report.left_out > 0
        if error.errno == errno.EEXIST:  # a file system that takes two names for one
            folder, name = os.path.split(self._path(member))
            return name not in os.listdir(folder)
        return error.errno in _ODD

    def _set_attributes(self, path: bytes, member: Member) -> None:
        for name, value in member.attributes:
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except (OSError, ValueError):  # the other side has none, or not such ones; or it has no such name
                self.report.without_attributes += 1
                return

    def _write(self, path: bytes, member: Member, reader: MemberReader) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in reader.content():
                _write_with_holes(file, part)
            file.truncate()
        self._set_attributes(path, member)
        self._finish(path, member, least=0o400)

    def _make_links(self) -> None:
        for link in self._links.read(MemberKind.SYMLINK):
            path = self._path(link)
            try:
                os.symlink(link.target, path)
                _set_time(path, link)
            except (OSError, ValueError) as error:
                self._leave_out(error, link)
        for link in self._links.read(MemberKind.SYMLINK):
            if leads_out(self._root, link.name, link.target):
                raise Integrity(
                    "folder.unsafe",
                    f"the folder in the reel has a link out of it: {shown(link.name)} -> {shown(link.target)}",
                    hint="a range of the reel gives the folder as a tar stream",
                    name=os.fsdecode(link.name),
                )

    def _finish(self, path: bytes, member: Member, *, least: int) -> None:
        kept = 0o7777 if self._preserve else _FOLDER_MODE if member.kind is MemberKind.FOLDER else _FILE_MODE
        if member.mode & ~kept & _SPECIAL_BITS:
            self.report.without_special_bits += 1
        try:
            os.chmod(path, member.mode & kept | least)
            _set_time(path, member)
        except FileNotFoundError:  # it was left out
            return
        except OSError as error:
            self._leave_out(error, member)

    def _path(self, member: Member) -> bytes:
        return _joined(self._root, member.name, is_folder=member.kind is MemberKind.FOLDER)

    def _path_of_file(self, member: Member) -> bytes:
        """The file that a hard link leads to."""
        path = _joined(self._root, member.target, is_folder=False)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise Integrity(
                "folder.damaged",
                f"the folder in the reel has a hard link to what is no file: {shown(member.name)}",
                name=os.fsdecode(member.name),
            )
        return path


def make_folder(path: bytes) -> None:
    """Make a folder and those above it, however deep it lies."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder)


def _link_or_copy(first: bytes, path: bytes) -> None:
    """Another name for a file; a copy of it where the file system knows no hard links."""
    try:
        os.link(first, path, follow_symlinks=False)
    except OSError as error:
        if not has_no_links(error):
            raise
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as copy, open(first, "rb") as file:
            shutil.copyfileobj(file, copy, _BUFFER_BYTES)
        shutil.copystat(first, path)


def _write_with_holes(file: BinaryIO, part: bytes) -> None:
    """Write a part of a file, passing over what is zero anyway; the file's end has to be set behind it."""
    for start in range(0, len(part), _HOLE_BYTES):
        view = memoryview(part)[start : start + _HOLE_BYTES]
        if view == _HOLE:
            file.seek(_HOLE_BYTES, os.SEEK_CUR)
            continue
        while view:
            view = view[file.write(view) :]


def shown(name: bytes) -> str:
    """A name for a message: quoted, escaped, not too long."""
    return repr(os.fsdecode(name[:1024]))


def _joined(root: bytes, name: bytes, *, is_folder: bool) -> bytes:
    """The path of a member below the root; the root itself for a folder that names nothing."""
    parts = parts_of(name)
    if name.startswith(b"/") or b"\x00" in name or b".." in parts or not (parts or is_folder):
        raise Integrity(
            "folder.unsafe",
            f"the folder in the reel names a path outside of it: {shown(name)}",
            name=os.fsdecode(name[:1024]),
        )
    check_depth(parts)
    return b"/".join([root, *parts])


def _set_time(path: bytes, member: Member) -> None:
    """Give a member its time, where it has one and the file system takes it."""
    if member.modified_ns is not None:
        try:
            os.utime(path, ns=(member.modified_ns, member.modified_ns), follow_symlinks=False)
        except OverflowError:  # beyond what the system's own type holds
            return
