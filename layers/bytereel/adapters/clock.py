"""The system's clock, and one that a test moves by hand."""

import threading
import time


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def elapsed_seconds() -> float:
    """Seconds that passed on this machine since some moment, its sleep included where the system tells; never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved; sleeping moves it, and returns at once."""

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the epoch, as set."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        with self._lock:
            self._now += seconds
