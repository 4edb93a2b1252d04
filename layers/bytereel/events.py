"""What stores say when an object appears, in all their shapes, as the sources that it is about. Pure.

One event may hold several records: S3's notification (also as a MinIO-compatible server sends it, with the key
beside the records), EventBridge's "Object Created", either of them passed on by a topic of SNS, and the road's own
intake message. Keys of notifications are URL-encoded, those of EventBridge are not. An event is a hint: what the store
holds is looked up.

Nothing here can start a loop: only objects in the place of the inbox are sources, and nothing of the road
writes there.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from bytereel.errors import Permanent, reason_of
from bytereel.messages import INTAKE, job_of, source_of
from bytereel.model import INBOX, Location, ObjectRef, job_id_of

Event = Mapping[str, Any]

log = logging.getLogger(__name__)

CREATED = "ObjectCreated:"
RECORDS_MAX = 1000
_UNVERSIONED = ("", "null", None)


def version_of(version_id: str | None, etag: str | None) -> str:
    """The version of an object: its version id where its bucket keeps versions, else its ETag."""
    if version_id is not None and version_id not in _UNVERSIONED:
        return version_id
    return (etag or "").strip('"')


def sources_in(event: Event, inbox: Location) -> Sequence[ObjectRef]:
    """The sources in the inbox that an event is about; none for a test event, a folder marker or a removal.

    Raises: Permanent `event.malformed`, `event.foreign_bucket`, `event.foreign_prefix`.
    """
    event = _unwrapped(event)
    if "Records" in event:
        found = list(_of_records(event["Records"], inbox))
    elif "detail" in event:
        found = [_of_bridge(event, inbox)]
    elif event.get("Event") == "s3:TestEvent":
        found = []
    else:
        found = [_of_message(event)]
    return [source for source in found if source is not None and not is_marker(source.key)]


def jobs_in(queue: str, body: Event, inbox: Location) -> Sequence[str]:
    """The ids of the jobs that a message of any queue is about. Raises: Permanent for a body that says nothing."""
    if queue == INTAKE:
        return [job_id_of(source) for source in sources_in(body, inbox)]
    return [job_of(body)]


def is_marker(key: str) -> bool:
    """Whether a key is an empty object that consoles make to show a folder."""
    return key == "" or key.endswith("/")


def body_of(text: str) -> Event:
    """The event in a message's text. Raises: Permanent `event.malformed`."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(text) from error
    if not isinstance(event, dict):
        raise _malformed(event)
    return event


def _unwrapped(event: Event) -> Event:
    """What a topic of SNS passed on, as a queue gets it or, of one record, a function; anything else as it is.

    Only once: a notification of a notification says nothing. Source: Amazon SNS, "Parsing message formats".
    """
    if event.get("Type") == "Notification" and "TopicArn" in event:
        return _passed_on(event)
    records = event.get("Records")
    if isinstance(records, list) and len(records) == 1 and isinstance(records[0], dict) and "Sns" in records[0]:
        notification = records[0]["Sns"]
        if not isinstance(notification, dict):
            raise _malformed(event)
        return _passed_on(notification)
    return event


def _passed_on(notification: Event) -> Event:
    message = notification.get("Message")
    if not isinstance(message, str):
        raise _malformed(notification)
    return body_of(message)


def _of_records(records: Any, inbox: Location) -> Iterator[ObjectRef | None]:
    if not isinstance(records, list) or len(records) > RECORDS_MAX:
        raise _malformed(records)
    for record in records:
        try:
            name = record["eventName"].removeprefix("s3:")
            bucket, stored = record["s3"]["bucket"]["name"], record["s3"]["object"]
            key = unquote_plus(stored["key"], errors="strict")
            version = version_of(stored.get("versionId"), stored.get("eTag"))
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise _malformed(record) from error
        if name.startswith(CREATED):
            yield from _ours(bucket, key, version, inbox, alone=len(records) == 1)


def _ours(bucket: Any, key: Any, version: str, inbox: Location, *, alone: bool) -> Iterator[ObjectRef]:
    """The source of a record; a foreign one beside others is passed over, lest it take them with it."""
    try:
        yield _in_inbox(bucket, key, version, inbox)
    except Permanent as error:
        if alone or error.error_id == "event.malformed":
            raise
        log.warning("a record is ignored: %s", reason_of(error))


def _of_bridge(event: Event, inbox: Location) -> ObjectRef | None:
    try:
        bucket, stored = event["detail"]["bucket"]["name"], event["detail"]["object"]
        key, version = stored["key"], version_of(stored.get("version-id"), stored.get("etag"))
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(event) from error
    return _in_inbox(bucket, key, version, inbox) if event.get("detail-type") == "Object Created" else None


def _of_message(event: Event) -> ObjectRef:
    source = source_of(event)
    if source.bucket != INBOX:
        raise _foreign(source.bucket, source.key)
    return source


def _in_inbox(bucket: Any, key: Any, version: str, inbox: Location) -> ObjectRef:
    if not (_is_text(bucket) and _is_text(key) and _is_text(version)):
        raise _malformed({"bucket": bucket, "key": key, "version": version})
    if bucket != inbox.bucket:
        raise _foreign(bucket, key)
    if not key.startswith(inbox.prefix):
        raise Permanent(
            "event.foreign_prefix",
            f"{bucket}/{key} does not lie under {inbox.prefix!r}, where the inbox is",
            hint="let the bucket's notification filter by that prefix",
            bucket=bucket,
            key=key,
            expected=inbox.prefix,
        )
    return ObjectRef(INBOX, key[len(inbox.prefix) :], version)


def _is_text(value: Any) -> bool:
    """Whether a value is a string that can be stored; JSON also writes halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _foreign(bucket: str, key: str) -> Permanent:
    return Permanent(
        "event.foreign_bucket",
        f"{bucket}/{key} is not in the inbox",
        hint="let that bucket's notification go elsewhere",
        bucket=bucket,
        key=key,
    )


def _malformed(event: Any) -> Permanent:
    return Permanent("event.malformed", "no event of a store that is known", event=str(event)[:200])
