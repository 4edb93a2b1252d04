"""A worker: leases messages and runs their steps in a few threads, as many at once as memory allows."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from bytereel.errors import BytereelError, Temporary, reason_of
from bytereel.messages import BULK, QUEUES
from bytereel.model import Message
from bytereel.ports.ports import Ports
from bytereel.routing import Conversions
from bytereel.settings import Settings
from bytereel.workers.budget import MemoryBudget
from bytereel.workers.delivery import Delivery, DeliveryLimits, DrainingError
from bytereel.workers.heartbeat import Heartbeat

log = logging.getLogger(__name__)

LEASE_FAILURES_MAX = 100
BULK_TURN = 8
"""Every so many looks, the queue of huge jobs goes first: others pass them, and never for ever."""

_BULK_FIRST = (BULK, *(name for name in QUEUES if name != BULK))


class Worker:
    """Runs until it is stopped, or its `alive` says no.

    One message at a time waits for memory; no other is leased meanwhile, so that other workers can have it.
    """

    def __init__(
        self,
        ports: Ports,
        conversions: Conversions,
        settings: Settings,
        owner: str,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._queue = ports.queue
        self._settings = settings
        self._owner = owner
        self._alive = alive
        limits = DeliveryLimits(settings.lease_seconds, settings.deliveries_max, settings.deaths_max)
        self._delivery = Delivery(ports, conversions, owner, limits)
        self._budget = MemoryBudget(settings.memory_budget_bytes)
        self._heartbeat = Heartbeat(ports, settings.lease_seconds, settings.heartbeat_seconds)
        self._threads = threading.Semaphore(settings.threads)
        self._entrance = threading.Semaphore()
        self._lease_failures = 0
        self._looks = 0
        self._stopping = threading.Event()
        self._wake = threading.Event()

    def stop(self) -> None:
        """Lease nothing any more and end once what runs is finished; may be called from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work; once only. Raises: Temporary when no message can be leased for too long; Permanent."""
        with self._heartbeat, ThreadPoolExecutor(self._settings.threads, "step") as pool:
            while not self._stopping.is_set() and self._alive():
                message = self._next()
                if message is not None:
                    pool.submit(self._work, message).add_done_callback(partial(self._ended, message))
        log.info("worker %s: nothing runs any more", self._owner)

    def _next(self) -> Message | None:
        """A message to start now, or None after a short wait."""
        if not self._threads.acquire(timeout=self._settings.poll_seconds):
            return None
        if self._entrance.acquire(timeout=self._settings.poll_seconds):
            message = self._lease()
            if message is not None:
                return message
            self._entrance.release()
        self._threads.release()
        self._wake.wait(self._settings.poll_seconds)
        self._wake.clear()
        return None

    def _lease(self) -> Message | None:
        if self._stopping.is_set():
            return None
        self._looks += 1
        queues = QUEUES if self._looks % BULK_TURN else _BULK_FIRST
        try:
            message = self._queue.lease(queues, self._owner, self._settings.lease_seconds)
        except Temporary as error:
            self._lease_failures += 1
            if self._lease_failures == LEASE_FAILURES_MAX:
                raise
            log.warning("no message can be had just now: %s", reason_of(error))
            return None
        self._lease_failures = 0
        return message

    def _work(self, message: Message) -> None:
        with self._heartbeat.holding(message) as held:
            self._delivery.deliver(message, held, partial(self._room, message))

    @contextmanager
    def _room(self, message: Message) -> Iterator[None]:
        """The memory that the message's step takes; once it is there, the next message may come in.

        Raises: Permanent `memory.budget`; DrainingError.
        """
        try:
            cost_bytes = self._delivery.memory_cost(message)
            while not self._budget.try_take(cost_bytes, self._settings.poll_seconds):
                if self._stopping.is_set():
                    raise DrainingError
        finally:
            self._entrance.release()
        try:
            yield
        finally:
            self._budget.give_back(cost_bytes)

    def _ended(self, message: Message, done: Future[None]) -> None:
        """Make room for the next message. One that met a bug is tried again, as after a passing failure."""
        self._threads.release()
        self._wake.set()
        error = done.exception()
        if error is None:
            return
        log.error("%s message %s met an error", message.queue, message.id, exc_info=error)
        if not isinstance(error, BytereelError):
            self._delivery.put_off(message, f"internal error, the log has more: {error!r}")
