"""What the services that the settings name lack, looked up live: one sentence each, for `bytereel doctor`.

Writes nothing but one small object under a name of its own in the work bucket, which it removes again.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bytereel.adapters.aws import code_of, translated
from bytereel.adapters.dynamodb.table import INDEX_NAMES, KEY_NAMES, TTL_ATTRIBUTE
from bytereel.errors import BytereelError, reason_of
from bytereel.messages import QUEUES
from bytereel.model import INBOX, WORK, Location

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

PROBE_PREFIX = ".bytereel-doctor-"


def missing_in_buckets(client: "S3Client", locations: Mapping[str, Location], *, notified: bool) -> Iterator[str]:
    """What is wrong with the buckets; `notified` where uploads are expected to tell a queue or a webhook.

    Ends at the first bucket that cannot be had: what is said of the others would be the same.
    """
    try:
        for location in locations.values():
            _require_bucket(client, location.bucket)
        yield from _refused_writes(client, locations[WORK])
        if notified and not _has_notification(client, locations[INBOX].bucket):
            yield (
                f"the bucket {locations[INBOX].bucket} tells nobody of uploads: only what `bytereel put` "
                "uploads and what the sweep finds becomes a job"
            )
    except BytereelError as error:
        yield reason_of(error)


def missing_in_queues(client: "SQSClient", prefix: str) -> Iterator[str]:
    """What is wrong with the queues whose names start with `prefix`."""
    for name in (f"{prefix}-{queue}" for queue in QUEUES):
        try:
            with translated(f"the queue {name}"):
                url = client.get_queue_url(QueueName=name)["QueueUrl"]
                found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
        except BytereelError as error:
            yield reason_of(error)
        else:
            if "RedrivePolicy" not in found.get("Attributes", {}):
                yield f"the queue {name} has no dead letters: a message that kills its worker comes back for ever"


def missing_in_table(client: "DynamoDBClient", name: str) -> Iterator[str]:
    """What is wrong with the table."""
    try:
        with translated(f"the table {name}"):
            table = client.describe_table(TableName=name)["Table"]
            expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    except BytereelError as error:
        yield reason_of(error)
        return
    if table.get("TableStatus") not in ("ACTIVE", "UPDATING"):
        yield f"the table {name} is {table.get('TableStatus')}, not ACTIVE"
    keys = tuple(key["AttributeName"] for key in table.get("KeySchema", []))
    if keys != KEY_NAMES:
        yield f"the table {name} has the keys {', '.join(keys)} instead of {', '.join(KEY_NAMES)}"
    indexes = {str(index.get("IndexName")) for index in table.get("GlobalSecondaryIndexes", [])}
    for index in sorted(INDEX_NAMES - indexes):
        yield f"the table {name} has no index {index}"
    if expiry.get("AttributeName") != TTL_ATTRIBUTE:
        yield f"the table {name} has no time to live on {TTL_ATTRIBUTE}: rows of old segments stay for ever"


def _require_bucket(client: "S3Client", name: str) -> None:
    with translated(f"the bucket {name}"):
        client.head_bucket(Bucket=name)


def _refused_writes(client: "S3Client", location: Location) -> Iterator[str]:
    """Whether an object can be written, and is not written twice where it must be absent."""
    name: dict[str, Any] = {"Bucket": location.bucket, "Key": f"{location.prefix}{PROBE_PREFIX}{uuid.uuid4().hex}"}
    what = f"the bucket {location.bucket}"
    with translated(what):
        client.put_object(**name, Body=b"probe", IfNoneMatch="*")
    try:
        if not _is_refused(client, name):
            yield f"{what} does not keep If-None-Match: two workers could write one fragment"
    finally:
        with translated(what):
            client.delete_object(**name)


def _is_refused(client: "S3Client", name: Mapping[str, Any]) -> bool:
    try:
        client.put_object(**name, Body=b"again", IfNoneMatch="*")
    except ClientError as error:
        return code_of(error) in ("PreconditionFailed", "412")
    return False


def _has_notification(client: "S3Client", bucket: str) -> bool:
    with translated(f"the bucket {bucket}"):
        found = client.get_bucket_notification_configuration(Bucket=bucket)
    return any(value for name, value in found.items() if name.endswith("Configurations") or name.startswith("EventB"))
