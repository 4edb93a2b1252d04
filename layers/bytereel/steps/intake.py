"""The first step: an object appeared in the inbox; make its job once, plan it, queue its segments."""

import logging

from bytereel.conversions import Plan
from bytereel.errors import Integrity, Permanent, TransitionRefused
from bytereel.messages import Body, source_of
from bytereel.model import INBOX, Job, JobState, ObjectRef, Segment, job_id_of
from bytereel.ports import Ports
from bytereel.reading import ObjectReader
from bytereel.routing import Conversions, route_key
from bytereel.stages import carry_on, fail_job, reason_of

log = logging.getLogger(__name__)


def take_in(ports: Ports, conversions: Conversions, event: Body) -> None:
    """Make and plan the job of the object that `event` names, and send the messages that it needs next.

    May be run again after any crash, and for an event that is heard twice. The job of an object that is gone has
    failed: a store has it before its event, and what took its place has an event of its own. So has that of a
    source that the conversion refuses. Raises: Permanent for a message that makes no job at all; Temporary.
    """
    source = source_of(event)
    if source.bucket != INBOX:
        raise Permanent(
            "event.foreign_bucket",
            f"{source.bucket}/{source.key} is not in the inbox",
            bucket=source.bucket,
            key=source.key,
        )
    job_id = job_id_of(source)
    job = ports.jobs.get(job_id) or _create(ports, conversions, job_id, source)
    if job.state is JobState.RECEIVED and not _plan(ports, conversions, job):
        return
    carry_on(ports, job_id)


def _create(ports: Ports, conversions: Conversions, job_id: str, source: ObjectRef) -> Job:
    info = ports.objects.stat(source)
    size = info.size_bytes if info else 0
    route = route_key(source.key, conversions)
    now = ports.clock.now()
    job = Job(job_id, source, size, route.conversion, route.profile, JobState.RECEIVED, now, now)
    if ports.jobs.create(job):
        log.info("job %s received: %r, %d bytes, %s/%s", job_id, source.key, size, job.conversion, job.profile)
    if info is None:
        fail_job(ports, job_id, "the source was removed or replaced before it was looked at (put it again)")
    return ports.jobs.get(job_id) or job


def _plan(ports: Ports, conversions: Conversions, job: Job) -> bool:
    """Plan a received job; False when it ended instead."""
    conversion = conversions[job.conversion]
    reader = ObjectReader(ports.objects, job.source, job.source_bytes)
    try:
        plan = conversion.plan(reader, route_key(job.source.key, conversions).name, job.profile)
    except (Permanent, Integrity) as error:
        fail_job(ports, job.id, reason_of(error))
        return False
    segments = _segments(job.id, plan)
    try:
        ports.jobs.plan(job.id, plan.parameters, segments, ports.clock.now())
    except TransitionRefused:
        log.info("job %s was planned by somebody else", job.id)
        return True
    log.info("job %s planned: %d segments", job.id, len(segments))
    return True


def _segments(job_id: str, plan: Plan) -> list[Segment]:
    return [
        Segment(job_id, index, planned.stage, planned.start, planned.end) for index, planned in enumerate(plan.segments)
    ]
