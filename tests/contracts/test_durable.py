"""Durable before acknowledged, under loss of power: what is synced, and in which order, told by the calls."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import crc32c
import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.folder.inbox import EmbeddedInbox
from bytereel.adapters.folder.objects import STAGING, FolderObjects
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.messages import INTAKE
from bytereel.model import OUTBOX, WORK, ObjectRef
from bytereel.ports.objects import Part
from bytereel_codec import encode_file
from calls_in_order import Calls, calls_in_order

FULL, WAL = 2, "wal"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.sqlite")


@pytest.fixture
def queue(database: Database) -> SqliteQueue:
    return SqliteQueue(database, SystemClock())


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    (tmp_path / "objects").mkdir()
    return FolderObjects(tmp_path / "objects")


@pytest.fixture
def inbox(objects: FolderObjects, queue: SqliteQueue) -> EmbeddedInbox:
    return EmbeddedInbox(objects, queue)


def place_of(objects: FolderObjects, ref: ObjectRef) -> Path:
    """Where the object's file is."""
    return Path(str(objects.path_of(ref)))


@pytest.fixture
def connection(database: Database) -> Iterator[sqlite3.Connection]:
    with database.reading() as connection:
        yield connection


@pytest.mark.parametrize("if_absent", [False, True])
def test_an_object_is_synced_before_it_has_its_name_and_its_name_before_put_returns(
    objects: FolderObjects, if_absent: bool
) -> None:
    ref = ObjectRef(WORK, "job/000001.1")
    with calls_in_order() as calls:
        objects.put(ref, [b"one", b"two"], if_absent=if_absent)
    calls.require_durable(place_of(objects, ref))


def test_a_composed_object_is_synced_likewise(objects: FolderObjects) -> None:
    part, target = ObjectRef(WORK, "job/000000.1"), ObjectRef(OUTBOX, "archive/a.mp4")
    objects.put(part, [b"part"])
    with calls_in_order() as calls:
        objects.compose(target, b"head", [Part(part, 4, crc32c.crc32c(b"part"))], b"tail")
    calls.require_durable(place_of(objects, target))


def test_each_new_folder_on_the_way_to_an_object_has_its_own_name_synced(objects: FolderObjects) -> None:
    ref = ObjectRef(OUTBOX, "a/b/c/d")
    with calls_in_order() as calls:
        objects.put(ref, [b"deep"])
    path = place_of(objects, ref)
    folders = [path.parent, *path.parent.parents[:3]]  # c, b, a, the bucket
    for folder in folders:
        assert calls.synced(folder.parent.stat().st_ino) < calls.named(path), folder


def upload_recorded(inbox: EmbeddedInbox, connection: sqlite3.Connection) -> Calls:
    with calls_in_order([connection]) as calls:
        inbox.upload("archive/a", [b"content"])
    return calls


def test_an_upload_is_synced_before_the_commit_that_promises_it(
    inbox: EmbeddedInbox, objects: FolderObjects, connection: sqlite3.Connection
) -> None:
    calls = upload_recorded(inbox, connection)
    placed = place_of(objects, ObjectRef("inbox", "archive/a"))
    promise = calls.after(calls.statement("INSERT INTO uploads"), "COMMIT")
    assert calls.synced(placed.stat().st_ino) < promise, "its bytes"
    staged_names = calls.synced((objects.root / STAGING).stat().st_ino)
    assert staged_names < promise, "the name under which the promise finds it"
    assert calls.named(placed) > promise, "a crash in between is carried on by the promise"


def test_an_upload_has_its_place_for_good_before_the_promise_is_dropped_and_the_event_sent(
    inbox: EmbeddedInbox, objects: FolderObjects, queue: SqliteQueue, connection: sqlite3.Connection
) -> None:
    calls = upload_recorded(inbox, connection)
    placed = place_of(objects, ObjectRef("inbox", "archive/a"))
    dropped, sent = calls.statement("DELETE FROM uploads"), calls.statement("INSERT INTO messages")
    calls.require_durable(placed, before=min(dropped, sent))
    assert calls.after(min(dropped, sent), "COMMIT") > max(dropped, sent), "one transaction does both"
    assert queue.size(INTAKE) == 1


def test_a_reel_is_synced_before_it_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    with calls_in_order() as calls:
        encode_file(tmp_path / "source", tmp_path / "reel.mp4")
    reel = (tmp_path / "reel.mp4").stat().st_ino
    assert calls.synced(reel) < calls.named(tmp_path / "reel.mp4")


def settings_of(database: Database) -> tuple[int, str]:
    with database.reading() as connection:
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        return synchronous, connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_every_connection_commits_with_a_full_sync(database: Database, tmp_path: Path) -> None:
    assert settings_of(database) == (FULL, WAL)
    found: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: found.append(settings_of(database)))
    thread.start()
    thread.join()
    found.append(settings_of(Database(tmp_path / "state.sqlite")))
    assert found == [(FULL, WAL)] * 2


def test_a_forked_child_opens_a_connection_of_its_own_with_a_full_sync(database: Database) -> None:
    with database.reading() as parents:
        child = os.fork()
        if child == 0:
            with database.reading() as own:
                os._exit(0 if own is not parents and settings_of(database) == (FULL, WAL) else 1)
    assert os.waitpid(child, 0)[1] == 0
    with database.reading() as connection:
        assert connection is parents


def test_a_change_of_a_job_is_one_transaction(database: Database, connection: sqlite3.Connection) -> None:
    jobs = SqliteJobs(database)
    with calls_in_order([connection]) as calls:
        jobs.release_owner("nobody")
    statements = [call.sql.split()[0] for call in calls.made if call.sql and not call.sql.startswith("PRAGMA")]
    assert (statements[0], statements[-1], statements.count("COMMIT")) == ("BEGIN", "COMMIT", 1)
