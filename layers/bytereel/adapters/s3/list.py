"""What an S3 bucket holds, page by page, with the versions that HEAD and GET would name.

Keys come in the order of their UTF-8 bytes, which is that of Python's strings; SeaweedFS has an order of its own
(folder by folder), in which `after` works as well when it is a key that was listed.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bytereel.adapters.aws import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_KEYS_MAX = 1000
PAGES_MAX = 100_000


def keeps_versions(client: "S3Client", bucket: str) -> bool:
    """Whether objects of the bucket have version ids, or had once. Raises: botocore's errors."""
    try:
        return client.get_bucket_versioning(Bucket=bucket).get("Status") in ("Enabled", "Suspended")
    except ClientError as error:
        if code_of(error) == "NotImplemented":
            return False
        raise


def entries(client: "S3Client", bucket: str, prefix: str, after: str, limit: int) -> Iterator[Mapping[str, Any]]:
    """The objects of a bucket without versions. Raises: botocore's errors."""
    where: dict[str, Any] = {"StartAfter": after} if after else {}
    for _ in range(PAGES_MAX):
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=min(limit, PAGE_KEYS_MAX), **where)
        yield from page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        where = {"ContinuationToken": page["NextContinuationToken"]}


def latest_entries(client: "S3Client", bucket: str, prefix: str, after: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a bucket with versions: the latest of each, no deletions. Raises: botocore's errors."""
    where: dict[str, Any] = {"KeyMarker": after} if after else {}
    for _ in range(PAGES_MAX):
        page = client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_KEYS_MAX, **where)
        for entry in page.get("Versions", []):
            if entry["IsLatest"] and entry["Key"] != after:
                yield entry
        if not page.get("IsTruncated"):
            return
        where = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}
