"""Jobs and their segments in SQLite, every method one short transaction.

A write transaction is alone in the database, so a change is: read the rows, apply the pure function of
`changes`, store the rows. The conditions therefore stand in one place, and hold between processes.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from bytereel import changes
from bytereel.adapters.sqlite.columns import damaged
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.rows import JOBS, SEGMENTS
from bytereel.model import JOB_RUNNING, SEGMENT_TRANSITIONS, Job, JobState, Segment, SegmentState
from bytereel.ports.jobs import StageProgress

INSERT_JOB = f"{JOBS.insert} ON CONFLICT (id) DO NOTHING"
SELECT_JOB = f"{JOBS.select} WHERE id = ?"
SELECT_KNOWN = "SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
SELECT_BETWEEN = f"{JOBS.select} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
SELECT_NEWEST = f"{JOBS.select} WHERE (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?"
SELECT_NEWEST_IN_STATE = f"""{JOBS.select} WHERE state = ? AND (created_at, id) < (?, ?)
    ORDER BY created_at DESC, id DESC LIMIT ?"""
SELECT_SILENT_IN_STATE = f"""SELECT * FROM ({JOBS.select} WHERE state = ? AND updated_at < ?
    ORDER BY updated_at, id LIMIT ?)"""  # noqa: S608 - our own names
SELECT_SILENT = " UNION ALL ".join([SELECT_SILENT_IN_STATE] * len(JOB_RUNNING))
SELECT_STALLED = SELECT_SILENT + " ORDER BY updated_at, id LIMIT ?"
COUNT_JOBS = "SELECT state, count(*) FROM jobs GROUP BY state"
UPDATE_JOB = JOBS.update
DELETE_JOB = "DELETE FROM jobs WHERE id = ?"

INSERT_SEGMENT = SEGMENTS.insert
SELECT_SEGMENT = f"{SEGMENTS.select} WHERE job_id = ? AND number = ?"
SELECT_SEGMENTS = f"{SEGMENTS.select} WHERE job_id = ? AND number > ? ORDER BY number LIMIT ?"
UPDATE_SEGMENT = SEGMENTS.update
RETRY_SEGMENTS = """UPDATE segments SET state = ?, owner = '', lease_until = 0
    WHERE job_id = ? AND state = ?"""
SELECT_LEASED_BY = f"{SEGMENTS.select} WHERE owner = ? AND lease_until > 0"
COUNT_UNDONE = "SELECT stage, count(*) FROM segments WHERE job_id = ? AND state != ? GROUP BY stage"
DELETE_SEGMENTS = "DELETE FROM segments WHERE job_id = ?"

LAST_CHARACTER = "\U0010ffff"
NEWEST_OF_ALL = (float("inf"), "")


class SqliteJobs:
    """One row a job and one a segment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, job: Job) -> bool:
        """See `JobTable.create`."""
        assert job.state is JobState.RECEIVED
        with self._database.writing() as connection:
            return connection.execute(INSERT_JOB, JOBS.row_of(job)).rowcount == 1

    def get(self, job_id: str) -> Job | None:
        """See `JobTable.get`."""
        with self._database.reading() as connection:
            return _job(connection, job_id)

    def unknown(self, job_ids: Collection[str]) -> Set[str]:
        """See `JobTable.unknown`."""
        with self._database.reading() as connection:
            known = {row[0] for row in connection.execute(SELECT_KNOWN, (json.dumps(list(job_ids)),))}
        return set(job_ids) - known

    def find(self, prefix: str, limit: int) -> Sequence[Job]:
        """See `JobTable.find`: a range of the primary key."""
        with self._database.reading() as connection:
            rows = connection.execute(SELECT_BETWEEN, (prefix, prefix + LAST_CHARACTER, limit))
            return [JOBS.of_row(row) for row in rows]

    def list(
        self, state: JobState | None = None, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """See `JobTable.list`."""
        behind = after or NEWEST_OF_ALL
        with self._database.reading() as connection:
            if state is None:
                rows = connection.execute(SELECT_NEWEST, (*behind, limit))
            else:
                rows = connection.execute(SELECT_NEWEST_IN_STATE, (state, *behind, limit))
            return [JOBS.of_row(row) for row in rows]

    def count(self) -> Mapping[JobState, int]:
        """See `JobTable.count`: a walk over an index, some 6 ms for 100,000 jobs."""
        with self._database.reading() as connection:
            return {_state_of(state): count for state, count in connection.execute(COUNT_JOBS)}

    def plan(self, job_id: str, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
        """See `JobTable.plan`."""
        with self._database.writing() as connection:
            job = changes.planned(_present(connection, job_id, "plan"), plan, segments, now)
            connection.execute(DELETE_SEGMENTS, (job_id,))
            connection.executemany(INSERT_SEGMENT, map(SEGMENTS.row_of, segments))
            return _store_job(connection, job)

    def advance(
        self,
        job_id: str,
        transition: str,
        now: float,
        *,
        reason: str | None = None,
        result: Mapping[str, Any] | None = None,
        forget_source: bool = False,
    ) -> Job:
        """See `JobTable.advance`."""
        with self._database.writing() as connection:
            found = _present(connection, job_id, transition)
            job = changes.advanced(found, transition, now, reason, result, forget_source=forget_source)
            if transition == "retry_planned":
                job = _retried(connection, job)
            _store_job(connection, job)
        if forget_source:
            self._database.drop_history()
        return job

    def enter_stage(self, job_id: str, stage: int, now: float) -> bool:
        """See `JobTable.enter_stage`."""
        with self._database.writing() as connection:
            job = _job(connection, job_id)
            if job is None or not changes.may_enter(job, stage):
                return job is not None and job.state in JOB_RUNNING and job.stage == stage
            remaining = _undone_by_stage(connection, job_id).get(stage, 0)
            _store_job(connection, replace(job, stage=stage, stage_remaining=remaining, updated_at=now))
            return True

    def segment(self, job_id: str, index: int) -> Segment | None:
        """See `JobTable.segment`."""
        with self._database.reading() as connection:
            return _segment(connection, job_id, index)

    def segments(self, job_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[Segment]:
        """See `JobTable.segments`."""
        with self._database.reading() as connection:
            rows = connection.execute(SELECT_SEGMENTS, (job_id, after, limit))
            return [SEGMENTS.of_row(row) for row in rows]

    def lease_segment(self, job_id: str, index: int, owner: str, now: float, until: float) -> Segment | None:
        """See `JobTable.lease_segment`."""
        with self._database.writing() as connection:
            job, segment = _job(connection, job_id), _segment(connection, job_id, index)
            rows = changes.leased(job, segment, owner, now, until) if job and segment else None
            return _store(connection, *rows) if rows else None

    def extend_segment(self, segment: Segment, now: float, until: float) -> bool:
        """See `JobTable.extend_segment`."""
        with self._database.writing() as connection:
            stored = _segment(connection, segment.job_id, segment.index)
            rows = changes.extended(_job(connection, segment.job_id), stored, segment, now, until)
            return rows is not None and bool(_store(connection, *rows))

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        """See `JobTable.finish_segment`."""
        with self._database.writing() as connection:
            stored = _segment(connection, segment.job_id, segment.index)
            job, done = changes.finished(_job(connection, segment.job_id), stored, segment, now)
            _store(
                connection, job, replace(done, fragment_key=fragment_key, fragment_bytes=fragment_bytes, result=result)
            )
            return StageProgress(job.stage, job.stage_remaining)

    def release_segment(self, segment: Segment, *, failed: bool = False) -> None:
        """See `JobTable.release_segment`."""
        with self._database.writing() as connection:
            job = _job(connection, segment.job_id)
            stored = _segment(connection, segment.job_id, segment.index)
            transition = "fail" if failed else "release"
            rows = changes.given_up(job, stored, segment, transition) if job and stored else None
            if rows is not None:
                _store(connection, *rows)

    def release_owner(self, owner: str) -> int:
        """See `OwnerLeases.release_owner`: segments."""
        with self._database.writing() as connection:
            held = connection.execute(SELECT_LEASED_BY, (owner,)).fetchall()
            for row in held:
                _store_segment(connection, changes.given_back(SEGMENTS.of_row(row), "release"))
            return len(held)

    def stalled(self, before: float, limit: int = 100) -> Sequence[Job]:
        """See `JobTable.stalled`."""
        values = [value for state in JOB_RUNNING for value in (state, before, limit)]
        with self._database.reading() as connection:
            return [JOBS.of_row(row) for row in connection.execute(SELECT_STALLED, (*values, limit))]

    def delete(self, job_id: str) -> None:
        """See `JobTable.delete`."""
        with self._database.writing() as connection:
            job = _job(connection, job_id)
            if job is not None and job.state in JOB_RUNNING:
                raise changes.refused(job_id, "delete", job.state)
            connection.execute(DELETE_SEGMENTS, (job_id,))
            connection.execute(DELETE_JOB, (job_id,))


def _job(connection: sqlite3.Connection, job_id: str) -> Job | None:
    row = connection.execute(SELECT_JOB, (job_id,)).fetchone()
    return None if row is None else JOBS.of_row(row)


def _present(connection: sqlite3.Connection, job_id: str, transition: str) -> Job:
    job = _job(connection, job_id)
    if job is None:
        raise changes.refused(job_id, transition, None)
    return job


def _segment(connection: sqlite3.Connection, job_id: str, index: int) -> Segment | None:
    row = connection.execute(SELECT_SEGMENT, (job_id, index)).fetchone()
    return None if row is None else SEGMENTS.of_row(row)


def _store(connection: sqlite3.Connection, job: Job, segment: Segment) -> Segment:
    _store_job(connection, job)
    return _store_segment(connection, segment)


def _store_job(connection: sqlite3.Connection, job: Job) -> Job:
    connection.execute(UPDATE_JOB, JOBS.changed_row_of(job))
    return job


def _store_segment(connection: sqlite3.Connection, segment: Segment) -> Segment:
    connection.execute(UPDATE_SEGMENT, SEGMENTS.changed_row_of(segment))
    return segment


def _retried(connection: sqlite3.Connection, job: Job) -> Job:
    """Set the job's failed and leased segments back to waiting; return the job, counted anew."""
    starts, end = SEGMENT_TRANSITIONS["retry"]
    connection.executemany(RETRY_SEGMENTS, [(end, job.id, start) for start in starts])
    undone = _undone_by_stage(connection, job.id)
    stage = min(undone, default=job.stage)
    return replace(
        job, stage=stage, stage_remaining=undone.get(stage, 0), segments_done=job.segments_total - sum(undone.values())
    )


def _undone_by_stage(connection: sqlite3.Connection, job_id: str) -> Mapping[int, int]:
    return dict(connection.execute(COUNT_UNDONE, (job_id, SegmentState.DONE)).fetchall())


def _state_of(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError as error:
        raise damaged("jobs", error) from error
