"""Makes what the road needs in the services that the settings name: buckets, queues, the table, the notification.

`python -m localstack.bootstrap` takes the `BYTEREEL_*` settings and the credentials of the usual chain. What is
there already stays as it is, so that it may be run at every start, and again after it was cut off. Without a table
and queues only the buckets are made, as on a MinIO-compatible server; `--webhook-arn` then names the target that
hears of uploads. Deletes nothing, and takes no notification away that is not its own.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from bytereel.adapters.aws import code_of, make_client, meaning_of, translated
from bytereel.adapters.checkup import missing_in_queues, missing_in_table
from bytereel.adapters.dynamodb.table import create_table
from bytereel.adapters.sqs.queue import create_queues
from bytereel.cli.exits import exit_code_of
from bytereel.errors import BytereelError, Permanent, Temporary, reason_of
from bytereel.messages import INTAKE
from bytereel.model import INBOX, OUTBOX, Location
from bytereel.settings import Settings, load_settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CREATED = "s3:ObjectCreated:*"
NOTIFICATION_ID = "bytereel-intake"
STATEMENT_ID = "BytereelInbox"
NOBODYS_REGION = "us-east-1"
"""The one region that CreateBucket wants not to be named."""

WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, as those of `bytereel`."""
    parser = argparse.ArgumentParser(prog="python -m localstack.bootstrap", description=__doc__.partition("\n")[0])
    parser.add_argument("--webhook-arn", metavar="ARN", help="target of a MinIO-compatible server for the events")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=WAIT_SECONDS, help="how long to wait for the server"
    )
    chosen = parser.parse_args(arguments)
    try:
        made = bootstrap(load_settings(), webhook_arn=chosen.webhook_arn, wait_seconds=chosen.wait)
    except BytereelError as error:
        print(f"bootstrap: {reason_of(error)}", file=sys.stderr)
        return exit_code_of(error)
    print("\n".join(made) or "everything is there already", flush=True)
    return 0


def bootstrap(settings: Settings, *, webhook_arn: str | None = None, wait_seconds: float = WAIT_SECONDS) -> list[str]:
    """Make what is missing; return what that was, one line each. Idempotent.

    Raises: Permanent `settings.invalid`, `bootstrap.no_cloud`; Temporary `service.unreachable`; as `aws.translated`.
    """
    if not settings.locations:
        raise Permanent(
            "bootstrap.no_cloud",
            "the settings name no buckets",
            hint="set BYTEREEL_INBOX_BUCKET, BYTEREEL_WORK_BUCKET and BYTEREEL_OUTBOX_BUCKET",
        )
    s3: S3Client = make_client("s3", endpoint_url=settings.endpoint_url, region=settings.region)
    wait_until_it_answers(s3.meta.endpoint_url, wait_seconds)
    made = list(_buckets(s3, settings.locations))
    inbox, target = settings.locations[INBOX], webhook_arn
    if settings.table and settings.queues:
        made += _table(settings, settings.table)
        sqs: SQSClient = make_client("sqs", endpoint_url=settings.endpoint_url, region=settings.region)
        made += _queues(sqs, settings.queues)
        intake = f"{settings.queues}-{INTAKE}"
        arn = _queue_arn(sqs, intake)
        made += _policy(sqs, intake, arn, inbox.bucket)
        target = target or arn
    if target:
        made += _notification(s3, inbox, target)
    return made


