"""What `DynamoJobs` writes: rows of jobs, plans and segments, each write with the conditions it was decided on.

Decides nothing: a write that no longer fits raises Collided, and changes nothing.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from bytereel.adapters.dynamodb import rows
from bytereel.adapters.dynamodb.calls import Action, ConditionFailed, Conditions, Table, delete, put, update
from bytereel.adapters.dynamodb.rows import JobRow, Key, SegmentRow, Value
from bytereel.model import JOB_ENDED, JOB_TRANSITIONS, Job, Segment


class Writer:
    """Writes to one table, for any number of threads.

    A write whose answer was lost is repeated by the client. A transaction is then known by its request token; a
    single write fails on itself, and the token in the row tells.
    """

    def __init__(self, table: Table, keep_seconds: float, token: Callable[[], str]) -> None:
        self._table = table
        self._keep_seconds = keep_seconds
        self._token = token

    def insert_job(self, job: Job) -> bool:
        """Write the row of a new job; False when there is one. Raises: Collided."""
        token = self._token()
        try:
            self._table.insert(rows.job_key(job.id) | rows.item_of(rows.attributes_of_new(job) | {"token": token}))
        except ConditionFailed as failed:
            return failed.found_token == token
        return True

    def write_plan(self, row: JobRow, planned: Job, plan: Key) -> None:
        """Write the plan's item and what it makes of the job. Raises: Collided unless the job is as in `row`."""
        sets = rows.attributes_of_state(planned.state, planned.updated_at) | rows.attributes_of_counts(planned)
        conditions: Conditions = {"state": row.job.state.value, "revision": row.revision}
        generation = {"generation": rows.generation_in(plan)}
        self._table.transact([put(plan, {}), _job_update(row.job.id, sets | generation, conditions)])

    def change_job(self, job_id: str, sets: Mapping[str, Value], conditions: Conditions, *, era: int = 0) -> JobRow:
        """Change the row of a job, and return the row after it. Raises: ConditionFailed, Collided."""
        token = self._token()
        try:
            item = self._table.update(_job_update(job_id, {**sets, "token": token}, conditions, {"era": era}))
        except ConditionFailed as failed:
            if failed.found is None or failed.found_token != token:
                raise
            item = failed.found
        return rows.job_row_of(item)

    def write_segment(
        self,
        segment: Segment,
        found: tuple[JobRow, SegmentRow],
        now: float | None,
        sets: Mapping[str, Value],
        conditions: Conditions,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Write a segment and, where something of it changes, its job, if both are still as they were found.

        For the job that is: the same plan, no retry since, the same stage, and `conditions`. Without `now` the
        segment's row expires when it did before.
        """
        row, stored = found
        expires_at = stored.expires_at if now is None else int(now + self._keep_seconds)
        item = rows.segment_item(segment, row, stored.revision + 1, expires_at)
        actions = [put(item, {"revision": stored.revision or None})]
        if sets or counts:
            same: Conditions = {"generation": row.generation, "era": row.era, "stage": row.job.stage}
            actions.append(_job_update(segment.job_id, sets, {**same, **conditions}, counts))
        self._table.transact(actions)

    def delete_ended(self, job_id: str) -> None:
        """Remove the row of the job and its plan. Raises: Collided unless the job has ended."""
        job_delete = delete(rows.job_key(job_id), {"state": JOB_ENDED})
        self._table.transact([job_delete, delete(rows.plan_key(job_id), {})])


def attributes_after(
    transition: str, now: float, reason: str | None = None, result: Mapping[str, Any] | None = None
) -> dict[str, Value]:
    """What a transition sets: as `changes.advanced`, for any job that the transition starts from."""
    starts, end = JOB_TRANSITIONS[transition]
    attributes = rows.attributes_of_state(end, now)
    if reason is not None or starts <= JOB_ENDED:
        attributes["reason"] = json.dumps(reason or "")
    if result is not None:
        attributes["result"] = json.dumps(result)
    return attributes


def _job_update(
    job_id: str, sets: Mapping[str, Value], conditions: Conditions, counts: Mapping[str, int] | None = None
) -> Action:
    """A change of the job's row; one that ended leaves the index of those that run."""
    removes = [rows.RUNNING] if sets.get("state") in JOB_ENDED else []
    return update(rows.job_key(job_id), sets, conditions, adds={**(counts or {}), "revision": 1}, removes=removes)
