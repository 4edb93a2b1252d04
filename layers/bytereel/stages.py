"""Which message a job needs next: the one place that turns states into messages, shared by every step.

A message is sent before whatever made it due is acknowledged, so a crash between the two sends it twice,
never not at all; every step takes a message that it has had before.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from bytereel.errors import BytereelError, Permanent, TransitionRefused
from bytereel.model import JOB_RUNNING, Job, JobState, ObjectRef, Segment, SegmentState, job_id_of
from bytereel.ports import JobTable, Ports, Queue

INTAKE = "intake"
ENCODE = "encode"
FINALIZE = "finalize"
QUEUES = (FINALIZE, ENCODE, INTAKE)
"""In the order in which a worker looks: what is nearest to its end goes first."""

PAGE = 1000

Body = Mapping[str, Any]

log = logging.getLogger(__name__)


def event_of(source: ObjectRef) -> Body:
    """The intake message for an object that appeared."""
    return {"bucket": source.bucket, "key": source.key, "version": source.version}


def source_of(event: Body) -> ObjectRef:
    """The object that an intake message names. Raises: Permanent `message.malformed`."""
    values = [event.get(name) for name in ("bucket", "key", "version")]
    if not all(isinstance(value, str) for value in values) or not values[1]:
        raise _malformed(INTAKE, event)
    return ObjectRef(*map(str, values))


def segment_of(body: Body) -> tuple[str, int]:
    """The job and segment that an encode message names. Raises: Permanent `message.malformed`."""
    index = body.get("index")
    if not isinstance(index, int):
        raise _malformed(ENCODE, body)
    return job_of(body), index


def job_of(body: Body) -> str:
    """The job that an encode or finalize message names. Raises: Permanent `message.malformed`."""
    job_id = body.get("job")
    if not isinstance(job_id, str):
        raise _malformed(FINALIZE, body)
    return job_id


def job_id_in(queue: str, body: Body) -> str:
    """The id of the job that a message is about. Raises: Permanent `message.malformed`."""
    return job_id_of(source_of(body)) if queue == INTAKE else job_of(body)


def every_segment(jobs: JobTable, job_id: str) -> Iterator[Segment]:
    """All segments of a job in index order, page by page."""
    after = -1
    while page := jobs.segments(job_id, after=after, limit=PAGE):
        yield from page
        after = page[-1].index


def carry_on(ports: Ports, job_id: str) -> None:
    """Send the messages that a running job needs next, entering its next stage where the present one is over.

    Idempotent in effect: done again it sends messages again. Nothing to do for a job that is absent or ended.
    Raises: Temporary.
    """
    job = ports.jobs.get(job_id)
    if job is None or job.state not in JOB_RUNNING:
        return
    if job.state is JobState.RECEIVED:
        ports.queue.send(INTAKE, [event_of(job.source)])
    elif job.state is JobState.FINALIZING:
        ports.queue.send(FINALIZE, [{"job": job_id}])
    else:
        _carry_on_encoding(ports, job)


def is_quiet(queue: Queue) -> bool:
    """Whether no message waits or is held."""
    return not any(queue.size(name) for name in QUEUES)


def fail_job(ports: Ports, job_id: str, reason: str) -> bool:
    """End a running job with a reason; False when it has ended already, or is absent."""
    try:
        ports.jobs.advance(job_id, "fail", ports.clock.now(), reason=reason)
    except TransitionRefused:
        return False
    log.warning("job %s failed: %s", job_id, reason)
    return True


def reason_of(error: BytereelError) -> str:
    """The error as one sentence for a user, with what to do about it."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _carry_on_encoding(ports: Ports, job: Job) -> None:
    if job.stage_remaining > 0:
        _queue_stage(ports, job.id, job.stage)
        return
    undone = (each.stage for each in every_segment(ports.jobs, job.id) if each.state is not SegmentState.DONE)
    stage = min(undone, default=None)
    if stage is None:
        ports.queue.send(FINALIZE, [{"job": job.id}])
        return
    if not ports.jobs.enter_stage(job.id, stage, ports.clock.now()):
        raise TransitionRefused("job.stage_refused", f"job {job.id} moved on meanwhile", job=job.id, stage=stage)
    log.info("job %s enters stage %d", job.id, stage)
    _queue_stage(ports, job.id, stage)


def _queue_stage(ports: Ports, job_id: str, stage: int) -> None:
    after = -1
    while page := ports.jobs.segments(job_id, after=after, limit=PAGE):
        undone = [
            {"job": job_id, "index": segment.index}
            for segment in page
            if segment.stage == stage and segment.state is not SegmentState.DONE
        ]
        if undone:
            ports.queue.send(ENCODE, undone)
        after = page[-1].index


def _malformed(queue: str, body: Body) -> Permanent:
    return Permanent("message.malformed", f"not a message of the queue {queue!r}", queue=queue, body=dict(body))
