"""Time, as the road is given it."""

from typing import Protocol


class Clock(Protocol):
    """Time, passed in so that tests can move it."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
