"""Times that mean something on a loaded machine too: load adds to a time and never takes from it."""

import time
from collections.abc import Callable

ROUNDS = 5


def fastest(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The seconds of the fastest of a few rounds: what waits for a timer waits for it in every one."""
    seconds = []
    for _ in range(rounds):
        started_at = time.monotonic()
        act()
        seconds.append(time.monotonic() - started_at)
    return min(seconds)
