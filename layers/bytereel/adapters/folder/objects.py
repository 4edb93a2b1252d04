"""Objects as files: a bucket is a folder, a key the path below it, a version what `versions` says of the file.

What is put is written to `.staging`, synced, and renamed into place, so such a file is always whole. Files that others
drop into a bucket are objects too. No link is followed below the root, at any component (`beneath`): one in a key's way
or at its end is no object, and a bucket that is a link is refused.
"""

import itertools
import os
import stat as modes
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import crc32c
from bytereel_codec.files.ranged import PERMISSION_BITS

from bytereel.adapters.folder.beneath import PathBelow, says_absent
from bytereel.adapters.folder.digest import PassingDigest
from bytereel.adapters.folder.files import remove, translated
from bytereel.adapters.folder.staging import StagedFile
from bytereel.adapters.folder.versions import is_version, version_of
from bytereel.adapters.folder.walk import walk
from bytereel.adapters.keys import check_key
from bytereel.adapters.object_errors import changed, damaged, exists, missing
from bytereel.model import ObjectInfo, ObjectRef
from bytereel.ports.objects import Buffer, Part

STAGING = ".staging"
COPY_BYTES = 1 << 20


class FolderObjects:
    """An `ObjectStore` in the folder `root`, for any number of threads and processes of one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, ref: ObjectRef) -> PathBelow:
        """Where the object's file is, or would be. Raises: Permanent `object.bad_key`."""
        check_key(ref)
        return PathBelow(self.root, (ref.bucket, *ref.key.split("/")))

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        path = self.path_of(ref)
        with translated(path):
            try:
                found = path.stat()
            except OSError as error:
                if says_absent(error):
                    return None
                raise
        if not modes.S_ISREG(found.st_mode) or (ref.version and not is_version(ref.version, found)):
            return None
        return info_of(ref, found)

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """See `ObjectStore.read_into`. A change during the read is noticed too."""
        with self._opened(ref) as descriptor:
            count = _read_fully(descriptor, buffer, offset)
            _check_version(ref, os.fstat(descriptor))
            return count

    def put(
        self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False, mode: int | None = None
    ) -> ObjectInfo:
        """See `ObjectStore.put`."""
        path = self.path_of(ref)
        with self.staged(mode) as staged:
            for chunk in chunks:
                staged.write(chunk)
            staged.sync()
            with translated(path):
                try:
                    staged.move(path, if_absent=if_absent)
                except FileExistsError as error:
                    raise exists(ref) from error
            return info_of(replace(ref, version=""), staged.stat())

    def staged(self, mode: int | None = None) -> StagedFile:
        """A new file aside, on its way to become an object. Raises: as `translated`."""
        return StagedFile(self.root, STAGING, mode)

    def compose(
        self,
        ref: ObjectRef,
        head: Buffer,
        parts: Sequence[Part],
        tail: Buffer,
        *,
        mode: int | None = None,
        sha256: bool = False,
    ) -> ObjectInfo:
        """See `ObjectStore.compose`: copies through two buffers, checking the bytes as they pass."""
        buffers = deque(memoryview(bytearray(COPY_BYTES)) for _ in range(2))
        pieces = itertools.chain.from_iterable(self._checked(part, buffers) for part in parts)
        chunks = itertools.chain([head], pieces, [tail])
        if not sha256:
            return self.put(ref, chunks, mode=mode)
        with PassingDigest() as digest:
            stored = self.put(ref, digest.over(chunks), mode=mode)
            return replace(stored, sha256=digest.hex())

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """See `ObjectStore.list`."""
        with translated(PathBelow(self.root, (bucket,))):
            found = itertools.islice(walk(self.root, bucket, prefix, after), limit)
            return [info_of(ObjectRef(bucket, key), stat) for key, stat in found]

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """See `ObjectStore.delete_all`."""
        for ref in refs:
            self.delete(ref)

    def delete(self, ref: ObjectRef) -> None:
        """See `ObjectStore.delete`. With `ref.version`, a file that took the object's place stays."""
        path = self.path_of(ref)
        with translated(path):
            remove(path, ref.version)

    @contextmanager
    def _opened(self, ref: ObjectRef) -> Iterator[int]:
        """A descriptor of the object's file, which is the version asked for."""
        path = self.path_of(ref)
        with translated(path):
            try:
                descriptor = path.open()
            except OSError as error:
                if says_absent(error):
                    raise missing(ref) from error
                raise
            try:
                _check_version(ref, os.fstat(descriptor))
                yield descriptor
            finally:
                os.close(descriptor)

    def _checked(self, part: Part, buffers: deque[memoryview]) -> Iterator[memoryview]:
        """The part's bytes piece by piece through the buffers in turn. Raises: Integrity `object.damaged`."""
        with self._opened(part.ref) as descriptor:
            size = os.fstat(descriptor).st_size
            if size != part.size_bytes:
                raise damaged(part, size_bytes=size)
            crc, offset = 0, 0
            while count := _read_fully(descriptor, buffers[0], offset):
                piece = buffers[0][:count]
                crc = crc32c.crc32c(piece, crc)
                offset += count
                yield piece
                buffers.rotate()  # whoever digests the piece does so while the next one is read
        if offset != part.size_bytes or crc != part.crc32c:
            raise damaged(part, size_bytes=offset, crc32c=crc)


def _read_fully(descriptor: int, buffer: memoryview, offset: int) -> int:
    done = 0
    while done < len(buffer) and (count := os.preadv(descriptor, [buffer[done:]], offset + done)):
        done += count
    return done


def info_of(ref: ObjectRef, stat: os.stat_result) -> ObjectInfo:
    """What the store knows of a file: of the version that `ref` names, or of the one that it is.

    The time is that of its last change of any kind: times of its own were given to it by others.
    """
    versioned = ref if ref.version else replace(ref, version=version_of(stat))
    return ObjectInfo(versioned, stat.st_size, stat.st_ctime, stat.st_mode & PERMISSION_BITS)


def _check_version(ref: ObjectRef, stat: os.stat_result) -> None:
    if ref.version and not is_version(ref.version, stat):
        raise changed(ref, version_of(stat))
