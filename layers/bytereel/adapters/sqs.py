"""The queue on SQS: each logical queue is a standard queue of its own, with another one for its dead letters.

A lease is the message's visibility. SQS delivers at least once and in about the order sent; a receipt that somebody
else's newer one replaced may still delete the message. That is harmless here: a message is acknowledged once what
it asked for is durable, and every step takes one that it has had before.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from bytereel.adapters.aws import code_of, translated
from bytereel.errors import Temporary
from bytereel.messages import QUEUES
from bytereel.model import Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef, SendMessageBatchRequestEntryTypeDef

DEAD = "-dead"
BATCH_MAX = 10
BATCH_BYTES_MAX = 250_000
DELAY_SECONDS_MAX = 900
VISIBILITY_SECONDS_MAX = 43_200
SENDS_MAX = 5
REASON_CHARACTERS_MAX = 8_000
UNREADABLE_MAX = 10
LOOKS_MAX = 50
LOOK_SECONDS = 5
RETENTION_SECONDS = 14 * 86_400
WAIT_SECONDS = 1

_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_LEASE_LOST = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)
_UNANSWERED = "it was received {} times without an answer"


class SqsQueue:
    """The queues whose names start with `prefix`. For any number of threads, processes and machines.

    A look that finds nothing waits up to `wait_seconds` in SQS, so that idle workers ask a few times a second.
    """

    def __init__(self, client: "SQSClient", prefix: str, *, wait_seconds: int = WAIT_SECONDS) -> None:
        self._client = client
        self._prefix = prefix
        self._wait_seconds = wait_seconds
        self._urls: dict[str, str] = {}

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """See `Queue.send`: batches of 10, and a delay of 15 minutes at most. A failure may have sent some."""
        delay = min(DELAY_SECONDS_MAX, math.ceil(max(0.0, delay_seconds)))
        for batch in _batches([json.dumps(body) for body in bodies]):
            self._send_batch(queue, batch, delay)

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """See `Queue.lease`. Waits a moment in the last queue when all are empty."""
        del owner
        for wait_seconds, names in ((0, queues), (self._wait_seconds, queues[-1:])):
            for queue in names:
                message = self._receive(queue, lease_seconds, wait_seconds)
                if message is not None:
                    return message
        return None

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """See `Queue.extend`. False also when the lease ran out, though nobody took the message."""
        return self._change_visibility(message, lease_seconds)

    def acknowledge(self, message: Message) -> None:
        """See `Queue.acknowledge`."""
        self._delete(message.queue, message.receipt)

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """See `Queue.release`."""
        self._change_visibility(message, delay_seconds)

    def bury(self, message: Message, reason: str) -> None:
        """See `Queue.bury`: sent to the dead letters first, so that a crash leaves it twice, not never."""
        self._bury(message.queue, json.dumps(message.body), message.deliveries, reason)
        self.acknowledge(message)

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """See `Queue.dead`. Letters that somebody else looks at now are missing."""
        found = [letter for queue in QUEUES for letter in self._letters(queue, limit)]
        found.sort(key=lambda letter: letter[0])
        return [(message, reason) for _, message, reason in found[:limit]]

    def forget_dead(self, before: float) -> int:
        """See `Queue.forget_dead`. SQS itself forgets letters after 14 days."""
        forgotten = 0
        for queue in QUEUES:
            for sent_at, message, _ in self._letters(queue, LOOKS_MAX * BATCH_MAX, keep_held=True):
                if sent_at < before:
                    self._delete(queue + DEAD, message.receipt)
                    forgotten += 1
                else:
                    self._change_visibility(message, 0, queue + DEAD)
        return forgotten

    def size(self, queue: str) -> int:
        """See `Queue.size`: an estimate."""
        with self._translated(queue):
            found = self._client.get_queue_attributes(QueueUrl=self._url(queue), AttributeNames=list(_COUNTS))
        return sum(int(found["Attributes"].get(name, "0")) for name in _COUNTS)

    def _send_batch(self, queue: str, texts: Sequence[str], delay: int) -> None:
        left: dict[str, SendMessageBatchRequestEntryTypeDef] = {
            str(number): {"Id": str(number), "MessageBody": text, "DelaySeconds": delay}
            for number, text in enumerate(texts)
        }
        for _ in range(SENDS_MAX):
            with self._translated(queue):
                answer = self._client.send_message_batch(QueueUrl=self._url(queue), Entries=list(left.values()))
            failed = {each["Id"]: each for each in answer.get("Failed", [])}
            left = {number: entry for number, entry in left.items() if number in failed}
            if not left:
                return
        raise Temporary("queue.busy", f"{len(left)} messages could not be sent to the queue {self._name(queue)}")

    def _receive(self, queue: str, lease_seconds: float, wait_seconds: int) -> Message | None:
        """A message of one queue; those that nobody can read are buried on the way, a bounded number of them."""
        for _ in range(UNREADABLE_MAX):
            with self._translated(queue):
                found = self._client.receive_message(
                    QueueUrl=self._url(queue),
                    MaxNumberOfMessages=1,
                    VisibilityTimeout=_visibility(lease_seconds),
                    WaitTimeSeconds=wait_seconds,
                    MessageSystemAttributeNames=["ApproximateReceiveCount"],
                ).get("Messages", [])
            if not found:
                return None
            body = _body_of(found[0]["Body"])
            deliveries = int(found[0]["Attributes"]["ApproximateReceiveCount"])
            if body is not None:
                return Message(found[0]["MessageId"], queue, body, deliveries, found[0]["ReceiptHandle"])
            self._bury(queue, json.dumps({"text": found[0]["Body"]}), deliveries, "the message is no JSON object")
            self._delete(queue, found[0]["ReceiptHandle"])
        return None

    def _bury(self, queue: str, text: str, deliveries: int, reason: str) -> None:
        said = {"reason": json.dumps(reason[:REASON_CHARACTERS_MAX]), "deliveries": str(deliveries)}
        with self._translated(queue + DEAD):
            self._client.send_message(
                QueueUrl=self._url(queue + DEAD),
                MessageBody=text,
                MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in said.items()},
            )

    def _letters(self, queue: str, limit: int, *, keep_held: bool = False) -> list[tuple[float, Message, str]]:
        """When each dead letter of a queue was sent, the letter, and its reason."""
        found: list[tuple[float, Message, str]] = []
        for _ in range(LOOKS_MAX):
            with self._translated(queue + DEAD):
                page = self._client.receive_message(
                    QueueUrl=self._url(queue + DEAD),
                    MaxNumberOfMessages=BATCH_MAX,
                    VisibilityTimeout=LOOK_SECONDS,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                ).get("Messages", [])
            found += [_letter(queue, each) for each in page]
            if not page or len(found) >= limit:
                break
        if not keep_held:
            for _, message, _ in found:
                self._change_visibility(message, 0, queue + DEAD)
        return found

    def _change_visibility(self, message: Message, seconds: float, queue: str = "") -> bool:
        queue = queue or message.queue
        with self._translated(queue):
            try:
                self._client.change_message_visibility(
                    QueueUrl=self._url(queue), ReceiptHandle=message.receipt, VisibilityTimeout=_visibility(seconds)
                )
            except ClientError as error:
                if code_of(error) not in _LEASE_LOST:
                    raise
                return False
        return True

    def _delete(self, queue: str, receipt: str) -> None:
        with self._translated(queue):
            try:
                self._client.delete_message(QueueUrl=self._url(queue), ReceiptHandle=receipt)
            except ClientError as error:
                if code_of(error) not in _LEASE_LOST:
                    raise

    def _name(self, queue: str) -> str:
        return f"{self._prefix}-{queue}"

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            self._urls[queue] = self._client.get_queue_url(QueueName=self._name(queue))["QueueUrl"]
        return self._urls[queue]

    def _translated(self, queue: str) -> Any:
        return translated(f"the queue {self._name(queue)}")


def create_queues(
    client: "SQSClient",
    prefix: str,
    names: Sequence[str] = QUEUES,
    *,
    visibility_seconds: int = 60,
    receives_max: int = 25,
) -> None:
    """Make the queues and those of their dead letters where there are none. Idempotent.

    SQS moves a message to the dead letters itself after `receives_max` receptions: a net below the road's own limits.
    """
    for name in names:
        with translated(f"the queue {prefix}-{name}"):
            dead = client.create_queue(QueueName=f"{prefix}-{name}{DEAD}", Attributes=_retention())["QueueUrl"]
            arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives_max})
            attributes = {**_retention(), "VisibilityTimeout": str(visibility_seconds), "RedrivePolicy": redrive}
            client.create_queue(QueueName=f"{prefix}-{name}", Attributes=attributes)


def _retention() -> dict[Any, str]:
    return {"MessageRetentionPeriod": str(RETENTION_SECONDS)}


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == BATCH_MAX or size + len(text) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def _visibility(seconds: float) -> int:
    return min(VISIBILITY_SECONDS_MAX, math.ceil(max(0.0, seconds)))


def _body_of(text: str) -> Mapping[str, Any] | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _letter(queue: str, found: "MessageTypeDef") -> tuple[float, Message, str]:
    attributes = found.get("MessageAttributes", {})
    system = found.get("Attributes", {})
    received = system.get("ApproximateReceiveCount", "1")
    reason = _UNANSWERED.format(received)
    if "reason" in attributes:
        reason = str(json.loads(attributes["reason"]["StringValue"]))
    deliveries = int(attributes["deliveries"]["StringValue"]) if "deliveries" in attributes else int(received)
    body = _body_of(found["Body"]) or {"text": found["Body"]}
    message = Message(found["MessageId"], queue, body, deliveries, found["ReceiptHandle"])
    return int(system.get("SentTimestamp", 0)) / 1000, message, reason
