"""The step on a schedule: resume what stalled, find uploads whose event was lost, clear what nobody needs.

Nothing here is needed for a job to end when no process ever dies; everything here may run at any time, twice,
and in several processes. What one call does is bounded; the cursor of its report lets the next go on from there.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bytereel.dispatch import carry_on
from bytereel.errors import BytereelError, Permanent, reason_of
from bytereel.events import is_marker
from bytereel.messages import FINALIZE, INTAKE, QUEUES, encode_queue_of, event_of
from bytereel.model import (
    INBOX,
    JOB_RUNNING,
    WORK,
    Job,
    JobState,
    ObjectInfo,
    ObjectRef,
    Segment,
    SegmentState,
    job_id_of,
)
from bytereel.ports.ports import Ports

log = logging.getLogger(__name__)

DAY_SECONDS = 86400.0
AHEAD_SECONDS = 60.0
"""By so much the clock of a store may be ahead of ours."""
CROWD = 1000
"""Messages in one queue from which on an old job is taken to be waiting its turn."""


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """From when on a job counts as stalled or as old, and how much one call does."""

    stall_seconds: float
    keep_done_days: float
    settle_seconds: float | None = None
    """How old an object of the inbox without a job is when its event counts as lost; None: the inbox is watched."""
    quiet_seconds: float = 0.0
    """How long a running job must be silent while no queue says that it has a message: sizes may be estimates."""
    jobs_max: int = 100
    objects_max: int = 1000


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did. `cursor` is where the next one goes on; empty at the end of a round."""

    resumed: int
    announced: int
    orphans: int
    orphan_bytes: int
    expired: int
    dead_letters_expired: int
    cursor: str


def sweep(ports: Ports, limits: SweepLimits, cursor: str = "") -> SweepReport:
    """Do a page of a round; one without a cursor begins it. Raises: Temporary.

    A round resumes what stalled and lets go of what is old, once; compares the inbox with the jobs, then clears the
    orphans in work, page by page.
    """
    bucket, _, after = cursor.partition(":")
    resumed, expired, letters = (0, 0, 0) if cursor else _begin_round(ports, limits)
    announced, cursor = 0, after
    if bucket != WORK:
        announced, cursor = _reconcile(ports, limits, after)
    orphans, orphan_bytes, bucket_next = 0, 0, INBOX
    if bucket == WORK or not cursor:
        orphans, orphan_bytes, cursor = _clear_orphans(ports, limits, after if bucket == WORK else "")
        bucket_next = WORK
    report = SweepReport(
        resumed, announced, orphans, orphan_bytes, expired, letters, f"{bucket_next}:{cursor}" if cursor else ""
    )
    _log(report)
    return report


def _begin_round(ports: Ports, limits: SweepLimits) -> tuple[int, int, int]:
    """How many jobs were resumed, jobs and dead letters let go of."""
    oldest = ports.clock.now() - limits.keep_done_days * DAY_SECONDS
    return _resume(ports, limits), _expire(ports, limits, oldest), ports.queue.forget_dead(oldest)


def _log(report: SweepReport) -> None:
    if report.resumed or report.announced or report.orphans or report.expired or report.dead_letters_expired:
        log.info(
            "sweep: %d jobs resumed, %d lost events found, %d orphans of %d bytes cleared, "
            "%d jobs and %d dead letters expired",
            report.resumed,
            report.announced,
            report.orphans,
            report.orphan_bytes,
            report.expired,
            report.dead_letters_expired,
        )


def _resume(ports: Ports, limits: SweepLimits) -> int:
    """Send stalled jobs their messages again; where no message is left at all, that is every running job."""
    sizes = {queue: ports.queue.size(queue) for queue in QUEUES}
    now = ports.clock.now()
    if not any(sizes.values()):
        stalled = ports.jobs.stalled(now - limits.quiet_seconds, limits.jobs_max)
    else:
        stalled = [
            job
            for job in ports.jobs.stalled(now - limits.stall_seconds, limits.jobs_max)
            if sizes[_queue_of(job)] < CROWD
        ]
    return sum(_is_resumed(ports, job, now) for job in stalled)


def _is_resumed(ports: Ports, job: Job, now: float) -> bool:
    """Send a job's messages again; False, and a warning, for one that cannot be: others wait behind it."""
    try:
        carry_on(ports, job.id)
    except BytereelError as error:
        log.warning("job %s cannot be resumed: %s", job.id, reason_of(error))
        return False
    log.info("job %s resumed: %s since %.0f s", job.id, job.state, now - job.updated_at)
    return True


