"""The words of the road as types, and the law of their states as two tables. Pure: no I/O, no clock.

A change of state is one row of `JOB_TRANSITIONS` or `SEGMENT_TRANSITIONS` and one conditional write of an adapter;
nothing else changes a state. Times are seconds since the epoch, given by a `Clock`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

INBOX = "inbox"
WORK = "work"
OUTBOX = "outbox"
BUCKETS = (INBOX, WORK, OUTBOX)


class JobState(StrEnum):
    """Where a job stands; `done`, `failed` and `cancelled` are ends, of which the last two can be retried."""

    RECEIVED = "received"
    PLANNED = "planned"
    ENCODING = "encoding"
    FINALIZING = "finalizing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SegmentState(StrEnum):
    """Where a segment stands."""

    WAITING = "waiting"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


JOB_RUNNING = frozenset({JobState.RECEIVED, JobState.PLANNED, JobState.ENCODING, JobState.FINALIZING})
JOB_ENDED = frozenset(JobState) - JOB_RUNNING

# name of the transition -> (states it starts from, state it ends in)
JOB_TRANSITIONS: Mapping[str, tuple[frozenset[JobState], JobState]] = {
    "plan": (frozenset({JobState.RECEIVED}), JobState.PLANNED),
    "start": (frozenset({JobState.PLANNED, JobState.ENCODING}), JobState.ENCODING),
    "complete": (frozenset({JobState.PLANNED, JobState.ENCODING}), JobState.FINALIZING),
    "finish": (frozenset({JobState.FINALIZING}), JobState.DONE),
    "fail": (JOB_RUNNING, JobState.FAILED),
    "cancel": (JOB_RUNNING, JobState.CANCELLED),
    "retry_unplanned": (frozenset({JobState.FAILED, JobState.CANCELLED}), JobState.RECEIVED),
    "retry_planned": (frozenset({JobState.FAILED, JobState.CANCELLED}), JobState.PLANNED),
}

SEGMENT_TRANSITIONS: Mapping[str, tuple[frozenset[SegmentState], SegmentState]] = {
    "lease": (frozenset({SegmentState.WAITING, SegmentState.LEASED}), SegmentState.LEASED),
    "release": (frozenset({SegmentState.LEASED}), SegmentState.WAITING),
    "finish": (frozenset({SegmentState.LEASED}), SegmentState.DONE),
    "fail": (frozenset({SegmentState.LEASED, SegmentState.DONE}), SegmentState.FAILED),
    "retry": (frozenset({SegmentState.FAILED, SegmentState.LEASED}), SegmentState.WAITING),
}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a bucket of the road lies: a bucket of the store, and what every key in it starts with there."""

    bucket: str
    prefix: str = ""

    def overlaps(self, other: "Location") -> bool:
        """Whether one object could lie in both."""
        return self.bucket == other.bucket and (
            self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        )


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object in one bucket; `version` names the exact bytes, empty where any will do."""

    bucket: str
    key: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows of an object. `version` changes whenever the bytes may have changed.

    `mode`: its 9 permission bits; None where the store keeps none. `sha256` (hex): of the bytes as they were written,
    where that was asked for (see `ObjectStore.compose`).
    """

    ref: ObjectRef
    size_bytes: int
    modified_at: float
    mode: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion of one source. `plan` is the conversion's own JSON-able value, `result` what it handed back."""

    id: str
    source: ObjectRef
    source_bytes: int
    conversion: str
    profile: str
    state: JobState
    created_at: float
    updated_at: float
    plan: Mapping[str, Any] | None = None
    segments_total: int = 0
    segments_done: int = 0
    stage: int = 0
    stage_remaining: int = 0
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of the source that one worker encodes alone.

    `start`/`end` are byte offsets of the source (half open). Segments of stage n+1 may read the fragments of stage n.
    `attempt` counts leases; only the newest attempt can finish. `result` is what the conversion said of the fragment.
    """

    job_id: str
    index: int
    stage: int
    start: int
    end: int
    state: SegmentState = SegmentState.WAITING
    attempt: int = 0
    owner: str = ""
    lease_until: float = 0.0
    fragment_key: str = ""
    fragment_bytes: int = 0
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A message held under a lease. `deliveries` counts from 1; `receipt` proves this very lease."""

    id: str
    queue: str
    body: Mapping[str, Any]
    deliveries: int
    receipt: str


def job_id_of(source: ObjectRef) -> str:
    """The job id that an event's identity (bucket, key, version) always gives: 26 lower-case hex digits."""
    identity = "\x00".join((source.bucket, source.key, source.version))
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:26]


def fragment_key_of(job_id: str, index: int, attempt: int) -> str:
    """Where an attempt writes its fragment in the work bucket; no two attempts share a key."""
    return f"{job_id}/{index:06d}.{attempt}"
