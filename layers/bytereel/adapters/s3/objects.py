"""Objects in an S3 store: AWS, or any that speaks its API.

What is promised, and how:
- A `put` of up to 64 MiB is one PutObject, a longer one a multipart upload; both carry our CRC32C. Memory: the
  chunks of one part, 64 MiB, beyond 125 GiB 648 MiB (10,000 parts have to reach 5 TiB).
- After a write the store is asked what it holds: size and CRC32C must be ours.
- `compose` copies inside the store. Each part's CRC32C is asked of the store, and where the store names none that
  covers all bytes (moto; ministack, of multipart uploads), the part is read to prove it. Where the store checks
  the CRC32C of whole objects, it refuses to complete anything but head, parts and tail as they must be.
- `if_absent` is the store's If-None-Match. A write carries a mark of its own, by which it is known again where
  the answer was lost and its repetition refused. SeaweedFS (4.48) lets two multipart uploads that race both
  complete: there only writes of up to 64 MiB have one winner.

An absent bucket is Permanent `service.absent`; `stat` cannot tell it from an absent object. The ports' buckets
are `Location`s: a bucket of the store, and what keys start with there.
"""

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from bytereel_codec.codes.crc import crc32c_combine
from crc32c import crc32c

from bytereel.adapters.aws import code_of, translated
from bytereel.adapters.keys import KEY_BYTES_MAX, check_key
from bytereel.adapters.object_errors import bad_key, changed, damaged, exists, missing
from bytereel.adapters.s3.compose import Composition, calls, prove, whole_of
from bytereel.adapters.s3.list import entries, keeps_versions, latest_entries
from bytereel.adapters.s3.parts import FIRST_PART_BYTES, OBJECT_BYTES_MAX, cut, plan_pieces
from bytereel.adapters.s3.read import MARK, NO_SUCH_OBJECT, REFUSED, look, modified_at, read_range, version_of
from bytereel.adapters.s3.upload import MultipartUpload, opened, send
from bytereel.errors import Temporary
from bytereel.model import Location, ObjectInfo, ObjectRef
from bytereel.ports.objects import Buffer, Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTENT_TYPES = {".mp4": "video/mp4", ".json": "application/json"}
"""What a browser must be told; the store has a type of its own for anything else."""

DELETES_MAX = 1000
CRC32C = "bytereel-crc32c"
"""The name of a composed object's checksum in its metadata, for stores that keep none of their own."""
_MAYBE_OURS = REFUSED | {"NoSuchUpload"}


@dataclass(slots=True)
class _Write:
    """One write: its target, the mark by which it is known again, and what the store answered, if it did."""

    ref: ObjectRef
    name: Mapping[str, str]
    if_absent: bool
    mark: str
    answer: Mapping[str, Any] | None = None
    crc32c: int | None = None
    """Of the whole, where it is known before the bytes are sent."""

    @property
    def headers(self) -> dict[str, Any]:
        """What is stored with the bytes."""
        kind = CONTENT_TYPES.get(PurePosixPath(self.ref.key).suffix.lower())
        sums = {} if self.crc32c is None else {CRC32C: f"{self.crc32c:08x}"}
        return {"Metadata": {MARK: self.mark, **sums}, **({"ContentType": kind} if kind else {})}