def wait_until_it_answers(url: str, seconds: float) -> None:
    """Return once `url` answers with anything but a failure of its own. Raises: Temporary `service.unreachable`."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=max(1.0, min(5.0, seconds))):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
            said = f"HTTP status {error.code}"
        except OSError as error:
            said = str(getattr(error, "reason", error))
        if time.monotonic() >= deadline:
            raise Temporary(
                "service.unreachable",
                f"{url} does not answer after {seconds:g} s: {said}",
                hint="start the server, or check BYTEREEL_ENDPOINT_URL",
                url=url,
            )
        time.sleep(PAUSE_SECONDS)


def _buckets(client: "S3Client", places: Mapping[str, Location]) -> Iterator[str]:
    """Sources and outputs keep their versions; fragments, which carry their attempt in their name, do not."""
    for name in sorted({place.bucket for place in places.values()}):
        if _make_bucket(client, name):
            yield f"made the bucket {name}"
    for name in sorted({places[INBOX].bucket, places[OUTBOX].bucket}):
        with translated(f"the bucket {name}"):
            if client.get_bucket_versioning(Bucket=name).get("Status") == "Enabled":
                continue
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        yield f"the bucket {name} keeps versions from now on"


def _make_bucket(client: "S3Client", name: str) -> bool:
    """Whether the bucket had to be made. Raises: Permanent also for one that belongs to somebody else."""
    what = f"the bucket {name}"
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if code_of(error) not in ("404", "NoSuchBucket", "NotFound"):
            raise meaning_of(error, what) from error
    else:
        return False
    region = client.meta.region_name
    where: Any = {} if region == NOBODYS_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        with translated(what):
            client.create_bucket(Bucket=name, **where)
    except client.exceptions.BucketAlreadyOwnedByYou:
        return False
    return True


def _table(settings: Settings, name: str) -> list[str]:
    client = make_client("dynamodb", endpoint_url=settings.endpoint_url, region=settings.region)
    missing = list(missing_in_table(client, name))
    create_table(client, name)
    return [f"made the table {name}"] if missing else []


def _queues(client: "SQSClient", prefix: str) -> list[str]:
    missing = list(missing_in_queues(client, prefix))
    create_queues(client, prefix)
    return [f"made the queues {prefix}-*"] if missing else []


def _queue_arn(client: "SQSClient", name: str) -> str:
    with translated(f"the queue {name}"):
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return found["Attributes"]["QueueArn"]


def _policy(client: "SQSClient", name: str, arn: str, bucket: str) -> list[str]:
    """Let the bucket send to the queue; what else the queue's policy says, stays."""
    wanted = _statement(arn, bucket)
    with translated(f"the queue {name}"):
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes", {})
        policy = json.loads(found.get("Policy") or '{"Version": "2012-10-17", "Statement": []}')
        if wanted in policy["Statement"]:
            return []
        others = [each for each in policy["Statement"] if each.get("Sid") != STATEMENT_ID]
        changed = {**policy, "Statement": [*others, wanted]}
        client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(changed)})
    return [f"the bucket {bucket} may send to the queue {name}"]


def _statement(arn: str, bucket: str) -> dict[str, Any]:
    partition = arn.split(":")[1]
    return {
        "Sid": STATEMENT_ID,
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": f"arn:{partition}:s3:::{bucket}"}},
    }


def _notification(client: "S3Client", inbox: Location, target: str) -> list[str]:
    """Have the inbox tell `target` of every new object; what it tells others stays."""
    with translated(f"the notification of the bucket {inbox.bucket} to {target}"):
        found: Any = client.get_bucket_notification_configuration(Bucket=inbox.bucket)
        found.pop("ResponseMetadata", None)
        queues: list[Any] = found.get("QueueConfigurations", [])
        wanted = _configuration(inbox, target)
        if any(_meaning(each) == _meaning(wanted) for each in queues):
            return []
        others = [each for each in queues if each.get("Id") != NOTIFICATION_ID and each["QueueArn"] != target]
        changed: Any = {**found, "QueueConfigurations": [*others, wanted]}
        client.put_bucket_notification_configuration(Bucket=inbox.bucket, NotificationConfiguration=changed)
    return [f"the bucket {inbox.bucket} tells {target} of uploads"]


def _configuration(inbox: Location, target: str) -> dict[str, Any]:
    configuration: dict[str, Any] = {"Id": NOTIFICATION_ID, "QueueArn": target, "Events": [CREATED]}
    if inbox.prefix:
        rule = {"Name": "prefix", "Value": inbox.prefix}
        configuration["Filter"] = {"Key": {"FilterRules": [rule]}}
    return configuration


def _meaning(configuration: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a configuration says, without its id, which servers choose themselves, and the case of a rule's name."""
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    filters = frozenset((rule["Name"].lower(), rule["Value"]) for rule in rules)
    return configuration["QueueArn"], frozenset(configuration["Events"]), filters


if __name__ == "__main__":
    sys.exit(main())
