"""Hears the events of a store that tells them to whoever is connected, and queues each for intake.

Nothing is sure to be heard: what happened while the connection was away is lost. Every connection therefore asks for
a look at the whole inbox (`has_connected`), and an event that could not be queued ends its connection.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from bytereel.errors import BytereelError, reason_of
from bytereel.messages import INTAKE
from bytereel.ports.doors import EventSource
from bytereel.ports.queues import Queue

log = logging.getLogger(__name__)

PAUSE_SECONDS_MIN = 0.25
PAUSE_SECONDS_MAX = 30.0
HEALTHY_SECONDS = 30.0
"""A connection that lasted so long was a good one: the pauses start small again."""
END_SECONDS_MAX = 5.0


class EventListener:
    """Listens in a thread of its own while the context lasts; silent without a source."""

    def __init__(
        self, source: EventSource | None, queue: Queue, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._source = source
        self._queue = queue
        self._uniform = uniform
        self._connected = threading.Event()
        self._ended = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="event-listener", daemon=True)

    def __enter__(self) -> "EventListener":
        if self._source:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._source:
            self._source.close()
            self._thread.join(END_SECONDS_MAX)

    def has_connected(self) -> bool:
        """Whether a connection began since the last call: what happened before it was not heard."""
        connected = self._connected.is_set()
        self._connected.clear()
        return connected

    def _run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            assert self._source is not None
            started_at = time.monotonic()
            try:
                self._hear(self._source)
            except BytereelError as error:
                self._say(self._source.name, reason_of(error))
            failures = 0 if time.monotonic() - started_at >= HEALTHY_SECONDS else failures + 1
            self._ended.wait(pause_seconds(failures, self._uniform))

    def _hear(self, source: EventSource) -> None:
        with contextlib.closing(source.listen(lambda: self._on_connected(source.name))) as events:  # type: ignore[type-var]
            for event in events:
                self._queue.send(INTAKE, [event])

    def _on_connected(self, name: str) -> None:
        log.info("listening to the events of %s", name)
        self._said = ""
        self._connected.set()

    def _say(self, name: str, reason: str) -> None:
        """Log why nothing is heard, once while it stays the same."""
        if reason != self._said and not self._ended.is_set():
            log.warning("%s is not heard, uploads take longer to be seen: %s", name, reason)
        self._said = reason


def pause_seconds(failures: int, uniform: Callable[[float, float], float]) -> float:
    """How long to wait after so many failures in a row: doubling up to a bound, and never the same for everybody."""
    longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(failures, 32))
    return uniform(longest / 2, longest)