class S3Objects:
    """An `ObjectStore` for any number of threads, processes and machines."""

    object_bytes_max = OBJECT_BYTES_MAX
    put_bytes_max = FIRST_PART_BYTES
    """The memory that one `put` of a fragment holds: S3 wants the length and the sum before the bytes."""

    def __init__(self, client: "S3Client", locations: Mapping[str, Location]) -> None:
        self._client = client
        self._locations = locations
        self._versioned: set[str] = set()
        self._present: set[str] = set()
        self._kept = threading.local()

    def url_of(self, ref: ObjectRef) -> str:
        """Where a user finds the object: `s3://bucket/key`. Raises: Permanent `object.bad_key`."""
        name = self._name(ref)
        return f"s3://{name['Bucket']}/{name['Key']}"

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """See `ObjectStore.stat`. Raises: Permanent `service.absent` where there is no such bucket."""
        with self._translated(ref.bucket):
            seen = look(self._client, self._name(ref), ref)
            if seen is None and ref.bucket not in self._present:
                self._client.head_bucket(Bucket=self._locations[ref.bucket].bucket)
                self._present.add(ref.bucket)
        if seen is None or (ref.version and ref.version != seen.info.ref.version):
            return None
        return seen.info

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """See `ObjectStore.read_into`."""
        name = self._name(ref)
        with self._translated(ref.bucket):
            count = read_range(self._client, name, ref, offset, buffer)
            if not count:
                self._require(ref, name)
            return count

    def put(
        self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False, mode: int | None = None
    ) -> ObjectInfo:
        """See `ObjectStore.put`. The bucket's policy alone says who may read: there are no permission bits."""
        del mode
        write = _Write(ref, self._name(ref), if_absent, uuid.uuid4().hex)
        with self._body_of_thread() as gathered:
            bodies = cut(chunks, gathered)
            body, is_last = next(bodies)
            if is_last:
                return self._put_body(write, body)
            with self._settling(write), opened(self._client, write.name, ref, write.headers) as upload:
                upload.send(1, body, crc := crc32c(body))
                whole = _send_rest(upload, Part(ref, len(body), crc), bodies)
                write.answer = upload.complete(whole, if_absent=if_absent)
        return self._stored(write, whole)

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
        """See `ObjectStore.compose`, and `put` for `mode`; the bytes stay in the store, so no SHA-256 is said."""
        del mode, sha256
        whole = whole_of(ref, head, parts, tail)
        write = _Write(ref, self._name(ref), False, uuid.uuid4().hex, crc32c=whole.crc32c)
        with self._translated(ref.bucket):
            composition = self._composition(head, parts, tail)
            if not composition.pieces or (len(composition.pieces) == 1 and not composition.pieces[0].copied):
                body = composition.bytes_of(composition.pieces[0]) if composition.pieces else bytearray()
                return self._put_body(write, body)
        with self._settling(write), opened(self._client, write.name, ref, write.headers) as upload:
            composition.upload(upload)
            write.answer = upload.complete(whole, if_absent=False)
        return self._stored(write, whole)

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """See `ObjectStore.list`. SeaweedFS lists folder by folder: there `after` must be a key that was listed."""
        location = self._locations[bucket]
        if limit <= 0 or not _is_utf8(prefix):
            return []
        _require_utf8(ObjectRef(bucket, after))
        wanted = (location.bucket, location.prefix + prefix, location.prefix + after if after else "")
        with self._translated(bucket):
            if self._keeps_versions(location.bucket):
                found = latest_entries(self._client, *wanted)
            else:
                found = entries(self._client, *wanted, limit)
            return [_listed(bucket, location, entry) for entry in islice(found, limit)]

    def delete(self, ref: ObjectRef) -> None:
        """See `ObjectStore.delete`. A bucket that keeps versions keeps the old ones until its lifecycle ends them."""
        name = self._name(ref)
        with self._translated(ref.bucket):
            try:
                self._client.delete_object(Bucket=name["Bucket"], Key=name["Key"])
            except ClientError as error:
                if code_of(error) not in NO_SUCH_OBJECT:
                    raise

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """See `ObjectStore.delete_all`: a request for 1000, but for keys that XML cannot hold."""
        for ref in refs:
            if not ref.key.isprintable():
                self.delete(ref)
        for bucket in {ref.bucket for ref in refs}:
            names = iter([self._name(ref) for ref in refs if ref.bucket == bucket and ref.key.isprintable()])
            while batch := list(islice(names, DELETES_MAX)):
                self._delete_batch(bucket, batch)

    def _delete_batch(self, bucket: str, names: Sequence[Mapping[str, str]]) -> None:
        keys: Any = [{"Key": name["Key"]} for name in names]
        with self._translated(bucket):
            answer = self._client.delete_objects(Bucket=names[0]["Bucket"], Delete={"Objects": keys, "Quiet": True})
        failed = [each for each in answer.get("Errors", []) if each.get("Code") not in NO_SUCH_OBJECT]
        if failed:
            said = f"{len(failed)} objects were not removed, {failed[0].get('Key')!r} for one: {failed[0].get('Code')}"
            raise Temporary("object.not_removed", said, hint="try again; the policy must allow s3:DeleteObject")

    def _composition(self, head: Buffer, parts: Sequence[Part], tail: Buffer) -> Composition:
        """The plan, with every part proved."""
        pieces = plan_pieces(len(head), [part.size_bytes for part in parts], len(tail))
        gathered = {span.source: span for piece in pieces if not piece.copied for span in piece.spans}

        def proved(index: int, part: Part) -> Any:
            checked_later = index in gathered and gathered[index].size_bytes == part.size_bytes
            return prove(self._client, part, self._name(part.ref), checked_later=checked_later)

        with calls() as pool:
            sources = list(pool.map(proved, range(1, len(parts) + 1), parts))
        return Composition(self._client, pieces, head, sources, tail)

    @contextmanager
    def _body_of_thread(self) -> Iterator[bytearray]:
        """What this thread's last `put` gathered, to be written over: touching new memory is slow."""
        body: bytearray = self._kept.__dict__.pop("body", None) or bytearray()
        try:
            yield body
        finally:
            if len(body) <= FIRST_PART_BYTES:
                self._kept.body = body

    def _put_body(self, write: _Write, body: bytearray) -> ObjectInfo:
        whole = Part(write.ref, len(body), crc32c(body))
        condition = {"IfNoneMatch": "*"} if write.if_absent else {}
        with self._settling(write):
            write.answer = send(self._client.put_object, {**write.name, **write.headers, **condition}, body, whole)
        return self._stored(write, whole)

    def _stored(self, write: _Write, whole: Part) -> ObjectInfo:
        """What the write left in the store. Raises: Integrity `object.damaged` when that is not what was sent."""
        with self._translated(write.ref.bucket):
            seen = look(self._client, write.name, write.ref)
        if seen and seen.mark == write.mark:
            if seen.info.size_bytes != whole.size_bytes or seen.crc32c not in (None, whole.crc32c):
                raise damaged(whole, size_bytes=seen.info.size_bytes, crc32c=seen.crc32c)
            return seen.info
        if seen is None or write.answer is None:
            text = f"{write.ref.bucket}/{write.ref.key} was written, and is gone"
            raise Temporary("object.not_stored", text, hint="write it again", key=write.ref.key)
        if write.if_absent:
            raise exists(write.ref)
        return ObjectInfo(replace(write.ref, version=version_of(write.answer)), whole.size_bytes, seen.info.modified_at)

    @contextmanager
    def _settling(self, write: _Write) -> Iterator[None]:
        """Translate errors; a write refused because it has happened already, its answer lost, is no error."""
        with self._translated(write.ref.bucket):
            try:
                yield
            except ClientError as error:
                if code_of(error) not in _MAYBE_OURS:
                    raise
                seen = look(self._client, write.name, write.ref)
                if seen and seen.mark == write.mark:
                    return
                if write.if_absent and code_of(error) in REFUSED:
                    raise exists(write.ref) from error
                raise

    def _require(self, ref: ObjectRef, name: Mapping[str, str]) -> None:
        """Raises: Permanent `object.missing`, `object.changed`."""
        seen = look(self._client, name, ref)
        if seen is None:
            raise missing(ref)
        if ref.version and ref.version != seen.info.ref.version:
            raise changed(ref, seen.info.ref.version)

    def _keeps_versions(self, bucket: str) -> bool:
        """Whether the bucket keeps versions; remembered once it does, as it then does for ever."""
        if bucket not in self._versioned and keeps_versions(self._client, bucket):
            self._versioned.add(bucket)
        return bucket in self._versioned

    def _name(self, ref: ObjectRef) -> dict[str, str]:
        """What the store calls the object. Raises: Permanent `object.bad_key`."""
        check_key(ref)
        _require_utf8(ref)
        location = self._locations[ref.bucket]
        key = location.prefix + ref.key
        if len(key.encode("utf-8")) > KEY_BYTES_MAX:
            raise bad_key(ref, f"with {location.prefix!r} before it, it is longer than {KEY_BYTES_MAX} bytes")
        return {"Bucket": location.bucket, "Key": key}

    def _translated(self, bucket: str) -> Any:
        return translated(f"the bucket {self._locations[bucket].bucket}")


def _send_rest(upload: MultipartUpload, whole: Part, bodies: Iterator[tuple[bytearray, bool]]) -> Part:
    """Send every part after the first; what they are together with `whole`, the first."""
    for number, (body, _) in enumerate(bodies, 2):
        upload.send(number, body, crc := crc32c(body))
        crc = crc32c_combine(whole.crc32c, crc, len(body))
        whole = Part(whole.ref, whole.size_bytes + len(body), crc)
    return whole


def _listed(bucket: str, location: Location, entry: Mapping[str, Any]) -> ObjectInfo:
    ref = ObjectRef(bucket, entry["Key"].removeprefix(location.prefix), version_of(entry))
    return ObjectInfo(ref, entry["Size"], modified_at(entry))


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _require_utf8(ref: ObjectRef) -> None:
    if not _is_utf8(ref.key):
        raise bad_key(ref, "it is no text that UTF-8 can hold")
