"""The core stack, deployed to an emulator that enforces its roles: uploads come out as reels, and come back.

What the emulator cannot do is put otherwise in `deployable`. The functions are not started from their image, which
takes a container engine, but from a line that imports their handler. The emulator speaks plain HTTP, so the statement
that refuses that is left out.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.exceptions import ClientError
from bytereel.adapters.dynamodb.table import KEY_NAMES
from bytereel.messages import QUEUES
from bytereel.model import INBOX, JOB_ENDED, Job, JobState, ObjectRef, job_id_of
from bytereel.settings import Settings, load_settings
from bytereel.wiring import Home, missing_services, open_home
from bytereel_codec import decode_file
from command_line import SOURCES

from localstack.servers import REGION, Server, ministack
from tests.functions.core_stack import load

pytestmark = [pytest.mark.e2e, pytest.mark.servers]

Outcome = TypeVar("Outcome")

NAME = "reels"
ACCOUNT = "000000000000"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/bytereel:latest"
PARAMETERS = {"Name": NAME, "FunctionsImage": IMAGE, "ProtectTable": "false", "ParityPercent": "20"}
HASTE = {"BYTEREEL_SETTLE_SECONDS": "0", "BYTEREEL_KEEP_DONE_DAYS": str(1 / 86400)}
"""So that one test can see a sweep find what was lost a moment ago, and let go of what is a second old."""
SECONDS_MAX = 120.0
MEBIBYTE = 1024 * 1024
ROLES = ("OnUploadRole", "OnSegmentRole", "OnCompleteRole", "OnScheduleRole")


def deployable() -> dict[str, Any]:
    """The template as the emulator takes it."""
    template = load()
    resources = template["Resources"]
    for name, resource in list(resources.items()):
        match resource["Type"]:
            case "AWS::Lambda::Function":
                _start_without_an_engine(resource["Properties"])
                resource["Properties"]["Environment"]["Variables"] |= HASTE
            case "AWS::Lambda::EventSourceMapping":
                resource["Properties"]["ScalingConfig"] = {"MaximumConcurrency": 2}  # it compares a parameter as text
            case "AWS::S3::BucketPolicy":
                statements = resource["Properties"]["PolicyDocument"]["Statement"]
                statements[:] = [_naming_roles(each) for each in statements if each["Sid"] != "OnlyOverTls"]
                if not statements:
                    del resources[name]
            case "AWS::IAM::Role":
                for policy in resource["Properties"]["Policies"]:
                    for statement in policy["PolicyDocument"]["Statement"]:
                        _allow_batches(statement)
    return template


def _start_without_an_engine(function: dict[str, Any]) -> None:
    (command,) = function.pop("ImageConfig")["Command"]
    function |= {
        "PackageType": "Zip",
        "Code": {"ZipFile": f"from {command.removesuffix('.handler')} import handler"},
        "Handler": "index.handler",
        "Runtime": "python3.11",
    }


def _naming_roles(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement for the same roles: aws:PrincipalArn is the role's ARN, but the emulator takes the session's."""
    roles = statement.pop("Condition")["ArnEquals"]["aws:PrincipalArn"]
    return {**statement, "Principal": {"AWS": roles}}


def _allow_batches(statement: dict[str, Any]) -> None:
    """SQS asks for the same permission for a message and for a batch; the emulator asks for one of the call's name."""
    batches = {"sqs:SendMessage", "sqs:ChangeMessageVisibility"}.intersection(statement["Action"])
    if batches:
        statement["Action"] += [f"{action}Batch" for action in sorted(batches)]


