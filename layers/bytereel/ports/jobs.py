"""Jobs and their segments: every change one conditional write."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from bytereel.model import Job, JobState, Segment


@dataclass(frozen=True, slots=True)
class StageProgress:
    """What finishing a segment left to do: the stage it was in, and how many of that stage remain."""

    stage: int
    remaining: int


class JobTable(Protocol):
    """Jobs and their segments. Every method is one atomic, durable, conditional write, or one read.

    A write decides on what is stored now, and so do `get`, `unknown`, `segment` and `segments`; `find`, `list`,
    `count` and `stalled` may not know yet what was written a moment ago. Where too many write to one job at once, a
    write raises Temporary `state.busy`.
    """

    def create(self, job: Job) -> bool:
        """Insert the job in state `received`; False, and no change, when the id exists."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def unknown(self, job_ids: Collection[str]) -> Set[str]:
        """Those of the ids that no job has. Costs a few reads for a thousand ids."""

    def find(self, prefix: str, limit: int) -> Sequence[Job]:
        """Up to `limit` jobs whose id starts with `prefix`, in the order of their ids; reads no others.

        `prefix` has at least one character.
        """

    def list(
        self, state: JobState | None = None, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """Jobs, newest created first, of one state or all; `after` is the (created_at, id) last seen.

        The plan of a job may be left out.
        """

    def count(self) -> Mapping[JobState, int]:
        """How many jobs stand in each state (states with none may be absent)."""

    def plan(self, job_id: str, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
        """Transition `plan`: store plan and segments (all waiting) in one write; `stage` becomes the lowest.

        Segments are numbered from 0, without gaps; those of an earlier plan are replaced. With no segments at all
        the job is planned with nothing remaining. Raises: TransitionRefused; Permanent `plan.too_large` where
        the table cannot hold it.
        """

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
        """Apply one row of JOB_TRANSITIONS; None keeps the reason and result, but a retry forgets the reason.

        With `forget_source` the row loses the source's size and version in the same write, and the table keeps no
        copy of them that it could help: for a job that is done, whose output hides what it was made of.

        Raises: TransitionRefused when the job is absent or its state is not one that the row starts from.
        `retry_planned` also sets every failed or leased segment back to waiting, and recomputes
        `stage`, `stage_remaining` and `segments_done` from the segments that are not done.
        """

    def enter_stage(self, job_id: str, stage: int, now: float) -> bool:
        """Move a running job on to `stage` when nothing of its present stage remains.

        Recomputes `stage_remaining`. Idempotent: True when the job is (already) in that stage; False, and no
        change, when its present stage is not over or is a later one, or the job is not running.
        """

    def segment(self, job_id: str, index: int) -> Segment | None:
        """One segment, or None."""

    def segments(self, job_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[Segment]:
        """Up to `limit` segments in index order, of indexes after `after`."""

    def lease_segment(self, job_id: str, index: int, owner: str, now: float, until: float) -> Segment | None:
        """Transition `lease`: attempt + 1, owner, lease end; and `start` of the job, in the same write.

        None, and no change, when the segment is done or failed, its lease is held and `now < lease_until`, it
        is not of the job's present stage, or the job is not planned or encoding.
        """

    def extend_segment(self, segment: Segment, now: float, until: float) -> bool:
        """Move the lease's end, and count the job as updated `now`: a long segment is not a stalled one.

        False, and no change, when `segment.attempt` is no longer the newest, the segment is not leased, or
        its job is not encoding.
        """

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        """Transition `finish` and "one fewer remaining", one transaction.

        When others finish at the same time, fewer may remain than when this one did: what several are told may be
        the same, but at least one of a stage is told 0.
        Raises: LeaseLost when the attempt is not the newest, the segment is not leased, or the job is not
        encoding. A lease that ran out but that nobody else took still counts.
        """

    def release_segment(self, segment: Segment, *, failed: bool = False) -> None:
        """Transition `release` (or `fail`); no change and no error when the attempt is not the newest.

        `fail` also takes back a done segment whose fragment was lost or damaged: one fewer done, and one more
        remaining when the job is in that segment's stage.
        """

    def stalled(self, before: float, limit: int = 100) -> Sequence[Job]:
        """Running jobs not updated since `before`, oldest first: for the sweep to resume.

        The plan of a job may be left out.
        """

    def delete(self, job_id: str) -> None:
        """Remove an ended job and its segments; no error when absent.

        Raises: TransitionRefused while the job runs.
        """
