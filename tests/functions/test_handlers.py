"""The handlers: called directly with the events that stores really send, and behind the Runtime API on an emulator."""

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus

import psutil
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from awslambdaric.lambda_context import LambdaContext
from bytereel.adapters.aws import make_client
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.dynamodb.table import create_table
from bytereel.adapters.s3.inbox import BucketInbox
from bytereel.adapters.sqs.queue import create_queues
from bytereel.dispatch import fail_job
from bytereel.errors import Permanent, Temporary
from bytereel.messages import BULK, ENCODE, FINALIZE, INTAKE, QUEUES, body_of_segment
from bytereel.model import BUCKETS, INBOX, OUTBOX, Job, JobState, ObjectRef, job_id_of
from bytereel.settings import Settings, load_settings
from bytereel.steps.sweep import SweepReport
from bytereel.wiring import Home, open_home
from bytereel.workers.chores import TidyReport
from bytereel_codec import decode_file
from bytereel_functions import counting, on_complete, on_schedule, on_segment, on_upload
from bytereel_functions import opened as road_module
from bytereel_functions.opened import Road, open_road, road_of
from bytereel_functions.records import deliver_records, message_of

from localstack.bootstrap import bootstrap
from localstack.event_sources import record_of, scheduled_event
from localstack.functions import SHAPES, FunctionShape, running
from localstack.runtime_api import FunctionConfig, FunctionFailedError, LocalFunction
from localstack.servers import Server, process
from tests.by_the_clock import fastest
from tests.pipeline.toys import Road as Toys

HANDLERS = {
    INTAKE: on_upload.handler,
    ENCODE: on_segment.handler,
    BULK: on_segment.handler,
    FINALIZE: on_complete.handler,
}
SERVICES: Sequence[Literal["s3", "sqs"]] = ("s3", "sqs")
ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 2.0
EMPTY_RECEIVES_MAX = 100


@dataclass
class Cloud:
    """Buckets, queues and a table of one test's own, on an emulator; nobody hears of uploads but by `announce`."""

    environment: Mapping[str, str]
    settings: Settings
    home: Home
    s3: Any
    sqs: Any

    @property
    def inbox(self) -> str:
        assert self.settings.inbox_bucket is not None
        return self.settings.inbox_bucket

    def upload(self, key: str, content: bytes) -> ObjectRef:
        """Put an object as any client would; the source that it is."""
        self.s3.put_object(Bucket=self.inbox, Key=key, Body=content)
        info = self.home.ports.objects.stat(ObjectRef(INBOX, key))
        assert info is not None
        return info.ref

    def url_of(self, queue: str) -> str:
        return str(self.sqs.get_queue_url(QueueName=f"{self.settings.queues}-{queue}")["QueueUrl"])

    def send(self, queue: str, text: str) -> None:
        self.sqs.send_message(QueueUrl=self.url_of(queue), MessageBody=text)

    def receive(self, queue: str, visibility_seconds: int = 30) -> list[Mapping[str, Any]]:
        """What Lambda would hand over: up to ten records."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url_of(queue),
            MaxNumberOfMessages=10,
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["All"],
        )
        return [record_of(message, f"{self.settings.queues}-{queue}") for message in answer.get("Messages", [])]

    def announce(self, source: ObjectRef) -> None:
        """Send what the inbox's notification would say of a source."""
        self.send(INTAKE, json.dumps(s3_notification(self.inbox, source)))

    def forget(self, queue: str) -> None:
        """Lose what is in a queue."""
        for record in self.receive(queue):
            self.sqs.delete_message(QueueUrl=self.url_of(queue), ReceiptHandle=record["receiptHandle"])

    def hand_over(self, queue: str, seconds: float = 60.0) -> Any:
        """Receive one batch and call its function with it; what the function answered, None for an empty queue."""
        records = self.receive(queue)
        return HANDLERS[queue]({"Records": records}, context(seconds)) if records else None

    def run(self) -> None:
        """Hand batches over until nothing is left, waiting for what was put off."""
        for _ in range(EMPTY_RECEIVES_MAX):
            answers = [self.hand_over(queue) for queue in QUEUES]
            if not any(answers):
                if not any(self.home.ports.queue.size(queue) for queue in QUEUES):
                    return
                time.sleep(0.1)
        raise AssertionError("the road does not come to rest")

    def job(self, source: ObjectRef) -> Job:
        found = self.home.ports.jobs.get(job_id_of(source))
        assert found is not None
        return found

    def fetch(self, job: Job, folder: Path) -> bytes:
        """The source, out of the job's reel."""
        assert job.state is JobState.DONE, job
        reel = folder / f"{job.id}.mp4"
        self.s3.download_file(self.settings.outbox_bucket, job.result["output"], str(reel))
        decode_file(reel, folder / job.id)
        return (folder / job.id).read_bytes()

    def clear(self) -> None:
        """Forget every upload, message and job."""
        self.s3.put_bucket_notification_configuration(Bucket=self.inbox, NotificationConfiguration={})
        for version in self.s3.list_object_versions(Bucket=self.inbox).get("Versions", []):
            self.s3.delete_object(Bucket=self.inbox, Key=version["Key"], VersionId=version["VersionId"])
        for queue in QUEUES:
            self.sqs.purge_queue(QueueUrl=self.url_of(queue))
            self.sqs.purge_queue(QueueUrl=self.url_of(f"{queue}-dead"))
        for job in self.home.ports.jobs.list():
            fail_job(self.home.ports, job.id, "the test is over")
            self.home.ports.jobs.delete(job.id)

    def reasons_of_the_dead(self) -> list[str]:
        return [reason for _, reason in self.home.ports.queue.dead()]


