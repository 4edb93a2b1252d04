"""Servers that several suites share: each is started when the first test asks for it, and ends with the run.

A test that asks for one, or is told to by a parameter, is marked `servers`: `-m "not servers"` leaves all of them out,
where the wheels that they come in cannot be had.
"""

from collections.abc import Iterator, Sequence

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
