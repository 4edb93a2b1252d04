"""The signals that ask a process to end: from a service manager, from Ctrl-C, from a terminal that goes away."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def is_wanted(number: signal.Signals) -> bool:
    """Whether the signal is to end the process: `nohup` has a terminal's end ignored."""
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


@contextmanager
def on_ending(handler: Callable[..., object]) -> Iterator[None]:
    """Have `handler` called at each of them while the context lasts. In the main thread alone, as Python demands."""
    before = {number: signal.signal(number, handler) for number in ENDING if is_wanted(number)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