@pytest.fixture(scope="module")
def shared_cloud(ministack_server: Server) -> Iterator[Cloud]:
    name = f"f{uuid.uuid4().hex[:10]}"
    environment = {
        **ministack_server.environment,
        "BYTEREEL_ENDPOINT_URL": ministack_server.endpoint_url,
        "BYTEREEL_INBOX_BUCKET": f"{name}-in",
        "BYTEREEL_WORK_BUCKET": f"{name}-own/work/",
        "BYTEREEL_OUTBOX_BUCKET": f"{name}-out",
        "BYTEREEL_TABLE": name,
        "BYTEREEL_QUEUES": name,
        "BYTEREEL_LEASE_SECONDS": str(LEASE_SECONDS),
        "BYTEREEL_STALL_SECONDS": "5",
        "BYTEREEL_SETTLE_SECONDS": "0",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    seen = {f"AWS_LAMBDA_FUNCTION_{variable}": "128" for variable in ("NAME", "VERSION", "MEMORY_SIZE")}
    with pytest.MonkeyPatch.context() as patch, untouched_loggers():
        for variable, value in {**environment, **seen}.items():
            patch.setenv(variable, value)
        settings = load_settings()
        s3, sqs = (make_client(service, endpoint_url=settings.endpoint_url) for service in SERVICES)
        for place in settings.locations.values():
            s3.create_bucket(Bucket=place.bucket)
        s3.put_bucket_versioning(Bucket=settings.inbox_bucket, VersioningConfiguration={"Status": "Enabled"})
        create_queues(sqs, name)
        create_table(make_client("dynamodb", endpoint_url=settings.endpoint_url), name)
        open_road.cache_clear()
        yield Cloud(environment, settings, open_home(settings), s3, sqs)
        open_road.cache_clear()


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Cloud:
    """The cloud without what other tests left in it."""
    shared_cloud.clear()
    return shared_cloud


class untouched_loggers:  # noqa: N801 - reads as the words it stands for
    """Gives our packages' loggers back as they were: the functions make them write JSON."""

    def __enter__(self) -> None:
        loggers = [logging.getLogger(name) for name in ("bytereel", "bytereel_codec", "bytereel_functions")]
        self._before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]

    def __exit__(self, *_: object) -> None:
        for logger, handlers, propagate, level in self._before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def context(seconds: float = 60.0) -> Any:
    """What Lambda tells a handler, made by its own runtime."""
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    return LambdaContext(str(uuid.uuid4()), {}, {}, round((time.time() + seconds) * 1000), arn)


