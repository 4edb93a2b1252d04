"""One thread that keeps alive every lease this process works under: of messages and of their segments."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bytereel.errors import BytereelError, is_state_lost
from bytereel.model import Message, Segment
from bytereel.ports.ports import Ports

log = logging.getLogger(__name__)


class HeldMessage:
    """A message under way, and the segment that its step leased; a `LeaseWatch` for that step."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self._segment: Segment | None = None
        self._lost = threading.Event()

    @contextmanager
    def covering(self, segment: Segment) -> Iterator[None]:
        """Extend the segment's lease too while the context lasts."""
        self._segment = segment
        try:
            yield
        finally:
            self._segment = None

    def lost(self) -> bool:
        """Whether the segment's lease is gone."""
        return self._lost.is_set()

    def lose(self) -> None:
        """Let the step learn that its lease is gone."""
        self._lost.set()

    def extend(self, ports: Ports, lease_seconds: float) -> None:
        """Hold on for `lease_seconds` from now. Losing the message is no harm: the segment is the fence."""
        ports.queue.extend(self.message, lease_seconds)
        segment, now = self._segment, ports.clock.now()
        if segment is not None and not ports.jobs.extend_segment(segment, now, now + lease_seconds):
            self.lose()


class Heartbeat:
    """Extends what is held every `beat_seconds`, in a thread of its own, while the context lasts.

    Where the state cannot be used any more, every lease is lost.
    """

    def __init__(self, ports: Ports, lease_seconds: float, beat_seconds: float) -> None:
        self._ports = ports
        self._lease_seconds = lease_seconds
        self._beat_seconds = beat_seconds
        self._held: set[HeldMessage] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def holding(self, message: Message) -> Iterator[HeldMessage]:
        """Keep the message while the context lasts."""
        held = HeldMessage(message)
        with self._lock:
            self._held.add(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.discard(held)

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            with self._lock:
                held = list(self._held)
            for each in held:
                self._extend(each)

    def _extend(self, held: HeldMessage) -> None:
        try:
            held.extend(self._ports, self._lease_seconds)
        except BytereelError as error:
            if is_state_lost(error):
                log.warning("a lease is lost: %s", error.message)
                held.lose()
            else:
                log.warning("a lease was not extended, the next beat tries again: %s", error.message)
