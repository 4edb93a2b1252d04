"""The second step: lease one segment, convert its range, store the fragment, mark it done.

Whoever finishes the last one moves the job on. An attempt that lost its lease changes nothing: its fragment
has a name of its own, and marking it done is refused.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import crc32c
from bytereel_codec.files.ranged import RangedReader

from bytereel.conversions.protocol import Conversion, FinishedSegment, Fragment, PlannedSegment
from bytereel.dispatch import carry_on, fail_job
from bytereel.errors import Integrity, LeaseLost, Permanent, Temporary, reason_of
from bytereel.leases import LeaseWatch, Unwatched
from bytereel.messages import Body, encode_queue_of, segment_of
from bytereel.model import JOB_TRANSITIONS, WORK, Job, ObjectRef, Segment, SegmentState, fragment_key_of
from bytereel.ports.objects import Buffer
from bytereel.ports.ports import Ports
from bytereel.reading import AheadReader, ObjectReader, every_segment, finished_segment
from bytereel.routing import Conversions

log = logging.getLogger(__name__)

FRAGMENT_MODE = 0o600
"""Fragments are the workers' own: what they hold may be an original that nobody else may read."""


def encode_segment(
    ports: Ports,
    conversions: Conversions,
    body: Body,
    *,
    owner: str,
    lease_seconds: float,
    watch: LeaseWatch | None = None,
) -> None:
    """Convert the segment that `body` names, unless it is done or somebody else's.

    A finished segment is never converted again. A source that cannot be converted ends the job as failed.
    Raises: Temporary: the segment is free again, and the message should come back.
    """
    job_id, index = segment_of(body)
    now = ports.clock.now()
    segment = ports.jobs.lease_segment(job_id, index, owner, now, now + lease_seconds)
    job = ports.jobs.get(job_id)
    if segment is None or job is None:
        _look_again(ports, body)
        return
    try:
        with (watch or Unwatched()).covering(segment):
            _convert(ports, conversions[job.conversion], job, segment, watch or Unwatched())
    except LeaseLost:
        log.info("job %s segment %d: attempt %d lost its lease", job_id, index, segment.attempt)
        ports.objects.delete(ObjectRef(WORK, fragment_key_of(job_id, index, segment.attempt)))
        _look_again(ports, body)
    except (Permanent, Integrity) as error:
        fail_job(ports, job_id, reason_of(error))
        ports.jobs.release_segment(segment, failed=True)
    except BaseException:
        ports.jobs.release_segment(segment)
        raise


def cost_of(ports: Ports, conversions: Conversions, body: Body) -> int:
    """The most memory that the segment that `body` names will take; 0 when its job takes no segments now."""
    job = ports.jobs.get(segment_of(body)[0])
    if job is None or job.plan is None or job.state not in JOB_TRANSITIONS["start"][0]:
        return 0
    return conversions[job.conversion].segment_cost_bytes(job.plan, job.stage)


def _convert(ports: Ports, conversion: Conversion, job: Job, segment: Segment, watch: LeaseWatch) -> None:
    assert job.plan is not None, "a segment is leased from a planned job alone"
    planned = PlannedSegment(segment.start, segment.end, segment.stage)
    source = _source(ports, conversion, job, segment)
    earlier = _earlier(ports, segment)
    chunks = conversion.convert(job.plan, planned, segment.index, source, earlier)
    fragment = _Measured(chunks, watch, segment)
    key = fragment_key_of(job.id, segment.index, segment.attempt)
    _store(ports, ObjectRef(WORK, key), fragment)
    result = {"crc32c": fragment.crc32c, "conversion": fragment.facts}
    progress = ports.jobs.finish_segment(segment, key, fragment.size_bytes, result, ports.clock.now())
    log.info(
        "job %s segment %d done: %d bytes, %d of stage %d remain",
        job.id,
        segment.index,
        fragment.size_bytes,
        progress.remaining,
        progress.stage,
    )
    if progress.remaining == 0:
        carry_on(ports, job.id)


def _source(ports: Ports, conversion: Conversion, job: Job, segment: Segment) -> RangedReader:
    source = ObjectReader(ports.objects, job.source, job.source_bytes)
    if not ports.read_bytes or segment.stage or not conversion.reads_ranges:
        return source
    return AheadReader(source, segment.start, segment.end, ports.read_bytes)


def _store(ports: Ports, ref: ObjectRef, fragment: "_Measured") -> None:
    """Write the fragment once. Raises: LeaseLost where one of the same attempt is there already."""
    try:
        ports.objects.put(ref, fragment, if_absent=True, mode=FRAGMENT_MODE)
    except Permanent as error:
        if error.error_id != "object.exists":
            raise
        raise LeaseLost("segment.lease_lost", f"{ref.key} was written by somebody else", key=ref.key) from error


def _earlier(ports: Ports, segment: Segment) -> list[FinishedSegment]:
    """The finished segments of the stages before this one; none is asked for in the first stage."""
    if segment.stage == 0:
        return []
    return [
        finished_segment(ports.objects, each)
        for each in every_segment(ports.jobs, segment.job_id)
        if each.stage < segment.stage
    ]


def _look_again(ports: Ports, body: Body) -> None:
    """There was no lease to have: find out why, and make sure that the job goes on.

    Raises: Temporary `segment.busy` when the next try will find the segment free.
    """
    job_id, index = segment_of(body)
    job, segment = ports.jobs.get(job_id), ports.jobs.segment(job_id, index)
    if job is None or segment is None or job.state not in JOB_TRANSITIONS["start"][0]:
        log.info("job %s segment %d: nothing to do any more", job_id, index)
    elif segment.state is SegmentState.DONE:
        if job.stage_remaining == 0 or job.stage > segment.stage:
            carry_on(ports, job_id)
    elif segment.state is SegmentState.LEASED and segment.lease_until > ports.clock.now():
        ports.queue.send(encode_queue_of(job), [body], delay_seconds=segment.lease_until - ports.clock.now())
    elif segment.state is not SegmentState.FAILED and segment.stage == job.stage:
        raise Temporary(
            "segment.busy", f"segment {index} of job {job_id} was just given back", job=job_id, segment=index
        )


class _Measured:
    """The chunks of a fragment on their way to the store; knows their sum, and what `convert` returned.

    Raises: LeaseLost between two chunks when the watch says so.
    """

    def __init__(self, fragment: Fragment, watch: LeaseWatch, segment: Segment) -> None:
        self._fragment = fragment
        self._watch = watch
        self._segment = segment
        self.size_bytes = 0
        self.crc32c = 0
        self.facts: Mapping[str, Any] = {}

    def __iter__(self) -> Iterator[Buffer]:
        while True:
            if self._watch.lost():
                raise LeaseLost(
                    "segment.lease_lost",
                    "the segment is somebody else's now, or its job ended",
                    job=self._segment.job_id,
                    segment=self._segment.index,
                )
            try:
                chunk = next(self._fragment)
            except StopIteration as end:
                self.facts = end.value
                return
            self.size_bytes += memoryview(chunk).nbytes
            self.crc32c = crc32c.crc32c(chunk, self.crc32c)
            yield chunk
