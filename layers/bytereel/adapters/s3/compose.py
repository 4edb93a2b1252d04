"""Joining objects inside an S3 store: every part proved first, then copied there or, where small, sent.

What moves through memory: one gathered piece at a time, less than 16 MiB; and 8 MiB a thread of a part that has
to be read to be proved.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from bytereel_codec.codes.crc import crc32c_combine
from crc32c import crc32c

from bytereel.adapters.aws import code_of
from bytereel.adapters.object_errors import changed, damaged, missing
from bytereel.adapters.s3.parts import Piece, Span
from bytereel.adapters.s3.read import NO_SUCH_OBJECT, REFUSED, look, read_range
from bytereel.adapters.s3.upload import MultipartUpload
from bytereel.model import ObjectRef
from bytereel.ports.objects import Buffer, Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CALLS_AT_ONCE = 32
PROOF_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A part that is what it should be; `part.ref.version` and `etag` name the bytes that were found to be so."""

    part: Part
    name: Mapping[str, str]
    etag: str


@dataclass(frozen=True, slots=True)
class Composition:
    """Pieces as planned, and what they are made of: head (source 0), parts (1 to n), tail (n + 1)."""

    client: "S3Client"
    pieces: Sequence[Piece]
    head: Buffer
    sources: Sequence[Source]
    tail: Buffer

    def upload(self, upload: MultipartUpload) -> None:
        """Send or copy every piece. Raises: as `prove`."""
        numbered = list(enumerate(self.pieces, 1))
        with calls() as pool:
            copies = pool.map(lambda each: self._copy(upload, *each), [each for each in numbered if each[1].copied])
            for number, piece in numbered:
                if not piece.copied:
                    body = self.bytes_of(piece)
                    upload.send(number, body, crc32c(body))
            for _ in copies:
                pass

    def bytes_of(self, piece: Piece) -> bytearray:
        """The bytes of a piece. Raises: as `upload`."""
        body = bytearray(piece.size_bytes)
        view, start = memoryview(body), 0
        for span in piece.spans:
            self._fill(view[start : start + span.size_bytes], span)
            start += span.size_bytes
        return body

    def _fill(self, view: memoryview, span: Span) -> None:
        if span.source == 0:
            view[:] = memoryview(self.head).cast("B")[span.start : span.end]
        elif span.source > len(self.sources):
            view[:] = memoryview(self.tail).cast("B")[span.start : span.end]
        else:
            source = self.sources[span.source - 1]
            read_whole(self.client, source, span.start, view)
            if span.size_bytes == source.part.size_bytes and (actual := crc32c(view)) != source.part.crc32c:
                raise damaged(source.part, crc32c=actual)

    def _copy(self, upload: MultipartUpload, number: int, piece: Piece) -> None:
        (span,) = piece.spans
        source = self.sources[span.source - 1]
        is_whole = span.size_bytes == source.part.size_bytes
        byte_range = "" if is_whole else f"bytes={span.start}-{span.end - 1}"
        try:
            upload.copy(number, source.name, source.etag, byte_range, source.part if is_whole else None)
        except ClientError as error:
            if code_of(error) in NO_SUCH_OBJECT:
                raise missing(source.part.ref) from error
            if code_of(error) in REFUSED:
                raise changed(source.part.ref, "") from error
            raise


def whole_of(ref: ObjectRef, head: Buffer, parts: Sequence[Part], tail: Buffer) -> Part:
    """The size and CRC32C that head, parts and tail have together."""
    size, crc = len(head), crc32c(head)
    for part in (*parts, Part(ref, len(tail), crc32c(tail))):
        size, crc = size + part.size_bytes, crc32c_combine(crc, part.crc32c, part.size_bytes)
    return Part(ref, size, crc)


def prove(client: "S3Client", part: Part, name: Mapping[str, str], *, checked_later: bool) -> Source:
    """See that the part is what it should be, by the store's word or, where it gives none, by reading all of it.

    With `checked_later` nothing is read here: its bytes will be checked where they pass through memory. Raises:
    Permanent `object.missing`, `object.changed`, Integrity `object.damaged`; botocore's errors.
    """
    seen = look(client, name, part.ref)
    if seen is None:
        raise missing(part.ref)
    if part.ref.version and part.ref.version != seen.info.ref.version:
        raise changed(part.ref, seen.info.ref.version)
    if seen.info.size_bytes != part.size_bytes:
        raise damaged(part, size_bytes=seen.info.size_bytes)
    source = Source(replace(part, ref=seen.info.ref), name, seen.etag)
    actual = seen.crc32c
    if actual is None:
        actual = part.crc32c if checked_later else _crc_read(client, source)
    if actual != part.crc32c:
        raise damaged(part, crc32c=actual)
    return source


def read_whole(client: "S3Client", source: Source, start: int, view: memoryview) -> None:
    """Fill the view from a part whose size is known. Raises: Integrity `object.damaged`; as `read_range`."""
    count = read_range(client, source.name, source.part.ref, start, view)
    if count != len(view):
        raise damaged(source.part, size_bytes=start + count)


@contextmanager
def calls() -> Iterator[ThreadPoolExecutor]:
    """A few threads for calls to the store; on failure those not begun are dropped, and those begun ended."""
    pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="s3")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _crc_read(client: "S3Client", source: Source) -> int:
    buffer, crc = memoryview(bytearray(min(PROOF_BYTES, source.part.size_bytes))), 0
    for start in range(0, source.part.size_bytes, PROOF_BYTES):
        view = buffer[: min(PROOF_BYTES, source.part.size_bytes - start)]
        read_whole(client, source, start, view)
        crc = crc32c(view, crc)
    return crc
