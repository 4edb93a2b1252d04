"""The first step: an object appeared in the inbox; make its job once, plan it, queue its segments."""

import logging

from bytereel.conversions.protocol import Plan
from bytereel.dispatch import carry_on, fail_job
from bytereel.errors import Integrity, Permanent, TransitionRefused, reason_of
from bytereel.events import sources_in
from bytereel.messages import Body
from bytereel.model import OUTBOX, Job, JobState, ObjectRef, Segment, job_id_of
from bytereel.ports.ports import Ports
from bytereel.reading import ObjectReader
from bytereel.routing import Conversions, longest_key, near_profile, route_key

log = logging.getLogger(__name__)

GONE = "the source was removed or replaced before it was looked at (put it again)"

LONG_KEY_CHARACTERS = 200
"""Of a shorter key the store need not be asked: it has 800 bytes at most."""

_NOT_OF_THE_OBJECT = ("credentials.", "service.absent")
"""Errors of the deployment: they hold for every source alike, so no job is to blame."""


def take_in(ports: Ports, conversions: Conversions, event: Body, *, redelivered: bool = True) -> None:
    """Make and plan the jobs of the objects that `event` names, and send the messages that they need next.

    May be run again after any crash, and for an event that is heard twice: a message that is `redelivered` takes up
    what its first delivery may have left half done; any other leaves a planned job to whoever planned it.

    The job of an object that is gone has failed: a store has it before its event, and what took its place has an
    event of its own. So has that of a source that the conversion refuses. Raises: Permanent for an event that makes
    no job at all; Temporary.
    """
    for source in sources_in(event, ports.inbox):
        _take_in(ports, conversions, source, redelivered=redelivered)


def _take_in(ports: Ports, conversions: Conversions, source: ObjectRef, *, redelivered: bool) -> None:
    found = source if source.version else _newest(ports, source)
    job_id = job_id_of(found)
    job = ports.jobs.get(job_id) or _create(ports, conversions, job_id, found)
    planned = job.state is JobState.RECEIVED and _plan(ports, conversions, job)
    if planned or redelivered:
        carry_on(ports, job_id)


def _newest(ports: Ports, source: ObjectRef) -> ObjectRef:
    """The version that the store holds, for an event that names none."""
    info = ports.objects.stat(source)
    return info.ref if info else source


def _create(ports: Ports, conversions: Conversions, job_id: str, source: ObjectRef) -> Job:
    """Make the job; it fails at once when its source is gone, cannot be looked at, or has a key that no store takes."""
    reason, size = "", 0
    try:
        info = ports.objects.stat(source)
    except Permanent as error:
        if error.error_id.startswith(_NOT_OF_THE_OBJECT):
            raise
        reason = reason_of(error)
    else:
        is_there = info is not None and bool(source.version)
        reason = "" if is_there else GONE
        size = info.size_bytes if info else 0
    route = route_key(source.key, conversions)
    now = ports.clock.now()
    job = Job(job_id, source, size, route.conversion, route.profile, JobState.RECEIVED, now, now)
    if ports.jobs.create(job):
        log.info("job %s received: %s/%s", job_id, job.conversion, job.profile)
    if reason:
        fail_job(ports, job_id, reason)
    return ports.jobs.get(job_id) or job


def _reason_against(ports: Ports, conversions: Conversions, source: ObjectRef) -> str:
    """Why a source that is there is not taken, by its key alone; empty where it is."""
    meant = near_profile(source.key, conversions)
    if meant:
        return f"its second folder is no profile, but nearly {meant!r} (put it there, or into a folder of another name)"
    longest = longest_key(route_key(source.key, conversions))
    try:
        if len(longest) > LONG_KEY_CHARACTERS:
            ports.objects.stat(ObjectRef(OUTBOX, longest))
    except Permanent as error:
        if error.error_id.startswith(_NOT_OF_THE_OBJECT):
            raise
        return "its key is so long that those of its output would be longer than the store takes (shorten its folders)"
    return ""


def _plan(ports: Ports, conversions: Conversions, job: Job) -> bool:
    """Plan a received job; False when it ended instead, or when somebody else planned it."""
    conversion = conversions[job.conversion]
    info = ports.objects.stat(job.source)
    if info is None or info.size_bytes != job.source_bytes:
        fail_job(ports, job.id, GONE)
        return False
    reason = _reason_against(ports, conversions, job.source)
    if reason:
        fail_job(ports, job.id, reason)
        return False
    reader = ObjectReader(ports.objects, job.source, job.source_bytes, info.mode)
    try:
        plan = conversion.plan(reader, route_key(job.source.key, conversions).name, job.profile)
        _require_room(ports, plan)
    except (Permanent, Integrity) as error:
        fail_job(ports, job.id, reason_of(error))
        return False
    segments = _segments(job.id, plan)
    try:
        ports.jobs.plan(job.id, plan.parameters, segments, ports.clock.now())
    except TransitionRefused:
        log.info("job %s was planned by somebody else", job.id)
        return False
    log.info("job %s planned: %d segments", job.id, len(segments))
    return True


def _require_room(ports: Ports, plan: Plan) -> None:
    """Refuse what the store could not hold, before it is encoded. Raises: Permanent `source.too_large`."""
    if ports.object_bytes_max is not None and plan.output_bytes > ports.object_bytes_max:
        raise Permanent(
            "source.too_large",
            f"the output would have about {plan.output_bytes} bytes, and the store takes {ports.object_bytes_max}",
            hint="cut the source into parts, or choose less parity",
            expected=ports.object_bytes_max,
            actual=plan.output_bytes,
        )


def _segments(job_id: str, plan: Plan) -> list[Segment]:
    return [
        Segment(job_id, index, planned.stage, planned.start, planned.end) for index, planned in enumerate(plan.segments)
    ]
