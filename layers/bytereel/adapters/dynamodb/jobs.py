"""Jobs and their segments in one DynamoDB table.

A change is: read the rows (consistently), apply the pure function of `changes`, write with conditions that say what
the decision was made on; where they fail, read and decide again, a bounded number of times. A change of a job alone
that `JOB_TRANSITIONS` decides needs no read. Planning is two writes whatever the number of segments, a retry is one:
`dynamodb_rows` says what makes that possible.
"""

import heapq
import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeVar

from bytereel import changes
from bytereel.adapters.dynamodb import rows
from bytereel.adapters.dynamodb.calls import ConditionFailed, Conditions, Table, again
from bytereel.adapters.dynamodb.reads import Reader
from bytereel.adapters.dynamodb.rows import JobRow, Value
from bytereel.adapters.dynamodb.writes import Writer, attributes_after
from bytereel.model import JOB_RUNNING, JOB_TRANSITIONS, Job, JobState, Segment, SegmentState
from bytereel.ports.jobs import StageProgress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Outcome = TypeVar("Outcome")

ENCODING: Conditions = {"state": JobState.ENCODING.value}
SILENT_ROWS_MAX = 10_000


class DynamoJobs:
    """One row a job, one a plan, one a segment that was ever leased. For any number of threads and processes.

    Rows of segments expire `keep_seconds` after they were last written: longer than any job runs or is kept.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        keep_seconds: float,
        token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        both = Table(client, table)
        self._reader, self._writer = Reader(both), Writer(both, keep_seconds, token)
        self._token = token

    def create(self, job: Job) -> bool:
        """See `JobTable.create`."""
        assert job.state is JobState.RECEIVED
        return _again(job.id, partial(self._writer.insert_job, job))

    def get(self, job_id: str) -> Job | None:
        """See `JobTable.get`."""

        def decide() -> Job | None:
            row = self._reader.job(job_id)
            return self._reader.whole(row) if row else None

        return _again(job_id, decide)

    def unknown(self, job_ids: Collection[str]) -> Set[str]:
        """See `JobTable.unknown`: one request for 100 ids."""
        wanted = set(job_ids)
        return wanted.difference(self._reader.known(wanted))

    def find(self, prefix: str, limit: int) -> Sequence[Job]:
        """See `JobTable.find`. A job created a moment ago may be missing."""
        found = filter(None, map(self.get, self._reader.ids_from(prefix, limit)))
        return list(islice(found, limit))

    def list(
        self, state: JobState | None = None, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """See `JobTable.list`. Without plans; a job created or changed a moment ago may be missing."""
        last = rows.created_order(*after) if after else ""
        states = tuple(JobState) if state is None else (state,)
        orders = heapq.merge(*(self._reader.orders(each, last, limit + 1) for each in states), reverse=True)
        ids = (order.partition("#")[2] for order, _ in groupby(orders) if order != last)
        jobs = (row.job for row in self._reader.jobs(ids, limit))
        return list(islice((job for job in jobs if job.state in states), limit))

    def count(self) -> Mapping[JobState, int]:
        """See `JobTable.count`. A job created or changed a moment ago may be missing."""
        return {state: self._reader.count(state) for state in JobState}

    def plan(self, job_id: str, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
        """See `JobTable.plan`: two writes. Raises also: Permanent `plan.too_large`."""
        generation = self._token()
        stored = json.loads(json.dumps(plan))

        def decide() -> Job:
            row = self._present(job_id, "plan")
            job = changes.planned(row.job, stored, segments, now)
            self._writer.write_plan(row, job, rows.plan_item(job_id, generation, plan, segments))
            return job

        return _again(job_id, decide)

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
        """See `JobTable.advance`: one write."""
        sets = attributes_after(transition, now, reason, result)
        if forget_source:
            sets |= rows.attributes_of_source(changes.without_source(self._present(job_id, transition).job))
        change = self._retry if transition == "retry_planned" else self._move
        row = _again(job_id, partial(change, job_id, transition, sets))
        return _again(job_id, partial(self._reader.whole, row))

    def _move(self, job_id: str, transition: str, sets: Mapping[str, Value]) -> JobRow:
        starts, _ = JOB_TRANSITIONS[transition]
        try:
            return self._writer.change_job(job_id, sets, {"state": starts})
        except ConditionFailed as failed:
            state = rows.job_row_of(failed.found).job.state if failed.found else None
            raise changes.refused(job_id, transition, state) from failed

    def _retry(self, job_id: str, transition: str, sets: Mapping[str, Value]) -> JobRow:
        """Begin a new era: what was leased or failed in an earlier one waits again, without a write of its own."""
        starts, _ = JOB_TRANSITIONS[transition]
        row = self._present(job_id, transition)
        if row.job.state not in starts:
            raise changes.refused(job_id, transition, row.job.state)
        undone = self._reader.undone_by_stage(row)
        stage = min(undone, default=row.job.stage)
        done = row.job.segments_total - undone.total()
        counted = replace(row.job, stage=stage, stage_remaining=undone[stage], segments_done=done)
        conditions: Conditions = {"state": starts, "revision": row.revision}
        return self._writer.change_job(job_id, {**sets, **rows.attributes_of_counts(counted)}, conditions, era=1)

    def enter_stage(self, job_id: str, stage: int, now: float) -> bool:
        """See `JobTable.enter_stage`: one write."""

        def decide() -> bool:
            row = self._reader.job(job_id)
            if row is None or not changes.may_enter(row.job, stage):
                return row is not None and row.job.state in JOB_RUNNING and row.job.stage == stage
            remaining = self._reader.undone_by_stage(row)[stage]
            sets = rows.attributes_of_time(now) | {"stage": stage, "stage_remaining": remaining}
            self._writer.change_job(job_id, sets, {"revision": row.revision})
            return True

        return _again(job_id, decide)

    def segment(self, job_id: str, index: int) -> Segment | None:
        """See `JobTable.segment`."""
        found = _again(job_id, partial(self._reader.segment, job_id, index))
        return found[1].segment if found else None

    def segments(self, job_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[Segment]:
        """See `JobTable.segments`."""
        return _again(job_id, partial(self._reader.segments, job_id, after, limit))

    def lease_segment(self, job_id: str, index: int, owner: str, now: float, until: float) -> Segment | None:
        """See `JobTable.lease_segment`: two writes."""

        def decide() -> Segment | None:
            found = self._reader.segment(job_id, index)
            after = changes.leased(found[0].job, found[1].segment, owner, now, until) if found else None
            if found and after:
                starts, _ = JOB_TRANSITIONS["start"]
                self._writer.write_segment(after[1], found, now, attributes_after("start", now), {"state": starts})
            return after[1] if after else None

        return _again(job_id, decide)

    def extend_segment(self, segment: Segment, now: float, until: float) -> bool:
        """See `JobTable.extend_segment`: two writes."""

        def decide() -> bool:
            found = self._reader.segment(segment.job_id, segment.index)
            after = changes.extended(found[0].job, found[1].segment, segment, now, until) if found else None
            if found and after:
                self._writer.write_segment(after[1], found, now, rows.attributes_of_time(now), ENCODING)
            return after is not None

        return _again(segment.job_id, decide)

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        """See `JobTable.finish_segment`: two writes. What remains is read after them."""
        tried = False

        def decide() -> None:
            nonlocal tried
            found = self._reader.segment(segment.job_id, segment.index)
            job, stored = (found[0].job, found[1].segment) if found else (None, None)
            if tried and stored and _is_done(stored, segment.attempt, fragment_key):
                return
            _, done = changes.finished(job, stored, segment, now)
            assert found, "what is absent cannot be finished"
            done = replace(done, fragment_key=fragment_key, fragment_bytes=fragment_bytes, result=result)
            counts = {"segments_done": 1, "stage_remaining": -1}
            tried = True
            self._writer.write_segment(done, found, now, rows.attributes_of_time(now), ENCODING, counts)

        _again(segment.job_id, decide)
        row = self._reader.job(segment.job_id)
        remaining = row.job.stage_remaining if row and row.job.stage == segment.stage else 0
        return StageProgress(segment.stage, remaining)

    def release_segment(self, segment: Segment, *, failed: bool = False) -> None:
        """See `JobTable.release_segment`: one write; two where a done segment fails."""
        transition = "fail" if failed else "release"

        def decide() -> None:
            found = self._reader.segment(segment.job_id, segment.index)
            after = changes.given_up(found[0].job, found[1].segment, segment, transition) if found else None
            if found and after:
                before, remaining = found[0].job, after[0].stage_remaining
                counts = {"segments_done": -1, "stage_remaining": remaining - before.stage_remaining}
                self._writer.write_segment(after[1], found, None, {}, {}, counts if after[0] != before else None)

        _again(segment.job_id, decide)

    def stalled(self, before: float, limit: int = 100) -> Sequence[Job]:
        """See `JobTable.stalled`. Without plans; a job created or changed a moment ago may be missing."""
        found: list[Job] = []
        silent = islice(self._reader.silent(before, limit), SILENT_ROWS_MAX)
        for _, same_minute in groupby(silent, lambda each: each[0]):
            jobs = (row.job for row in self._reader.jobs((job_id for _, job_id in same_minute), limit))
            found += (job for job in jobs if job.state in JOB_RUNNING and job.updated_at < before)
            if len(found) >= limit:
                break
        return sorted(found, key=lambda job: (job.updated_at, job.id))[:limit]

    def delete(self, job_id: str) -> None:
        """See `JobTable.delete`: two writes; the rows of the segments expire."""

        def decide() -> None:
            row = self._reader.job(job_id)
            if row is not None and row.job.state in JOB_RUNNING:
                raise changes.refused(job_id, "delete", row.job.state)
            if row is not None:
                self._writer.delete_ended(job_id)

        _again(job_id, decide)

    def _present(self, job_id: str, transition: str) -> JobRow:
        row = self._reader.job(job_id)
        if row is None:
            raise changes.refused(job_id, transition, None)
        return row


def _again(job_id: str, decide: Callable[[], Outcome]) -> Outcome:
    return again(f"job {job_id}", decide)


def _is_done(stored: Segment, attempt: int, fragment_key: str) -> bool:
    """Whether it was this attempt that finished the segment: its own write, of which the answer was lost."""
    return (stored.state, stored.attempt, stored.fragment_key) == (SegmentState.DONE, attempt, fragment_key)
