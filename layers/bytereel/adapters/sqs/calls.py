"""Calls to SQS queues by their names: batches, receptions, visibility. Knows limits and errors, not the road.

botocore repeats a request that failed in passing; what one request did only in part is repeated here.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from bytereel.adapters.aws import code_of, translated
from bytereel.errors import Permanent, Temporary

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

BATCH_MAX = 10
BATCH_BYTES_MAX = 256 * 1024
TEXT_BYTES_MAX = 240 * 1024
"""Of one message: it fits into a batch also with the reason that a dead letter carries."""

DELAY_SECONDS_MAX = 900
VISIBILITY_SECONDS_MAX = 43_200
WAIT_SECONDS_MAX = 20
SENDS_MAX = 6
PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 2.0

VISIBLE: "QueueAttributeNameType" = "ApproximateNumberOfMessages"
HELD: "QueueAttributeNameType" = "ApproximateNumberOfMessagesNotVisible"
DELAYED: "QueueAttributeNameType" = "ApproximateNumberOfMessagesDelayed"

# SQS names a receipt as invalid only where it never gave it out; of one that is too old, or whose message is gone or
# 12 hours old, it says InvalidParameterValue. Some servers write "Exception" behind a code.
_LEASE_LOST = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat"})


@dataclass(frozen=True, slots=True)
class Received:
    """A message as SQS handed it out: `sent_at` in seconds since the epoch, `notes` its string attributes."""

    id: str
    receipt: str
    text: str
    receptions: int
    sent_at: float
    notes: Mapping[str, str]


class SqsCalls:
    """Every method is one request, or a few. Raises: Permanent `service.absent` naming a queue that is not there."""

    def __init__(self, client: "SQSClient") -> None:
        self._client = client
        self._urls: dict[str, str] = {}

    def send(self, name: str, texts: Iterable[str], *, delay_seconds: float = 0.0) -> None:
        """Send ASCII texts; all are durable on return, and a failure may have sent some.

        Raises: Permanent `message.too_large`; Temporary `service.busy` when SQS keeps refusing a part.
        """
        delay = min(DELAY_SECONDS_MAX, _whole(delay_seconds))
        for batch in batches_of(name, texts):
            self._send_batch(
                name,
                [{"Id": str(number), "MessageBody": text, "DelaySeconds": delay} for number, text in enumerate(batch)],
            )

    def send_noted(self, name: str, text: str, notes: Mapping[str, str]) -> None:
        """Send one text with attributes; no note is empty."""
        with _about(name):
            self._client.send_message(
                QueueUrl=self._url_of(name),
                MessageBody=text,
                MessageAttributes={key: {"DataType": "String", "StringValue": note} for key, note in notes.items()},
            )

    def receive(
        self, name: str, *, count_max: int = 1, held_seconds: float, wait_seconds: int = 0
    ) -> Sequence[Received]:
        """Up to `count_max` messages (1..10), nobody else's for `held_seconds`; waits for the first one."""
        with _about(name):
            answer = self._client.receive_message(
                QueueUrl=self._url_of(name),
                MaxNumberOfMessages=count_max,
                VisibilityTimeout=min(VISIBILITY_SECONDS_MAX, _whole(held_seconds)),
                WaitTimeSeconds=min(WAIT_SECONDS_MAX, wait_seconds),
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return [_received(message) for message in answer.get("Messages", [])]

    def hold(self, name: str, receipt: str, seconds: float) -> bool:
        """Hold a message for `seconds` from now, 12 hours at most; False when the receipt holds it no more."""
        timeout = min(VISIBILITY_SECONDS_MAX, _whole(seconds))
        return self._unless_lost(
            name,
            lambda: self._client.change_message_visibility(
                QueueUrl=self._url_of(name), ReceiptHandle=receipt, VisibilityTimeout=timeout
            ),
        )

    def delete(self, name: str, receipt: str) -> bool:
        """Remove a message; False when the receipt holds it no more."""
        return self._unless_lost(
            name, lambda: self._client.delete_message(QueueUrl=self._url_of(name), ReceiptHandle=receipt)
        )

    def show(self, name: str, receipts: Sequence[str]) -> None:
        """Let others have messages again; for one that this fails for, the end of its visibility does it."""
        for start in range(0, len(receipts), BATCH_MAX):
            with _about(name):
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url_of(name),
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                        for number, receipt in enumerate(receipts[start : start + BATCH_MAX])
                    ],
                )

    def count(self, name: str, kinds: "Sequence[QueueAttributeNameType]" = (VISIBLE, HELD, DELAYED)) -> int:
        """About how many messages of these kinds there are: SQS counts within a minute."""
        with _about(name):
            answer = self._client.get_queue_attributes(QueueUrl=self._url_of(name), AttributeNames=kinds)
        return sum(int(answer.get("Attributes", {}).get(kind, "0")) for kind in kinds)

    def receptions_max(self, name: str) -> int:
        """After how many receptions SQS itself moves a message to the dead letters; 0 where it never does."""
        with _about(name):
            answer = self._client.get_queue_attributes(QueueUrl=self._url_of(name), AttributeNames=["RedrivePolicy"])
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}")
        return int(policy.get("maxReceiveCount", 0))

    def _url_of(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = self._client.get_queue_url(QueueName=name)["QueueUrl"]
        return self._urls[name]

    def _send_batch(self, name: str, entries: "Sequence[SendMessageBatchRequestEntryTypeDef]") -> None:
        """Send entries, and those that SQS refused in passing again, after a pause that grows."""
        waiting = {entry["Id"]: entry for entry in entries}

        def send_waiting() -> bool:
            with _about(name):
                answer = self._client.send_message_batch(QueueUrl=self._url_of(name), Entries=list(waiting.values()))
            for sent in answer.get("Successful", []):
                waiting.pop(sent["Id"], None)
            for failed in answer.get("Failed", []):
                _refuse_fault(name, failed)
            return bool(waiting)

        try:
            Retrying(
                retry=retry_if_result(bool),
                stop=stop_after_attempt(SENDS_MAX),
                wait=wait_random_exponential(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX),
            )(send_waiting)
        except RetryError as error:
            raise Temporary(
                "service.busy",
                f"the queue {name} did not take {len(waiting)} of {len(entries)} messages",
                hint="try again later",
                queue=name,
            ) from error

    def _unless_lost(self, name: str, call: Callable[[], Any]) -> bool:
        with _about(name):
            try:
                call()
            except ClientError as error:
                if code_of(error).rpartition(".")[2].removesuffix("Exception") not in _LEASE_LOST:
                    raise
                return False
        return True


def batches_of(name: str, texts: Iterable[str]) -> Iterator[Sequence[str]]:
    """The ASCII texts in their order, as many together as SQS takes. Raises: Permanent `message.too_large`."""
    batch: list[str] = []
    size_bytes = 0
    for text in texts:
        if len(text) > TEXT_BYTES_MAX:
            raise Permanent(
                "message.too_large",
                f"a message for the queue {name} has {len(text)} bytes, {TEXT_BYTES_MAX} at most can be sent",
                queue=name,
                size_bytes=len(text),
            )
        if len(batch) == BATCH_MAX or size_bytes + len(text) > BATCH_BYTES_MAX:
            yield batch
            batch, size_bytes = [], 0
        batch.append(text)
        size_bytes += len(text)
    if batch:
        yield batch


def create_queue(client: "SQSClient", name: str, attributes: Mapping[str, str]) -> None:
    """Make a queue; one of the name that is there already stays as it is."""
    made: Any = dict(attributes)
    with _about(name):
        try:
            client.create_queue(QueueName=name, Attributes=made)
        except ClientError as error:
            if code_of(error) not in ("QueueNameExists", "QueueAlreadyExists"):
                raise


def arn_of(client: "SQSClient", name: str) -> str:
    """What policies call a queue."""
    with _about(name):
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


@contextmanager
def _about(name: str) -> Iterator[None]:
    with translated(f"the queue {name}"):
        yield


def _whole(seconds: float) -> int:
    return math.ceil(max(0.0, seconds))


def _refuse_fault(name: str, failed: "BatchResultErrorEntryTypeDef") -> None:
    """Raises: Permanent `service.refused` for an entry that fails however often it is sent."""
    code = failed.get("Code", "")
    if failed.get("SenderFault") and "Throttl" not in code:
        said = failed.get("Message") or code
        raise Permanent("service.refused", f"the queue {name} refuses a message: {said}", queue=name, code=code)


def _received(message: "MessageTypeDef") -> Received:
    system = message.get("Attributes", {})
    notes = message.get("MessageAttributes", {})
    return Received(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        text=message["Body"],
        receptions=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=int(system.get("SentTimestamp", "0")) / 1000,
        notes={key: note["StringValue"] for key, note in notes.items() if "StringValue" in note},
    )