def s3_notification(bucket: str, source: ObjectRef, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """As S3 and ministack send it."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "2026-11-21T10:00:00.000Z",
                "eventName": name,
                "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
                "requestParameters": {"sourceIPAddress": "127.0.0.1"},
                "responseElements": {"x-amz-request-id": "0A1B", "x-amz-id-2": "2C3D"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "bytereel-intake",
                    "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A1"}, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {
                        "key": quote_plus(source.key, safe="/"),
                        "size": 1024,
                        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                        "versionId": source.version,
                        "sequencer": "0055AED6DCD90281E5",
                    },
                },
            }
        ]
    }


def bridge_event(bucket: str, source: ObjectRef) -> dict[str, Any]:
    """As EventBridge sends it: the key is not encoded."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "000000000000",
        "time": "2026-11-21T10:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {
                "key": source.key,
                "size": 1024,
                "etag": "d41d8cd98f00b204e9800998ecf8427e",
                "version-id": source.version,
                "sequencer": "0055AED6DCD90281E5",
            },
            "request-id": "C3D13FE58DE4C810",
            "requester": "000000000000",
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }


def minio_event(bucket: str, source: ObjectRef) -> dict[str, Any]:
    """As a MinIO-compatible server posts it: S3's records, with name and key beside them."""
    notification = s3_notification(bucket, source, "s3:ObjectCreated:Put")
    [record] = notification["Records"]
    record["eventSource"] = "minio:s3"
    record["s3"]["object"]["userMetadata"] = {"content-type": "application/octet-stream"}
    record["source"] = {"host": "127.0.0.1", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.90"}
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"{bucket}/{source.key}", **notification}


EVENTS = [s3_notification, bridge_event, minio_event]
AWKWARD = "archive/so, a+b %41 (é)/x y.bin"


@pytest.mark.parametrize("event_of", EVENTS)
def test_an_event_by_the_queue_makes_a_job_of_the_very_version(cloud: Cloud, event_of: Any) -> None:
    source = cloud.upload(AWKWARD, b"content")
    cloud.send(INTAKE, json.dumps(event_of(cloud.inbox, source)))
    assert cloud.hand_over(INTAKE) == {"batchItemFailures": []}
    assert cloud.job(source).source == source
    assert cloud.job(source).state is JobState.PLANNED
    assert cloud.home.ports.queue.size(INTAKE) == 0
    assert cloud.home.ports.queue.size(ENCODE) == 1


@pytest.mark.parametrize("event_of", EVENTS)
def test_an_event_without_a_queue_around_it_makes_a_job_and_names_it(cloud: Cloud, event_of: Any) -> None:
    source = cloud.upload(AWKWARD, b"content")
    answer = on_upload.handler(event_of(cloud.inbox, source), context())
    assert answer == {"jobs": [job_id_of(source)]}
    assert cloud.job(source).state is JobState.PLANNED


def test_what_the_emulator_itself_sends_makes_a_job(cloud: Cloud) -> None:
    bootstrap(cloud.settings)
    source = cloud.upload(AWKWARD, b"content")
    while cloud.home.ports.queue.size(INTAKE) == 0:
        time.sleep(0.01)
    cloud.run()
    assert cloud.job(source).state is JobState.DONE


def test_the_test_event_that_a_new_notification_sends_is_dropped(cloud: Cloud) -> None:
    said = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": cloud.inbox, "RequestId": "0A", "HostId": "1B"}
    cloud.send(INTAKE, json.dumps(said))
    assert cloud.hand_over(INTAKE) == {"batchItemFailures": []}
    assert on_upload.handler(said, context()) == {"jobs": []}
    assert cloud.home.ports.queue.size(INTAKE) == 0
    assert cloud.reasons_of_the_dead() == []


