"""The queue on SQS: each logical queue is a standard queue of its own, and another one has its dead letters.

A lease is the message's visibility, its receipt the receipt handle. SQS delivers at least once, in about the order
sent, and keeps whole seconds.

What an old receipt does, once somebody else has the message: a heartbeat may hold the message longer, and a deletion
may remove it; SQS promises neither, nor the opposite. That is harmless here: a message is acknowledged only after
what it asked for is durable, and the fence of a segment is its attempt in the job table. A receipt that this very
object ended is remembered, and does nothing any more.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.sqs.calls import SqsCalls, arn_of, create_queue
from bytereel.adapters.sqs.letters import SqsLetters, dead_name_of, name_of, unreadable
from bytereel.errors import BytereelError, Permanent
from bytereel.events import body_of
from bytereel.messages import INTAKE, QUEUES
from bytereel.model import Message
from bytereel.ports.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

RETENTION_SECONDS = 14 * 86_400
"""The longest that SQS keeps a message, dead letters too."""

VISIBILITY_SECONDS = 60
RECEPTIONS_MAX = 25
"""More than the deaths that a worker lets a message outlive by default."""

WAIT_SECONDS = 1
LOOKS_BEFORE_WAITING = 8
"""Looks in vain after which the next ones wait in SQS: what follows from a message often comes soon after it."""

BURY_SECONDS = 30.0
UNREADABLE_MAX = 10
ENDED_MAX = 10_000


class SqsQueue:
    """The queues whose names start with `prefix`. For any number of threads, processes and machines.

    A look asks every queue in turn, in their order. After a few looks in vain, each further one also waits up to
    `wait_seconds` (0..20) for a message of the queue `wait_on`: the one that wakes an idle road. An idle worker so
    makes as many requests every `wait_seconds` as there are queues, hears of `wait_on` at once, and of the
    others within `wait_seconds`. 0 never waits.
    """

    def __init__(
        self,
        client: "SQSClient",
        prefix: str,
        names: Sequence[str] = QUEUES,
        *,
        wait_seconds: int = WAIT_SECONDS,
        wait_on: str = INTAKE,
        clock: Clock | None = None,
    ) -> None:
        self._calls = SqsCalls(client)
        self._prefix = prefix
        self._letters = SqsLetters(self._calls, prefix, names)
        self._wait_seconds = wait_seconds
        self._wait_on = wait_on
        self._clock = clock or SystemClock()
        self._looks_in_vain = 0
        self._ended = _Ended()

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """See `Queue.send`: in batches, so that a failure may have sent some.

        SQS delays for 15 minutes at most; a message that is to come later comes then.
        """
        self._calls.send(self._name_of(queue), map(json.dumps, bodies), delay_seconds=delay_seconds)
        self._looks_in_vain = 0

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """See `Queue.lease`; the owner is not kept.

        SQS asks only some of its servers in a look that does not wait: it may miss a message of an earlier queue
        that the next look finds.
        """
        assert owner, "a lease is somebody's"
        looks = [(queue, 0) for queue in queues]
        if queues and self._wait_seconds and self._looks_in_vain >= LOOKS_BEFORE_WAITING:
            looks.append((self._wait_on if self._wait_on in queues else queues[0], self._wait_seconds))
        for queue, wait_seconds in looks:
            message = self._take(queue, lease_seconds, wait_seconds)
            if message is not None:
                self._looks_in_vain = 0
                return message
        self._looks_in_vain += 1
        return None

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """See `Queue.extend`; False also when SQS ended a lease that ran out, or that is 12 hours old."""
        if self._ended.has(message.receipt):
            return False
        return self._calls.hold(self._name_of(message.queue), message.receipt, lease_seconds)

    def acknowledge(self, message: Message) -> None:
        """See `Queue.acknowledge`."""
        with self._ended.ending(message.receipt) as held:
            if held:
                self._calls.delete(self._name_of(message.queue), message.receipt)

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """See `Queue.release`; a delay of 12 hours at most."""
        with self._ended.ending(message.receipt) as held:
            if held:
                self._calls.hold(self._name_of(message.queue), message.receipt, delay_seconds)

    def bury(self, message: Message, reason: str) -> None:
        """See `Queue.bury`. A crash half-way leaves the message in both places, never in none."""
        name = self._name_of(message.queue)
        with self._ended.ending(message.receipt) as held:
            if held and self._calls.hold(name, message.receipt, BURY_SECONDS):
                self._letters.add(message.queue, message.body, message.deliveries, reason)
                self._calls.delete(name, message.receipt)

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """See `Queue.dead`, of a thousand letters a queue. Those buried within a minute may be missing."""
        return self._letters.oldest(limit)

    def forget_dead(self, before: float) -> int:
        """See `Queue.forget_dead`, of a thousand letters a queue. After 14 days SQS itself forgets them."""
        if before < self._clock.now() - RETENTION_SECONDS:
            return 0
        return self._letters.forget(before)

    def size(self, queue: str) -> int:
        """See `Queue.size`: an estimate, right within a minute."""
        return self._calls.count(self._name_of(queue))

    def _name_of(self, queue: str) -> str:
        return name_of(self._prefix, queue)

    def _take(self, queue: str, lease_seconds: float, wait_seconds: int) -> Message | None:
        """A message of one queue; those that nobody can read are buried on the way, a bounded number of them."""
        for _ in range(UNREADABLE_MAX):
            page = self._calls.receive(
                self._name_of(queue), held_seconds=max(1.0, lease_seconds), wait_seconds=wait_seconds
            )
            if not page:
                return None
            found = page[0]
            try:
                return Message(found.id, queue, body_of(found.text), found.receptions, found.receipt)
            except Permanent as error:
                self._letters.add(queue, unreadable(found.text), found.receptions, error.message)
                self._calls.delete(self._name_of(queue), found.receipt)
        return None


class _Ended:
    """The receipts that were acknowledged, released or buried here, the newest of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receipts: dict[str, None] = {}

    def has(self, receipt: str) -> bool:
        return receipt in self._receipts

    @contextmanager
    def ending(self, receipt: str) -> Iterator[bool]:
        """Whether the receipt still counts; no more once the context began, unless it fails."""
        with self._lock:
            held = receipt not in self._receipts
            self._receipts[receipt] = None
            if len(self._receipts) > ENDED_MAX:
                del self._receipts[next(iter(self._receipts))]
        try:
            yield held
        except BytereelError:
            with self._lock:
                self._receipts.pop(receipt, None)
            raise


def create_queues(
    client: "SQSClient",
    prefix: str,
    names: Sequence[str] = QUEUES,
    *,
    visibility_seconds: int = VISIBILITY_SECONDS,
    receptions_max: int = RECEPTIONS_MAX,
) -> None:
    """Make the queues and those of their dead letters; what is there already stays as it is. Idempotent.

    SQS itself moves a message to the dead letters on its next reception after `receptions_max` (1..1000): a net
    below the road's own limits. Where Lambda receives, `visibility_seconds` is no less than the function's timeout.
    """
    for queue in names:
        name, dead_name = name_of(prefix, queue), dead_name_of(prefix, queue)
        create_queue(client, dead_name, {"MessageRetentionPeriod": str(RETENTION_SECONDS)})
        redrive = {"deadLetterTargetArn": arn_of(client, dead_name), "maxReceiveCount": receptions_max}
        attributes = {
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "VisibilityTimeout": str(visibility_seconds),
            "RedrivePolicy": json.dumps(redrive),
        }
        create_queue(client, name, attributes)
