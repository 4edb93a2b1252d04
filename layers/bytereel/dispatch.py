"""Which message a job needs next: the one place that turns states into messages, shared by every step.

A message is sent before whatever made it due is acknowledged, so a crash between the two sends it twice,
never not at all; every step takes a message that it has had before.
"""

import logging

from bytereel.errors import TransitionRefused
from bytereel.failures import record_failure
from bytereel.messages import (
    FINALIZE,
    INTAKE,
    QUEUES,
    body_of_job,
    body_of_segment,
    encode_queue_of,
    event_of,
)
from bytereel.model import JOB_RUNNING, Job, JobState, SegmentState
from bytereel.ports.ports import Ports
from bytereel.ports.queues import Queue
from bytereel.reading import every_segment

PAGE = 1000

log = logging.getLogger(__name__)


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
        ports.queue.send(FINALIZE, [body_of_job(job_id)])
    else:
        _carry_on_encoding(ports, job)


def is_quiet(queue: Queue) -> bool:
    """Whether no message waits or is held."""
    return not any(queue.size(name) for name in QUEUES)


def fail_job(ports: Ports, job_id: str, reason: str) -> bool:
    """End a running job with a reason; False when it has ended already, or is absent."""
    try:
        failed = ports.jobs.advance(job_id, "fail", ports.clock.now(), reason=reason)
    except TransitionRefused:
        return False
    log.warning("job %s failed: %s", job_id, reason)
    record_failure(ports, failed)
    return True


def _carry_on_encoding(ports: Ports, job: Job) -> None:
    if job.stage_remaining > 0:
        _queue_stage(ports, job, job.stage)
        return
    undone = (each.stage for each in every_segment(ports.jobs, job.id) if each.state is not SegmentState.DONE)
    stage = min(undone, default=None)
    if stage is None:
        ports.queue.send(FINALIZE, [body_of_job(job.id)])
        return
    if not ports.jobs.enter_stage(job.id, stage, ports.clock.now()):
        raise TransitionRefused("job.stage_refused", f"job {job.id} moved on meanwhile", job=job.id, stage=stage)
    log.info("job %s enters stage %d", job.id, stage)
    _queue_stage(ports, job, stage)


def _queue_stage(ports: Ports, job: Job, stage: int) -> None:
    after = -1
    while page := ports.jobs.segments(job.id, after=after, limit=PAGE):
        undone = [
            body_of_segment(job.id, segment.index)
            for segment in page
            if segment.stage == stage and segment.state is not SegmentState.DONE
        ]
        if undone:
            ports.queue.send(encode_queue_of(job), undone)
        after = page[-1].index
