"""Ports that count what the steps achieve, as metrics: a thin wrapper, so that no step knows of metrics.

A call is counted once it took effect, and by whoever made it do so: an event heard twice is one job received.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from aws_lambda_powertools.metrics import MetricUnit
from bytereel.model import Job, Message, Segment
from bytereel.ports.jobs import JobTable, StageProgress
from bytereel.ports.ports import Ports
from bytereel.ports.queues import Queue

from bytereel_functions.telemetry import count

_ENDS = {"finish": "JobsDone", "fail": "JobsFailed"}


def counted(ports: Ports, *, sizes: bool = True) -> Ports:
    """The same ports, which count jobs, segments, and messages that did not go well.

    `sizes`: also how long sources are, which a metric of one job tells as exactly as a log line.
    """
    jobs, queue = _CountedJobs(ports.jobs, sizes=sizes), _CountedQueue(ports.queue)
    return replace(ports, jobs=cast("JobTable", jobs), queue=cast("Queue", queue))


class _CountedJobs:
    def __init__(self, jobs: JobTable, *, sizes: bool) -> None:
        self._jobs = jobs
        self._sizes = sizes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def create(self, job: Job) -> bool:
        created = self._jobs.create(job)
        if created:
            count("JobsReceived")
        if created and self._sizes:
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
