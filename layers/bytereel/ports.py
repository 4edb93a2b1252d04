"""What the steps ask of the world: objects, job state, a queue, a clock.

Each docstring states atomicity, idempotency and which errors mean "again"; `tests/contracts` holds every
adapter to them. A `Temporary` from any method means that the call may have happened or not, and may be made
again.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from bytereel.model import INBOX, Job, JobState, Message, ObjectInfo, ObjectRef, Place, Segment

Buffer = bytes | bytearray | memoryview


class ObjectStore(Protocol):
    """Whole objects in named buckets, readable by range. An object appears complete or not at all."""

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """What is stored under the key now, or None; with `ref.version`, None also when it was replaced."""

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return the bytes read, fewer only at the end of the object.

        Raises: Permanent `object.missing` when there is no such object, `object.changed` when `ref.version`
        is named and is not what the store holds now (checked at every call); Temporary `object.broken_off`.
        """

    def put(self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False) -> ObjectInfo:
        """Store the chunks as one object, durable on return; replaces whole, never mixes.

        Chunks are consumed one by one; nothing is visible before the last is durable, and nothing is left
        behind when the iterator raises. Raises: Permanent `object.exists` with `if_absent` and a present key
        (one winner under a race), `object.bad_key` for a key the store cannot hold, `object.too_large`;
        Temporary `store.full` when space ran out, `object.not_stored` when the store has something else.
        """

    def compose(self, ref: ObjectRef, head: Buffer, parts: Sequence["Part"], tail: Buffer) -> ObjectInfo:
        """Store head, then the parts' objects, then tail as one object, durable on return; replaces whole.

        A store that can copy inside itself moves no part through the caller. Raises: Integrity
        `object.damaged` when a part's size or CRC32C is not the one expected, Permanent `object.missing` when
        a part is absent.
        """

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Up to `limit` objects whose key starts with `prefix`, behind the listed key `after` in the store's order.

        The order is that of the keys where the store has one; it is the same at every call.
        """

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object; no error when it is already gone."""

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """Remove the objects, as `delete` does each; in few requests where the store can. A failure may leave some."""


@dataclass(frozen=True, slots=True)
class Part:
    """An object to take into a composed one, with the size and CRC32C it must have."""

    ref: ObjectRef
    size_bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """What finishing a segment left to do: the stage it was in, and how many of that stage remain."""

    stage: int
    remaining: int


