"""Fixtures of the tests that run the real processes."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SECONDS_MAX, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line in an empty folder, with a home that is not there yet."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Cli(folder, tmp_path / "home")


@pytest.fixture(scope="module")
def running_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home on which `bytereel up` runs with one worker."""
    home = tmp_path_factory.mktemp("road") / "home"
    cli = Cli(home.parent, home)
    with (home.parent / "up.log").open("wb") as log:
        process = cli.start("up", "--workers", "1", stderr=log, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + SECONDS_MAX
            while not (home / "state.sqlite").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            yield home
        finally:
            process.terminate()
            assert process.wait(SECONDS_MAX) == 0


@pytest.fixture
def road(running_home: Path, tmp_path: Path) -> Cli:
    """The command line in an empty folder, on a home where a worker runs."""
    return Cli(tmp_path, running_home)
