"""Multipart uploads to S3: parts with their CRC32C, completed with the CRC32C of the whole, aborted on any failure.

A store that answers with `ChecksumType: FULL_OBJECT` (AWS, SeaweedFS, MinIO) refuses to complete an upload that
is not what we say; any other (ministack: COMPOSITE) is told the parts' checksums alone.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bytereel.adapters.aws import code_of
from bytereel.adapters.object_errors import damaged
from bytereel.adapters.s3.crc import crc_in, header_of
from bytereel.model import ObjectRef
from bytereel.ports.objects import Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

SENDS_MAX = 3
_DIGEST_REFUSED = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})


def send(call: Any, name: Mapping[str, Any], body: bytes | bytearray, part: Part) -> Mapping[str, Any]:
    """Send a body with its CRC32C by `put_object` or `upload_part`, again where it was hurt on the way.

    Raises: Integrity `object.damaged` when the store says that it stored something else; botocore's errors.
    """
    for sends_left in reversed(range(SENDS_MAX)):
        try:
            answer: Mapping[str, Any] = call(**name, Body=body, ChecksumCRC32C=header_of(part.crc32c))
        except ClientError as error:
            if code_of(error) not in _DIGEST_REFUSED or not sends_left:
                raise
            log.warning("%s/%s was hurt on its way to the store; it is sent again", part.ref.bucket, part.ref.key)
        else:
            require_crc(answer.get("ChecksumCRC32C"), part)
            return answer
    raise AssertionError("the last attempt returned or raised")


def require_crc(said: str | None, part: Part) -> None:
    """Raises: Integrity `object.damaged` when the store says another CRC32C than the part must have."""
    found = crc_in(said)
    if found is not None and found != part.crc32c:
        raise damaged(part, crc32c=found)


class MultipartUpload:
    """One upload. Parts are numbered from 1 and may be sent in any order, by several threads."""

    def __init__(self, client: "S3Client", name: Mapping[str, str], ref: ObjectRef, answer: Mapping[str, Any]) -> None:
        self._client = client
        self._ref = ref
        self._name = {**name, "UploadId": answer["UploadId"]}
        self._proves_whole = answer.get("ChecksumType") == "FULL_OBJECT"
        self._parts: dict[int, Any] = {}
        self.completed = False

    def send(self, number: int, body: bytes | bytearray, crc32c: int) -> None:
        """Store a part. Raises: as `send`."""
        name = {**self._name, "PartNumber": number}
        self._note(number, send(self._client.upload_part, name, body, Part(self._ref, len(body), crc32c)))

    def copy(self, number: int, source: Any, etag: str, byte_range: str, part: Part | None) -> None:
        """Copy bytes (`bytes=0-9`; empty for all) of an object that has that ETag still, inside the store.

        `part` is given where all of its bytes are copied, so that the store's CRC32C of them can be compared.
        Raises: Integrity `object.damaged`; botocore's errors.
        """
        options: dict[str, Any] = {"CopySourceRange": byte_range} if byte_range else {}
        answer = self._client.upload_part_copy(
            **self._name, PartNumber=number, CopySource=source, CopySourceIfMatch=etag, **options
        )["CopyPartResult"]
        if part:
            require_crc(answer.get("ChecksumCRC32C"), part)
        self._note(number, answer)

    def complete(self, whole: Part, *, if_absent: bool) -> Mapping[str, Any]:
        """Make the object of the parts sent. Raises: Integrity `object.damaged`; botocore's errors."""
        options: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        if self._proves_whole:
            options |= {"ChecksumCRC32C": header_of(whole.crc32c), "ChecksumType": "FULL_OBJECT"}
        answer = self._client.complete_multipart_upload(
            **self._name,
            MultipartUpload={"Parts": [self._parts[number] for number in sorted(self._parts)]},
            MpuObjectSize=whole.size_bytes,
            **options,
        )
        self.completed = True
        if self._proves_whole:
            require_crc(answer.get("ChecksumCRC32C"), whole)
        return answer

    def abort(self) -> None:
        """Forget the parts; where that fails, the bucket's lifecycle rule has to."""
        try:
            self._client.abort_multipart_upload(**self._name)
        except (ClientError, BotoCoreError) as error:
            log.warning("the parts of %s/%s stay for now: %s", self._ref.bucket, self._ref.key, error)

    def _note(self, number: int, answer: Mapping[str, Any]) -> None:
        said = {name: answer[name] for name in ("ETag", "ChecksumCRC32C") if answer.get(name)}
        self._parts[number] = {"PartNumber": number, **said}


@contextmanager
def opened(
    client: "S3Client", name: Mapping[str, str], ref: ObjectRef, headers: Mapping[str, Any]
) -> Iterator[MultipartUpload]:
    """A new upload, aborted where the block leaves it incomplete."""
    answer = client.create_multipart_upload(
        Bucket=name["Bucket"], Key=name["Key"], ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT", **headers
    )
    upload = MultipartUpload(client, name, ref, answer)
    try:
        yield upload
    finally:
        if not upload.completed:
            upload.abort()
