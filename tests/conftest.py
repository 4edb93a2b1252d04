"""Servers that several suites share: each is started when the first test asks for it, and ends with the run.

A test that asks for one, or is told to by a parameter, is marked `servers`: `-m "not servers"` leaves all of them out,
where the wheels that they come in cannot be had.

Several processes share the work of `make test`. A test that is marked `alone` waits until the others are between two
tests, and they wait for it.
"""

import fcntl
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from localstack.servers import Server, ministack, seaweedfs

SERVERS = ("ministack", "seaweedfs")
LEFT_OUT = "not servers"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what needs a server."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        chosen = callspec.params.values() if callspec else ()
        named = [*getattr(item, "fixturenames", ()), *(value for value in chosen if isinstance(value, str))]
        if any(name.startswith(SERVERS) for name in named):
            item.add_marker(pytest.mark.servers)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One test, beside those of the other processes or, where it is marked `alone`, while they wait."""
    if not hasattr(item.config, "workerinput"):  # one process runs all of them
        return (yield)
    shared_folder: Path = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    alone = item.get_closest_marker("alone") is not None
    with _locked(shared_folder / "running", shared=not alone, door=shared_folder / "door"):
        return (yield)


@contextmanager
def _locked(path: Path, *, shared: bool, door: Path) -> Iterator[None]:
    """Hold a lock, asked for at a door for one, so that who wants it alone is not passed by those who share it."""
    with path.open("wb") as held:
        with door.open("wb") as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            fcntl.flock(held, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def require_wanted(config: pytest.Config) -> None:
    """Fail where servers are left out and a test wants one all the same: it lacks the marker."""
    if LEFT_OUT in config.getoption("markexpr"):
        pytest.fail("a test that needs a server is not marked `servers`")


@pytest.fixture(scope="session")
def ministack_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An AWS emulator that every suite shares: make buckets, queues and tables of your own in it."""
    require_wanted(pytestconfig)
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 store that checks signatures."""
    require_wanted(pytestconfig)
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
