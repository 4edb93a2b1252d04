"""What calls the functions: Lambda's event source mapping for a queue, and a schedule. Nothing here knows the road.

A batch is received, handed to a function, and deleted, but for the messages that the answer names as failed; those,
and all of a batch whose invocation failed, are left to their visibility.

Source: "Implementing partial batch responses", AWS Lambda Developer Guide.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from localstack.runtime_api import ACCOUNT, FunctionFailedError
from localstack.servers import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

log = logging.getLogger(__name__)

Invoke = Callable[[Mapping[str, Any]], Any]

BATCH_MAX = 10
WAIT_SECONDS = 1
"""How long a receive waits for the first message, and so the longest that an end of polling takes."""
PAUSE_SECONDS_MIN = 0.2
PAUSE_SECONDS_MAX = 10.0


class BadAnswerError(Exception):
    """The function's answer says nothing of its messages: the whole batch counts as failed."""


@dataclass(frozen=True, slots=True)
class PolledQueue:
    """A queue, and how long a message that was received stays invisible (None: as long as the queue says)."""

    name: str
    visibility_seconds: int | None = None


class QueueSource:
    """Hands what is in the queues to one function, a batch at a time; the queues go first in turns."""

    def __init__(
        self, client: "SQSClient", queues: Sequence[PolledQueue], invoke: Invoke, *, batch_size: int = BATCH_MAX
    ) -> None:
        assert 1 <= batch_size <= BATCH_MAX
        self._client = client
        self._queues = list(queues)
        self._invoke = invoke
        self._batch_size = batch_size
        self._urls: dict[str, str] = {}

    def run(self, stopping: threading.Event) -> None:
        """Poll until told to stop; after failures in a row, at longer and longer pauses."""
        pause_seconds = 0.0
        while not stopping.wait(pause_seconds):
            try:
                self._poll()
            except (FunctionFailedError, BadAnswerError, ClientError, BotoCoreError) as error:
                log.warning("%s: %s", self._queues[0].name, error)
                pause_seconds = min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS_MIN, 2 * pause_seconds))
            else:
                pause_seconds = 0.0

    def _poll(self) -> None:
        """Receive one batch of the first queue that has one, and see to it."""
        alone = len(self._queues) == 1
        self._queues.append(self._queues.pop(0))
        for queue in self._queues:
            if messages := self._receive(queue, WAIT_SECONDS if alone else 0):
                self._hand_over(queue, messages)
                return
        if not alone and (messages := self._receive(self._queues[0], WAIT_SECONDS)):
            self._hand_over(self._queues[0], messages)

    def _receive(self, queue: PolledQueue, wait_seconds: int) -> "list[MessageTypeDef]":
        invisible: dict[str, Any] = (
            {} if queue.visibility_seconds is None else {"VisibilityTimeout": queue.visibility_seconds}
        )
        answer = self._client.receive_message(
            QueueUrl=self._url_of(queue),
            MaxNumberOfMessages=self._batch_size,
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            **invisible,
        )
        return answer.get("Messages", [])

    def _hand_over(self, queue: PolledQueue, messages: "Sequence[MessageTypeDef]") -> None:
        """Invoke the function with the messages, and delete what succeeded. Raises: FunctionFailedError."""
        started = time.monotonic()
        answer = self._invoke({"Records": [record_of(message, queue.name) for message in messages]})
        failed = failed_in(answer, {message["MessageId"] for message in messages})
        log.debug("%s: %d messages in %.3f s", queue.name, len(messages), time.monotonic() - started)
        self._delete(queue, [message for message in messages if message["MessageId"] not in failed])

    def _delete(self, queue: PolledQueue, messages: "Sequence[MessageTypeDef]") -> None:
        if not messages:
            return
        answer = self._client.delete_message_batch(
            QueueUrl=self._url_of(queue),
            Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ],
        )
        for failed in answer.get("Failed", []):
            log.info("%s: a message was not deleted and comes again: %s", queue.name, failed.get("Code"))

    def _url_of(self, queue: PolledQueue) -> str:
        if queue.name not in self._urls:
            self._urls[queue.name] = self._client.get_queue_url(QueueName=queue.name)["QueueUrl"]
        return self._urls[queue.name]


class Schedule:
    """Invokes one function every so often, at once to begin with."""

    def __init__(self, invoke: Invoke, every_seconds: float) -> None:
        self._invoke = invoke
        self._every_seconds = every_seconds

    def run(self, stopping: threading.Event) -> None:
        """Invoke until told to stop; a failure is logged, and the next turn is another try."""
        wait_seconds = 0.0
        while not stopping.wait(wait_seconds):
            wait_seconds = self._every_seconds
            try:
                self._invoke(scheduled_event())
            except FunctionFailedError as error:
                log.warning("schedule: %s", error)


def record_of(message: "MessageTypeDef", queue: str) -> Mapping[str, Any]:
    """A message of SQS as Lambda puts it into an event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: {"stringValue": value.get("StringValue"), "dataType": value.get("DataType")}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }


def scheduled_event() -> Mapping[str, Any]:
    """What EventBridge sends when a rule's time has come."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/on_schedule"],
        "detail": {},
    }


def failed_in(answer: Any, message_ids: set[str]) -> set[str]:
    """The messages that an answer names as failed; none for an empty answer.

    Raises: BadAnswerError for what Lambda takes as a failure of the whole batch.
    """
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else answer
    if failures is None:
        return set()
    if not isinstance(failures, list):
        raise BadAnswerError(f"no list of failures: {answer!r:.200}")
    failed = {str(failure.get("itemIdentifier")) if isinstance(failure, dict) else "" for failure in failures}
    if not failed <= message_ids:
        raise BadAnswerError(f"failures of messages that were not sent: {answer!r:.200}")
    return failed
