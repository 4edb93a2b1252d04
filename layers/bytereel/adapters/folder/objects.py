"""Objects as files: a bucket is a folder, a key the path below it, a version the file's size, time and inode.

What is put is written to `.staging`, synced, and renamed into place, so such a file is always whole. Files
that others drop into a bucket are objects too. Links are never followed.
"""

import itertools
import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import crc32c

from bytereel.adapters.folder.files import StagedFile, move, remove, translated, version_of, walk
from bytereel.adapters.keys import check_key
from bytereel.adapters.object_errors import changed, damaged, exists, missing
from bytereel.model import ObjectInfo, ObjectRef
from bytereel.ports import Buffer, Part

STAGING = ".staging"
COPY_BYTES = 1 << 20


class FolderObjects:
    """An `ObjectStore` in the folder `root`, for any number of threads and processes of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / STAGING

    def path_of(self, ref: ObjectRef) -> Path:
        """Where the object's file is, or would be. Raises: Permanent `object.bad_key`."""
        check_key(ref)
        return self.root / ref.bucket / ref.key

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        path = self.path_of(ref)
        with translated(path):
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not modes.S_ISREG(found.st_mode) or (ref.version and ref.version != version_of(found)):
            return None
        return _info(ref, found)

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """See `ObjectStore.read_into`. A change during the read is noticed too."""
        with self._opened(ref) as descriptor:
            count = _read_fully(descriptor, buffer, offset)
            if ref.version:
                _check_version(ref, os.fstat(descriptor))
            return count

    def put(self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False) -> ObjectInfo:
        """See `ObjectStore.put`."""
        path = self.path_of(ref)
        with StagedFile(self.staging) as staged:
            for chunk in chunks:
                staged.write(chunk)
            stored = staged.sync()
            with translated(path):
                try:
                    move(staged.path, path, if_absent=if_absent)
                except FileExistsError as error:
                    raise exists(ref) from error
        return _info(ref, stored)

    def compose(self, ref: ObjectRef, head: Buffer, parts: Sequence[Part], tail: Buffer) -> ObjectInfo:
        """See `ObjectStore.compose`: copies through one buffer, checking the bytes as they pass."""
        buffer = memoryview(bytearray(COPY_BYTES))
        pieces = itertools.chain.from_iterable(self._checked(part, buffer) for part in parts)
        return self.put(ref, itertools.chain([head], pieces, [tail]))

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """See `ObjectStore.list`."""
        folder = self.root / bucket
        with translated(folder):
            found = itertools.islice(walk(folder, prefix, after), limit)
            return [_info(ObjectRef(bucket, key), stat) for key, stat in found]

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """See `ObjectStore.delete_all`."""
        for ref in refs:
            self.delete(ref)

    def delete(self, ref: ObjectRef) -> None:
        """See `ObjectStore.delete`."""
        path = self.path_of(ref)
        with translated(path):
            remove(path, self.root / ref.bucket)

    @contextmanager
    def _opened(self, ref: ObjectRef) -> Iterator[int]:
        """A descriptor of the object's file, which is the version asked for."""
        path = self.path_of(ref)
        with translated(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise missing(ref) from error
            try:
                found = os.fstat(descriptor)
                if not modes.S_ISREG(found.st_mode):
                    raise missing(ref)
                if ref.version:
                    _check_version(ref, found)
                yield descriptor
            finally:
                os.close(descriptor)

    def _checked(self, part: Part, buffer: memoryview) -> Iterator[memoryview]:
        """The part's bytes piece by piece through the buffer. Raises: Integrity `object.damaged`."""
        with self._opened(part.ref) as descriptor:
            size = os.fstat(descriptor).st_size
            if size != part.size_bytes:
                raise damaged(part, size_bytes=size)
            crc, offset = 0, 0
            while count := _read_fully(descriptor, buffer, offset):
                crc = crc32c.crc32c(buffer[:count], crc)
                offset += count
                yield buffer[:count]
        if offset != part.size_bytes or crc != part.crc32c:
            raise damaged(part, size_bytes=offset, crc32c=crc)


def _read_fully(descriptor: int, buffer: memoryview, offset: int) -> int:
    done = 0
    while done < len(buffer) and (count := os.preadv(descriptor, [buffer[done:]], offset + done)):
        done += count
    return done


def _info(ref: ObjectRef, stat: os.stat_result) -> ObjectInfo:
    return ObjectInfo(replace(ref, version=version_of(stat)), stat.st_size, stat.st_mtime)


def _check_version(ref: ObjectRef, stat: os.stat_result) -> None:
    actual = version_of(stat)
    if actual != ref.version:
        raise changed(ref, actual)