def _reconcile(ports: Ports, limits: SweepLimits, after: str) -> tuple[int, str]:
    """Send the intake message of each object of a page of the inbox that has no job; how many, and the page's end.

    An object is left alone until it is `settle_seconds` old, for its event may be on its way. With a crowd in the
    intake queue nothing is compared: most of what lies there has no job yet.
    """
    if limits.settle_seconds is None or ports.queue.size(INTAKE) >= CROWD:
        return 0, ""
    page = ports.objects.list(INBOX, after=after, limit=limits.objects_max)
    now = ports.clock.now()
    sources = [
        info.ref for info in page if _is_settled(info, limits.settle_seconds, now) and not is_marker(info.ref.key)
    ]
    unknown = ports.jobs.unknown([job_id_of(source) for source in sources])
    lost = [event_of(source) for source in sources if job_id_of(source) in unknown]
    if lost:
        ports.queue.send(INTAKE, lost)
    return len(lost), page[-1].ref.key if len(page) == limits.objects_max else ""


def _is_settled(info: ObjectInfo, settle_seconds: float, now: float) -> bool:
    """Whether an object is old enough; one of a time that is long to come was stored before a clock was set back."""
    return info.modified_at <= now - settle_seconds or info.modified_at > now + AHEAD_SECONDS


def _queue_of(job: Job) -> str:
    if job.state is JobState.RECEIVED:
        return INTAKE
    return FINALIZE if job.state is JobState.FINALIZING else encode_queue_of(job)


def _clear_orphans(ports: Ports, limits: SweepLimits, cursor: str) -> tuple[int, int, str]:
    page = ports.objects.list(WORK, after=cursor, limit=limits.objects_max)
    orphans = list(_orphans(ports, limits, page))
    for info in orphans:
        log.info("orphan %r is cleared", info.ref.key)
    _delete(ports, [info.ref for info in orphans])
    end = page[-1].ref.key if len(page) == limits.objects_max else ""
    return len(orphans), sum(info.size_bytes for info in orphans), end


def _delete(ports: Ports, refs: Sequence[ObjectRef]) -> None:
    """Delete the objects; those whose keys are none of ours stay, with a warning."""
    try:
        ports.objects.delete_all(refs)
    except Permanent as error:
        if error.error_id != "object.bad_key" or len(refs) == 1:
            log.warning("orphans stay: %s", reason_of(error))
            return
        for ref in refs:
            _delete(ports, [ref])


def _orphans(ports: Ports, limits: SweepLimits, page: Sequence[ObjectInfo]) -> Iterator[ObjectInfo]:
    jobs: dict[str, Job | None] = {}
    for info in page:
        job_id, _, name = info.ref.key.partition("/")
        if job_id not in jobs:
            jobs[job_id] = ports.jobs.get(job_id)
        job = jobs[job_id]
        if job is None or not _is_needed(ports, limits, job, name):
            yield info


def _is_needed(ports: Ports, limits: SweepLimits, job: Job, name: str) -> bool:
    """Whether a fragment may still be used: by its running job, or by a retry of one that ended lately."""
    if job.state is JobState.DONE:
        return False
    cancelled = job.state is JobState.CANCELLED
    kept_seconds = limits.stall_seconds if cancelled else limits.keep_done_days * DAY_SECONDS
    if job.state not in JOB_RUNNING and ports.clock.now() - job.updated_at > kept_seconds:
        return False
    index, _, attempt = name.partition(".")
    if not (index.isdecimal() and attempt.isdecimal()):
        return False
    segment = ports.jobs.segment(job.id, int(index))
    return segment is not None and _is_newest(segment, int(attempt))


def _is_newest(segment: Segment, attempt: int) -> bool:
    """Whether the attempt is under way or is the one that finished."""
    return segment.attempt == attempt and segment.state in (SegmentState.LEASED, SegmentState.DONE)


def _expire(ports: Ports, limits: SweepLimits, oldest: float) -> int:
    """Let go of done jobs past their time, and of their sources; outputs stay.

    A failed or cancelled job stays, with its source: that may be the only copy. The source goes first:
    without its job, it would be taken for new.
    """
    old = [
        job
        for job in ports.jobs.list(JobState.DONE, after=(oldest, ""), limit=limits.jobs_max)
        if job.updated_at < oldest
    ]
    for job in old:
        source = _source_of(ports, job)
        if source is not None:
            ports.objects.delete(source)
        ports.jobs.delete(job.id)
        log.info("job %s expired", job.id)
    return len(old)


def _source_of(ports: Ports, job: Job) -> ObjectRef | None:
    """The job's source, if it is still there and not another in its cursor; its id tells, where its row forgot more."""
    found = ports.objects.stat(job.source)
    if found is None or (not job.source.version and job_id_of(found.ref) != job.id):
        return None
    return found.ref