def test_one_event_ten_times_at_once_is_one_job(cloud: Cloud) -> None:
    source = cloud.upload("archive/one", b"content")
    for _ in range(10):
        cloud.announce(source)
    records = cloud.receive(INTAKE)
    assert len(records) == 10
    open_road()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda record: on_upload.handler({"Records": [record]}, context()), records))
    assert [answer for answer in answers if answer["batchItemFailures"]] == []
    assert [job.id for job in cloud.home.ports.jobs.list()] == [job_id_of(source)]
    cloud.run()
    assert cloud.job(source).state is JobState.DONE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{not json", "not a message of the queue"),
        ('"text"', "not a message of the queue"),
        ('{"Records": [{"eventName": "ObjectCreated:Put"}]}', "no event of a store"),
        (json.dumps(s3_notification("somebody-elses", ObjectRef(INBOX, "archive/a", "1"))), "not in the inbox"),
        (json.dumps(bridge_event("somebody-elses", ObjectRef(INBOX, "archive/a", "1"))), "not in the inbox"),
        ("{}", "not a message"),
    ],
)
def test_a_message_that_says_nothing_usable_is_buried_with_its_reason(cloud: Cloud, text: str, says: str) -> None:
    cloud.send(INTAKE, text)
    assert cloud.hand_over(INTAKE) == {"batchItemFailures": []}
    assert cloud.home.ports.queue.size(INTAKE) == 0
    [reason] = cloud.reasons_of_the_dead()
    assert says in reason


@pytest.mark.parametrize("queue", [ENCODE, FINALIZE])
def test_what_is_no_json_is_buried_in_every_queue(cloud: Cloud, queue: str) -> None:
    cloud.send(queue, "][")
    assert cloud.hand_over(queue) == {"batchItemFailures": []}
    assert len(cloud.reasons_of_the_dead()) == 1


def test_a_bad_message_takes_no_other_with_it(cloud: Cloud) -> None:
    source = cloud.upload("archive/one", b"content")
    cloud.send(INTAKE, "{")
    cloud.announce(source)
    cloud.run()
    assert cloud.job(source).state is JobState.DONE
    assert len(cloud.reasons_of_the_dead()) == 1


def test_an_object_that_was_replaced_fails_its_job_with_a_reason_and_its_successor_gets_its_own(cloud: Cloud) -> None:
    gone = cloud.upload("archive/one", b"before")
    cloud.s3.delete_object(Bucket=cloud.inbox, Key="archive/one", VersionId=gone.version)
    present = cloud.upload("archive/one", b"after")
    for source in (gone, present):
        cloud.announce(source)
    cloud.run()
    assert cloud.job(gone).state is JobState.FAILED
    assert "removed or replaced" in cloud.job(gone).reason
    assert cloud.job(present).state is JobState.DONE


@dataclass
class Memory:
    """The road in memory with a toy conversion, and its messages as records of a queue."""

    toys: Toys
    road: Road

    def hand_over(self, queue: str, waited_seconds: float = 0.0) -> Any:
        """Receive a message for 60 s, and call the function with it after so long."""
        message = self.toys.ports.queue.lease([queue], "lambda", 60.0)
        assert message is not None
        if waited_seconds:
            self.toys.clock.advance(waited_seconds)
        record = {
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": json.dumps(message.body),
            "attributes": {"ApproximateReceiveCount": str(message.deliveries)},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:x-{queue}",
        }
        return deliver_records({"Records": [record]}, context(), self.road), message


def memory_with(toys: Toys, **chosen: float) -> Memory:
    home = Home("memory", toys.ports, BucketInbox(toys.ports.objects, toys.ports.queue), str)
    places = {f"{name}_bucket": f"some-{name}" for name in BUCKETS}
    settings = load_settings(deliveries_max=2, table="table", queues="x", **places, **chosen)
    return Memory(toys, road_of(settings, home, toys.conversions))


@pytest.fixture
def memory() -> Memory:
    return memory_with(Toys())


def a_passing_failure(_: int) -> None:
    raise Temporary("toy.passing", "it may work the next time")


