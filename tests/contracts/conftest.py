"""The adapters that every contract suite runs against."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.folder_objects import FolderObjects
from bytereel.adapters.memory_jobs import MemoryJobs
from bytereel.adapters.memory_objects import MemoryObjects
from bytereel.adapters.memory_queue import MemoryQueue
from bytereel.adapters.sqlite_database import Database
from bytereel.adapters.sqlite_jobs import SqliteJobs
from bytereel.adapters.sqlite_queue import SqliteQueue
from bytereel.ports import JobTable, ObjectStore, Queue

Outcome = TypeVar("Outcome")

ADAPTERS = ("memory", "embedded")


@pytest.fixture(params=ADAPTERS)
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return MemoryObjects() if request.param == "memory" else FolderObjects(tmp_path)


@pytest.fixture(params=ADAPTERS)
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> JobTable:
    return MemoryJobs() if request.param == "memory" else SqliteJobs(Database(tmp_path / "state.db"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=ADAPTERS)
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Queue:
    if request.param == "memory":
        return MemoryQueue(clock)
    return SqliteQueue(Database(tmp_path / "state.db"), clock)


@pytest.fixture
def race() -> Callable[[Sequence[Callable[[], Outcome]]], list[Outcome]]:
    """Runs the calls at once in threads; returns what each returned, or raised."""

    def run(calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(call) for call in calls]
            return [future.exception() or future.result() for future in futures]

    return run