@dataclass
class Stack:
    """The deployed stack, as somebody sees it who may do everything."""

    server: Server
    outputs: Mapping[str, str]
    home: Home
    log: Path

    def client(self, service: str, **credentials: str) -> Any:
        """A client with the account's own credentials, or with others."""
        own = {"aws_access_key_id": self.server.access_key, "aws_secret_access_key": self.server.secret_key}
        return boto3.client(service, endpoint_url=self.server.endpoint_url, region_name=REGION, **(credentials or own))

    def client_as(self, role: str, service: str) -> Any:
        """A client that may do what a function's role may."""
        name = self.resources()[role]
        arn = self.client("iam").get_role(RoleName=name)["Role"]["Arn"]
        given = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return self.client(
            service,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    def resources(self) -> Mapping[str, str]:
        """Logical id -> name or ARN of every resource that was made."""
        found = self.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
        assert {each["ResourceStatus"] for each in found} == {"CREATE_COMPLETE"}
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    def upload(self, key: str, content: bytes) -> str:
        """Upload as any client would; the id of the job that this must become."""
        stored = self.client("s3").put_object(Bucket=self.outputs["InboxBucket"], Key=key, Body=content)
        return job_id_of(ObjectRef(INBOX, key, stored["VersionId"]))

    def ended(self, job_id: str) -> Job:
        """The job, once it has ended."""

        def found() -> Job | None:
            job = self.home.ports.jobs.get(job_id)
            return job if job and job.state in JOB_ENDED else None

        return self.awaited(found, f"the end of the job {job_id}")

    def awaited(self, look: Callable[[], Outcome | None], what: str) -> Outcome:
        """What `look` finds, once it finds something."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come\n{self.log.read_text()[-5000:]}")

    def download(self, key: str) -> bytes:
        content: bytes = self.client("s3").get_object(Bucket=self.outputs["OutboxBucket"], Key=key)["Body"].read()
        return content

    def keys(self, bucket: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket=self.outputs[bucket]).get("Contents", [])
        return [each["Key"] for each in found]

    def sweep(self) -> Mapping[str, Any]:
        """Call the function on schedule once, and have its answer."""
        answer = self.client("lambda").invoke(FunctionName=f"{NAME}-on-schedule", Payload=b"{}")
        said: Mapping[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, said
        return said


def deploy(server: Server) -> Mapping[str, str]:
    """Deploy the stack; its outputs."""
    client: Any = boto3.client("cloudformation", endpoint_url=server.endpoint_url, region_name=REGION)
    client.create_stack(
        StackName=NAME,
        TemplateBody=json.dumps(deployable()),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    client.get_waiter("stack_create_complete").wait(StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    (stack,) = client.describe_stacks(StackName=NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("BYTEREEL_", "AWS_", "POWERTOOLS_"))]:
            patch.delenv(name)
        patch.setenv("AUTH", "true")
        patch.setenv("TMPDIR", str(folder / "tmp"))
        patch.setenv("PYTHONPATH", SOURCES)
        patch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
        with ministack(folder) as server:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            outputs = deploy(server)
            yield Stack(server, outputs, open_home(settings_of(outputs)), folder / "ministack" / "log")


def settings_of(outputs: Mapping[str, str]) -> Settings:
    """What somebody sets who uses the stack from elsewhere."""
    return load_settings(
        inbox_bucket=outputs["InboxBucket"],
        work_bucket=outputs["WorkBucket"],
        outbox_bucket=outputs["OutboxBucket"],
        table=outputs["TableName"],
        queues=outputs["QueuePrefix"],
        region=outputs["Region"],
    )


def test_every_resource_of_the_template_is_made(stack: Stack) -> None:
    assert stack.resources().keys() == deployable()["Resources"].keys()


def test_the_doctor_misses_nothing_in_the_stack(stack: Stack) -> None:
    said = missing_services(settings_of(stack.outputs))
    # The emulator leaves a template's TimeToLiveSpecification out; that the template has one is tested elsewhere.
    assert [each for each in said if "no time to live on expires_at" not in each] == []


def test_the_inbox_alone_tells_the_intake_queue_of_uploads(stack: Stack) -> None:
    s3 = stack.client("s3")
    notifications = {
        bucket: s3.get_bucket_notification_configuration(Bucket=stack.outputs[bucket]).get("QueueConfigurations", [])
        for bucket in ("InboxBucket", "WorkBucket", "OutboxBucket")
    }
    (told,) = notifications.pop("InboxBucket")
    assert (told["QueueArn"].rpartition(":")[2], told["Events"]) == (f"{NAME}-intake", ["s3:ObjectCreated:*"])
    assert notifications == {"WorkBucket": [], "OutboxBucket": []}


def test_an_upload_becomes_a_reel_and_the_reel_becomes_the_upload_again(stack: Stack, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(16 * MEBIBYTE)
    archived = stack.ended(stack.upload("archive/a b+%41 ünï.bin", content))
    assert archived.state is JobState.DONE, archived.reason
    assert archived.segments_total > 2
    reel = stack.download(archived.result["output"])
    (tmp_path / "reel.mp4").write_bytes(reel)
    decode_file(tmp_path / "reel.mp4", tmp_path / "decoded")
    assert (tmp_path / "decoded").read_bytes() == content

    restored = stack.ended(stack.upload("restore/reel.mp4", reel))
    assert restored.state is JobState.DONE, restored.reason
    assert stack.download(restored.result["output"]) == content
    assert stack.awaited(lambda: not stack.keys("WorkBucket"), "an empty work bucket")


def test_the_finalizer_may_copy_fragments_inside_the_store(stack: Stack) -> None:
    work, outbox = stack.outputs["WorkBucket"], stack.outputs["OutboxBucket"]
    stack.client("s3").put_object(Bucket=work, Key="fragment", Body=bytes(5 * MEBIBYTE))
    s3 = stack.client_as("OnCompleteRole", "s3")
    output: dict[str, str] = {"Bucket": outbox, "Key": "composed"}
    output["UploadId"] = s3.create_multipart_upload(**output)["UploadId"]
    copied = s3.upload_part_copy(**output, PartNumber=1, CopySource={"Bucket": work, "Key": "fragment"})
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**output, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=outbox, Key="composed")["ContentLength"] == 5 * MEBIBYTE
    s3.delete_object(Bucket=work, Key="fragment")


def test_what_cannot_be_converted_fails_with_a_reason(stack: Stack) -> None:
    job = stack.ended(stack.upload("restore/no reel.mp4", b"this is no reel"))
    assert job.state is JobState.FAILED
    assert job.reason


@pytest.mark.parametrize("queue", QUEUES)
def test_a_message_that_nobody_can_read_is_buried_with_its_reason(stack: Stack, queue: str) -> None:
    sqs = stack.client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=f"{NAME}-{queue}")["QueueUrl"], MessageBody="no message")

    def buried() -> str:
        return next((reason for letter, reason in stack.home.ports.queue.dead() if letter.queue == queue), "")

    assert "received" not in stack.awaited(buried, f"a dead letter of the queue {queue}")


def test_a_sweep_finds_what_was_lost_and_lets_go_of_what_is_old(stack: Stack) -> None:
    s3, inbox, work = stack.client("s3"), stack.outputs["InboxBucket"], stack.outputs["WorkBucket"]
    told = s3.get_bucket_notification_configuration(Bucket=inbox)["QueueConfigurations"]
    s3.put_bucket_notification_configuration(Bucket=inbox, NotificationConfiguration={})
    try:
        job_id = stack.upload("archive/lost.bin", b"nobody heard of this")
    finally:
        s3.put_bucket_notification_configuration(Bucket=inbox, NotificationConfiguration={"QueueConfigurations": told})
    s3.put_object(Bucket=work, Key="of-no-job/000000.1", Body=b"left behind")
    time.sleep(1)
    assert stack.sweep()["announced"] >= 1
    job = stack.ended(job_id)
    assert job.state is JobState.DONE, job.reason
    assert "of-no-job/000000.1" not in stack.keys("WorkBucket")

    time.sleep(1.5)
    stack.sweep()
    assert stack.home.ports.jobs.get(job_id) is None
    assert "archive/lost.bin" not in stack.keys("InboxBucket")
    assert job.result["output"] in stack.keys("OutboxBucket")


@pytest.mark.parametrize("role", ROLES)
def test_no_function_can_write_to_the_inbox_however_much_its_role_allows(stack: Stack, role: str) -> None:
    iam, name = stack.client("iam"), stack.resources()[role]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    wanted = {"Bucket": stack.outputs["InboxBucket"], "Key": "archive/loop.bin", "Body": b""}
    with pytest.raises(ClientError, match="AccessDenied"):
        stack.client_as(role, "s3").put_object(**wanted)
    iam.put_role_policy(RoleName=name, PolicyName="widened", PolicyDocument=document)
    try:
        stack.client_as(role, "s3").head_bucket(Bucket=stack.outputs["OutboxBucket"])
        with pytest.raises(ClientError, match="AccessDenied"):
            stack.client_as(role, "s3").put_object(**wanted)
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="widened")


@pytest.mark.parametrize("role", ROLES)
def test_no_function_can_scan_the_table(stack: Stack, role: str) -> None:
    table = stack.client_as(role, "dynamodb")
    table.get_item(TableName=stack.outputs["TableName"], Key={name: {"S": "none"} for name in KEY_NAMES})
    with pytest.raises(ClientError, match="AccessDenied"):
        table.scan(TableName=stack.outputs["TableName"])
