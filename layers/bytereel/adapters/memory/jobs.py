"""Jobs and their segments in memory: one lock, nothing survives the process."""

import json
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from bytereel import changes
from bytereel.model import JOB_RUNNING, SEGMENT_TRANSITIONS, Job, JobState, Segment, SegmentState
from bytereel.ports.jobs import StageProgress


def as_stored(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as a table would give it back: through JSON, sharing nothing with the caller."""
    stored: dict[str, Any] = json.loads(json.dumps(value))
    return stored


class MemoryJobs:
    """Jobs and segments in dicts, every method under one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._segments: dict[str, dict[int, Segment]] = {}

    def create(self, job: Job) -> bool:
        """See `JobTable.create`."""
        assert job.state is JobState.RECEIVED
        with self._lock:
            if job.id in self._jobs:
                return False
            self._jobs[job.id] = job
            self._segments[job.id] = {}
            return True

    def get(self, job_id: str) -> Job | None:
        """See `JobTable.get`."""
        return self._jobs.get(job_id)

    def unknown(self, job_ids: Collection[str]) -> Set[str]:
        """See `JobTable.unknown`."""
        with self._lock:
            return {job_id for job_id in job_ids if job_id not in self._jobs}

    def find(self, prefix: str, limit: int) -> Sequence[Job]:
        """See `JobTable.find`."""
        with self._lock:
            return [self._jobs[job_id] for job_id in sorted(self._jobs) if job_id.startswith(prefix)][:limit]

    def list(
        self, state: JobState | None = None, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """See `JobTable.list`."""
        with self._lock:
            found = [job for job in self._jobs.values() if state is None or job.state is state]
        older = [job for job in found if after is None or (job.created_at, job.id) < after]
        return sorted(older, key=lambda job: (job.created_at, job.id), reverse=True)[:limit]

    def count(self) -> Mapping[JobState, int]:
        """See `JobTable.count`."""
        with self._lock:
            return Counter(job.state for job in self._jobs.values())

    def plan(self, job_id: str, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
        """See `JobTable.plan`."""
        with self._lock:
            job = changes.planned(self._present(job_id, "plan"), as_stored(plan), segments, now)
            self._segments[job_id] = {segment.index: segment for segment in segments}
            self._jobs[job_id] = job
            return job

    def advance(
        self,
        job_id: str,
        transition: str,
        now: float,
        *,
        reason: str | None = None,
        result: Mapping[str, Any] | None = None,
        forget_source: bool = False,
    ) -> Job:
        """See `JobTable.advance`."""
        with self._lock:
            job = changes.advanced(
                self._present(job_id, transition),
                transition,
                now,
                reason,
                None if result is None else as_stored(result),
                forget_source=forget_source,
            )
            if transition == "retry_planned":
                self._retry_segments(job_id)
                undone = self._undone(job_id)
                stage = min((each.stage for each in undone), default=job.stage)
                job = replace(
                    job,
                    stage=stage,
                    stage_remaining=self._remaining(job_id, stage),
                    segments_done=job.segments_total - len(undone),
                )
            self._jobs[job_id] = job
            return job

    def enter_stage(self, job_id: str, stage: int, now: float) -> bool:
        """See `JobTable.enter_stage`."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not changes.may_enter(job, stage):
                return job is not None and job.state in JOB_RUNNING and job.stage == stage
            self._jobs[job_id] = replace(
                job, stage=stage, stage_remaining=self._remaining(job_id, stage), updated_at=now
            )
            return True

    def segment(self, job_id: str, index: int) -> Segment | None:
        """See `JobTable.segment`."""
        with self._lock:
            return self._segments.get(job_id, {}).get(index)

    def segments(self, job_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[Segment]:
        """See `JobTable.segments`."""
        with self._lock:
            rows = self._segments.get(job_id, {})
            return [rows[index] for index in sorted(rows) if index > after][:limit]

    def lease_segment(self, job_id: str, index: int, owner: str, now: float, until: float) -> Segment | None:
        """See `JobTable.lease_segment`."""
        with self._lock:
            job, segment = self._jobs.get(job_id), self.segment(job_id, index)
            rows = changes.leased(job, segment, owner, now, until) if job and segment else None
            return self._store(*rows) if rows else None

    def extend_segment(self, segment: Segment, now: float, until: float) -> bool:
        """See `JobTable.extend_segment`."""
        with self._lock:
            stored = self.segment(segment.job_id, segment.index)
            rows = changes.extended(self._jobs.get(segment.job_id), stored, segment, now, until)
            return rows is not None and bool(self._store(*rows))

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        """See `JobTable.finish_segment`."""
        with self._lock:
            stored = self.segment(segment.job_id, segment.index)
            job, done = changes.finished(self._jobs.get(segment.job_id), stored, segment, now)
            self._store(
                job, replace(done, fragment_key=fragment_key, fragment_bytes=fragment_bytes, result=as_stored(result))
            )
            return StageProgress(job.stage, job.stage_remaining)

    def release_segment(self, segment: Segment, *, failed: bool = False) -> None:
        """See `JobTable.release_segment`."""
        with self._lock:
            stored = self.segment(segment.job_id, segment.index)
            if stored is not None:
                rows = changes.given_up(self._jobs[segment.job_id], stored, segment, "fail" if failed else "release")
                if rows is not None:
                    self._store(*rows)

    def release_owner(self, owner: str) -> int:
        """See `OwnerLeases.release_owner`: segments."""
        with self._lock:
            held = [
                segment
                for rows in self._segments.values()
                for segment in rows.values()
                if segment.state is SegmentState.LEASED and segment.owner == owner
            ]
            for segment in held:
                self._segments[segment.job_id][segment.index] = changes.given_back(segment, "release")
            return len(held)

    def stalled(self, before: float, limit: int = 100) -> Sequence[Job]:
        """See `JobTable.stalled`."""
        with self._lock:
            running = [job for job in self._jobs.values() if job.state in JOB_RUNNING]
        silent = [job for job in running if job.updated_at < before]
        return sorted(silent, key=lambda job: (job.updated_at, job.id))[:limit]

    def delete(self, job_id: str) -> None:
        """See `JobTable.delete`."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and job.state in JOB_RUNNING:
                raise changes.refused(job_id, "delete", job.state)
            self._jobs.pop(job_id, None)
            self._segments.pop(job_id, None)

    def _present(self, job_id: str, transition: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise changes.refused(job_id, transition, None)
        return job

    def _store(self, job: Job, segment: Segment) -> Segment:
        self._jobs[job.id] = job
        self._segments[job.id][segment.index] = segment
        return segment

    def _retry_segments(self, job_id: str) -> None:
        for segment in self.segments(job_id, limit=len(self._segments[job_id])):
            if segment.state in SEGMENT_TRANSITIONS["retry"][0]:
                self._segments[job_id][segment.index] = changes.given_back(segment, "retry")

    def _undone(self, job_id: str) -> Sequence[Segment]:
        return [each for each in self._segments[job_id].values() if each.state is not SegmentState.DONE]

    def _remaining(self, job_id: str, stage: int) -> int:
        return sum(segment.stage == stage for segment in self._undone(job_id))