class JobTable(Protocol):
    """Jobs and their segments. Every method is one atomic, durable, conditional write, or one read.

    A write decides on what is stored now, and so do `get`, `unknown`, `segment` and `segments`; `find`, `list`,
    `count` and `stalled` may not know yet what was written a moment ago. Where too many write to one job at once, a
    write raises Temporary `state.busy`.
    """

    def create(self, job: Job) -> bool:
        """Insert the job in state `received`; False, and no change, when the id exists."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def unknown(self, job_ids: Collection[str]) -> Set[str]:
        """Those of the ids that no job has. Costs a few reads for a thousand ids."""

    def find(self, prefix: str, limit: int) -> Sequence[Job]:
        """Up to `limit` jobs whose id starts with `prefix`, in the order of their ids; reads no others.

        `prefix` has at least one character.
        """

    def list(
        self, state: JobState | None = None, *, after: tuple[float, str] | None = None, limit: int = 100
    ) -> Sequence[Job]:
        """Jobs, newest created first, of one state or all; `after` is the (created_at, id) last seen.

        The plan of a job may be left out.
        """

    def count(self) -> Mapping[JobState, int]:
        """How many jobs stand in each state (states with none may be absent)."""

    def plan(self, job_id: str, plan: Mapping[str, Any], segments: Sequence[Segment], now: float) -> Job:
        """Transition `plan`: store plan and segments (all waiting) in one write; `stage` becomes the lowest.

        Segments are numbered from 0, without gaps; those of an earlier plan are replaced. With no segments at all
        the job is planned with nothing remaining. Raises: TransitionRefused; Permanent `plan.too_large` where
        the table cannot hold it.
        """

    def advance(
        self,
        job_id: str,
        transition: str,
        now: float,
        *,
        reason: str | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Job:
        """Apply one row of JOB_TRANSITIONS; None keeps the reason and result, but a retry forgets the reason.

        Raises: TransitionRefused when the job is absent or its state is not one that the row starts from.
        `retry_planned` also sets every failed or leased segment back to waiting, and recomputes
        `stage`, `stage_remaining` and `segments_done` from the segments that are not done.
        """

    def enter_stage(self, job_id: str, stage: int, now: float) -> bool:
        """Move a running job on to `stage` when nothing of its present stage remains.

        Recomputes `stage_remaining`. Idempotent: True when the job is (already) in that stage; False, and no
        change, when its present stage is not over or is a later one, or the job is not running.
        """

    def segment(self, job_id: str, index: int) -> Segment | None:
        """One segment, or None."""

    def segments(self, job_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[Segment]:
        """Up to `limit` segments in index order, of indexes after `after`."""

    def lease_segment(self, job_id: str, index: int, owner: str, now: float, until: float) -> Segment | None:
        """Transition `lease`: attempt + 1, owner, lease end; and `start` of the job, in the same write.

        None, and no change, when the segment is done or failed, its lease is held and `now < lease_until`, it
        is not of the job's present stage, or the job is not planned or encoding.
        """

    def extend_segment(self, segment: Segment, now: float, until: float) -> bool:
        """Move the lease's end, and count the job as updated `now`: a long segment is not a stalled one.

        False, and no change, when `segment.attempt` is no longer the newest, the segment is not leased, or
        its job is not encoding.
        """

    def finish_segment(
        self, segment: Segment, fragment_key: str, fragment_bytes: int, result: Mapping[str, Any], now: float
    ) -> StageProgress:
        """Transition `finish` and "one fewer remaining", one transaction.

        When others finish at the same time, fewer may remain than when this one did: what several are told may be
        the same, but at least one of a stage is told 0.
        Raises: LeaseLost when the attempt is not the newest, the segment is not leased, or the job is not
        encoding. A lease that ran out but that nobody else took still counts.
        """

    def release_segment(self, segment: Segment, *, failed: bool = False) -> None:
        """Transition `release` (or `fail`); no change and no error when the attempt is not the newest.

        `fail` also takes back a done segment whose fragment was lost or damaged: one fewer done, and one more
        remaining when the job is in that segment's stage.
        """

    def stalled(self, before: float, limit: int = 100) -> Sequence[Job]:
        """Running jobs not updated since `before`, oldest first: for the sweep to resume.

        The plan of a job may be left out.
        """

    def delete(self, job_id: str) -> None:
        """Remove an ended job and its segments; no error when absent.

        Raises: TransitionRefused while the job runs.
        """


class Queue(Protocol):
    """Named queues of small JSON messages: at least once, in about the order sent, each held under a lease.

    A lease is lost once the message was given back or to somebody else; one that merely ran out is not, though a
    store may say so when asked to extend it. A store whose leases are no fence may still let somebody acknowledge or
    hold a message that another has by now. So acknowledge what is durable, and have every step take a message twice.
    """

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """Make all the bodies durable: they are on return; a failure may have sent some.

        A store may shorten a delay of more than 15 minutes. Raises: Permanent `message.too_large` for a body of more
        than 240 KiB, where the store has such a limit.
        """

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """The message that has been free about the longest, of the first of `queues` that has one; or None.

        May wait for a moment before it says None. What is no message at all goes to the dead letters.
        """

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """Hold the message for `lease_seconds` from now; False when the lease was lost."""

    def acknowledge(self, message: Message) -> None:
        """Remove the message for good; no error and no effect when the lease was lost."""

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """Give the message back, to be had again after the delay; no effect when the lease was lost."""

    def bury(self, message: Message, reason: str) -> None:
        """Move the message to its queue's dead letters, with the reason; no effect when its lease is lost."""

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """Dead letters with their reasons, oldest first. A store may not show the newest for a minute."""

    def forget_dead(self, before: float) -> int:
        """Remove the dead letters that were buried before the time `before`; return how many."""

    def size(self, queue: str) -> int:
        """How many messages wait or are held; an estimate where the store is spread over machines."""


class OwnerLeases(Protocol):
    """Leases that know their owner: only where a store can be told for certain that a process is dead."""

    def release_owner(self, owner: str) -> int:
        """Set free everything leased by a process known to be dead; return how many leases that were."""


class Inbox(Protocol):
    """Where the commands bring a source in."""

    def upload(self, key: str, chunks: Iterable[Buffer]) -> ObjectInfo:
        """Store the chunks as `key` of the inbox and see to its intake; both are durable on return.

        When this raises, the upload happened as a whole or not at all, or the sweep finds it. Raises: as
        `ObjectStore.put`.
        """


class EventSource(Protocol):
    """A store that tells its events to whoever is connected, and to nobody afterwards."""

    name: str

    def listen(self, connected: Callable[[], None]) -> Iterator[Mapping[str, Any]]:
        """Connect, call `connected`, give every event; raise a BytereelError at the connection's end."""

    def close(self) -> None:
        """End the connection, and let no other begin."""


class Clock(Protocol):
    """Time, passed in so that tests can move it."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports a step is given."""

    objects: ObjectStore
    jobs: JobTable
    queue: Queue
    clock: Clock
    inbox: Place = field(default_factory=lambda: Place(INBOX))
    """Where the store has the inbox: what its events name."""
    object_bytes_max: int | None = field(default=None, kw_only=True)
    """The longest object that the store takes; None where only the disk is the limit."""
    put_bytes_max: int = field(default=0, kw_only=True)
    """The memory that one `put` of the store holds at most, beyond the chunk it was given."""
    read_bytes: int = field(default=0, kw_only=True)
    """How much of a source is asked for at once where the store is far away; 0 where it is near."""