def a_bug(_: int) -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(("fails", "says"), [(a_passing_failure, "it may work"), (a_bug, "ZeroDivisionError")])
def test_a_failure_is_tried_again_later_and_in_the_end_fails_the_job(memory: Memory, fails: Any, says: str) -> None:
    job_id = memory.toys.put("archive/a", b"abc")
    answer, _ = memory.hand_over(INTAKE)
    assert answer == {"batchItemFailures": []}
    memory.toys.loud.on_convert = fails
    answer, message = memory.hand_over(ENCODE)
    assert answer == {"batchItemFailures": [{"itemIdentifier": message.id}]}
    assert memory.toys.ports.queue.lease([ENCODE], "too soon", 1.0) is None
    memory.toys.clock.advance(60.0)
    memory.hand_over(ENCODE)
    assert memory.toys.ports.queue.size(ENCODE) == 0
    assert memory.toys.job(job_id).state is JobState.FAILED
    assert says in memory.toys.job(job_id).reason
    [(_, reason)] = memory.toys.ports.queue.dead()
    assert says in reason


def test_a_message_that_outlives_too_many_functions_fails_its_job(memory: Memory) -> None:
    job_id = memory.toys.put("archive/a", b"abc")
    memory.hand_over(INTAKE)
    for _ in range(memory.road.settings.deaths_max):
        assert memory.toys.ports.queue.lease([ENCODE], "killed", 60.0)
        memory.toys.clock.advance(60.0)
    assert memory.hand_over(ENCODE)[0] == {"batchItemFailures": []}
    assert "ended without an answer" in memory.toys.job(job_id).reason


def test_a_segment_longer_than_its_lease_keeps_its_message_and_itself() -> None:
    memory = memory_with(Toys(clock=SystemClock()), lease_seconds=1.0)  # type: ignore[arg-type]
    ports, seen = memory.toys.ports, []

    def look_around(_: int) -> None:
        time.sleep(1.7)
        now = time.time()
        seen.append(ports.queue.lease([ENCODE], "somebody", 60.0))
        seen.append(ports.jobs.lease_segment(job_id, 0, "somebody", now, now + 60.0))

    job_id = memory.toys.put("archive/a", b"abc")
    memory.hand_over(INTAKE)
    memory.toys.loud.on_convert = look_around
    assert memory.hand_over(ENCODE)[0] == {"batchItemFailures": []}
    assert seen == [None, None]
    assert memory.toys.job(job_id).segments_done == 1


def test_a_message_is_held_for_a_whole_lease_from_the_moment_its_step_begins() -> None:
    memory = memory_with(Toys(), lease_seconds=60.0)
    ports, clock, seen = memory.toys.ports, memory.toys.clock, []

    def look_around(_: int) -> None:
        for seconds in (59.0, 2.0):
            clock.advance(seconds)
            seen.append(ports.queue.lease([ENCODE], "somebody", 60.0))

    memory.toys.put("archive/a", b"abc")
    memory.hand_over(INTAKE)
    memory.toys.loud.on_convert = look_around
    memory.hand_over(ENCODE, waited_seconds=59.0)
    assert seen[0] is None, "it was received 59 s before"
    assert seen[1] is not None, "no heart beats here, so a lease it is and no more"


def test_a_message_of_somebody_elses_queue_is_left_alone(cloud: Cloud) -> None:
    cloud.send(INTAKE, "{}")
    [record] = cloud.receive(INTAKE)
    strange = {**record, "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:others-intake"}
    with pytest.raises(Exception, match="others-intake is no queue of the road"):
        on_upload.handler({"Records": [strange]}, context())
    assert cloud.home.ports.queue.size(INTAKE) == 1


@pytest.mark.parametrize("name", ["intake", "y-intake", "x-others", "x-"])
def test_a_message_of_a_queue_that_is_none_of_the_roads_is_foreign(name: str) -> None:
    record = SQSRecord({"eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{name}", "body": "{}"})
    with pytest.raises(Permanent) as raised:
        message_of(record, "x")
    assert raised.value.error_id == "event.foreign_queue"


