"""How much memory the segments of one worker take together."""

import threading

from bytereel.errors import Permanent


class MemoryBudget:
    """Room for `limit_bytes`: who needs more than what is free waits until others gave theirs back."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    def try_take(self, cost_bytes: int, timeout_seconds: float) -> bool:
        """Take `cost_bytes`, waiting at most `timeout_seconds` for room; False when there was none.

        Raises: Permanent `memory.budget` for a cost above the whole budget.
        """
        if cost_bytes > self.limit_bytes:
            raise Permanent(
                "memory.budget",
                f"a segment takes {cost_bytes} bytes of memory, the budget is {self.limit_bytes}",
                hint="raise BYTEREEL_MEMORY_BUDGET_BYTES, then retry the job",
                expected=self.limit_bytes,
                actual=cost_bytes,
            )
        with self._changed:
            most_bytes = self.limit_bytes - cost_bytes
            if not self._changed.wait_for(lambda: self._taken_bytes <= most_bytes, timeout_seconds):
                return False
            self._taken_bytes += cost_bytes
            return True

    def give_back(self, cost_bytes: int) -> None:
        """Return what `try_take` took."""
        with self._changed:
            self._taken_bytes -= cost_bytes
            self._changed.notify_all()
