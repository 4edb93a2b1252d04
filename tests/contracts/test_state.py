"""The state file of a home: earlier versions still open, ghosts are never written to, set-back clocks are mended."""

import gc
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.sqlite.columns import Column, Table
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.adapters.sqlite.rows import JOBS, SEGMENTS
from bytereel.adapters.sqlite.schema import SCHEMA, SCHEMA_VERSION, UPGRADES
from bytereel.adapters.sqlite.set_back import BACK_SECONDS_MIN, ENDS, MOMENTS
from bytereel.errors import BytereelError, Integrity, Permanent, Temporary, is_state_lost
from bytereel.model import Job, JobState, ObjectRef, Segment, SegmentState

HOMES = Path(__file__).parent.parent / "vectors/homes"
DAY = 86400.0


@dataclass
class State:
    """A state file and everything on it, with a clock to be set."""

    path: Path
    started_at: float = 1_000_000_000.0

    def __post_init__(self) -> None:
        self.clock = ManualClock(self.started_at)
        self.database = Database(self.path, clock=self.clock)
        self.jobs = SqliteJobs(self.database)
        self.queue = SqliteQueue(self.database, self.clock)

    def add_job(self, job_id: str = "j") -> None:
        now = self.clock.now()
        self.jobs.create(Job(job_id, ObjectRef("inbox", "k"), 1, "archive", "p", JobState.RECEIVED, now, now))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.sqlite")


def other_state(tmp_path: Path, messages: int = 1) -> Path:
    """The file of another home, whole without its log."""
    path = tmp_path / "other.sqlite"
    other = State(path)
    other.queue.send("q", [{"n": "other"}] * messages)
    settle(other.database)
    return path


def settle(database: Database) -> None:
    """Bring the log into the file."""
    with database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def error_of(call: Callable[[], object]) -> BytereelError:
    with pytest.raises(BytereelError) as caught:
        call()
    return caught.value


# What earlier versions wrote


