"""What a user does with jobs: find, look, cancel, retry. Each is one function on the ports."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from bytereel.dispatch import carry_on
from bytereel.errors import Permanent, TransitionRefused
from bytereel.events import jobs_in
from bytereel.model import (
    JOB_RUNNING,
    WORK,
    Job,
    JobState,
    Message,
    ObjectInfo,
    ObjectRef,
    SegmentState,
    job_id_of,
)
from bytereel.ports import JobTable, Ports
from bytereel.reading import every_segment

log = logging.getLogger(__name__)

ID_START = re.compile("[0-9a-f]{1,26}")


def receive(ports: Ports, source: ObjectInfo, conversion: str, profile: str) -> str:
    """Make the job of a source that was just uploaded, so that it can be seen before a worker takes it in; its id.

    Intake makes it too, where this did not happen or comes later: an id is taken once.
    """
    job_id, now = job_id_of(source.ref), ports.clock.now()
    ports.jobs.create(Job(job_id, source.ref, source.size_bytes, conversion, profile, JobState.RECEIVED, now, now))
    return job_id


def find_job(jobs: JobTable, prefix: str) -> Job:
    """The one job whose id starts with `prefix`.

    Raises: Permanent `job.unknown` when there is none, `job.ambiguous` when there are several.
    """
    found = jobs.find(prefix, limit=2) if ID_START.fullmatch(prefix) else []
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
            f"several jobs have an id that starts with {prefix!r}",
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
        raise Permanent(
            "job.ended",
            f"job {job.id} has ended already and cannot be cancelled",
            hint=f"`bytereel status {job.id}` says how",
            job=job.id,
        ) from error
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


def dead_letters(ports: Ports, limit: int = 1000) -> Sequence[dict[str, Any]]:
    """The messages that were given up, oldest first, as JSON-able values; `job` is None where it belongs to no job."""
    return [
        {
            "queue": message.queue,
            "body": dict(message.body),
            "deliveries": message.deliveries,
            "reason": reason,
            "job": _known_job(ports, message),
        }
        for message, reason in ports.queue.dead(limit=limit)
    ]


def _known_job(ports: Ports, message: Message) -> str | None:
    try:
        found = jobs_in(message.queue, message.body, ports.inbox)
    except Permanent:
        return None
    return next((job_id for job_id in found if ports.jobs.get(job_id)), None)


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
