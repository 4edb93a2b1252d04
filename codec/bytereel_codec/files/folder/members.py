"""The members of a tar stream, read strictly and one at a time: nothing of a member is kept when the next one is read.

Of POSIX pax this takes files, folders, symbolic and hard links; devices and pipes are passed by. Everything else is
refused: global and repeated extended headers, GNU's long names, sparse files. An extended header is read record by
record in one pass. The standard library's reader keeps members and headers, recurses over extended headers and searches
them in quadratic time (ADR 14); its parser of one header block is used.

Source: POSIX.1-2017, pax, extended header and ustar interchange formats; star(5), SCHILY.xattr; FORMAT.md section 10.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from bytereel_codec.errors import Integrity

BLOCK_BYTES = 512
EXTENDED_BYTES_MAX = 1 << 20
NAME_BYTES_MAX = 4096  # PATH_MAX on Linux: no longer path can be made
SIZE_BYTES_MAX = (1 << 63) - 1
ATTRIBUTE = b"SCHILY.xattr.user."
_ATTRIBUTE_PREFIX = b"SCHILY.xattr."
_COPY_BYTES = 1 << 20
_NUMBER_DIGITS_MAX = 19
_MOMENT = re.compile(rb"(-?)(\d{1,19})(?:\.(\d{0,32}))?")
_SECONDS_MAX = 1 << 40


class MemberKind(Enum):
    """What a member is; `DEVICE` stands for all that no reel holds and that is passed by."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    DEVICE = "device"


_KINDS = {
    tarfile.REGTYPE: MemberKind.FILE,
    tarfile.AREGTYPE: MemberKind.FILE,
    tarfile.CONTTYPE: MemberKind.FILE,
    tarfile.DIRTYPE: MemberKind.FOLDER,
    tarfile.SYMTYPE: MemberKind.SYMLINK,
    tarfile.LNKTYPE: MemberKind.HARDLINK,
    tarfile.CHRTYPE: MemberKind.DEVICE,
    tarfile.BLKTYPE: MemberKind.DEVICE,
    tarfile.FIFOTYPE: MemberKind.DEVICE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name and, of a link, where that leads, as bytes; the size of a file's content.

    `mode` are the permission bits, set-user-id and its like among them. `modified_ns` counts from 1970, None where the
    stream says none that a clock could show.
    """

    kind: MemberKind
    name: bytes
    target: bytes = b""
    size: int = 0
    mode: int = 0o600
    modified_ns: int | None = None
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    """Extended attributes of users (`user.*`), by name."""


class MemberReader:
    """Reads a stream's members. Iterate; the content of a file is read, if at all, before the next member.

    Raises: Integrity `folder.damaged` for what is no tar stream or ends early, `folder.unsafe` for what is refused.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._content_left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """The members up to the end mark, which must be there."""
        while (block := self._next_block()) is not None:
            yield self._member(block)

    def content(self) -> Iterator[bytes]:
        """The content of the file that was read last."""
        while self._content_left:
            part = self._read(min(_COPY_BYTES, self._content_left))
            self._content_left -= len(part)
            yield part

    def _member(self, block: bytes) -> Member:
        header = _parsed(block)
        records: dict[bytes, bytes] = {}
        if header.type == tarfile.XHDTYPE:
            records = self._extended(header.size)
            following = self._next_block()
            if following is None:
                raise _damaged("it ends behind an extended header")
            header = _parsed(following)
        kind = _KINDS.get(header.type)
        if kind is None:
            raise _unsafe(f"a member of a kind that no reel holds: type {header.type!r}")
        member = _described(kind, header, records)
        self._content_left, self._padding = member.size, -member.size % BLOCK_BYTES
        return member

    def _extended(self, size: int) -> dict[bytes, bytes]:
        """The records of an extended header that say something here."""
        if not 0 <= size <= EXTENDED_BYTES_MAX:
            raise _unsafe(f"an extended header of {size} bytes")
        self._padding = -size % BLOCK_BYTES
        return _records(self._read(size) if size else b"")

    def _next_block(self) -> bytes | None:
        """The next header's block, None at the end mark."""
        for _ in self.content():
            continue
        if self._padding:
            self._read(self._padding)
            self._padding = 0
        block = self._read(BLOCK_BYTES)
        return block if any(block) else None

    def _read(self, count: int) -> bytes:
        part = self._stream.read(count)
        if len(part) < count:
            raise _damaged("it ends early")
        return part


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise _damaged(str(error)) from error


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records `length SPACE keyword = value NEWLINE` that are needed here; of several of one keyword the last."""
    found: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + _NUMBER_DIGITS_MAX)
        length = _number(content[start:space]) if space > start else 0
        end = start + length
        equals = content.find(b"=", space, end)
        if equals < 0 or end > len(content) or content[end - 1 : end] != b"\n":
            raise _damaged("an extended header is no row of records")
        keyword = content[space + 1 : equals]
        if keyword.startswith(b"GNU.sparse."):
            raise _unsafe("a sparse file")
        if keyword in (b"path", b"linkpath", b"size", b"mtime") or keyword.startswith(ATTRIBUTE):
            found[keyword] = content[equals + 1 : end - 1]
        start = end
    return {keyword: value for keyword, value in found.items() if value}


def _described(kind: MemberKind, header: tarfile.TarInfo, records: dict[bytes, bytes]) -> Member:
    name = records.get(b"path", header.name.encode("utf-8", "surrogateescape"))
    target = records.get(b"linkpath", header.linkname.encode("utf-8", "surrogateescape"))
    if max(len(name), len(target)) > NAME_BYTES_MAX:
        raise _unsafe(f"a name of more than {NAME_BYTES_MAX} bytes")
    size = _number(records[b"size"]) if b"size" in records else header.size
    if kind is MemberKind.FILE and not 0 <= size <= SIZE_BYTES_MAX:
        raise _damaged(f"a file of {size} bytes")
    return Member(
        kind,
        name,
        target if kind in (MemberKind.SYMLINK, MemberKind.HARDLINK) else b"",
        size if kind is MemberKind.FILE else 0,
        header.mode & 0o7777,
        _moment(records[b"mtime"]) if b"mtime" in records else _moment(b"%d" % header.mtime),
        tuple(
            (keyword.removeprefix(_ATTRIBUTE_PREFIX), value)
            for keyword, value in records.items()
            if keyword.startswith(ATTRIBUTE)
        ),
    )


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _NUMBER_DIGITS_MAX:
        raise _damaged(f"{digits[:_NUMBER_DIGITS_MAX]!r} is no number")
    return int(digits)


def _moment(text: bytes) -> int | None:
    """Nanoseconds since 1970 from a decimal number of seconds, None for what is none or too far away."""
    found = _MOMENT.fullmatch(text)
    if found is None or int(found[2]) > _SECONDS_MAX:
        return None
    nanoseconds = int(found[2]) * 10**9 + int((found[3] or b"").ljust(9, b"0")[:9])
    return -nanoseconds if found[1] else nanoseconds


def _damaged(why: str) -> Integrity:
    return Integrity("folder.damaged", f"the folder in the reel cannot be read: {why}")


def _unsafe(what: str) -> Integrity:
    return Integrity("folder.unsafe", f"the folder in the reel holds {what}")
