"""The Runtime API and the event sources of the host, with the unmodified `awslambdaric` and queues of an emulator."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from bytereel.adapters.aws import make_client

from localstack.event_sources import BadAnswerError, PolledQueue, QueueSource, Schedule, failed_in
from localstack.runtime_api import FunctionConfig, FunctionFailedError, LocalFunction
from localstack.servers import Server

HANDLERS = """
import os, sys, time

def echo(event, context):
    print("heard", event)
    return {
        "event": event,
        "pid": os.getpid(),
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis(),
    }

def stumble(event, context):
    raise ZeroDivisionError(f"at {event['number']}")

def sleep(event, context):
    time.sleep(event["seconds"])
    return os.getpid()

def leave(event, context):
    os._exit(3)

def flood(event, context):
    return "x" * (7 * 1024 * 1024)
"""

Started = Callable[..., LocalFunction]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Functions of a module of the test, ended with it."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such luck')")
    (tmp_path / "endless.py").write_text("import time; time.sleep(60)")
    functions: list[LocalFunction] = []

    def start(handler: str, environment: Mapping[str, str] | None = None, **limits: float) -> LocalFunction:
        seen = {"PYTHONPATH": str(tmp_path), **(environment or {})}
        config = FunctionConfig("a-function", handler, seen, memory_mebibytes=512, **limits)  # type: ignore[arg-type]
        functions.append(LocalFunction(config, tmp_path / "work"))
        return functions[-1]

    yield start
    for function in functions:
        function.close()


def failure_of(function: LocalFunction, event: Mapping[str, Any]) -> FunctionFailedError:
    with pytest.raises(FunctionFailedError) as caught:
        function.invoke(event)
    return caught.value


def test_a_child_is_started_once_and_told_what_lambda_tells(started: Started) -> None:
    function = started("handlers.echo", timeout_seconds=30.0)
    first, second = function.invoke({"number": 1}), function.invoke({"number": 2})
    assert [first["event"], second["event"]] == [{"number": 1}, {"number": 2}]
    assert first["pid"] == second["pid"]
    assert (first["name"], first["memory"], first["arn"]) == ("a-function", "512", function.config.arn)
    assert 20_000 < first["left"] <= 30_000


def test_what_a_function_prints_is_in_its_log(started: Started) -> None:
    function = started("handlers.echo")
    function.invoke({"word": "bonjour"})
    assert "heard {'word': 'bonjour'}" in function.log_path.read_text()


def test_an_error_of_the_handler_is_handed_on_and_the_child_stays(started: Started) -> None:
    function = started("handlers.stumble")
    first = failure_of(function, {"number": 7})
    [child] = children()
    assert (first.error_type, first.message) == ("ZeroDivisionError", "at 7")
    assert "in stumble" in first.stack[-1]
    assert failure_of(function, {"number": 8}).message == "at 8"
    assert children() == [child]


def test_a_child_past_its_deadline_is_killed_and_the_next_invocation_starts_another(started: Started) -> None:
    function = started("handlers.sleep", timeout_seconds=1.0)
    pid = function.invoke({"seconds": 0})
    assert pid in children()
    begun = time.monotonic()
    error = failure_of(function, {"seconds": 30})
    assert time.monotonic() - begun < 5.0
    assert error.error_type == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in error.message
    assert children() == []
    assert function.invoke({"seconds": 0}) != pid


def test_the_start_does_not_count_against_the_deadline_and_has_a_limit_of_its_own(started: Started) -> None:
    error = failure_of(started("endless.handler", timeout_seconds=60.0, init_seconds_max=1.0), {})
    assert (error.error_type, error.message[:16]) == ("Sandbox.Timedout", "while it started")
    assert children() == []


def test_a_child_that_ends_or_is_killed_fails_its_invocation(started: Started) -> None:
    assert failure_of(started("handlers.leave"), {}).error_type == "Runtime.ExitError"
    function = started("handlers.sleep")
    pid = function.invoke({"seconds": 0})
    timer = threading.Timer(0.3, function.kill)
    timer.start()
    assert failure_of(function, {"seconds": 30}).error_type == "Runtime.ExitError"
    assert function.invoke({"seconds": 0}) != pid


@pytest.mark.parametrize(
    ("handler", "error_type", "says"),
    [
        ("nowhere.handler", "Runtime.ImportModuleError", "No module named 'nowhere'"),
        ("handlers.nothing", "Runtime.HandlerNotFound", "'nothing' missing on module 'handlers'"),
        ("broken.handler", "RuntimeError", "no such luck"),
    ],
)
def test_a_function_that_cannot_start_says_why(started: Started, handler: str, error_type: str, says: str) -> None:
    error = failure_of(started(handler), {})
    assert error.error_type == error_type
    assert says in error.message
    assert children() == []


def test_an_answer_larger_than_lambda_takes_is_a_failure(started: Started) -> None:
    function = started("handlers.flood")
    failure_of(function, {})
    assert children() == []


@pytest.mark.parametrize("name", ["on_upload", "on_segment", "on_complete", "on_schedule"])
def test_a_function_without_settings_says_which_variables_it_wants(started: Started, name: str) -> None:
    error = failure_of(started(f"bytereel_functions.{name}.handler"), {})
    assert error.error_type == "Permanent"
    for variable in ("INBOX_BUCKET", "WORK_BUCKET", "OUTBOX_BUCKET", "TABLE", "QUEUES"):
        assert f"BYTEREEL_{variable}" in error.message


def test_a_function_with_a_wrong_setting_names_it(started: Started) -> None:
    error = failure_of(started("bytereel_functions.on_upload.handler", {"BYTEREEL_LEASE_SECONDS": "soon"}), {})
    assert "BYTEREEL_LEASE_SECONDS" in error.message


def children() -> list[int]:
    """The functions that run."""
    found = psutil.Process().children()
    return [child.pid for child in found if child.is_running() and "awslambdaric" in child.cmdline()]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
    ],
)
def test_an_answer_names_the_messages_that_failed(answer: Any, failed: set[str]) -> None:
    assert failed_in(answer, {"a", "b"}) == failed


@pytest.mark.parametrize(
    "answer",
    [
        "done",
        {"batchItemFailures": "a"},
        {"batchItemFailures": ["a"]},
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"item": "a"}]},
        {"batchItemFailures": [{"itemIdentifier": "c"}]},
    ],
)
def test_an_answer_that_makes_no_sense_fails_the_whole_batch(answer: Any) -> None:
    with pytest.raises(BadAnswerError):
        failed_in(answer, {"a", "b"})


class Polled:
    """Two queues of an emulator, and a function that is told what to answer."""

    def __init__(self, server: Server, name: str) -> None:
        self.client = make_client("sqs", endpoint_url=server.endpoint_url, region="us-east-1")
        self.queues = [PolledQueue(f"{name}-{number}", visibility_seconds=1) for number in (1, 2)]
        self.urls = [self.client.create_queue(QueueName=queue.name)["QueueUrl"] for queue in self.queues]
        self.heard: list[list[Mapping[str, Any]]] = []
        self.answers: list[Any] = []

    def invoke(self, event: Mapping[str, Any]) -> Any:
        self.heard.append(event["Records"])
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer(event) if callable(answer) else answer

    def run_until(self, condition: Callable[[], bool], **chosen: int) -> None:
        source, stopping = QueueSource(self.client, self.queues, self.invoke, **chosen), threading.Event()
        thread = threading.Thread(target=source.run, args=(stopping,))
        thread.start()
        end = time.monotonic() + 20.0
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        stopping.set()
        thread.join(10.0)
        assert condition()

    def left(self) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = [
            self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in self.urls
        ]
        return sum(int(attributes[name]) for attributes in found for name in names)


@pytest.fixture
def polled(
    ministack_server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Polled]:
    for name, value in ministack_server.environment.items():
        monkeypatch.setenv(name, value)
    polled = Polled(ministack_server, f"polled-{abs(hash(request.node.name))}")
    with closing(polled.client):
        yield polled


def test_a_batch_is_deleted_but_for_what_the_answer_names(polled: Polled) -> None:
    for number in range(3):
        polled.client.send_message(QueueUrl=polled.urls[0], MessageBody=str(number))

    def fail_first(event: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}

    polled.answers = [fail_first]
    polled.run_until(lambda: polled.left() == 0)
    deliveries = [
        (record["messageId"], record["attributes"]["ApproximateReceiveCount"])
        for batch in polled.heard
        for record in batch
    ]
    failed = polled.heard[0][0]["messageId"]
    assert [count for message, count in deliveries if message == failed] == ["1", "2"]
    assert all(count == "1" for message, count in deliveries if message != failed)
    assert {message for message, _ in deliveries} == {message for message, _ in deliveries[:3]}


def test_a_record_looks_as_lambda_makes_it(polled: Polled) -> None:
    polled.client.send_message(QueueUrl=polled.urls[0], MessageBody='{"a": 1}')
    polled.run_until(lambda: len(polled.heard) == 1)
    [record] = polled.heard[0]
    assert record["body"] == '{"a": 1}'
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"].endswith(f":{polled.queues[0].name}")
    assert {"ApproximateReceiveCount", "SentTimestamp"} <= set(record["attributes"])


@pytest.mark.parametrize("answer", [FunctionFailedError("Sandbox.Timedout", "too late"), {"batchItemFailures": "?"}])
def test_after_a_failed_invocation_every_message_comes_back(polled: Polled, answer: Any) -> None:
    for number in range(2):
        polled.client.send_message(QueueUrl=polled.urls[0], MessageBody=str(number))
    polled.answers = [answer]
    polled.run_until(lambda: polled.left() == 0, batch_size=10)
    counts = sorted(record["attributes"]["ApproximateReceiveCount"] for batch in polled.heard for record in batch)
    assert counts == ["1", "1", "2", "2"]


def test_the_queues_go_first_in_turns(polled: Polled) -> None:
    for url in reversed(polled.urls):
        for _ in range(2):
            polled.client.send_message(QueueUrl=url, MessageBody="x")
    polled.run_until(lambda: polled.left() == 0, batch_size=1)
    heard = [batch[0]["eventSourceARN"].rpartition("-")[2] for batch in polled.heard]
    assert heard == ["2", "1", "2", "1"]


def test_polling_goes_on_when_the_service_is_away_for_a_while(polled: Polled) -> None:
    polled.client.send_message(QueueUrl=polled.urls[0], MessageBody="x")
    polled.queues.insert(0, PolledQueue("polled-of-nobody"))
    source, stopping = QueueSource(polled.client, polled.queues, polled.invoke), threading.Event()
    thread = threading.Thread(target=source.run, args=(stopping,))
    thread.start()
    time.sleep(0.3)
    polled.client.create_queue(QueueName="polled-of-nobody")
    end = time.monotonic() + 20.0
    while not polled.heard and time.monotonic() < end:
        time.sleep(0.02)
    stopping.set()
    thread.join(10.0)
    assert len(polled.heard) == 1


def test_a_schedule_calls_at_once_and_again_also_after_a_failure() -> None:
    heard: list[Mapping[str, Any]] = []
    stopping = threading.Event()

    def invoke(event: Mapping[str, Any]) -> None:
        heard.append(event)
        if len(heard) == 3:
            stopping.set()
        raise FunctionFailedError("Runtime.ExitError", "gone")

    Schedule(invoke, 0.01).run(stopping)
    assert [event["detail-type"] for event in heard] == ["Scheduled Event"] * 3
