"""What a user does with jobs: find, look, cancel, retry. Each is one function on the ports."""

import logging
from collections.abc import Iterator
from typing import Any

from bytereel.errors import Permanent, TransitionRefused
from bytereel.model import JOB_RUNNING, WORK, Job, JobState, ObjectRef, SegmentState
from bytereel.ports import JobTable, Ports
from bytereel.stages import carry_on, every_segment

log = logging.getLogger(__name__)

PAGE = 1000
ID_LENGTH = 26


def every_job(jobs: JobTable, state: JobState | None = None) -> Iterator[Job]:
    """All jobs, newest first, page by page."""
    after = None
    while page := jobs.list(state, after=after, limit=PAGE):
        yield from page
        after = (page[-1].created_at, page[-1].id)


def find_job(jobs: JobTable, prefix: str) -> Job:
    """The one job whose id starts with `prefix`.

    Raises: Permanent `job.unknown` when there is none, `job.ambiguous` when there are several.
    """
    if len(prefix) == ID_LENGTH:
        exact = jobs.get(prefix)
        found = [exact] if exact else []
    else:
        found = [job for job in every_job(jobs) if prefix and job.id.startswith(prefix)]
    if not found:
        raise Permanent(
            "job.unknown",
            f"no job has an id that starts with {prefix!r}",
            hint="`bytereel jobs` lists them",
            job=prefix,
        )
    if len(found) > 1:
        raise Permanent(
            "job.ambiguous",
            f"{len(found)} jobs have an id that starts with {prefix!r}",
            hint="give more digits",
            job=prefix,
        )
    return found[0]


def cancel(ports: Ports, job_id: str) -> Job:
    """End a running job; its workers stop at their next chunk, and the sweep clears its fragments.

    A job that is cancelled already stays so. Raises: Permanent `job.unknown`, `job.ended`.
    """
    job = find_job(ports.jobs, job_id)
    if job.state is JobState.CANCELLED:
        return job
    try:
        cancelled = ports.jobs.advance(job.id, "cancel", ports.clock.now(), reason="cancelled")
    except TransitionRefused as error:
        raise Permanent("job.ended", f"job {job.id} has ended already and cannot be cancelled", job=job.id) from error
    log.info("job %s cancelled", job.id)
    return cancelled


def retry(ports: Ports, job_id: str) -> Job:
    """Let a failed or cancelled job go on where it stopped: segments whose fragments are there stay done.

    Raises: Permanent `job.unknown`, `job.not_failed`; Temporary.
    """
    job = find_job(ports.jobs, job_id)
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Permanent(
            "job.not_failed",
            f"job {job.id} is {job.state}: only a failed or cancelled job is retried",
            job=job.id,
            state=job.state,
        )
    if job.plan is None:
        retried = ports.jobs.advance(job.id, "retry_unplanned", ports.clock.now(), reason="")
    else:
        _take_back_lost(ports, job)
        retried = ports.jobs.advance(job.id, "retry_planned", ports.clock.now(), reason="")
    log.info("job %s retried: %d of %d segments are done", job.id, retried.segments_done, retried.segments_total)
    carry_on(ports, job.id)
    return retried


def view(job: Job, now: float) -> dict[str, Any]:
    """A job as JSON-able values for a user: where it stands, how fast it goes, why it failed, its output."""
    progress = _progress(job)
    seconds = max(0.0, (now if job.state in JOB_RUNNING else job.updated_at) - job.created_at)
    return {
        "id": job.id,
        "state": job.state.value,
        "source": job.source.key,
        "source_bytes": job.source_bytes,
        "conversion": job.conversion,
        "profile": job.profile,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "segments_done": job.segments_done,
        "segments_total": job.segments_total,
        "progress": progress,
        "seconds": round(seconds, 3),
        "bytes_per_second": round(job.source_bytes * progress / seconds) if seconds else None,
        "reason": job.reason,
        "output": job.result.get("output"),
        "manifest": job.result.get("manifest"),
        "output_bytes": job.result.get("output_bytes"),
        "expansion": job.result.get("expansion"),
    }


def _progress(job: Job) -> float:
    if job.state is JobState.DONE:
        return 1.0
    return round(job.segments_done / job.segments_total, 4) if job.segments_total else 0.0


def _take_back_lost(ports: Ports, job: Job) -> None:
    """Take back the done segments whose fragments are gone or have another size: they are encoded again."""
    for segment in every_segment(ports.jobs, job.id):
        if segment.state is not SegmentState.DONE:
            continue
        info = ports.objects.stat(ObjectRef(WORK, segment.fragment_key))
        if info is None or info.size_bytes != segment.fragment_bytes:
            ports.jobs.release_segment(segment, failed=True)
