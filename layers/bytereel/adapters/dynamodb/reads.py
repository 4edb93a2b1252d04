"""What `DynamoJobs` reads: rows of jobs, plans and segments, and the ids that the indexes lead to.

Rows are read consistently, on which decisions rest. A plan is read once: under its generation it never changes.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from bytereel.adapters.dynamodb import rows
from bytereel.adapters.dynamodb.calls import KEYS_PER_READ_MAX, Collided, Table
from bytereel.adapters.dynamodb.rows import NO_PLAN, Item, JobRow, PlanRow, SegmentRow
from bytereel.adapters.dynamodb.table import BY_ID, BY_SILENCE, BY_STATE, KEY_NAMES, SORT
from bytereel.model import Job, JobState, Segment, SegmentState

PLANS_KEPT_MAX = 16
FIRST_CHARACTER = "0"
LAST_CHARACTER = "\U0010ffff"


class Reader:
    """The rows of one table as what they mean, for any number of threads."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, PlanRow] = OrderedDict()
        self._newest: OrderedDict[str, str] = OrderedDict()

    def job(self, job_id: str) -> JobRow | None:
        """The row of the job, or None."""
        item = self._table.read(rows.job_key(job_id))
        return rows.job_row_of(item) if item else None

    def jobs(self, job_ids: Iterable[str], together: int) -> Iterator[JobRow]:
        """Those of the jobs that exist, in the order given; `together` are read at once."""
        rest = iter(job_ids)
        while chunk := list(islice(rest, min(together, KEYS_PER_READ_MAX))):
            found = {rows.job_id_in(item): item for item in self._table.read_all(map(rows.job_key, chunk))}
            yield from (rows.job_row_of(found[job_id]) for job_id in chunk if job_id in found)

    def known(self, job_ids: Iterable[str]) -> Iterator[str]:
        """Those of the ids, none named twice, that jobs have."""
        return map(rows.job_id_in, self._table.read_all(map(rows.job_key, job_ids), KEY_NAMES))

    def plan(self, row: JobRow) -> PlanRow:
        """The plan of the job as it stands in `row`. Raises: Collided when the job was planned anew or deleted."""
        if row.generation == NO_PLAN:
            return PlanRow(NO_PLAN)
        with self._lock:
            kept = self._plans.get(row.generation)
            self._newest[row.job.id] = row.generation
            while len(self._newest) > PLANS_KEPT_MAX:
                self._newest.popitem(last=False)
        return kept or self._read_plan(row)

    def _read_plan(self, row: JobRow) -> PlanRow:
        item = self._table.read(rows.plan_key(row.job.id))
        plan = rows.plan_row_of(item) if item else None
        if plan is None or plan.generation != row.generation:
            raise Collided("the plan was replaced")
        with self._lock:
            self._plans[plan.generation] = plan
            while len(self._plans) > PLANS_KEPT_MAX:
                self._plans.popitem(last=False)
        return plan

    def whole(self, row: JobRow) -> Job:
        """The job with its plan. Raises: Collided."""
        return replace(row.job, plan=self.plan(row).parameters)

    def segment(self, job_id: str, index: int) -> tuple[JobRow, SegmentRow] | None:
        """The job and its segment; None where either is absent. Raises: Collided."""
        row, item = self._with_segment(job_id, index)
        plan = self.plan(row) if row else PlanRow(NO_PLAN)
        if row is None or not 0 <= index < len(plan.ranges):
            return None
        return row, rows.segment_row_of(item, row, plan, index)

    def _with_segment(self, job_id: str, index: int) -> tuple[JobRow | None, Item | None]:
        """The rows of the job and of its segment: in one request where the job is of the plan that was seen last."""
        with self._lock:
            expected = self._newest.get(job_id, NO_PLAN)
        job_key, segment_key = rows.job_key(job_id), rows.segment_key(job_id, expected, index)
        found = {item[SORT]["S"]: item for item in self._table.read_all([job_key, segment_key])}
        item = found.get(job_key[SORT]["S"])
        if item is None:
            return None, None
        row = rows.job_row_of(item)
        if row.generation == expected:
            return row, found.get(segment_key[SORT]["S"])
        return row, self._table.read(rows.segment_key(job_id, row.generation, index))

    def segments(self, job_id: str, after: int, limit: int) -> Sequence[Segment]:
        """Up to `limit` segments of indexes after `after`. Raises: Collided."""
        row = self.job(job_id)
        plan = self.plan(row) if row else PlanRow(NO_PLAN)
        indexes = range(len(plan.ranges))[max(0, after + 1) :][:limit]
        if row is None or not indexes:
            return []
        between = rows.segment_sort(row.generation, indexes[0]), rows.segment_sort(row.generation, indexes[-1])
        items = {rows.index_in(item): item for item in self._table.query(rows.partition_of(job_id), between)}
        return [rows.segment_row_of(items.get(index), row, plan, index).segment for index in indexes]

    def undone_by_stage(self, row: JobRow) -> Counter[int]:
        """How many segments of each stage are not done. Raises: Collided."""
        plan = self.plan(row)
        undone = Counter(stage for _, _, stage in plan.ranges)
        if plan.ranges:
            between = rows.segment_sort(row.generation, 0), rows.segment_sort(row.generation, len(plan.ranges) - 1)
            items = self._table.query(rows.partition_of(row.job.id), between, attributes=(SORT, "state"))
            done = (rows.index_in(item) for item in items if item["state"]["S"] == SegmentState.DONE)
            undone.subtract(plan.ranges[index][2] for index in done)
        return +undone

    def ids_from(self, prefix: str, page: int) -> Iterator[str]:
        """The ids that start with `prefix`, in order."""
        keys = self._table.query(prefix[0], (prefix, prefix + LAST_CHARACTER), index=BY_ID, page=page)
        return map(rows.job_id_in, keys)

    def orders(self, state: JobState, last: str, page: int) -> Iterator[str]:
        """The `created_order` of the jobs in one state, from `last` ("": the newest) backwards."""
        between = FIRST_CHARACTER, last or LAST_CHARACTER
        keys = self._table.query(state.value, between, index=BY_STATE, page=page, newest_first=True)
        return (item["created_order"]["S"] for item in keys)

    def count(self, state: JobState) -> int:
        """How many jobs stand in the state: the keys of an index, some 10,000 a request."""
        return self._table.count(state.value, (FIRST_CHARACTER, LAST_CHARACTER), index=BY_STATE)

    def silent(self, before: float, page: int) -> Iterator[tuple[int, str]]:
        """The minute of the last update and the id of running jobs, oldest minute first, that of `before` last."""
        keys = self._table.query(rows.RUNNING, (0, rows.minute_of(before)), index=BY_SILENCE, page=page)
        return ((int(item["updated_minute"]["N"]), rows.job_id_in(item)) for item in keys)
