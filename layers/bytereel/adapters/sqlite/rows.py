"""Jobs and segments as rows of the SQLite tables, and back."""

import json
from typing import Any

from bytereel.model import Job, JobState, ObjectRef, Segment, SegmentState

Row = tuple[Any, ...]


def row_of_job(job: Job) -> Row:
    """The job as a row of `jobs`."""
    source = json.dumps([job.source.bucket, job.source.key, job.source.version])
    plan = None if job.plan is None else json.dumps(job.plan)
    return (
        job.id,
        source,
        job.source_bytes,
        job.conversion,
        job.profile,
        job.state,
        job.created_at,
        job.updated_at,
        plan,
        job.segments_total,
        job.segments_done,
        job.stage,
        job.stage_remaining,
        json.dumps(job.reason),
        json.dumps(job.result),
    )


def job_of_row(row: Row) -> Job:
    """A row of `jobs` as a job."""
    (
        job_id,
        source,
        source_bytes,
        conversion,
        profile,
        state,
        created_at,
        updated_at,
        plan,
        segments_total,
        segments_done,
        stage,
        stage_remaining,
        reason,
        result,
    ) = row
    return Job(
        job_id,
        ObjectRef(*json.loads(source)),
        source_bytes,
        conversion,
        profile,
        JobState(state),
        created_at,
        updated_at,
        None if plan is None else json.loads(plan),
        segments_total,
        segments_done,
        stage,
        stage_remaining,
        json.loads(reason),
        json.loads(result),
    )


def row_of_segment(segment: Segment) -> Row:
    """The segment as a row of `segments`."""
    return (
        segment.job_id,
        segment.index,
        segment.stage,
        segment.start,
        segment.end,
        segment.state,
        segment.attempt,
        segment.owner,
        segment.lease_until,
        segment.fragment_key,
        segment.fragment_bytes,
        json.dumps(segment.result),
    )


def segment_of_row(row: Row) -> Segment:
    """A row of `segments` as a segment."""
    *known, state, attempt, owner, lease_until, fragment_key, fragment_bytes, result = row
    job_id, index, stage, start, end = known
    return Segment(
        job_id,
        index,
        stage,
        start,
        end,
        SegmentState(state),
        attempt,
        owner,
        lease_until,
        fragment_key,
        fragment_bytes,
        json.loads(result),
    )
