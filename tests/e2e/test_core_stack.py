"""The core stack, deployed to an emulator that enforces its roles: uploads come out as reels, and come back.

Two things are not as on AWS. The functions are not started from their image, which takes a container engine, but from
a line that imports their handler. And the emulator speaks plain HTTP, so the statement that refuses that is left out.
"""

import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from bytereel.model import INBOX, JOB_ENDED, Job, JobState, ObjectRef, job_id_of
from bytereel.settings import load_settings
from bytereel.wiring import Home, missing_services, open_home
from bytereel_codec import decode_file
from cfnlint.decode import cfn_yaml
from command_line import environment

from localstack.servers import Server, ministack

pytestmark = pytest.mark.e2e

TEMPLATE = Path(__file__).parents[2] / "infra" / "core.yaml"
NAME = "reels"
ACCOUNT = "000000000000"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/bytereel:latest"
PARAMETERS = {"Name": NAME, "FunctionsImage": IMAGE, "ProtectTable": "false", "SweepEvery": "rate(1 minute)"}
SECONDS_MAX = 120.0
MEBIBYTE = 1024 * 1024


def deployable() -> dict[str, Any]:
    """The template as the emulator takes it."""
    template: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    resources = template["Resources"]
    for name, resource in list(resources.items()):
        match resource["Type"]:
            case "AWS::Lambda::Function":
                _start_without_an_engine(resource["Properties"])
            case "AWS::Lambda::EventSourceMapping":
                resource["Properties"]["ScalingConfig"] = {"MaximumConcurrency": 2}  # it compares a parameter as text
            case "AWS::S3::BucketPolicy":
                statements = resource["Properties"]["PolicyDocument"]["Statement"]
                statements[:] = [each for each in statements if each["Sid"] != "OnlyOverTls"]
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


def _allow_batches(statement: dict[str, Any]) -> None:
    """SQS asks for the same permission for a message and for a batch; the emulator asks for one of the call's name."""
    batches = {"sqs:SendMessage", "sqs:ChangeMessageVisibility"}.intersection(statement["Action"])
    if batches:
        statement["Action"] += [f"{action}Batch" for action in sorted(batches)]


@dataclass
class Stack:
    """The deployed stack: its outputs, and the road that a user of it sees."""

    server: Server
    outputs: Mapping[str, str]
    home: Home
    log: Path

    def client(self, service: str, **credentials: str) -> Any:
        chosen = credentials or {
            "aws_access_key_id": self.server.access_key,
            "aws_secret_access_key": self.server.secret_key,
        }
        return boto3.client(
            service, endpoint_url=self.server.endpoint_url, region_name=self.outputs["Region"], **chosen
        )

    def upload(self, key: str, content: bytes) -> str:
        """Upload as any client would; the id of the job that this must become."""
        stored = self.client("s3").put_object(Bucket=self.outputs["InboxBucket"], Key=key, Body=content)
        return job_id_of(ObjectRef(INBOX, key, stored["VersionId"]))

    def ended(self, job_id: str) -> Job:
        """The job, once it has ended."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            job = self.home.ports.jobs.get(job_id)
            if job and job.state in JOB_ENDED:
                return job
            time.sleep(0.05)
        raise AssertionError(f"the job has not ended: {self.home.ports.jobs.get(job_id)}\n{self.log.read_text()}")

    def download(self, key: str) -> bytes:
        content: bytes = self.client("s3").get_object(Bucket=self.outputs["OutboxBucket"], Key=key)["Body"].read()
        return content


@contextmanager
def deployed(server: Server, folder: Path) -> Iterator[Mapping[str, str]]:
    """The stack's outputs while it stands."""
    client = boto3.client(
        "cloudformation",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    client.create_stack(
        StackName=NAME,
        TemplateBody=json.dumps(deployable()),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    try:
        client.get_waiter("stack_create_complete").wait(StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    finally:
        for event in client.describe_stack_events(StackName=NAME)["StackEvents"]:
            if "FAILED" in event["ResourceStatus"]:
                print(event["LogicalResourceId"], event.get("ResourceStatusReason"))
    (stack,) = client.describe_stacks(StackName=NAME)["Stacks"]
    yield {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment().keys():
            patch.delenv(name)
        patch.setenv("AUTH", "true")
        patch.setenv("TMPDIR", str(folder / "tmp"))
        patch.setenv("LOG_LEVEL", "INFO")
        with ministack(folder) as server, deployed(server, folder) as outputs:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            settings = load_settings(
                inbox_bucket=outputs["InboxBucket"],
                work_bucket=outputs["WorkBucket"],
                outbox_bucket=outputs["OutboxBucket"],
                table=outputs["TableName"],
                queues=outputs["QueuePrefix"],
            )
            (ttl,) = missing_services(settings)  # TimeToLiveSpecification is ignored by the emulator
            assert "no time to live" in ttl
            yield Stack(server, outputs, open_home(settings), folder / "ministack" / "log")


def test_an_upload_becomes_a_reel_that_decodes_to_it(stack: Stack, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * MEBIBYTE)
    job = stack.ended(stack.upload("archive/a b+%41 ünï.bin", content))
    assert job.state is JobState.DONE, job.reason
    reel = tmp_path / "reel.mp4"
    reel.write_bytes(stack.download(job.result["output"]))
    decode_file(reel, tmp_path / "out")
