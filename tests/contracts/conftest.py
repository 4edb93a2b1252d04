"""The adapters that every contract suite runs against."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from bytereel.adapters.aws import make_client
from bytereel.adapters.clock import ManualClock, SystemClock
from bytereel.adapters.dynamodb.jobs import DynamoJobs
from bytereel.adapters.dynamodb.table import create_table
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.adapters.sqs.queue import SqsQueue, create_queues
from bytereel.ports.jobs import JobTable
from bytereel.ports.objects import ObjectStore
from bytereel.ports.queues import Queue
from moto import mock_aws
from s3_stores import S3_STORES, StoreBucket, client_of, made

from localstack.servers import REGION, Server

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

Outcome = TypeVar("Outcome")

ADAPTERS = ("memory", "embedded")
SQS_SERVERS = ("moto", "ministack")
QUEUE_NAMES = ("q", "r", "low", "high")
TABLE = "bytereel-jobs"
KEEP_SECONDS = 4e9
"""Rows expire a century after the moments of the tests, which are of 1970: an emulator must not clear them."""


@pytest.fixture(params=(*ADAPTERS, *S3_STORES))
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param in ADAPTERS:
        return MemoryObjects() if request.param == "memory" else FolderObjects(tmp_path)
    bucket: StoreBucket = request.getfixturevalue(f"{request.param.replace('-', '_')}_bucket")
    return bucket.objects()


@pytest.fixture
def moto_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreBucket]:
    """A bucket in this process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = make_client("s3", region=REGION)
        client.meta.events.register("before-call.s3", _as_bytes)
        yield made(client)


def _as_bytes(params: dict[str, object], **_: object) -> None:
    """Moto's in-process server takes no `bytearray`, which sockets do."""
    if isinstance(params["body"], bytearray):
        params["body"] = bytes(params["body"])


@pytest.fixture(scope="session")
def ministack_bucket(ministack_server: Server) -> StoreBucket:
    return made(client_of(ministack_server))


@pytest.fixture(scope="session")
def ministack_versioned_bucket(ministack_server: Server) -> StoreBucket:
    return made(client_of(ministack_server), versioned=True)


@pytest.fixture(scope="session")
def seaweedfs_bucket(seaweedfs_server: Server) -> StoreBucket:
    return made(client_of(seaweedfs_server))


@pytest.fixture(params=(*ADAPTERS, "moto", "ministack"))
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> JobTable:
    if request.param in ADAPTERS:
        return MemoryJobs() if request.param == "memory" else SqliteJobs(Database(tmp_path / "state.db"))
    client = request.getfixturevalue(f"{request.param}_table")
    return DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)


@pytest.fixture
def moto_table() -> Iterator["DynamoDBClient"]:
    """A client of DynamoDB in this process, in which TABLE was made. Not for threads: moto takes no locks."""
    with mock_aws():
        client = make_client("dynamodb", region=REGION)
        client.meta.events.register("before-call.dynamodb.Scan", _refuse_to_scan)
        create_table(client, TABLE)
        yield client


@pytest.fixture
def ministack_table(ministack_dynamodb: "DynamoDBClient") -> Iterator["DynamoDBClient"]:
    """A client of a server, in which TABLE was made for this test alone."""
    create_table(ministack_dynamodb, TABLE)
    yield ministack_dynamodb
    ministack_dynamodb.delete_table(TableName=TABLE)


@pytest.fixture(scope="session")
def ministack_dynamodb(ministack_server: Server) -> "DynamoDBClient":
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ministack_server.environment.items():
            patch.setenv(name, value)
        client = make_client("dynamodb", endpoint_url=ministack_server.endpoint_url)
    client.meta.events.register("before-call.dynamodb.Scan", _refuse_to_scan)
    return client


def _refuse_to_scan(**_: object) -> None:
    raise AssertionError("a table is never scanned")


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> "ManualClock | SleepingClock":
    """A clock to be moved; where the queue is a server's, moving it takes that long."""
    callspec = getattr(request.node, "callspec", None)
    served = callspec is not None and callspec.params.get("queue") in SQS_SERVERS
    return SleepingClock() if served else ManualClock()


class SleepingClock(SystemClock):
    """The time of this machine, moved by waiting: a little longer, for servers have clocks of their own."""

    def advance(self, seconds: float) -> None:
        """Wait."""
        self.sleep(seconds + 0.05)


@pytest.fixture(params=(*ADAPTERS, *SQS_SERVERS))
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Queue:
    if request.param in ADAPTERS:
        return MemoryQueue(clock) if request.param == "memory" else SqliteQueue(Database(tmp_path / "state.db"), clock)
    client = request.getfixturevalue(f"{request.param}_sqs")
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    create_queues(client, prefix, QUEUE_NAMES)
    return SqsQueue(client, prefix, QUEUE_NAMES, wait_seconds=0, clock=clock)


@pytest.fixture
def moto_sqs() -> Iterator["SQSClient"]:
    """A client of SQS in this process. Not for threads: moto takes no locks."""
    with mock_aws():
        yield make_client("sqs", region=REGION)


@pytest.fixture(scope="session")
def ministack_sqs(ministack_server: Server) -> "SQSClient":
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ministack_server.environment.items():
            patch.setenv(name, value)
        return make_client("sqs", endpoint_url=ministack_server.endpoint_url)


@pytest.fixture
def race() -> Callable[[Sequence[Callable[[], Outcome]]], list[Outcome]]:
    """Runs the calls at once in threads; returns what each returned, or raised."""

    def run(calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
            return [future.exception() or future.result() for future in futures]

    return run