@pytest.fixture(params=[1, 2])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A state as version 1 or 2 of the schema had it, written by the code of that time."""
    path = tmp_path / "state.sqlite"
    shutil.copyfile(HOMES / f"state-v{request.param}.sqlite", path)
    return path


def shape_of(path: Path) -> dict[str, list[tuple[str, str, int]]]:
    """The tables with their columns: name, type, NOT NULL."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")]
    shape = {name: [row[1:4] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}
    connection.close()
    return shape


def test_a_state_of_an_earlier_version_opens_with_all_that_is_in_it(old: Path) -> None:
    state = State(old, time.time())
    listed = {job.state: job for job in state.jobs.list()}
    done, failed = listed[JobState.DONE], listed[JobState.FAILED]
    assert (done.source_bytes, done.segments_done, done.conversion) == (5, 1, "archive")
    assert done.result["output"].endswith("done.txt.mp4")
    assert "no reel" in failed.reason
    segment = state.jobs.segment(done.id, 0)
    assert segment is not None
    assert (segment.state, segment.start, segment.end, segment.attempt) == (SegmentState.DONE, 0, 5, 1)
    assert [reason for _, reason in state.queue.dead()] == ["not a message of the queue 'encode'"]
    message = state.queue.lease(["intake"], "w", 60.0)
    assert message is not None
    assert str(message.body["key"]).endswith("wait.txt")


def test_a_state_of_an_earlier_version_gets_the_very_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    Database(old)
    Database(tmp_path / "new.sqlite")
    assert shape_of(old) == shape_of(tmp_path / "new.sqlite")
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()


def test_dead_letters_of_version_1_count_as_buried_when_it_was_upgraded(tmp_path: Path) -> None:
    shutil.copyfile(HOMES / "state-v1.sqlite", tmp_path / "state.sqlite")
    state = State(tmp_path / "state.sqlite", time.time())
    assert state.queue.forget_dead(1_700_000_000.0) == 0
    assert state.queue.forget_dead(1e11) == 1


# Columns stated once


def test_every_field_of_the_model_has_its_column_and_no_other() -> None:
    assert [column.of_field for column in JOBS.columns] == [each.name for each in fields(Job)]
    assert [column.of_field for column in SEGMENTS.columns] == [each.name for each in fields(Segment)]


@dataclass(frozen=True)
class Parcel:
    id: str
    weight: float
    labels: tuple[str, ...] = ()


PARCEL = [Column("id", "TEXT NOT NULL"), Column("weight", "REAL NOT NULL", changes=True)]
LABELS = Column(
    "labels", "TEXT NOT NULL DEFAULT '[]'", write=json.dumps, read=lambda text: tuple(json.loads(text)), since=7
)


def test_adding_a_column_is_one_line() -> None:
    before, after = Table("parcels", Parcel, ["id"], PARCEL), Table("parcels", Parcel, ["id"], [*PARCEL, LABELS])
    connection = sqlite3.connect(":memory:")
    connection.execute(before.create)
    connection.execute(before.insert, before.row_of(Parcel("a", 1.5)))
    assert after.version == 7
    assert after.added_in(6) == []
    for statement in after.added_in(7):
        connection.execute(statement)
    connection.execute(after.insert, after.row_of(Parcel("b", 2.5, ("x", "y"))))
    connection.execute(after.update, after.changed_row_of(Parcel("a", 3.5)))
    found = [after.of_row(row) for row in connection.execute(f"{after.select} ORDER BY id")]
    assert found == [Parcel("a", 3.5), Parcel("b", 2.5, ("x", "y"))]


@pytest.mark.parametrize(
    ("column", "value"),
    [("state", "asleep"), ("source", "[1, 2"), ("source", "{}"), ("plan", "\x00"), ("result", b"\xff")],
)
def test_a_row_that_nobody_wrote_is_damage_and_no_bug(state: State, column: str, value: object) -> None:
    state.add_job()
    with state.database.writing() as connection:
        connection.execute(f"UPDATE jobs SET {column} = ?", (value,))
    error = error_of(lambda: state.jobs.get("j"))
    assert (error.error_id, error.family, error.facts["table"]) == ("state.damaged", "integrity", "jobs")


@pytest.mark.parametrize("text", ["{", b"\xff\x00", "", 'NaN"'])
def test_a_message_that_nobody_wrote_is_damage_and_no_bug(state: State, text: object) -> None:
    state.queue.send("q", [{"n": 1}])
    with state.database.writing() as connection:
        connection.execute("UPDATE messages SET body = ?", (text,))
    assert error_of(lambda: state.queue.lease(["q"], "w", 60.0)).error_id == "state.damaged"


# Ghosts


def deleted(path: Path, tmp_path: Path) -> None:
    for each in path.parent.glob("state.sqlite*"):
        each.unlink()


def deleted_alone(path: Path, tmp_path: Path) -> None:
    path.unlink()


def replaced(path: Path, tmp_path: Path) -> None:
    other_state(tmp_path).replace(path)


def made_anew(path: Path, tmp_path: Path) -> None:
    deleted(path, tmp_path)
    State(path)


def renamed(path: Path, tmp_path: Path) -> None:
    path.rename(path.with_name("aside.sqlite"))


def linked(path: Path, tmp_path: Path) -> None:
    path.unlink()
    path.symlink_to(other_state(tmp_path))


def cut_to_nothing(path: Path, tmp_path: Path) -> None:
    os.truncate(path, 0)


def cut_by_a_byte(path: Path, tmp_path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def without_its_log(path: Path, tmp_path: Path) -> None:
    path.with_name("state.sqlite-wal").unlink()


def without_its_index(path: Path, tmp_path: Path) -> None:
    path.with_name("state.sqlite-shm").unlink()


def with_another_log(path: Path, tmp_path: Path) -> None:
    log = path.with_name("state.sqlite-wal")
    log.unlink()
    log.touch()


def folder_renamed(path: Path, tmp_path: Path) -> None:
    path.parent.rename(tmp_path / "elsewhere")


def folder_made_anew(path: Path, tmp_path: Path) -> None:
    folder_renamed(path, tmp_path)
    path.parent.mkdir()


HAPPENINGS = [
    deleted,
    deleted_alone,
    replaced,
    made_anew,
    renamed,
    linked,
    cut_to_nothing,
    cut_by_a_byte,
    without_its_log,
    without_its_index,
    with_another_log,
    folder_renamed,
    folder_made_anew,
]


@pytest.fixture
def used(tmp_path: Path) -> State:
    """A state in a folder of its own that was written to, read by two threads, and brought into its file."""
    (tmp_path / "home").mkdir()
    state = State(tmp_path / "home/state.sqlite")
    state.queue.send("q", [{"n": 1}])
    settle(state.database)
    return state


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda each: each.__name__)
def test_what_is_no_longer_the_state_is_neither_read_nor_written_nor_made_anew(
    used: State, tmp_path: Path, happening: Callable[[Path, Path], None]
) -> None:
    used.database.check()
    happening(used.path, tmp_path)
    gc.collect()  # connections of another state close now, and their logs go, rather than at some later moment
    standing = sorted(str(path) for path in tmp_path.rglob("*"))
    errors = [
        error_of(call)
        for call in (
            used.database.check,
            lambda: used.queue.send("q", [{"n": 2}]),
            lambda: used.jobs.advance("j", "fail", 1.0),
            lambda: in_another_thread(used.database.check),
        )
    ]
    assert {error.error_id for error in errors} <= {"state.replaced", "state.damaged"}
    assert errors[0].error_id == "state.replaced"
    assert all(map(is_state_lost, errors))
    assert sorted(str(path) for path in tmp_path.rglob("*")) == standing


def in_another_thread(call: Callable[[], object]) -> None:
    """Call it where no connection is open yet; raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed on
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_another_state_copied_over_the_file_is_noticed(used: State, tmp_path: Path) -> None:
    shutil.copyfile(other_state(tmp_path, messages=3000), used.path)
    assert is_state_lost(error_of(used.database.check))
    assert is_state_lost(error_of(lambda: used.queue.send("q", [{"n": 2}])))


def test_what_was_committed_to_a_ghost_does_not_count_as_done(used: State, tmp_path: Path) -> None:
    with pytest.raises(Integrity) as caught, used.database.writing() as connection:
        connection.execute("INSERT INTO uploads (staged, key, version) VALUES ('', '', '')")
        deleted(used.path, tmp_path)
    assert caught.value.error_id == "state.replaced"


def test_a_file_that_another_thread_saw_grow_meanwhile_is_not_shorter_than_it_was(
    used: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def stat_then_grow(path: object) -> os.stat_result:
        found = stat(path)
        if path == str(used.path):
            monkeypatch.setattr(os, "stat", stat)
            used.queue.send("q", [{"n": number} for number in range(5000)])
            settle(used.database)
            used.database.check()
            assert stat(path).st_size > found.st_size
        return found

    monkeypatch.setattr(os, "stat", stat_then_grow)
    used.database.check()
    assert os.stat is stat
    used.database.check()


def test_what_others_do_with_the_same_file_is_no_replacement(used: State) -> None:
    other = State(used.path)
    other.queue.send("q", [{"n": number} for number in range(5000)])
    settle(other.database)
    in_another_thread(lambda: State(used.path).queue.send("q", [{"n": 1}]))
    used.database.check()
    used.path.touch()
    used.path.chmod(0o600)
    used.path.with_name("beside").hardlink_to(used.path)
    used.database.check()
    assert used.queue.size("q") == 5002


@pytest.mark.parametrize("damage", [b"", b"not a database " * 1000, b"SQLite format 3\x00" + bytes(4080)])
def test_a_file_that_is_no_state_is_said_to_be_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(damage)
    if damage:
        assert is_state_lost(error_of(lambda: State(path)))
    else:
        State(path).add_job()


def test_a_database_of_somebody_else_with_our_version_is_damage(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state.sqlite")
    connection.execute("CREATE TABLE jobs (a)")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.close()
    assert error_of(lambda: State(tmp_path / "state.sqlite")).error_id == "state.damaged"


def test_a_damaged_page_is_damage(used: State) -> None:
    used.queue.send("q", [{"n": "x" * 900}] * 500)
    settle(used.database)
    with used.path.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xa5" * (used.path.stat().st_size - 4096 * 5))
    error = error_of(lambda: [State(used.path).queue.lease(["q"], "w", 60.0) for _ in range(600)])
    assert error.error_id == "state.damaged"


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (Integrity("state.replaced", ""), True),
        (Permanent("state.unreadable", ""), True),
        (Temporary("state.busy", ""), False),
        (Integrity("object.damaged", ""), False),
        (ValueError("state."), False),
    ],
)
def test_only_a_state_that_never_comes_back_is_lost(error: Exception, lost: bool) -> None:
    assert is_state_lost(error) is lost


# Clocks


def set_clock(state: State, seconds: float) -> None:
    """Set the clock forward, or back where negative."""
    state.clock._now += seconds


JUMPS = [-BACK_SECONDS_MIN, -20.0, -3600.0, -DAY, -400 * DAY, -1_000_000_000.0 + 5.0]


@pytest.mark.parametrize("jump", JUMPS)
def test_a_message_sent_before_the_clock_was_set_back_is_had_at_once(state: State, jump: float) -> None:
    state.queue.send("q", [{"n": 1}])
    set_clock(state, jump)
    message = state.queue.lease(["q"], "w", 60.0)
    assert message is not None
    state.clock.advance(59.9)
    assert state.queue.lease(["q"], "v", 60.0) is None
    state.clock.advance(0.1)
    assert state.queue.lease(["q"], "v", 60.0) is not None


def test_a_clock_set_back_by_less_than_a_second_is_waited_for(state: State) -> None:
    state.queue.send("q", [{"n": 1}])
    set_clock(state, -0.9 * BACK_SECONDS_MIN)
    assert state.queue.lease(["q"], "w", 60.0) is None
    state.clock.advance(0.9 * BACK_SECONDS_MIN)
    assert state.queue.lease(["q"], "w", 60.0) is not None


@pytest.mark.parametrize("jump", JUMPS)
def test_leases_and_delays_keep_the_time_that_is_left_of_them(state: State, jump: float) -> None:
    state.queue.send("q", [{"n": 1}])
    state.queue.send("late", [{"n": 2}], delay_seconds=30.0)
    held = state.queue.lease(["q"], "w", 60.0)
    assert held is not None
    set_clock(state, jump)
    assert state.queue.lease(["q", "late"], "v", 60.0) is None
    state.clock.advance(29.9)
    assert state.queue.lease(["q", "late"], "v", 60.0) is None
    state.clock.advance(0.2)
    assert state.queue.lease(["late"], "v", 60.0) is not None
    assert state.queue.lease(["q"], "v", 60.0) is None
    state.clock.advance(30.0)
    assert state.queue.lease(["q"], "v", 60.0) is not None


def segment_leased(state: State, seconds: float) -> Segment:
    state.add_job()
    now = state.clock.now()
    state.jobs.plan("j", {}, [Segment("j", 0, 0, 0, 1)], now)
    segment = state.jobs.lease_segment("j", 0, "w", now, now + seconds)
    assert segment is not None
    return segment


@pytest.mark.parametrize("jump", JUMPS)
def test_the_lease_of_a_segment_ends_as_soon_as_it_would_have(state: State, jump: float) -> None:
    leased = segment_leased(state, 60.0)
    set_clock(state, jump)
    state.queue.send("q", [])
    for wait, free in ((59.9, False), (0.2, True)):
        state.clock.advance(wait)
        now = state.clock.now()
        assert (state.jobs.lease_segment("j", 0, "v", now, now + 60.0) is not None) is free
    assert not state.jobs.extend_segment(leased, 1.0, 2.0)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_job_that_stalls_is_found_stalled_and_a_dead_letter_grows_old(state: State, jump: float) -> None:
    state.add_job()
    state.queue.send("q", [{"n": 1}])
    letter = state.queue.lease(["q"], "w", 60.0)
    assert letter is not None
    state.queue.bury(letter, "why")
    set_clock(state, jump)
    state.queue.send("q", [])
    job = state.jobs.get("j")
    assert job is not None
    assert (job.created_at, job.updated_at) == (state.clock.now(), state.clock.now())
    state.clock.advance(900.1)
    assert [each.id for each in state.jobs.stalled(state.clock.now() - 900.0)] == ["j"]
    assert state.queue.forget_dead(state.clock.now() - 900.0) == 1


def test_what_lay_in_the_past_stays_there(state: State) -> None:
    state.add_job("old")
    made_at = state.clock.now()
    state.clock.advance(10 * DAY)
    state.queue.send("q", [{"n": 1}])
    set_clock(state, -DAY)
    state.queue.send("q", [])
    job = state.jobs.get("old")
    assert job is not None
    assert job.created_at == made_at


def test_a_glitch_into_the_future_and_back_is_forgotten(state: State) -> None:
    state.queue.send("q", [{"n": 1}])
    for years in (70, -70):
        set_clock(state, years * 365 * DAY)
        state.queue.send("q", [{"n": 2}], delay_seconds=5.0)
    state.clock.advance(5.1)
    assert [state.queue.lease(["q"], "w", 60.0) is not None for _ in range(4)] == [True, True, True, False]


def test_a_clock_set_forward_frees_leases_early_and_the_holder_is_fenced_off(state: State) -> None:
    leased = segment_leased(state, 60.0)
    set_clock(state, DAY)
    now = state.clock.now()
    again = state.jobs.lease_segment("j", 0, "v", now, now + 60.0)
    assert again is not None
    assert error_of(lambda: state.jobs.finish_segment(leased, "k", 1, {}, now)).error_id == "segment.lease_lost"
    assert state.jobs.finish_segment(again, "k", 1, {}, now).remaining == 0


def test_a_clock_set_back_between_two_openings_is_noticed(state: State) -> None:
    state.queue.send("q", [{"n": 1}])
    again = State(state.path)
    again.clock._now = state.clock.now() - DAY
    assert again.queue.lease(["q"], "w", 60.0) is not None


def test_every_stored_time_is_mended(state: State) -> None:
    """A column of a time that is added later must say what becomes of it."""
    stored = set()
    for table in ("jobs", "segments", "messages", "dead_letters", "uploads", "seen", "home"):
        with state.database.reading() as connection:
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
        stored |= {(table, row[1]) for row in rows if row[2] == "REAL"}
    named = {(table, column) for times in (ENDS, MOMENTS) for table, columns in times.items() for column in columns}
    assert stored == named
    assert all(f"CREATE TABLE {table}" in " ".join(SCHEMA) for table, _ in named)
    assert set(UPGRADES) == set(range(1, max(UPGRADES) + 1))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def test_a_receipt_of_another_state_is_worth_nothing(state: State, tmp_path: Path) -> None:
    other = State(tmp_path / "other.sqlite")
    for each in (state, other):
        each.queue.send("q", [{"n": 1}])
    held, foreign = state.queue.lease(["q"], "w", 60.0), other.queue.lease(["q"], "w", 60.0)
    assert held is not None
    assert foreign is not None
    assert held.id == foreign.id
    state.queue.acknowledge(replace(foreign))
    assert state.queue.size("q") == 1
    state.queue.acknowledge(held)
    assert state.queue.size("q") == 0
