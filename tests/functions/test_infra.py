"""The core stack's template, read: what it must hold before it is deployed anywhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytereel.adapters.dynamodb.table import TTL_ATTRIBUTE, definition_of
from bytereel.adapters.sqs.queue import dead_name_of, name_of
from bytereel.messages import BULK, ENCODE, FINALIZE, INTAKE, QUEUES
from bytereel.settings import PREFIX, Settings, load_settings
from bytereel_functions.opened import REQUIRED

from localstack.functions import SHAPES
from tests.functions.core_stack import ACCOUNT, IMAGE, INFRA, REGION, TEMPLATE, Deployed, load

BUCKETS = ("Inbox", "Work", "Outbox")
FUNCTIONS = {
    "OnUpload": "on_upload",
    "OnSegment": "on_segment",
    "OnComplete": "on_complete",
    "OnSchedule": "on_schedule",
}
FEEDS = {INTAKE: "OnUpload", ENCODE: "OnSegment", BULK: "OnSegment", FINALIZE: "OnComplete"}

COSTS_OF_TYPES = {
    "AWS::S3::Bucket": "by what is stored and asked for",
    "AWS::S3::BucketPolicy": "nothing",
    "AWS::SQS::Queue": "by request",
    "AWS::SQS::QueuePolicy": "nothing",
    "AWS::DynamoDB::Table": "by request and by what is stored, on demand",
    "AWS::Lambda::Function": "by the millisecond that it runs",
    "AWS::Lambda::EventSourceMapping": "the requests with which it polls its queue",
    "AWS::Lambda::EventInvokeConfig": "nothing",
    "AWS::Lambda::Permission": "nothing",
    "AWS::Logs::LogGroup": "by what is logged and kept",
    "AWS::Events::Rule": "nothing on a schedule, but for what it invokes",
    "AWS::IAM::Role": "nothing",
    "AWS::IAM::ManagedPolicy": "nothing",
    "AWS::CloudWatch::Alarm": "by the month and alarm: no more of them than are free",
}
"""What AWS charges for each type of resource that may be here: nothing that is rented by the hour."""
FREE_ALARMS = 10


@pytest.fixture(scope="module")
def stack() -> Deployed:
    return Deployed()


def queue_named(stack: Deployed, name: str) -> str:
    """The logical id of a queue."""
    (found,) = [key for key, queue in stack.of_type("AWS::SQS::Queue").items() if queue["QueueName"] == name]
    return found


def roles() -> list[str]:
    return [f"{function}Role" for function in FUNCTIONS]


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--include-checks", "I", "--template", str(TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_template_can_be_deployed_without_a_bucket_for_it() -> None:
    assert TEMPLATE.stat().st_size <= 51_200


def test_nothing_in_the_stack_is_rented(stack: Deployed) -> None:
    assert set(stack.types.values()) == set(COSTS_OF_TYPES)
    assert len(stack.of_type("AWS::CloudWatch::Alarm")) <= FREE_ALARMS
    assert stack["Table"]["BillingMode"] == "PAY_PER_REQUEST"
    for function in stack.of_type("AWS::Lambda::Function").values():
        assert not {"VpcConfig", "FileSystemConfigs", "KmsKeyArn", "SnapStart"} & function.keys()


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_private_and_encrypted_and_ends_unfinished_uploads(stack: Deployed, bucket: str) -> None:
    found = stack[bucket]
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(found["PublicAccessBlockConfiguration"]) == 4
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert any("AbortIncompleteMultipartUpload" in rule for rule in found["LifecycleConfiguration"]["Rules"])


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_spoken_to_over_tls_alone(stack: Deployed, bucket: str) -> None:
    arn = stack.arn_of(bucket)
    denied = next(each for each in stack[f"{bucket}Policy"]["PolicyDocument"]["Statement"])
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "s3:*")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": False}}
    assert denied["Resource"] == [arn, f"{arn}/*"]


def test_sources_and_outputs_keep_versions_and_outlive_the_stack(stack: Deployed) -> None:
    for bucket in ("Inbox", "Outbox"):
        assert stack[bucket]["VersioningConfiguration"] == {"Status": "Enabled"}
        assert any("NoncurrentVersionExpiration" in rule for rule in stack[bucket]["LifecycleConfiguration"]["Rules"])
        assert stack.attributes_of(bucket)["DeletionPolicy"] == "Retain"
        assert stack.attributes_of(bucket)["UpdateReplacePolicy"] == "Retain"
    assert "VersioningConfiguration" not in stack["Work"]


def test_fragments_expire_and_sources_only_where_that_is_asked_for(stack: Deployed) -> None:
    def days(deployed: Deployed, bucket: str) -> list[int]:
        rules = deployed[bucket]["LifecycleConfiguration"]["Rules"]
        return [rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule]

    (kept,) = days(stack, "Work")
    assert kept > stack["OnSchedule"]["Environment"]["Variables"][f"{PREFIX}KEEP_DONE_DAYS"]
    assert days(stack, "Inbox") == []
    assert days(Deployed(InboxExpiryDays="90"), "Inbox") == ["90"]
    assert days(stack, "Outbox") == []


def test_the_inbox_tells_the_intake_queue_of_every_new_object_and_no_other_bucket_tells_anybody(
    stack: Deployed,
) -> None:
    (told,) = stack["Inbox"]["NotificationConfiguration"]["QueueConfigurations"]
    assert told == {"Event": "s3:ObjectCreated:*", "Queue": stack.arn_of("IntakeQueue")}
    assert stack.attributes_of("Inbox")["DependsOn"] == "IntakeQueuePolicy"
    assert "NotificationConfiguration" not in {**stack["Work"], **stack["Outbox"]}


def test_only_the_inbox_of_this_account_may_send_to_the_intake_queue(stack: Deployed) -> None:
    (policy,) = stack.of_type("AWS::SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == ("sqs:SendMessage", stack.arn_of("IntakeQueue"))
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": stack.arn_of("Inbox")},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_the_queues_are_those_of_the_road_each_with_its_dead_letters(stack: Deployed) -> None:
    names = {queue["QueueName"] for queue in stack.of_type("AWS::SQS::Queue").values()}
    assert names == {name(stack["Table"]["TableName"], queue) for queue in QUEUES for name in (name_of, dead_name_of)}
    for queue in QUEUES:
        live = stack[queue_named(stack, f"bytereel-{queue}")]
        dead = queue_named(stack, f"bytereel-{queue}-dead")
        assert live["RedrivePolicy"]["deadLetterTargetArn"] == stack.arn_of(dead)
        assert live["MessageRetentionPeriod"] < stack[dead]["MessageRetentionPeriod"] == 14 * 86_400
        assert "RedrivePolicy" not in stack[dead]
        assert live["SqsManagedSseEnabled"] is stack[dead]["SqsManagedSseEnabled"] is True


def test_a_function_gives_a_message_up_before_sqs_does(stack: Deployed) -> None:
    variables = stack["OnSegment"]["Environment"]["Variables"]
    deaths, tries = int(variables[f"{PREFIX}DEATHS_MAX"]), int(variables[f"{PREFIX}DELIVERIES_MAX"])
    assert tries <= deaths
    for queue in QUEUES:
        assert stack[queue_named(stack, f"bytereel-{queue}")]["RedrivePolicy"]["maxReceiveCount"] > deaths + 1


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_feeds_its_function_which_reports_the_messages_that_failed(stack: Deployed, queue: str) -> None:
    arn = stack.arn_of(queue_named(stack, f"bytereel-{queue}"))
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    (mapping,) = [each for each in mappings if each["EventSourceArn"] == arn]
    assert mapping["FunctionName"] == f"Ref:{FEEDS[queue]}"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == (10 if queue == INTAKE else 1)
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 1000
    assert len(mappings) == len(QUEUES)


@pytest.mark.parametrize("queue", QUEUES)
def test_a_message_stays_hidden_for_longer_than_its_function_may_run(stack: Deployed, queue: str) -> None:
    longest = load()["Parameters"]["SegmentTimeoutSeconds"]["MaxValue"]
    function = Deployed(SegmentTimeoutSeconds=longest)[FEEDS[queue]]
    assert stack[queue_named(stack, f"bytereel-{queue}")]["VisibilityTimeout"] > int(function["Timeout"])
    assert int(function["Timeout"]) <= 900


@pytest.mark.parametrize(("function", "module"), FUNCTIONS.items())
def test_a_function_is_the_image_with_its_command_and_a_role_of_its_own(
    stack: Deployed, function: str, module: str
) -> None:
    found = stack[function]
    assert found["PackageType"] == "Image"
    assert found["Code"] == {"ImageUri": IMAGE}
    assert found["ImageConfig"] == {"Command": [f"bytereel_functions.{module}.handler"]}
    assert found["Role"] == stack.arn_of(f"{function}Role")
    assert found["LoggingConfig"] == {"LogGroup": f"Ref:{function}Log"}
    assert stack[f"{function}Log"]["RetentionInDays"] > 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_functions_environment_is_taken_by_the_settings(
    stack: Deployed, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = stack[function]["Environment"]["Variables"]
    assert {
        name.removeprefix(PREFIX).lower() for name in variables if name.startswith(PREFIX)
    } <= Settings.model_fields.keys()
    assert [name for name in variables if not name.startswith(PREFIX)] == ["POWERTOOLS_TRACE_DISABLED"]
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    settings = load_settings()
    assert all(getattr(settings, name) for name in REQUIRED)
    assert {each.bucket for each in settings.locations.values()} == {stack[bucket]["BucketName"] for bucket in BUCKETS}
    assert settings.table == stack["Table"]["TableName"]


def test_traces_are_sent_only_where_they_are_asked_for(stack: Deployed) -> None:
    traced = Deployed(Tracing="Active")
    for role in roles():
        assert not stack.allows(role, "xray:PutTraceSegments", "*")
        assert traced.allows(role, "xray:PutTraceSegments", "*")
    assert stack["OnUpload"]["Environment"]["Variables"]["POWERTOOLS_TRACE_DISABLED"] == "true"
    assert traced["OnUpload"]["Environment"]["Variables"]["POWERTOOLS_TRACE_DISABLED"] == "false"
    assert traced["OnUpload"]["TracingConfig"] == {"Mode": "Active"}


def test_the_table_is_the_one_that_its_adapter_makes(stack: Deployed) -> None:
    found, wanted = stack["Table"], definition_of("bytereel")
    assert {key: found[key] for key in wanted} == wanted
    assert found["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    assert found["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert found["DeletionProtectionEnabled"] == "true"


WRITES = [
    f"s3:{action}"
    for action in ("PutObject", "PutObjectTagging", "PutObjectAcl", "RestoreObject", "ReplicateObject", "*")
]


@pytest.mark.parametrize("role", roles())
def test_no_function_writes_where_it_would_be_heard_as_an_upload(stack: Deployed, role: str) -> None:
    inbox = stack.arn_of("Inbox")
    for action in WRITES:
        assert not stack.allows(role, action, f"{inbox}/archive/x")
        assert not stack.allows(role, action, inbox)
    denied = [each for each in stack["InboxPolicy"]["PolicyDocument"]["Statement"] if each["Action"] == "s3:PutObject"]
    (statement,) = denied
    assert (statement["Effect"], statement["Resource"]) == ("Deny", f"{inbox}/*")
    assert stack.arn_of(role) in statement["Condition"]["ArnEquals"]["aws:PrincipalArn"]


def test_each_bucket_is_written_by_one_function_and_cleared_by_those_that_must(stack: Deployed) -> None:
    def who(action: str, bucket: str) -> list[str]:
        return [role for role in roles() if stack.allows(role, action, f"{stack.arn_of(bucket)}/x")]

    assert [who("s3:PutObject", bucket) for bucket in BUCKETS] == [[], ["OnSegmentRole"], ["OnCompleteRole"]]
    assert who("s3:DeleteObject", "Inbox") == ["OnScheduleRole"]
    assert who("s3:DeleteObject", "Work") == ["OnSegmentRole", "OnCompleteRole", "OnScheduleRole"]
    assert who("s3:DeleteObject", "Outbox") == []
    assert [who("s3:DeleteObjectVersion", bucket) for bucket in BUCKETS] == [[], [], []]


@pytest.mark.parametrize("role", roles())
def test_no_function_scans_the_table(stack: Deployed, role: str) -> None:
    table = stack.arn_of("Table")
    for action in ("Scan", "DeleteTable", "UpdateTable", "PartiQLSelect", "*"):
        assert not stack.allows(role, f"dynamodb:{action}", table)
        assert not stack.allows(role, f"dynamodb:{action}", f"{table}/index/by_id")
    assert stack.allows(role, "dynamodb:Query", f"{table}/index/by_id")


@pytest.mark.parametrize("role", roles())
def test_a_role_allows_no_wildcard_and_is_for_lambda_alone(stack: Deployed, role: str) -> None:
    for statement in stack.statements_of(role):
        listed = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not [action for action in listed if "*" in action]
        assert statement["Resource"] != "*"
    (trusted,) = stack[role]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "lambda.amazonaws.com"}


@pytest.mark.parametrize(("queue", "function"), FEEDS.items())
def test_a_function_may_hold_and_bury_its_own_messages_and_no_others(
    stack: Deployed, queue: str, function: str
) -> None:
    for name in QUEUES:
        arn = stack.arn_of(queue_named(stack, f"bytereel-{name}"))
        assert stack.allows(f"{function}Role", "sqs:DeleteMessage", arn) == (FEEDS[name] == function)
        assert stack.allows(f"{function}Role", "sqs:ChangeMessageVisibility", arn) == (FEEDS[name] == function)
    dead = stack.arn_of(queue_named(stack, f"bytereel-{queue}-dead"))
    assert stack.allows(f"{function}Role", "sqs:SendMessage", dead)
    assert not stack.allows(f"{function}Role", "sqs:ReceiveMessage", dead)


def test_the_sweep_runs_on_a_schedule_and_only_that_may_call_it(stack: Deployed) -> None:
    (rule,) = stack.of_type("AWS::Events::Rule").values()
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert [target["Arn"] for target in rule["Targets"]] == [stack.arn_of("OnSchedule")]
    (permission,) = stack.of_type("AWS::Lambda::Permission").values()
    assert (permission["FunctionName"], permission["Principal"]) == ("Ref:OnSchedule", "events.amazonaws.com")
    assert permission["SourceArn"] == stack.arn_of("Sweep")
    assert stack["OnSchedule"]["Timeout"] < 300


def alarms_about(stack: Deployed, metric: str) -> Iterator[str]:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        if alarm["MetricName"] == metric:
            (dimension,) = alarm["Dimensions"]
            yield dimension["Value"]


def test_dead_letters_old_messages_and_failing_sweeps_raise_an_alarm(stack: Deployed) -> None:
    assert sorted(alarms_about(stack, "ApproximateNumberOfMessagesVisible")) == sorted(
        f"bytereel-{queue}-dead" for queue in QUEUES
    )
    assert sorted(alarms_about(stack, "ApproximateAgeOfOldestMessage")) == sorted(
        f"bytereel-{queue}" for queue in QUEUES
    )
    assert list(alarms_about(stack, "Errors")) == ["Ref:OnSchedule"]


def test_alarms_tell_the_topic_where_there_is_one(stack: Deployed) -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:trouble"
    told = Deployed(AlarmTopic=topic)
    for name in stack.of_type("AWS::CloudWatch::Alarm"):
        assert "AlarmActions" not in stack[name]
        assert told[name]["AlarmActions"] == [topic]


def test_every_parameter_is_said_in_the_page_of_the_stack() -> None:
    page = (INFRA / "README.md").read_text()
    assert [name for name in load()["Parameters"] if f"`{name}`" not in page] == []


def test_the_longest_name_still_makes_names_of_buckets() -> None:
    parameter = load()["Parameters"]["Name"]
    longest = "a" * 20
    assert re.fullmatch(parameter["AllowedPattern"], longest)
    assert not re.fullmatch(parameter["AllowedPattern"], longest + "a")
    for bucket in BUCKETS:
        name = Deployed(Name=longest)[bucket]["BucketName"].replace(REGION, "ap-southeast-99")
        assert len(name) <= 63


def test_the_host_of_the_emulation_has_the_timeouts_and_queues_of_the_template(stack: Deployed) -> None:
    for name, module in FUNCTIONS.items():
        shape = SHAPES[module]
        assert shape.timeout_seconds == float(stack[name]["Timeout"])
        assert {FEEDS[queue] for queue in shape.queues} <= {name}
