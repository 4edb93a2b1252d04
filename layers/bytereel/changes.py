"""What each change does to the row of a job or a segment: pure functions over the two tables of `model.py`.

An adapter that holds the rows under a lock or in a write transaction reads them, calls one function here and
stores what comes back. An adapter whose store has conditional writes states the same conditions to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bytereel.errors import LeaseLost, TransitionRefused
from bytereel.model import (
    JOB_ENDED,
    JOB_RUNNING,
    JOB_TRANSITIONS,
    SEGMENT_TRANSITIONS,
    Job,
    JobState,
    Segment,
    SegmentState,
)


def refused(job_id: str, transition: str, state: JobState | None) -> TransitionRefused:
    """The error for a transition that does not start from `state`; None stands for a job that is absent."""
    found = state.value if state else "absent"
    return TransitionRefused(
        "job.transition_refused",
        f"job {job_id} is {found}: {transition!r} is not possible",
        job=job_id,
        transition=transition,
        state=found,
    )


def advanced(
    job: Job,
    transition: str,
    now: float,
    reason: str | None = None,
    result: Mapping[str, Any] | None = None,
    *,
    forget_source: bool = False,
) -> Job:
    """The job after one row of JOB_TRANSITIONS; leaving an ended state forgets the reason it ended for.

    With `forget_source` size and version of the source go: see `JobTable.advance`.

    Raises: TransitionRefused.
    """
    starts, end = JOB_TRANSITIONS[transition]
    if job.state not in starts:
        raise refused(job.id, transition, job.state)
    kept = "" if job.state in JOB_ENDED else job.reason
    return replace(
        without_source(job) if forget_source else job,
        state=end,
        updated_at=now,
        reason=kept if reason is None else reason,
        result=job.result if result is None else result,
    )


def without_source(job: Job) -> Job:
    """The job without the size and the version of its source; its key stays, by which the object is still found."""
    return replace(job, source=replace(job.source, version=""), source_bytes=0)


def planned(job: Job, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
    """The job with its plan, in its lowest stage. Raises: TransitionRefused."""
    stage = min((segment.stage for segment in segments), default=0)
    remaining = sum(segment.stage == stage for segment in segments)
    return replace(
        advanced(job, "plan", now),
        plan=plan,
        segments_total=len(segments),
        segments_done=0,
        stage=stage,
        stage_remaining=remaining,
    )


def may_enter(job: Job, stage: int) -> bool:
    """Whether a running job is over with its stage, so that the later `stage` can begin."""
    return job.state in JOB_RUNNING and job.stage_remaining == 0 and stage > job.stage


def leased(job: Job, segment: Segment, owner: str, now: float, until: float) -> tuple[Job, Segment] | None:
    """Both rows after a lease of a segment of the job's present stage, or None where it cannot be had."""
    if job.state not in JOB_TRANSITIONS["start"][0] or segment.stage != job.stage:
        return None
    starts, end = SEGMENT_TRANSITIONS["lease"]
    if segment.state not in starts or (segment.state is SegmentState.LEASED and now < segment.lease_until):
        return None
    taken = replace(segment, state=end, attempt=segment.attempt + 1, owner=owner, lease_until=until)
    return advanced(job, "start", now), taken


def holds(claimed: Segment, stored: Segment | None) -> bool:
    """Whether the attempt that `claimed` was leased as is the one that holds the lease now.

    The owner counts too: a job that lost its rows, and was made anew, counts its attempts from the start.
    """
    return (
        stored is not None
        and stored.state is SegmentState.LEASED
        and (stored.attempt, stored.owner) == (claimed.attempt, claimed.owner)
    )


def extended(
    job: Job | None, stored: Segment | None, claimed: Segment, now: float, until: float
) -> tuple[Job, Segment] | None:
    """Both rows after the lease was moved, or None when it was lost. The job counts as updated."""
    if job is None or stored is None or not holds(claimed, stored) or job.state is not JobState.ENCODING:
        return None
    return replace(job, updated_at=now), replace(stored, lease_until=until)


def finished(job: Job | None, stored: Segment | None, claimed: Segment, now: float) -> tuple[Job, Segment]:
    """Both rows after the segment is done, its fragment not yet noted. Raises: LeaseLost."""
    if job is None or stored is None or not holds(claimed, stored) or job.state is not JobState.ENCODING:
        raise LeaseLost(
            "segment.lease_lost",
            f"attempt {claimed.attempt} of segment {claimed.index} no longer holds its lease",
            job=claimed.job_id,
            segment=claimed.index,
            attempt=claimed.attempt,
        )
    assert stored.stage == job.stage, "a lease is given in the job's present stage alone"
    counted = replace(job, updated_at=now, segments_done=job.segments_done + 1, stage_remaining=job.stage_remaining - 1)
    return counted, replace(stored, state=SEGMENT_TRANSITIONS["finish"][1], lease_until=0.0)


def given_up(job: Job, stored: Segment, claimed: Segment, transition: str) -> tuple[Job, Segment] | None:
    """Both rows after `release` or `fail` by the newest attempt, or None where it has nothing to give up.

    A done segment that fails (its fragment was lost) counts as remaining again.
    """
    is_newest = (stored.attempt, stored.owner) == (claimed.attempt, claimed.owner)
    if not is_newest or stored.state not in SEGMENT_TRANSITIONS[transition][0]:
        return None
    if stored.state is SegmentState.DONE:
        remaining = job.stage_remaining + (stored.stage == job.stage)
        job = replace(job, segments_done=job.segments_done - 1, stage_remaining=remaining)
    return job, given_back(stored, transition)


def given_back(segment: Segment, transition: str) -> Segment:
    """The segment after `release`, `fail` or `retry`: nobody's, in the state the transition ends in."""
    return replace(segment, state=SEGMENT_TRANSITIONS[transition][1], owner="", lease_until=0.0)
