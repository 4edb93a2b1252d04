"""What the embedded adapters promise beyond the ports: clear errors, query plans that scale, processes."""

import errno
import multiprocessing
import os
import sqlite3
import threading
import time

import pytest
from bytereel.adapters.clock import ManualClock, SystemClock
from bytereel.adapters.folder import inbox
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.sqlite import jobs as sqlite_jobs
from bytereel.adapters.sqlite import queue as sqlite_queue
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.adapters.sqlite.schema import SCHEMA_VERSION
from bytereel.errors import Integrity, Permanent, Temporary
from bytereel.model import ObjectRef

REF = ObjectRef("inbox", "a/b")

QUERIES = [
    getattr(module, name)
    for module in (inbox, sqlite_jobs, sqlite_queue)
    for name in sorted(vars(module))
    if name.startswith(("SELECT_", "UPDATE_", "COUNT_", "DELETE_", "TAKE_", "EXTEND_", "FREE_", "ANY_", "RETRY_"))
]
# Steps that read more than what is asked for, and why that is bounded.
ALLOWED = {
    sqlite_jobs.SELECT_KNOWN: ["SCAN json_each"],  # the ids that were asked for
    sqlite_jobs.COUNT_JOBS: ["SCAN jobs USING COVERING INDEX"],  # no row is read
    sqlite_jobs.COUNT_UNDONE: ["USE TEMP B-TREE FOR GROUP BY"],  # the segments of one job
    sqlite_jobs.SELECT_SILENT_IN_STATE: ["SCAN (", "SCAN SUBQUERY"],  # what the inner limit let through
    sqlite_jobs.SELECT_SILENT: ["SCAN (", "SCAN SUBQUERY"],
    sqlite_jobs.SELECT_STALLED: ["SCAN (", "SCAN SUBQUERY", "USE TEMP B-TREE FOR ORDER BY"],
    sqlite_queue.SELECT_DEAD: ["SCAN dead_letters"],  # in the order of its key, up to the limit
    inbox.SELECT_UPLOADS: ["SCAN uploads"],  # only what is being renamed at this moment
    inbox.SELECT_UPLOADS_OF: ["SCAN uploads"],
    inbox.SELECT_UPLOAD_STAGED: ["SCAN uploads"],
    inbox.SELECT_SEEN_PLACED: ["SCAN uploads"],
}


def plan_of(database, query):
    with database.reading() as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", [None] * query.count("?")).fetchall()
    return [row[-1] for row in rows]


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_walks_or_sorts_a_whole_table(tmp_path, query):
    for step in plan_of(Database(tmp_path / "state.db"), query):
        if step.startswith(("SCAN", "USE TEMP B-TREE")):
            assert step.startswith(tuple(ALLOWED.get(query, ()))), step


def test_a_newer_schema_is_refused(tmp_path):
    Database(tmp_path / "state.db")
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(Permanent) as caught:
        Database(tmp_path / "state.db")
    assert caught.value.error_id == "state.newer_version"


def test_a_database_that_stays_locked_is_state_busy(tmp_path):
    database = Database(tmp_path / "state.db", busy_seconds=0.05)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Temporary) as caught:
        SqliteJobs(database).advance("j", "fail", 1.0)
    assert caught.value.error_id == "state.busy"
    other.execute("ROLLBACK")
    other.close()
    SqliteJobs(database).release_owner("w")


