"""Parsers of the road: events of stores, messages of queues, keys.

Laws: families, and every source found is one that the rest of the road can take.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from bytereel.adapters.minio import _encoded
from bytereel.conversions.registry import load_conversions
from bytereel.errors import BytereelError
from bytereel.events import Event, body_of, jobs_in, sources_in
from bytereel.messages import QUEUES, segment_of
from bytereel.model import INBOX, Location, ObjectRef, job_id_of
from bytereel.routing import Conversions, manifest_key, marked_key, output_key, route_key
from bytereel.service.webhook import sources_of
from bytereel.settings import load_settings
from bytereel_codec.files.names import FILE_NAME_BYTES_MAX
from bytereel_functions.records import is_batch, message_of

from tools.fuzz.mutate import TEXTS, deep_json, mutated, mutated_json
from tools.fuzz.parsers.parser import Parser, require
from tools.fuzz.target import Outcome, refusal

_PUT = "s3:ObjectCreated:Put"
_INBOX = Location("uploads", "in/")
_OBJECT = {"key": "in/archive/a+b.zip", "eTag": "abc", "versionId": "1", "size": 3}
_RECORD = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "uploads"}, "object": _OBJECT}}
_STORED = {"key": "in/a b", "etag": "abc", "version-id": "1"}
_EVENTS: tuple[dict[str, Any], ...] = ( {"Records": [_RECORD]}, {"Records": [_RECORD, {**_RECORD,
    "eventName": "s3:ObjectRemoved:Delete"}]}, {"EventName": "s3:ObjectCreated:Put", "Key": "uploads/in/a",
    "Records": [{**_RECORD, "eventName": "s3:ObjectCreated:Put"}]}, {"detail-type": "Object Created",
    "detail": {"bucket": {"name": "uploads"}, "object": _STORED}}, {"Event": "s3:TestEvent", "Bucket": "uploads"},
    {"bucket": "inbox", "key": "archive/a", "version": "1"}, )  # fmt: skip
_MESSAGES: tuple[dict[str, Any], ...] = ({"job": "0" * 26, "index": 3}, {"job": "0" * 26}, _EVENTS[-1])
_KEYS = ("a.zip", "archive/balanced/a/b.zip", "restore/original/x.mp4", "archive/x/", "holiday/a.zip", "archive//a")


def _event(random: Random) -> bytes:
    return deep_json(random) if random.random() < 0.03 else mutated_json(random, random.choice(_EVENTS))


def _message(random: Random) -> bytes:
    return deep_json(random) if random.random() < 0.03 else mutated_json(random, random.choice(_MESSAGES))


def _key(random: Random) -> bytes:
    key = random.choice(_KEYS)
    if random.random() < 0.5:
        place = random.randint(0, len(key))
        key = key[:place] + random.choice(TEXTS) + key[place:]
    content = key.encode("utf-8", "surrogatepass")
    return mutated(random, content) if random.random() < 0.5 else content


def _check_source(source: ObjectRef) -> None:
    require(source.bucket == INBOX, "source_bucket", f"{source.bucket!r} is no bucket of the road's")
    require(source.key != "" and not source.key.endswith("/"), "source_marker", f"{source.key!r} is a folder's marker")
    require(len(job_id_of(source)) == 26, "source_identity", "a source without an identity")
    json.dumps([source.key, source.version]).encode("ascii")


def _sources(found: Any) -> Outcome:
    for source in found:
        _check_source(source)
    return Outcome("read" if found else "nothing", str(len(found)))


def _read_webhook(content: bytes) -> Outcome:
    """As the gateway takes it."""
    try:
        return _sources(sources_of(content, _INBOX))
    except BytereelError as error:
        return refusal(error)


def _read_listened(content: bytes) -> Outcome:
    """As a listener to a MinIO-compatible server takes it: the client gives objects that have `Records`."""
    try:
        event = body_of(content.decode("utf-8", "replace"))
        return _sources(sources_in(_encoded(event), _INBOX)) if event.get("Records") else Outcome("nothing")
    except BytereelError as error:
        return refusal(error)


def _read_queued(content: bytes) -> Outcome:
    """As a function takes it out of SQS, and a worker after it; SQS lets no other text through than valid one."""
    text = content.decode("utf-8", "replace")
    try:
        event: Event = body_of(text)
    except BytereelError as error:
        event = {"text": text}
        is_batch({"Records": [error.error_id]})
    is_batch(event)
    labels = []
    for queue in QUEUES:
        message = message_of(_record(queue, text), "road")
        try:
            jobs = jobs_in(message.queue, message.body, _INBOX)
            labels.append("read" if jobs else "nothing")
            segment_of(message.body)
        except BytereelError as error:
            labels.append(error.error_id)
    return Outcome(labels[-1], " ".join(labels))


def _record(queue: str, text: str) -> SQSRecord:
    attributes = {"ApproximateReceiveCount": "1"}
    arn = f"arn:aws:sqs:us-east-1:1:road-{queue}"
    return SQSRecord(
        {"messageId": "1", "receiptHandle": "r", "body": text, "attributes": attributes, "eventSourceARN": arn}
    )


def _read_key(conversions: Conversions, content: bytes) -> Outcome:
    """A key to its route, and from there to the keys of outputs."""
    key = content.decode("utf-8", "surrogateescape")
    route = route_key(key, conversions)
    require(key.endswith(route.path) and route.profile in conversions[route.conversion].profiles, "route", repr(route))
    try:
        output = output_key(route, route.name or "x")
    except BytereelError as error:
        return refusal(error)
    for made in (output, marked_key(output, "0" * 26), manifest_key(output)):
        require(made.startswith(f"{route.conversion}/{route.profile}/"), "output_place", made)
    for made in (marked_key(output, "0" * 26), manifest_key(output)):
        name = made.rpartition("/")[2].encode("utf-8", "surrogateescape")
        require(len(name) <= FILE_NAME_BYTES_MAX, "output_name", f"{len(name)} bytes")
    return Outcome("read", f"{route.conversion} {route.profile}")


def parsers(folder: Path) -> Iterator[Parser]:
    """Those of the road's outside."""
    conversions = load_conversions(load_settings(home=folder))
    yield Parser("webhook", _event, _read_webhook)
    yield Parser("listened", _event, _read_listened)
    yield Parser("queued", _event, _read_queued)
    yield Parser("message", _message, _read_queued)
    yield Parser("key", _key, partial(_read_key, conversions))
