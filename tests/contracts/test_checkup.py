"""What `doctor` says of live services: nothing where all is there, one clear sentence for each thing that is not."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytereel.adapters.aws import make_client
from bytereel.adapters.checkup import PROBE_PREFIX
from bytereel.settings import Settings, load_settings
from bytereel.wiring import missing_services

from localstack.bootstrap import bootstrap
from localstack.servers import REGION, Server, free_port


@pytest.fixture
def settings(ministack_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """A cloud of its own in the shared server, with everything in it."""
    for name, value in ministack_server.environment.items():
        monkeypatch.setenv(name, value)
    found = cloud(ministack_server.endpoint_url)
    bootstrap(found)
    yield found


def cloud(endpoint_url: str) -> Settings:
    name = f"check-{uuid.uuid4().hex[:10]}"
    buckets = {f"{bucket}_bucket": f"{name}-{bucket}" for bucket in ("inbox", "work", "outbox")}
    return load_settings(endpoint_url=endpoint_url, region=REGION, table=name, queues=name, **buckets)


def client(service: str, settings: Settings):  # type: ignore[no-untyped-def]
    return make_client(service, endpoint_url=settings.endpoint_url, region=REGION)  # type: ignore[arg-type]


def test_nothing_is_missing_after_the_bootstrap_and_nothing_is_left_behind(settings: Settings) -> None:
    assert missing_services(settings) == []
    listed = client("s3", settings).list_objects_v2(Bucket=settings.work_bucket, Prefix=PROBE_PREFIX)
    assert listed.get("Contents", []) == []


def test_a_home_folder_has_no_services_that_could_be_missing(tmp_path: Path) -> None:
    assert missing_services(load_settings(home=tmp_path)) == []


def test_each_thing_that_is_not_there_is_named(settings: Settings) -> None:
    sqs, dynamodb, s3 = (client(service, settings) for service in ("sqs", "dynamodb", "s3"))
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=f"{settings.queues}-finalize")["QueueUrl"])
    intake = sqs.get_queue_url(QueueName=f"{settings.queues}-intake")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=intake, Attributes={"RedrivePolicy": ""})
    dynamodb.delete_table(TableName=settings.table)
    s3.put_bucket_notification_configuration(Bucket=settings.inbox_bucket, NotificationConfiguration={})
    said = missing_services(settings)
    assert [each.split(":")[0].split(" (")[0] for each in said] == [
        f"the bucket {settings.inbox_bucket} tells nobody of uploads",
        f"the queue {settings.queues}-finalize does not exist",
        f"the queue {settings.queues}-intake has no dead letters",
        f"the table {settings.table} does not exist",
    ]


def test_a_table_that_is_not_ours_is_told_by_its_keys_indexes_and_expiry(settings: Settings) -> None:
    dynamodb = client("dynamodb", settings)
    dynamodb.delete_table(TableName=settings.table)
    dynamodb.create_table(
        TableName=settings.table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    said = " ".join(missing_services(settings))
    for word in ("has the keys id instead of pk, sk", "no index by_id", "no index by_state", "no time to live"):
        assert word in said


def test_a_missing_bucket_is_named_once(settings: Settings) -> None:
    client("s3", settings).delete_bucket(Bucket=settings.outbox_bucket)
    said = missing_services(settings)
    assert len(said) == 1
    assert said[0].startswith(f"the bucket {settings.outbox_bucket} does not exist")


def test_credentials_that_are_not_known_are_said_to_be_so(
    seaweedfs_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**seaweedfs_server.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}.items():
        monkeypatch.setenv(name, value)
    buckets = {f"{bucket}_bucket": f"any-{bucket}" for bucket in ("inbox", "work", "outbox")}
    said = missing_services(load_settings(endpoint_url=seaweedfs_server.endpoint_url, region=REGION, **buckets))
    assert len(said) == 1
    assert "AWS_SECRET_ACCESS_KEY" in said[0] or "refuses HeadBucket" in said[0]


def test_no_credentials_at_all_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    said = missing_services(cloud(f"http://127.0.0.1:{free_port()}"))
    assert said
    assert all("no credentials for" in each for each in said)
