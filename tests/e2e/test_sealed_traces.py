"""What a sealed job leaves behind: every byte of state, outbox, work and log is searched for what the seal hides."""

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from bytereel_codec.frame.leader import tree_digest
from command_line import Cli

pytestmark = pytest.mark.e2e

SIZE = 203_457
CONTENT = random.Random(22).randbytes(SIZE)
NAME = "letters-to-nobody.dat"
SHA256 = hashlib.sha256(CONTENT)
SECONDS_MAX = 30.0


def words() -> Mapping[str, bytes]:
    """What the seal hides, as it could stand somewhere; digests as text and as bytes."""
    tree = tree_digest([SHA256.digest()])
    return {
        "name": NAME.encode(),
        "size": str(SIZE).encode(),
        "sha256": SHA256.hexdigest().encode(),
        "sha256 as bytes": SHA256.digest(),
        "digest": tree.encode(),
        "digest as bytes": bytes.fromhex(tree),
    }


def found_in(paths: Iterator[Path]) -> set[tuple[str, str]]:
    """(name of the file, which word) for each word that stands in one of the files, or in its path."""
    found = set()
    for path in paths:
        for word, text in words().items():
            if text in path.read_bytes() or text in os.fsencode(path):
                found.add((path.name, word))
    return found


def files_of(home: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (home / folder).rglob("*") if path.is_file())


def state_of(home: Path) -> Iterator[Path]:
    yield from home.glob("state.sqlite*")


@pytest.fixture
def sealed(cli: Cli) -> Cli:
    """The command line with a passphrase, its outputs named by jobs, and a file of 0600 to archive."""
    (cli.folder / NAME).write_bytes(CONTENT)
    (cli.folder / NAME).chmod(0o600)
    (cli.folder / "pass").write_text("a passphrase")
    cli.environment |= {
        "BYTEREEL_PASSPHRASE_FILE": str(cli.folder / "pass"),
        "BYTEREEL_SEALED_NAMES": "job",
        "BYTEREEL_LOG_LEVEL": "debug",
    }
    return cli


def worked(cli: Cli) -> None:
    """Run the workers until nothing is left to do; keep their log."""
    (cli.folder / "up.log").write_text(cli("up", "--until-idle", "--workers", "1").err)


def test_a_sealed_job_leaves_nothing_of_the_source_but_its_key_and_version(sealed: Cli) -> None:
    job_id = sealed("put", NAME).out.decode().strip()
    worked(sealed)
    shown = sealed("status", job_id, "--json").json
    assert (shown["state"], shown["source_bytes"], shown["expansion"]) == ("done", None, None)
    assert shown["output"] == f"archive/archive/{job_id}.mp4"
    assert found_in(files_of(sealed.home, "outbox", "work")) == set()
    assert found_in(iter([sealed.folder / "up.log"])) == set()
    # While the source lies in the inbox, the state names it: its key, and the version by which it is known again.
    assert {word for _, word in found_in(state_of(sealed.home))} == {"name", "size"}
    assert sealed("get", job_id, "-o", "reel.mp4", "--json").json["bytes"] == shown["output_bytes"]
    assert sealed("decode", "reel.mp4", "back", "--passphrase-file", "pass", "--json").json["name"] == NAME
    assert (sealed.folder / "back").read_bytes() == CONTENT


def test_once_the_source_is_gone_the_state_has_its_key_alone_and_then_nothing(sealed: Cli) -> None:
    job_id = sealed("put", NAME).out.decode().strip()
    worked(sealed)
    for source in files_of(sealed.home, "inbox"):
        source.unlink()
    sealed("sweep")
    assert {word for _, word in found_in(state_of(sealed.home))} == {"name"}
    deadline = time.monotonic() + SECONDS_MAX
    while sealed("jobs", "--json").json["jobs"] and time.monotonic() < deadline:
        sealed("sweep", BYTEREEL_KEEP_DONE_DAYS="0.000001")
    assert found_in(state_of(sealed.home)) == set()
    assert found_in(files_of(sealed.home, "inbox", "outbox", "work")) == set()
    assert (sealed.home / "outbox" / "archive" / "archive" / f"{job_id}.mp4").is_file()


def test_the_search_finds_what_an_open_job_leaves(sealed: Cli) -> None:
    del sealed.environment["BYTEREEL_PASSPHRASE_FILE"]
    sealed("put", NAME)
    worked(sealed)
    found = {word for _, word in found_in(files_of(sealed.home, "outbox"))}
    assert found == {"name", "size", "sha256", "digest"}
    assert {word for _, word in found_in(state_of(sealed.home))} == {"name", "size", "sha256", "digest"}


def test_a_sealed_output_that_is_named_by_its_source_tells_no_more_than_that(sealed: Cli) -> None:
    sealed.environment |= {"BYTEREEL_SEALED_NAMES": "source", "BYTEREEL_PARITY_PERCENT": "20"}
    sealed("put", NAME)
    worked(sealed)
    assert {word for _, word in found_in(files_of(sealed.home, "outbox"))} == {"name"}


def modes_in(home: Path, *folders: str) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in files_of(home, *folders)}


@pytest.mark.parametrize("seals", [False, True])
@pytest.mark.parametrize(("mode", "is_executable"), [(0o600, False), (0o640, False), (0o700, True)])
def test_on_the_road_no_copy_of_a_file_is_more_open_than_the_file(
    sealed: Cli, *, seals: bool, mode: int, is_executable: bool
) -> None:
    if not seals:
        del sealed.environment["BYTEREEL_PASSPHRASE_FILE"]
    (sealed.folder / NAME).chmod(mode)
    job_id = sealed("put", NAME).out.decode().strip()
    assert modes_in(sealed.home, "inbox") == {mode}
    worked(sealed)
    assert modes_in(sealed.home, "outbox") == {mode & 0o666}
    sealed("get", job_id, "-o", "reel.mp4")
    assert (sealed.folder / "reel.mp4").stat().st_mode & 0o777 == mode & 0o666
    (sealed.folder / "reel.mp4").chmod(0o644)
    job_id = sealed("put", "reel.mp4", "--to", "restore").out.decode().strip()
    worked(sealed)
    sealed("get", job_id, "-o", "back")
    assert (sealed.folder / "back").read_bytes() == CONTENT
    assert (sealed.folder / "back").stat().st_mode & 0o777 == mode
    assert os.access(sealed.folder / "back", os.X_OK) is is_executable
