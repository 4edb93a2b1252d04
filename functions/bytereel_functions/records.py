"""A batch of messages that a queue hands to a function: each is delivered alone, and ended before it is answered.

The step's own effects are durable before its message is acknowledged; what Lambda deletes afterwards is gone already.
A message that is to come back is named in the answer, also when that is the whole batch: it was put off, which is no
failure of the function. A function killed at any point leaves its messages to their visibility.

Powertools' idempotency is not used: the job table is what makes an event that is heard twice one job.
"""

import logging
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.base import FailureResponse
from aws_lambda_powertools.utilities.batch.exceptions import ExceptionInfo
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from bytereel.errors import BytereelError, Permanent, Temporary, reason_of
from bytereel.events import body_of, jobs_in
from bytereel.messages import QUEUES
from bytereel.model import Message
from bytereel.workers.heartbeat import Heartbeat

from bytereel_functions.opened import Road
from bytereel_functions.telemetry import about, count

log = logging.getLogger(__name__)


def is_batch(event: Mapping[str, Any]) -> bool:
    """Whether an event is a batch of a queue's messages, and not what one message would hold."""
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records)


def deliver_records(event: dict[str, Any], context: LambdaContext, road: Road) -> PartialItemFailureResponse:
    """Deliver each message of the batch; answer with those that come back.

    Raises: Temporary when a message cannot be ended: what was not acknowledged comes back by itself; Permanent
    `event.foreign_queue`.
    """
    with Heartbeat(road.ports, road.settings.lease_seconds, road.settings.heartbeat_seconds) as heartbeat:
        records = _Records(road, heartbeat)
        return process_partial_response(event, records.deliver, records, context)


def message_of(record: SQSRecord, prefix: str) -> Message:
    """The message in a record of a queue whose name starts with `prefix`.

    What is no JSON object is kept as `text`, which no step takes: it goes to the dead letters.
    Raises: Permanent `event.foreign_queue`.
    """
    name = record.event_source_arn.rpartition(":")[2]
    queue = name.removeprefix(f"{prefix}-")
    if queue == name or queue not in QUEUES:
        raise Permanent("event.foreign_queue", f"{name} is no queue of the road that starts with {prefix!r}")
    try:
        body = body_of(record.body)
    except Permanent:
        body = {"text": record.body}
    deliveries = int(record.attributes.approximate_receive_count)
    return Message(record.message_id, queue, body, deliveries, record.receipt_handle)


class _ComesBack(Temporary):
    """The message was put off; only said to Powertools, which lists it in the answer."""


class _Records(BatchProcessor):
    """Delivers records one by one; a bug is tried again, as after a passing failure, and then fails the job."""

    def __init__(self, road: Road, heartbeat: Heartbeat) -> None:
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=False)
        self._road = road
        self._heartbeat = heartbeat

    def deliver(self, record: SQSRecord) -> None:
        """Run the step of the record's message. Raises: Temporary when the message comes back."""
        road = self._road
        message = message_of(record, road.settings.queues or "")
        count("MessagesReceived")
        with about(_jobs_of(road, message)), self._heartbeat.holding(message) as held:
            held.extend(road.ports, road.settings.lease_seconds)
            if not road.delivery.deliver(message, held):
                raise _ComesBack("message.comes_back", f"message {message.id} was put off")

    def failure_handler(self, record: SQSRecord, exception: ExceptionInfo) -> FailureResponse:
        """See `BatchProcessor`: the record is listed in the answer."""
        error = exception[1]
        message = message_of(record, self._road.settings.queues or "")
        if not isinstance(error, BytereelError):
            log.error("%s message %s met an error", message.queue, message.id, exc_info=error)
            self._road.delivery.put_off(message, f"internal error, the log has more: {error!r}")
        elif not isinstance(error, _ComesBack):
            log.warning("%s message %s comes back: %s", message.queue, message.id, reason_of(error))
        return super().failure_handler(record, exception)


def _jobs_of(road: Road, message: Message) -> list[str]:
    """The jobs that the message is about, for the log; none where it says nothing, of which the step will complain."""
    try:
        return list(jobs_in(message.queue, message.body, road.ports.inbox))
    except Permanent:
        return []
