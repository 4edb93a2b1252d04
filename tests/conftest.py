"""Servers that several suites share: each is started when the first test asks for it, and ends with the run."""

from collections.abc import Iterator

import pytest

from localstack.servers import Server, ministack, seaweedfs


@pytest.fixture(scope="session")
def ministack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An AWS emulator that every suite shares: make buckets, queues and tables of your own in it."""
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 store that checks signatures."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
