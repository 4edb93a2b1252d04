"""Copies inside an S3 store: a part that is replaced between its proof and its copy is never taken for what was proved.

Three nets hold it: the copy's condition on the ETag that was proved, the CRC32C that the store says of the copy, and
that of the whole object, without which the store does not complete it. Each is tried with the others cut.
"""

import base64
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import crc32c
import pytest
from bytereel.adapters.object_errors import damaged
from bytereel.adapters.s3.objects import S3Objects
from bytereel.adapters.s3.upload import require_crc
from bytereel.errors import BytereelError, Integrity, Permanent
from bytereel.model import ObjectRef
from bytereel.ports.objects import Part
from s3_stores import StoreBucket

SIZE = 5 << 20
"""The shortest part that a store copies."""
TARGET = ObjectRef("outbox", "x/reel.mp4")
FRAGMENT = ObjectRef("work", "j/000000.1")
RIGHT, OTHER = (random.Random(seed).randbytes(SIZE) for seed in (1, 2))
CONDITION = "x-amz-copy-source-if-match"
CHECKING = ("ministack", "seaweedfs")
"""The stores that heed a copy's condition; moto does not."""
PROVING = ("seaweedfs",)
"""The stores that check the CRC32C of whole objects."""


@pytest.fixture(params=CHECKING)
def bucket(request: pytest.FixtureRequest) -> StoreBucket:
    found: StoreBucket = request.getfixturevalue(f"{request.param}_bucket")
    return found


@pytest.fixture(params=PROVING)
def proving_bucket(request: pytest.FixtureRequest) -> StoreBucket:
    found: StoreBucket = request.getfixturevalue(f"{request.param}_bucket")
    return found


@contextmanager
def hearing(bucket: StoreBucket, event: str, handler: Callable[..., Any]) -> Iterator[None]:
    """Have the handler called at that event of the bucket's client while the context lasts."""
    bucket.client.meta.events.register(event, handler)
    try:
        yield
    finally:
        bucket.client.meta.events.unregister(event, handler)


def fragment_of(objects: S3Objects) -> Part:
    objects.put(FRAGMENT, [RIGHT])
    objects.put(TARGET, [b"before"])
    return Part(FRAGMENT, SIZE, crc32c.crc32c(RIGHT))


@contextmanager
def replaced_before_its_copy(bucket: StoreBucket, objects: S3Objects, *, unconditional: bool) -> Iterator[None]:
    """Have somebody replace the fragment when the copy is about to be asked for; cut the condition if that is said."""

    def replace(params: dict[str, Any], **_: object) -> None:
        objects.put(FRAGMENT, [OTHER])
        if unconditional:
            params["headers"].pop(CONDITION)

    with hearing(bucket, "before-call.s3.UploadPartCopy", replace):
        yield


@contextmanager
def said_of_copies(bucket: StoreBucket, said: str | None) -> Iterator[None]:
    """Have the store say that CRC32C of every copy; None: nothing."""

    def say(parsed: dict[str, Any], **_: object) -> None:
        if "CopyPartResult" in parsed:
            parsed["CopyPartResult"]["ChecksumCRC32C"] = said or ""

    with hearing(bucket, "after-call.s3.UploadPartCopy", say):
        yield


def header_of(content: bytes) -> str:
    return base64.b64encode(crc32c.crc32c(content).to_bytes(4, "big")).decode()


def content_of(objects: S3Objects, ref: ObjectRef) -> bytes:
    buffer = bytearray(objects.stat(ref).size_bytes)
    objects.read_into(ref, 0, memoryview(buffer))
    return bytes(buffer)


def refusal(bucket: StoreBucket, objects: S3Objects, part: Part) -> BytereelError:
    """The error of composing that part; what was there stays, and no upload is left open."""
    with pytest.raises(BytereelError) as raised:
        objects.compose(TARGET, b"", [part], b"")
    assert content_of(objects, TARGET) == b"before"
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")
    return raised.value


def test_a_fragment_that_stays_as_it_was_proved_is_copied(bucket: StoreBucket) -> None:
    objects = bucket.objects()
    part = fragment_of(objects)
    objects.compose(TARGET, b"", [part], b"")
    assert content_of(objects, TARGET) == RIGHT


def test_a_fragment_replaced_between_its_proof_and_its_copy_is_refused_by_the_copys_condition(
    bucket: StoreBucket,
) -> None:
    objects = bucket.objects()
    part = fragment_of(objects)
    with said_of_copies(bucket, None), replaced_before_its_copy(bucket, objects, unconditional=False):
        refused = refusal(bucket, objects, part)
    assert isinstance(refused, Permanent)
    assert refused.error_id == "object.changed"


def test_a_copy_of_which_the_store_says_another_sum_is_refused(bucket: StoreBucket) -> None:
    objects = bucket.objects()
    part = fragment_of(objects)
    with said_of_copies(bucket, header_of(OTHER)):
        refused = refusal(bucket, objects, part)
    assert isinstance(refused, Integrity)
    assert refused.error_id == "object.damaged"


def test_a_whole_of_another_sum_is_not_completed(proving_bucket: StoreBucket) -> None:
    objects = proving_bucket.objects()
    part = fragment_of(objects)
    with said_of_copies(proving_bucket, None), replaced_before_its_copy(proving_bucket, objects, unconditional=True):
        refusal(proving_bucket, objects, part)


def test_a_store_that_checks_wholes_is_told_the_sum_of_the_whole(bucket: StoreBucket) -> None:
    objects, told, opened = bucket.objects(), [], []
    parts = [fragment_of(objects)] * 2
    with (
        hearing(bucket, "provide-client-params.s3.CompleteMultipartUpload", lambda params, **_: told.append(params)),
        hearing(bucket, "after-call.s3.CreateMultipartUpload", lambda parsed, **_: opened.append(parsed)),
    ):
        objects.compose(TARGET, b"", parts, b"tail")
    proves = opened[0].get("ChecksumType") == "FULL_OBJECT"
    expected = header_of(RIGHT + RIGHT + b"tail") if proves else None
    assert told[0].get("ChecksumCRC32C") == expected
    assert told[0]["MpuObjectSize"] == 2 * SIZE + 4


def test_what_a_store_says_of_a_sum_counts_where_it_says_one_of_all_bytes() -> None:
    part = Part(FRAGMENT, SIZE, crc32c.crc32c(RIGHT))
    for said in (None, "", header_of(RIGHT), f"{header_of(OTHER)}-2", "not base64!"):
        require_crc(said, part)
    with pytest.raises(Integrity) as raised:
        require_crc(header_of(OTHER), part)
    assert raised.value.to_dict() == damaged(part, crc32c=crc32c.crc32c(OTHER)).to_dict()
