"""Running one piece of work in several threads; the kernels, the hashing and the disk release the GIL."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")

WORKERS_MAX = 256
Progress = Callable[[int, int | None], None]
"""Called with how many bytes of the source are done, and how many there are, None where that is not known."""


def run_in_threads(work: Callable[[], None], workers: int, abort: Callable[[], None]) -> None:
    """Run `work` in `workers` threads at once (in this one for 1) and wait for all of them.

    When one fails, or this thread is interrupted, `abort` is called, which must make the others return soon; then the
    failure is raised.
    """
    if workers <= 1:
        work()
        return

    def guarded() -> None:
        try:
            work()
        except BaseException:
            abort()
            raise

    with ThreadPoolExecutor(min(workers, WORKERS_MAX)) as pool:
        try:
            futures = [pool.submit(guarded) for _ in range(min(workers, WORKERS_MAX))]
            wait(futures)
        except BaseException:  # Ctrl-C: without this the pool would first do all the rest
            abort()
            raise
    for future in futures:
        future.result()


def ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """The items, made by another thread, at most `count` before they are asked for. None among them ends them."""
    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(next, items, None) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(pool.submit(next, items, None))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
