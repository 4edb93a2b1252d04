"""Looking at S3 objects, and reading a range of one straight into a buffer, resumed where the connection broke off.

No byte beyond the range is asked for, and all bytes come from one version of the object: the one named, or
the one that the first answer came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from bytereel import events
from bytereel.adapters.aws import code_of
from bytereel.adapters.object_errors import changed, missing
from bytereel.adapters.s3.crc import crc_in
from bytereel.errors import Permanent, Temporary
from bytereel.model import ObjectInfo, ObjectRef

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READS_MAX = 6
PAUSE_SECONDS_MAX = 5.0
COPY_BYTES = 256 * 1024
REFUSED = frozenset({"PreconditionFailed", "412"})
MARK = "bytereel-write"
"""The metadata in which every write leaves a mark of its own."""
NO_SUCH_OBJECT = frozenset({"NoSuchKey", "404", "NotFound"})
_NO_SUCH_RANGE = frozenset({"InvalidRange", "416"})
_PARTIAL = 206


class BrokenOff(Temporary):
    """The connection ended within the bytes asked for."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store says of an object. `crc32c` is None where it names none that covers all bytes."""

    info: ObjectInfo
    etag: str
    crc32c: int | None
    mark: str


def version_of(answer: Mapping[str, Any]) -> str:
    """The version that an answer, or an entry of a listing, names: the one that an event about the object names."""
    return events.version_of(answer.get("VersionId"), answer["ETag"])


def modified_at(answer: Mapping[str, Any]) -> float:
    """When the object was stored, in whole seconds: HEAD says no more, though some listings do."""
    return float(int(answer["LastModified"].timestamp()))


def look(client: "S3Client", name: Mapping[str, str], ref: ObjectRef) -> Seen | None:
    """What is stored under the name now, or None. Raises: botocore's errors."""
    try:
        answer = client.head_object(Bucket=name["Bucket"], Key=name["Key"], ChecksumMode="ENABLED")
    except ClientError as error:
        if code_of(error) in NO_SUCH_OBJECT or code_of(error) == "NoSuchBucket":
            return None
        raise
    covers_all = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    info = ObjectInfo(replace(ref, version=version_of(answer)), answer["ContentLength"], modified_at(answer))
    mark = answer.get("Metadata", {}).get(MARK, "")
    return Seen(info, answer["ETag"], crc_in(answer.get("ChecksumCRC32C")) if covers_all else None, mark)


def read_range(client: "S3Client", name: Mapping[str, str], ref: ObjectRef, offset: int, buffer: memoryview) -> int:
    """Fill `buffer` from `offset`; return the bytes read, fewer only at the end of the object.

    With an empty buffer, or from beyond the end, nothing is read and no version checked. Raises: Permanent
    `object.missing`, `object.changed`; Temporary; botocore's errors.
    """
    if not len(buffer):
        return 0
    again = Retrying(
        stop=stop_after_attempt(READS_MAX),
        wait=wait_random_exponential(multiplier=0.1, max=PAUSE_SECONDS_MAX),
        retry=retry_if_exception_type(BrokenOff),
        reraise=True,
    )
    reading = _Reading(client, name, ref, offset, buffer)
    again(reading.carry_on)
    return reading.done


class _Reading:
    """How far a range was read, and from which version."""

    def __init__(
        self, client: "S3Client", name: Mapping[str, str], ref: ObjectRef, offset: int, buffer: memoryview
    ) -> None:
        self._client = client
        self._name = name
        self._ref = ref
        self._offset = offset
        self._buffer = buffer
        self._version = ref.version
        self.done = 0

    def carry_on(self) -> None:
        """Ask for what is missing still, and take it. Raises: BrokenOff, and then may be called again."""
        start = self._offset + self.done
        wanted = f"bytes={start}-{self._offset + len(self._buffer) - 1}"
        try:
            answer = self._client.get_object(Bucket=self._name["Bucket"], Key=self._name["Key"], Range=wanted)
        except ClientError as error:
            if code_of(error) in NO_SUCH_OBJECT:
                raise missing(self._ref) from error
            if code_of(error) in _NO_SUCH_RANGE:
                return
            raise
        body = answer["Body"]
        try:
            self._check(answer, start)
            self._take(body, answer["ContentLength"])
        finally:
            body.close()

    def _check(self, answer: Mapping[str, Any], start: int) -> None:
        found = version_of(answer)
        if self._ref.version and found != self._ref.version:
            raise changed(self._ref, found)
        if self._version and found != self._version:
            text = f"{self._ref.bucket}/{self._ref.key} was replaced while it was read"
            raise Temporary("object.replaced", text, hint="read it again", key=self._ref.key)
        self._version = found
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if status != _PARTIAL or not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-"):
            text = f"the store answers a range of {self._ref.bucket}/{self._ref.key} with something else"
            raise Permanent("service.refused", text, status=status, content_range=answer.get("ContentRange"))

    def _take(self, body: Any, size: int) -> None:
        end = min(self.done + size, len(self._buffer))
        while self.done < end:
            try:
                count = body.readinto(self._buffer[self.done : min(self.done + COPY_BYTES, end)])
            except (BotoCoreError, HTTPError) as error:
                raise self._broken_off() from error
            if not count:
                raise self._broken_off()
            self.done += count

    def _broken_off(self) -> BrokenOff:
        ref = replace(self._ref, version=self._version)
        return BrokenOff(
            "object.broken_off",
            f"the connection ended while {ref.bucket}/{ref.key} was read",
            hint="try again later",
            key=ref.key,
            offset=self._offset + self.done,
        )
