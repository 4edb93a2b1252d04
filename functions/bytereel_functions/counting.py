"""Ports that count what the steps achieve, as metrics: a thin wrapper, so that no step knows of metrics.

A call is counted once it took effect, and by whoever made it do so: an event heard twice is one job received.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from aws_lambda_powertools.metrics import MetricUnit
from bytereel.model import Job, Message, Segment
from bytereel.ports import JobTable, Ports, Queue, StageProgress

from bytereel_functions.telemetry import count

_ENDS = {"finish": "JobsDone", "fail": "JobsFailed"}


def counted(ports: Ports) -> Ports:
    """The same ports, which count jobs, segments, and messages that did not go well."""
    jobs, queue = _CountedJobs(ports.jobs), _CountedQueue(ports.queue)
    return replace(ports, jobs=cast("JobTable", jobs), queue=cast("Queue", queue))


class _CountedJobs:
    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def create(self, job: Job) -> bool:
        created = self._jobs.create(job)
        if created:
            count("JobsReceived")
            count("SourceBytes", job.source_bytes, MetricUnit.Bytes)
        return created

    def advance(self, job_id: str, transition: str, now: float, **said: Any) -> Job:
        job = self._jobs.advance(job_id, transition, now, **said)
        if transition in _ENDS:
            count(_ENDS[transition])
        return job

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        progress = self._jobs.finish_segment(segment, fragment_key, fragment_bytes, result, now)
        count("SegmentsDone")
        count("FragmentBytes", fragment_bytes, MetricUnit.Bytes)
        return progress


class _CountedQueue:
    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        self._queue.release(message, delay_seconds=delay_seconds)
        count("MessagesPutOff")

    def bury(self, message: Message, reason: str) -> None:
        self._queue.bury(message, reason)
        count("MessagesGivenUp")