@pytest.mark.parametrize(("left_seconds", "pages"), [(29.0, 1), (60.0, 3)])
def test_the_schedule_begins_no_page_with_hardly_any_time_left(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, left_seconds: float, pages: int
) -> None:
    cursors = ["work:a", "work:b", ""]
    swept = [TidyReport(0, 0, SweepReport(0, 0, 0, 0, 0, 0, cursor)) for cursor in cursors]
    seen: list[str] = []

    def page(home: Home, settings: Settings, cursor: str) -> TidyReport:
        seen.append(cursor)
        return swept[len(seen) - 1]

    monkeypatch.setattr(on_schedule, "tidy", page)
    monkeypatch.setattr(on_schedule, "open_road", lambda: memory.road)
    answer = on_schedule.handler({}, context(left_seconds))
    assert seen == ["", *cursors][:pages]
    assert answer["cursor"] == cursors[pages - 1], "where the next call goes on"


def test_an_event_heard_twice_is_counted_as_one_job(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(counting, "count", lambda name, value=1, unit=None: counts.update({name: value}))
    jobs = memory.road.ports.jobs
    job = Job("j", ObjectRef(INBOX, "a", "v"), 7, "archive", "plain", JobState.RECEIVED, 0.0, 0.0)
    assert [jobs.create(job) for _ in range(2)] == [True, False]
    assert counts == {"JobsReceived": 1, "SourceBytes": 7}


def test_a_segment_that_somebody_holds_is_looked_at_again_when_the_lease_is_over(cloud: Cloud) -> None:
    source = cloud.upload("archive/one", b"content")
    cloud.announce(source)
    cloud.hand_over(INTAKE)
    now = time.time()
    assert cloud.home.ports.jobs.lease_segment(job_id_of(source), 0, "the dead", now, now + LEASE_SECONDS)
    assert cloud.hand_over(ENCODE) == {"batchItemFailures": []}
    assert cloud.job(source).segments_done == 0
    cloud.run()
    assert cloud.job(source).state is JobState.DONE


def test_the_schedule_finds_a_lost_event_and_resumes_what_stalled(cloud: Cloud) -> None:
    lost = cloud.upload("archive/lost", b"content")
    answer = on_schedule.handler(dict(scheduled_event()), context())
    assert (answer["announced"], answer["cursor"]) == (1, "")
    cloud.run()
    assert cloud.job(lost).state is JobState.DONE
    stalled = cloud.upload("archive/stalled", b"content")
    cloud.announce(stalled)
    cloud.hand_over(INTAKE)
    cloud.forget(ENCODE)
    assert on_schedule.handler(dict(scheduled_event()), context())["resumed"] == 0  # a size may be an estimate
    time.sleep(LEASE_SECONDS)
    assert on_schedule.handler(dict(scheduled_event()), context())["resumed"] == 1
    cloud.run()
    assert cloud.job(stalled).state is JobState.DONE


def test_nothing_that_the_road_writes_is_a_source(cloud: Cloud) -> None:
    source = cloud.upload("archive/one", b"content")
    cloud.announce(source)
    cloud.run()
    on_schedule.handler(dict(scheduled_event()), context())
    assert [job.id for job in cloud.home.ports.jobs.list()] == [job_id_of(source)]
    stored = cloud.home.ports.objects.stat(ObjectRef(OUTBOX, cloud.job(source).result["output"]))
    assert stored is not None
    own = s3_notification(str(cloud.settings.outbox_bucket), stored.ref)
    cloud.send(INTAKE, json.dumps(own))
    cloud.run()
    assert [job.id for job in cloud.home.ports.jobs.list()] == [job_id_of(source)]


def test_a_message_about_no_job_ends(cloud: Cloud) -> None:
    cloud.send(ENCODE, json.dumps(body_of_segment("0" * 26, 0)))
    cloud.send(FINALIZE, json.dumps({"job": "0" * 26}))
    cloud.run()
    assert cloud.reasons_of_the_dead() == []


def function_on(cloud: Cloud, name: str, folder: Path, **limits: float) -> LocalFunction:
    config = FunctionConfig(name, f"bytereel_functions.{name}.handler", cloud.environment, **limits)  # type: ignore[arg-type]
    return LocalFunction(config, folder)


def lines_of(function: LocalFunction) -> list[dict[str, Any]]:
    """The lines of JSON in a function's log."""
    return [json.loads(line) for line in function.log_path.read_text().splitlines() if line.startswith("{")]


def test_every_line_names_the_job_and_the_metrics_are_counted(cloud: Cloud, tmp_path: Path) -> None:
    source = cloud.upload("archive/one", b"content")
    cloud.announce(source)
    function = function_on(cloud, "on_upload", tmp_path)
    try:
        assert function.invoke({"Records": cloud.receive(INTAKE)}) == {"batchItemFailures": []}
    finally:
        function.close()
    lines = lines_of(function)
    received = next(line for line in lines if "received" in str(line.get("message")))
    assert received["correlation_id"] == job_id_of(source)
    assert received["level"] == "INFO"
    assert {"function_request_id", "cold_start", "timestamp"} <= set(received)
    [counted] = [line for line in lines if "JobsReceived" in line]
    assert (counted["JobsReceived"], counted["SourceBytes"], counted["MessagesReceived"]) == ([1.0], [7.0], [1.0])
    assert counted["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "bytereel"


def test_a_function_killed_at_its_deadline_loses_nothing(cloud: Cloud, tmp_path: Path) -> None:
    content = random.Random(7).randbytes(24 * 1024 * 1024)
    source = cloud.upload("archive/one", content)
    cloud.announce(source)
    cloud.hand_over(INTAKE)
    function = function_on(cloud, "on_segment", tmp_path)
    killed = 0
    for timeout_seconds in (0.01, 0.03, 0.06, 0.1):
        warm_up(cloud, function)
        [record, *_] = received(cloud, ENCODE)
        try:
            function.invoke({"Records": [record]}, timeout_seconds)
        except FunctionFailedError as error:
            assert error.error_type == "Sandbox.Timedout"
            killed += 1
    function.close()
    assert killed
    cloud.run()
    assert cloud.fetch(cloud.job(source), tmp_path) == content
    assert cloud.reasons_of_the_dead() == []


def warm_up(cloud: Cloud, function: LocalFunction) -> None:
    """Have the function open its road, with a message about no job."""
    cloud.send(BULK, json.dumps(body_of_segment("0" * 26, 0)))
    assert function.invoke({"Records": received(cloud, BULK)}) == {"batchItemFailures": []}


def received(cloud: Cloud, queue: str) -> list[Mapping[str, Any]]:
    """Records of a queue, once it has some."""
    for _ in range(EMPTY_RECEIVES_MAX):
        if records := cloud.receive(queue, visibility_seconds=1):
            return records
        time.sleep(0.1)
    raise AssertionError(f"nothing comes out of the queue {queue}")


@pytest.mark.slow
def test_uploads_become_reels_while_the_functions_are_killed_at_random(cloud: Cloud, tmp_path: Path) -> None:
    bootstrap(cloud.settings)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, stopping = random.Random(seed), threading.Event()
    contents = [chance.randbytes(size) for size in (0, 1, 3_000_000, 20_000_000)]
    environment = {**cloud.environment, "BYTEREEL_SWEEP_SECONDS": "2", "BYTEREEL_DEATHS_MAX": "1000"}
    settings = load_settings(sweep_seconds=2.0)
    with running(settings, environment, tmp_path, workers=2, shapes=SHAPES, visibility_seconds=3) as functions:

        def kill_some() -> None:
            while not stopping.wait(chance.uniform(0.5, 3.0)):
                chance.choice(functions.named("on_segment")).kill()

        killer = threading.Thread(target=kill_some)
        killer.start()
        sources = [cloud.upload(f"archive/{number}.bin", content) for number, content in enumerate(contents)]
        wait_for_jobs(cloud, sources, seconds=15.0)
        stopping.set()
        killer.join()
        wait_for_jobs(cloud, sources, seconds=90.0)
        functions.check()
    for source, content in zip(sources, contents, strict=True):
        assert cloud.fetch(cloud.job(source), tmp_path) == content
    assert cloud.reasons_of_the_dead() == []


def wait_for_jobs(cloud: Cloud, sources: Sequence[ObjectRef], seconds: float) -> None:
    """Until every source's job has ended, or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        jobs = [cloud.home.ports.jobs.get(job_id_of(source)) for source in sources]
        if all(job is not None and job.state in (JobState.DONE, JobState.FAILED) for job in jobs):
            return
        time.sleep(0.05)


def test_the_command_runs_the_functions_says_that_they_live_and_drains(cloud: Cloud, tmp_path: Path) -> None:
    bootstrap(cloud.settings)
    command = [sys.executable, "-m", "localstack.functions"]
    environment = {**os.environ, **cloud.environment, "PYTHONPATH": str(ROOT)}

    def is_alive() -> bool:
        return subprocess.run([*command, "--health"], env=environment, check=False).returncode == 0

    assert not is_alive()
    with process([*command, "--workers", "1"], tmp_path, environment) as running_command:
        source = cloud.upload("archive/one", b"content")
        wait_for_jobs(cloud, [source], seconds=30.0)
        assert is_alive()
        children = psutil.Process(running_command.pid).children()
        assert len(children) == 4
        running_command.terminate()
        assert running_command.wait(20.0) == 0
    assert cloud.fetch(cloud.job(source), tmp_path) == b"content"
    assert not is_alive()
    assert psutil.wait_procs(children, 5.0)[1] == []
    assert '"correlation_id":' in (tmp_path / "log").read_text()


def test_functions_whose_host_is_killed_end_too(cloud: Cloud, tmp_path: Path) -> None:
    environment = {**cloud.environment, "PYTHONPATH": str(ROOT)}
    with process([sys.executable, "-m", "localstack.functions"], tmp_path, environment) as running_command:
        host = psutil.Process(running_command.pid)
        end = time.monotonic() + 20.0
        while not (children := host.children()) and time.monotonic() < end:
            time.sleep(0.05)
        running_command.kill()
        assert children
        assert psutil.wait_procs(children, 10.0)[1] == []


def test_the_command_without_settings_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localstack.functions"],
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "BYTEREEL_QUEUES" in done.stderr


def test_a_function_opens_no_road_that_would_keep_its_state_on_its_own_machine(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the cloud's settings each one is missed, and all of them together are enough."""
    whole = memory.road.settings
    monkeypatch.setattr(road_module, "open_home", lambda settings: memory.road.home)
    monkeypatch.setattr(road_module, "load_conversions", lambda settings: memory.road.conversions)
    monkeypatch.setattr(road_module, "load_settings", lambda: whole)
    assert open_road.__wrapped__().settings == whole
    for name in ("inbox_bucket", "work_bucket", "outbox_bucket", "table", "queues"):
        lacking = whole.model_copy(update={name: None})
        monkeypatch.setattr(road_module, "load_settings", lambda lacking=lacking: lacking)
        with pytest.raises(Permanent) as raised:
            open_road.__wrapped__()
        assert raised.value.error_id == "settings.missing"
        assert raised.value.facts["settings"] == [f"BYTEREEL_{name.upper()}"]


def test_a_small_upload_has_its_job_within_a_second_where_the_machine_is_free(cloud: Cloud, tmp_path: Path) -> None:
    bootstrap(cloud.settings)
    shapes: Mapping[str, FunctionShape] = {"on_upload": SHAPES["on_upload"]}
    with running(cloud.settings, cloud.environment, tmp_path, shapes=shapes) as functions:
        first = cloud.upload("archive/first", b"it is a cold start")
        wait_for(cloud, first)
        assert fastest(lambda: wait_for(cloud, cloud.upload("archive/another", b"content"))) <= 1.0
        functions.check()


def wait_for(cloud: Cloud, source: ObjectRef) -> None:
    end = time.monotonic() + 30.0
    while cloud.home.ports.jobs.get(job_id_of(source)) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