def test_a_file_that_is_no_database_is_state_damaged(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database " * 1000)
    with pytest.raises(Integrity) as caught:
        Database(tmp_path / "state.db")
    assert caught.value.error_id == "state.damaged"


def test_a_write_that_fails_half_way_changes_nothing(tmp_path):
    database = Database(tmp_path / "state.db")
    queue = SqliteQueue(database, ManualClock())

    def send_and_fail():
        with database.writing() as connection:
            queue.send_within(connection, "q", [{"n": 1}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send_and_fail()
    assert queue.size("q") == 0
    queue.send("q", [{"n": 2}])
    assert queue.size("q") == 1


def test_a_full_database_is_store_full_and_goes_on_later(tmp_path):
    database = Database(tmp_path / "state.db")
    queue = SqliteQueue(database, ManualClock())
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 30")
    with pytest.raises(Temporary) as caught:
        queue.send("q", [{"n": "x" * 1000}] * 1000)
    assert caught.value.error_id == "store.full"
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    assert queue.size("q") == 0
    queue.send("q", [{"n": 1}])
    assert queue.size("q") == 1


def test_a_folder_that_is_absent_is_state_unreadable(tmp_path):
    with pytest.raises(Permanent) as caught:
        Database(tmp_path / "absent" / "state.db")
    assert caught.value.error_id == "state.unreadable"


def take_all(queue, owner, results):
    taken = []
    while message := queue.lease(["q"], owner, 1000):
        taken.append(message.body["n"])
    results.put(taken)


def test_forked_processes_share_a_queue_without_sharing_a_message(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = SqliteQueue(Database(tmp_path / "state.db"), SystemClock())
    queue.send("q", [{"n": number} for number in range(40)])
    results = context.Queue()
    workers = [context.Process(target=take_all, args=(queue, f"w{number}", results)) for number in range(3)]
    for worker in workers:
        worker.start()
    taken = sorted(number for _ in workers for number in results.get(timeout=30))
    for worker in workers:
        worker.join()
    assert taken == list(range(40))
    assert queue.size("q") == 40


def test_no_writer_starves_among_busy_ones(tmp_path, race):
    queue = SqliteQueue(Database(tmp_path / "state.db"), SystemClock())
    end = time.monotonic() + 1.5

    def write():
        count = 0
        while time.monotonic() < end:
            queue.send("q", [{"n": count}])
            count += 1
        return count

    counts = race([write] * 6)
    assert min(counts) * 20 > max(counts), counts


@pytest.mark.parametrize(
    ("number", "family", "error_id"),
    [
        (errno.ENOSPC, Temporary, "store.full"),
        (errno.EDQUOT, Temporary, "store.full"),
        (errno.EACCES, Permanent, "object.unreadable"),
        (errno.EIO, Temporary, "store.unavailable"),
    ],
)
def test_an_error_of_the_file_system_is_translated_and_leaves_nothing(tmp_path, monkeypatch, number, family, error_id):
    objects = FolderObjects(tmp_path)

    def failing(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(family) as caught:
        objects.put(REF, [b"x"])
    assert caught.value.error_id == error_id
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_of_the_source_is_not_taken_for_one_of_the_store(tmp_path):
    def chunks():
        yield b"x"
        raise OSError(errno.ENOSPC, "the source's own")

    with pytest.raises(OSError, match="the source's own"):
        FolderObjects(tmp_path).put(REF, chunks())


def test_a_file_where_a_folder_is_needed_is_a_bad_key(tmp_path):
    objects = FolderObjects(tmp_path)
    objects.put(REF, [b"x"])
    for key in ("a", "a/b/c"):
        for if_absent in (False, True):
            with pytest.raises(Permanent) as caught:
                objects.put(ObjectRef("inbox", key), [b"y"], if_absent=if_absent)
            assert caught.value.error_id in {"object.bad_key", "object.exists"}
    assert objects.stat(ObjectRef("inbox", "a")) is None
    assert objects.stat(ObjectRef("inbox", "a/b/c")) is None


def test_links_pipes_and_staged_files_are_no_objects(tmp_path):
    objects = FolderObjects(tmp_path)
    objects.put(REF, [b"x"])
    (tmp_path / "inbox/link").symlink_to(tmp_path / "inbox/a/b")
    (tmp_path / "inbox/folder").symlink_to(tmp_path / "inbox/a")
    os.mkfifo(tmp_path / "inbox/pipe")
    (tmp_path / ".staging/left").write_bytes(b"x")
    assert [info.ref.key for info in objects.list("inbox")] == ["a/b"]
    for key in ("link", "pipe", "a"):
        assert objects.stat(ObjectRef("inbox", key)) is None
        with pytest.raises(Permanent):
            objects.read_into(ObjectRef("inbox", key), 0, memoryview(bytearray(1)))


def test_a_file_changed_in_place_has_another_version(tmp_path):
    objects = FolderObjects(tmp_path)
    ref = objects.put(REF, [b"before"]).ref
    with (tmp_path / "inbox/a/b").open("r+b") as file:
        file.write(b"after!")
    assert objects.stat(ref) is None
    with pytest.raises(Permanent) as caught:
        objects.read_into(ref, 0, memoryview(bytearray(1)))
    assert caught.value.error_id == "object.changed"


def test_deleting_the_last_object_of_a_folder_removes_the_folder(tmp_path):
    objects = FolderObjects(tmp_path)
    objects.put(ObjectRef("work", "j/1"), [b""])
    objects.put(ObjectRef("work", "j/2"), [b""])
    objects.delete(ObjectRef("work", "j/1"))
    assert (tmp_path / "work/j").is_dir()
    objects.delete(ObjectRef("work", "j/2"))
    assert list((tmp_path / "work").iterdir()) == []


def test_the_log_of_the_database_is_emptied_unless_somebody_reads(tmp_path):
    database = Database(tmp_path / "state.db")
    log = tmp_path / "state.db-wal"
    with database.writing() as connection:
        connection.execute("INSERT INTO seen VALUES (x'00', 'a word that was said')")
    reader = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM seen").fetchall()
    with database.writing() as connection:
        connection.execute("DELETE FROM seen")
    assert not database.drop_history()
    assert b"a word that was said" in log.read_bytes() + database.path.read_bytes()
    reader.execute("COMMIT")
    reader.close()
    assert database.drop_history()
    assert log.stat().st_size == 0
    assert b"a word that was said" not in database.path.read_bytes()


def test_emptying_the_log_waits_for_nobody(tmp_path):
    database, other = Database(tmp_path / "state.db"), Database(tmp_path / "state.db")
    with other.writing() as connection:
        connection.execute("INSERT INTO seen VALUES (x'00', 'a')")
        started_at = time.monotonic()
        assert not database.drop_history()
        assert time.monotonic() - started_at < 5
    waited = []
    with other.writing():
        writer = threading.Thread(target=lambda: waited.append(SqliteJobs(database).release_owner("w")))
        writer.start()
        time.sleep(0.3)
        assert waited == [], "a writer waits as before"
    writer.join(30)
    assert len(waited) == 1
