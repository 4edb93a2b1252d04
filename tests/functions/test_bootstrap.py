import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import boto3
import pytest
from bytereel.messages import INTAKE, QUEUES

from localstack.bootstrap import CREATED, main
from localstack.servers import HOST, Server, free_port

BUCKETS = ("inbox", "work", "outbox")
NOTHING = "everything is there already\n"


class Cloud:
    """A server, names of its own in it, and the environment that says so."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch, *, state: bool = True) -> None:
        self.server = server
        self.name = f"b{uuid.uuid4().hex[:12]}"
        self._monkeypatch = monkeypatch
        self.set(**server.environment)
        self.set(BYTEREEL_ENDPOINT_URL=server.endpoint_url)
        self.set(**{f"BYTEREEL_{bucket.upper()}_BUCKET": f"{self.name}-{bucket}" for bucket in BUCKETS})
        if state:
            self.set(BYTEREEL_TABLE=self.name, BYTEREEL_QUEUES=self.name)

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self._monkeypatch.setenv(name, value)

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.server.endpoint_url)

    def notification(self) -> list[Mapping[str, Any]]:
        found = self.client("s3").get_bucket_notification_configuration(Bucket=f"{self.name}-inbox")
        return found.get("QueueConfigurations", [])

    def queue_url(self, queue: str) -> str:
        return self.client("sqs").get_queue_url(QueueName=f"{self.name}-{queue}")["QueueUrl"]

    def received(self, queue: str, seconds: float = 5.0) -> list[Any]:
        deadline, found = time.monotonic() + seconds, []
        while not found and time.monotonic() < deadline:
            got = self.client("sqs").receive_message(QueueUrl=self.queue_url(queue), WaitTimeSeconds=1)
            found = [json.loads(message["Body"]) for message in got.get("Messages", [])]
            found = [each for each in found if each.get("Event") != "s3:TestEvent"]
        return found


@pytest.fixture
def cloud(ministack_server: Server, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud(ministack_server, monkeypatch)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def test_everything_is_made_and_an_upload_reaches_the_intake_queue(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys)
    assert f"made the table {cloud.name}\n" in out
    s3, sqs = cloud.client("s3"), cloud.client("sqs")
    for bucket in BUCKETS:
        status = s3.get_bucket_versioning(Bucket=f"{cloud.name}-{bucket}").get("Status")
        assert status == (None if bucket == "work" else "Enabled"), bucket
    for queue in QUEUES:
        found = sqs.get_queue_attributes(QueueUrl=cloud.queue_url(queue), AttributeNames=["All"])
        assert "RedrivePolicy" in found["Attributes"], queue
    s3.put_object(Bucket=f"{cloud.name}-inbox", Key="archive/a b+%41 ü", Body=b"x")
    (event,) = cloud.received(INTAKE)
    assert event["Records"][0]["s3"]["object"]["key"] == "archive/a+b%2B%2541+%C3%BC"


def test_a_second_run_changes_nothing_and_says_so(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    before = cloud.notification()
    assert said(capsys) == NOTHING
    assert cloud.notification() == before


@pytest.mark.parametrize("lost", ["bucket", "versions", "queue", "policy", "notification", "table"])
def test_what_is_missing_is_made_again_and_the_rest_stays(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    said(capsys)
    s3, sqs, inbox = cloud.client("s3"), cloud.client("sqs"), f"{cloud.name}-inbox"
    s3.put_object(Bucket=inbox, Key="kept", Body=b"kept")
    if lost == "bucket":
        s3.delete_bucket(Bucket=f"{cloud.name}-outbox")
    elif lost == "versions":
        s3.put_bucket_versioning(Bucket=inbox, VersioningConfiguration={"Status": "Suspended"})
    elif lost == "queue":
        sqs.delete_queue(QueueUrl=cloud.queue_url(INTAKE))
    elif lost == "policy":
        sqs.set_queue_attributes(QueueUrl=cloud.queue_url(INTAKE), Attributes={"Policy": ""})
    elif lost == "notification":
        s3.put_bucket_notification_configuration(Bucket=inbox, NotificationConfiguration={})
    else:
        cloud.client("dynamodb").delete_table(TableName=cloud.name)
    assert said(capsys) != NOTHING
    assert said(capsys) == NOTHING
    assert s3.get_object(Bucket=inbox, Key="kept")["Body"].read() == b"kept"


def test_two_runs_at_once_both_end_well(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    runs = [threading.Thread(target=lambda: codes.append(main([]))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert codes == [0, 0], capsys.readouterr().err
    capsys.readouterr()
    assert said(capsys) == NOTHING
    assert len(cloud.notification()) == 1


def test_notifications_of_others_stay(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    sqs, inbox = cloud.client("sqs"), f"{cloud.name}-inbox"
    url = sqs.create_queue(QueueName=f"{cloud.name}-other")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    other = {"Id": "theirs", "QueueArn": arn, "Events": ["s3:ObjectRemoved:*"]}
    cloud.client("s3").put_bucket_notification_configuration(
        Bucket=inbox, NotificationConfiguration={"QueueConfigurations": [other], "EventBridgeConfiguration": {}}
    )
    assert said(capsys) != NOTHING
    assert {each["QueueArn"].rpartition(":")[2] for each in cloud.notification()} == {
        f"{cloud.name}-other",
        f"{cloud.name}-{INTAKE}",
    }
    found = cloud.client("s3").get_bucket_notification_configuration(Bucket=inbox)
    assert "EventBridgeConfiguration" in found


def test_prefixes_in_one_bucket_tell_of_the_inbox_alone(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.set(**{f"BYTEREEL_{each.upper()}_BUCKET": f"{cloud.name}-inbox/{each}/" for each in BUCKETS})
    said(capsys)
    assert said(capsys) == NOTHING
    s3 = cloud.client("s3")
    for key in ("work/a", "outbox/a", "inbox/a"):
        s3.put_object(Bucket=f"{cloud.name}-inbox", Key=key, Body=b"x")
    (event,) = cloud.received(INTAKE)
    assert event["Records"][0]["s3"]["object"]["key"] == "inbox/a"
    assert cloud.received(INTAKE, seconds=1.0) == []


def test_another_region_is_named_to_the_store(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.set(BYTEREEL_REGION="eu-west-1", AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-1")
    said(capsys)
    where = cloud.client("s3").get_bucket_location(Bucket=f"{cloud.name}-inbox")
    assert where["LocationConstraint"] == "eu-west-1"
    assert said(capsys) == NOTHING


def test_objects_alone_are_made_on_a_store_without_queues(
    seaweedfs_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Cloud(seaweedfs_server, monkeypatch, state=False)
    assert said(capsys).count("made the bucket") == 3
    assert said(capsys) == NOTHING


def test_wrong_credentials_are_one_clear_line(
    seaweedfs_server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = Cloud(seaweedfs_server, monkeypatch, state=False)
    cloud.set(AWS_SECRET_ACCESS_KEY="another")
    assert "bucket" in refused(capsys)


def test_missing_settings_and_credentials_are_one_clear_line(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "credentials" in refused(capsys)
    for bucket in BUCKETS:
        monkeypatch.delenv(f"BYTEREEL_{bucket.upper()}_BUCKET")
    assert "BYTEREEL_TABLE" in refused(capsys)
    monkeypatch.delenv("BYTEREEL_TABLE")
    monkeypatch.delenv("BYTEREEL_QUEUES")
    assert "BYTEREEL_INBOX_BUCKET" in refused(capsys)


def test_a_server_that_does_not_come_is_waited_for_a_bounded_time(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.set(BYTEREEL_ENDPOINT_URL=f"http://{HOST}:{free_port()}")
    started_at = time.monotonic()
    assert "does not answer after 0.5 s" in refused(capsys, "--wait", "0.5")
    assert time.monotonic() - started_at < 3


class MinioLike(BaseHTTPRequestHandler):
    """What a MinIO server does with the calls of the bootstrap; it is not ready for its first answers.

    Source: minio `cmd/bucket-notification-handlers.go`, `internal/event/arn.go`: a target that is not configured is
    refused, a configuration is kept and given back.
    """

    protocol_version = "HTTP/1.1"
    TARGET = "arn:minio:sqs::BYTEREEL:webhook"
    unready = 2
    kept: dict[str, bytes] = {}  # noqa: RUF012

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        question = next(iter(parse_qs(url.query, keep_blank_values=True)), "")
        name = f"{url.path}?{question}"
        if type(self).unready > 0:
            type(self).unready -= 1
            self._answer(503, b"<Error><Code>XMinioServerNotInitialized</Code></Error>")
        elif self.command == "PUT" and question == "notification" and not self._is_known(body):
            self._answer(400, b"<Error><Code>InvalidArgument</Code><Message>no such ARN</Message></Error>")
        elif self.command == "PUT":
            self.kept[name] = body
            self._answer(200)
        elif name in self.kept or url.path == "/":
            self._answer(200, self.kept.get(name, b"") if question else b"")
        elif question and f"{url.path}?" in self.kept:
            root = {"versioning": "VersioningConfiguration"}.get(question, "NotificationConfiguration")
            self._answer(200, f"<{root}/>".encode())
        else:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")

    def _is_known(self, body: bytes) -> bool:
        found = [each.text for each in ElementTree.fromstring(body).iter() if each.tag.endswith("}Queue")]
        return found == [self.TARGET]

    do_GET = do_PUT = do_HEAD = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def minio_like() -> Iterator[Server]:
    handler = type("Handler", (MinioLike,), {"kept": {}, "unready": 2})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Server(f"http://{HOST}:{server.server_port}", "bytereel", "not-a-secret")
        server.shutdown()
        thread.join()


def test_a_minio_like_server_is_waited_for_and_tells_its_webhook(
    minio_like: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = Cloud(minio_like, monkeypatch, state=False)
    out = said(capsys, "--webhook-arn", MinioLike.TARGET)
    assert out.count("made the bucket") == 3
    (kept,) = cloud.notification()
    assert (kept["QueueArn"], kept["Events"]) == (MinioLike.TARGET, [CREATED])
    assert said(capsys, "--webhook-arn", MinioLike.TARGET) == NOTHING


def test_a_webhook_that_the_server_does_not_know_is_one_clear_line(
    minio_like: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Cloud(minio_like, monkeypatch, state=False)
    assert main(["--webhook-arn", "arn:minio:sqs::OTHER:webhook"]) == 3
    assert re.search("OTHER:webhook refuses .*: no such ARN", capsys.readouterr().err)
