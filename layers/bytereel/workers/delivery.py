"""What becomes of a message: the step it calls for, and then its end: acknowledged, put off or buried."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bytereel.dispatch import fail_job
from bytereel.errors import Integrity, Permanent, Temporary, is_state_lost, reason_of
from bytereel.events import jobs_in
from bytereel.leases import LeaseWatch, Unwatched
from bytereel.messages import BULK, ENCODE, FINALIZE, INTAKE, MALFORMED
from bytereel.model import Message
from bytereel.ports.ports import Ports
from bytereel.routing import Conversions
from bytereel.steps.encode import cost_of, encode_segment
from bytereel.steps.finalize import finalize
from bytereel.steps.intake import take_in

log = logging.getLogger(__name__)

DELAY_SECONDS_MIN = 0.05
DELAY_SECONDS_MAX = 30.0

_ENCODING = (ENCODE, BULK)

Room = Callable[[], AbstractContextManager[None]]


class DrainingError(Exception):
    """The worker was told to stop before the step of a message began."""


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """How long a lease lasts, how often a message is tried, how many workers it may outlive."""

    lease_seconds: float
    deliveries_max: int
    deaths_max: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """Runs the steps of messages for one owner. Safe for several threads."""

    ports: Ports
    conversions: Conversions
    owner: str
    limits: DeliveryLimits

    def deliver(self, message: Message, watch: LeaseWatch | None = None, room: Room = nullcontext) -> bool:
        """Run the message's step inside `room`, then end the message; False when it will come back instead.

        A bug propagates, and the message stays held. Raises: Temporary when ending it fails, what `is_state_lost`:
        the message is free again when its lease ends.
        """
        try:
            with room():
                self._run_step(message, watch or Unwatched())
        except DrainingError:
            self.ports.queue.release(message)
            return False
        except Temporary as error:
            return self.put_off(message, reason_of(error))
        except (Permanent, Integrity) as error:
            if is_state_lost(error):
                raise  # it says nothing of the message
            if error.error_id == MALFORMED:
                self.ports.queue.bury(message, reason_of(error))
            else:
                self.give_up(message, reason_of(error))
        else:
            self.ports.queue.acknowledge(message)
        return True

    def memory_cost(self, message: Message) -> int:
        """The most memory that the step takes beyond an idle worker, as far as it grows with the job."""
        if message.queue not in _ENCODING:
            return 0
        cost_bytes = cost_of(self.ports, self.conversions, message.body)
        return cost_bytes + self.ports.put_bytes_max + self.ports.read_bytes if cost_bytes else 0

    def put_off(self, message: Message, reason: str) -> bool:
        """Have the message come back, each time after a longer delay; True when it was given up instead."""
        if message.deliveries >= self.limits.deliveries_max:
            self.give_up(message, f"tried {message.deliveries} times: {reason}")
            return True
        delay_seconds = min(DELAY_SECONDS_MAX, DELAY_SECONDS_MIN * 8.0 ** (message.deliveries - 1))
        log.info("%s message put off for %.2f s: %s", message.queue, delay_seconds, reason)
        self.ports.queue.release(message, delay_seconds=delay_seconds)
        return False

    def give_up(self, message: Message, reason: str) -> None:
        """End the message's jobs as failed, then move the message to the dead letters."""
        try:
            for job_id in jobs_in(message.queue, message.body, self.ports.inbox):
                fail_job(self.ports, job_id, reason)
        except Permanent as malformed:
            log.warning("%s message belongs to no job: %s", message.queue, malformed.message)
        log.warning("%s message buried: %s", message.queue, reason)
        self.ports.queue.bury(message, reason)

    def _run_step(self, message: Message, watch: LeaseWatch) -> None:
        if message.deliveries > self.limits.deaths_max:
            raise Permanent(
                "message.deadly",
                f"{message.deliveries - 1} workers ended without an answer to a message of the queue {message.queue!r}",
                hint="the log says how they ended; too little memory is the usual reason",
            )
        if message.queue == INTAKE:
            take_in(self.ports, self.conversions, message.body, redelivered=message.deliveries > 1)
        elif message.queue in _ENCODING:
            encode_segment(
                self.ports,
                self.conversions,
                message.body,
                owner=self.owner,
                lease_seconds=self.limits.lease_seconds,
                watch=watch,
            )
        else:
            assert message.queue == FINALIZE, message.queue
            finalize(self.ports, self.conversions, message.body)
