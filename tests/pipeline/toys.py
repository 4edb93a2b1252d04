"""Conversions small enough to see through, and a road in memory to send sources down."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bytereel.adapters.clock import ManualClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.conversions.protocol import Assembly, FinishedSegment, Fragment, Plan, PlannedSegment
from bytereel.messages import INTAKE, QUEUES, event_of
from bytereel.model import INBOX, OUTBOX, Job, ObjectRef, job_id_of
from bytereel.ports.ports import Ports
from bytereel.workers.delivery import Delivery, DeliveryLimits
from bytereel_codec.errors import Integrity, Permanent, Temporary
from bytereel_codec.files.ranged import RangedReader, read_range

SEGMENT_BYTES = 4
LIMITS = DeliveryLimits(lease_seconds=60.0, deliveries_max=5, deaths_max=20)


class Loud:
    """Uppercases the source, four bytes a segment, between a head and a tail. The source says what breaks."""

    name = "archive"
    reads_ranges = True
    profiles: Sequence[str] = ("plain", "fancy")

    def __init__(self) -> None:
        self.finished: Counter[tuple[str, int]] = Counter()
        self.cost_bytes = 1024
        self.on_convert: Callable[[int], None] = lambda index: None
        self.hides_source = self.named_by_job = False
        self.mode: int | None = None

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        if bytes(read_range(source, 0, 7)) == b"REFUSED":
            raise Permanent("toy.refused", "this source cannot be taken", hint="try another")
        ranges = range(0, source.size_bytes, SEGMENT_BYTES)
        segments = [PlannedSegment(start, min(start + SEGMENT_BYTES, source.size_bytes)) for start in ranges]
        return Plan({"name": name, "profile": profile}, segments)

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        return self.cost_bytes

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        content = bytes(read_range(source, segment.start, segment.end - segment.start))
        self.on_convert(index)
        if b"!" in content:
            raise Integrity("toy.damaged", "there is an exclamation mark", hint="calm down")
        yield content[:1].upper()
        yield content[1:].upper()
        self.finished[str(plan["name"]), index] += 1
        return {"length": len(content)}

    def assemble(self, plan: Mapping[str, Any], finished: Sequence[FinishedSegment]) -> Assembly:
        facts = {"lengths": sum(each.result["length"] for each in finished)}
        order, name = [each.index for each in finished], f"{plan['name']}.mp4"
        return Assembly(b"<", order, b">", name, facts, self.hides_source, self.named_by_job, self.mode)


class Summed(Loud):
    """As `Loud`, with a second stage of one segment: a byte for every fragment, its length."""

    name = "summed"

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        plan = super().plan(source, name, profile)
        return Plan(plan.parameters, [*plan.segments, PlannedSegment(0, source.size_bytes, stage=1)])

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        if segment.stage == 0:
            return (yield from super().convert(plan, segment, index, source, earlier))
        for each in earlier:
            yield str(len(read_range(each.reader, 0, each.fragment_bytes))).encode()
        self.finished[str(plan["name"]), index] += 1
        return {"length": 0}


def loud(content: bytes) -> bytes:
    """What `Loud` makes of a source."""
    return b"<" + content.upper() + b">"


def summed(content: bytes) -> bytes:
    """What `Summed` makes of a source."""
    lengths = [len(content[start : start + SEGMENT_BYTES]) for start in range(0, len(content), SEGMENT_BYTES)]
    return b"<" + content.upper() + "".join(map(str, lengths)).encode() + b">"


@dataclass
class Road:
    """The ports in memory, the toys, and one way of handing messages to the steps."""

    clock: ManualClock = field(default_factory=ManualClock)
    loud: Loud = field(default_factory=Loud)
    summed: Summed = field(default_factory=Summed)

    def __post_init__(self) -> None:
        self.ports = Ports(MemoryObjects(self.clock), MemoryJobs(), MemoryQueue(self.clock), self.clock)
        self.conversions = {self.loud.name: self.loud, self.summed.name: self.summed}

    def put(self, key: str, content: bytes) -> str:
        """Store a source and send its event; the id of its job to be."""
        ref = self.ports.objects.put(ObjectRef(INBOX, key), [content]).ref
        self.ports.queue.send(INTAKE, [event_of(ref)])
        return job_id_of(ref)

    def deliver_one(self, ports: Ports | None = None, owner: str = "worker", limits: DeliveryLimits = LIMITS) -> bool:
        """Hand one message to its step; False when there was none."""
        ports = ports or self.ports
        message = ports.queue.lease(QUEUES, owner, limits.lease_seconds)
        if message is None:
            return False
        Delivery(ports, self.conversions, owner, limits).deliver(message)
        return True

    def run(self, rounds_max: int = 2000) -> None:
        """Hand out messages until none is left, waiting where the next one is delayed."""
        for _ in range(rounds_max):
            if not self.deliver_one():
                if not any(self.ports.queue.size(queue) for queue in QUEUES):
                    return
                self.clock.advance(1.0)
        raise AssertionError("the road does not come to rest")

    def job(self, job_id: str) -> Job:
        found = self.ports.jobs.get(job_id)
        assert found is not None
        return found

    def output(self, job_id: str) -> bytes:
        """The output that the job's result names."""
        ref = ObjectRef(OUTBOX, str(self.job(job_id).result["output"]))
        info = self.ports.objects.stat(ref)
        assert info is not None
        content = bytearray(info.size_bytes)
        self.ports.objects.read_into(ref, 0, memoryview(content))
        return bytes(content)

    def keys(self, bucket: str) -> list[str]:
        return [info.ref.key for info in self.ports.objects.list(bucket)]


class CrashError(BaseException):
    """The process is gone: no handler may swallow this, and no port answers after it."""


class Failing:
    """Wraps all ports: counts calls that change something, and fails one, before or after it took effect."""

    CHANGES = frozenset(
        {
            "put",
            "compose",
            "delete",
            "delete_all",
            "create",
            "plan",
            "advance",
            "enter_stage",
            "lease_segment",
            "finish_segment",
            "release_segment",
            "send",
            "acknowledge",
            "release",
            "bury",
        }
    )

    def __init__(
        self,
        ports: Ports,
        fail_at: int,
        *,
        after: bool,
        error: Callable[[], BaseException] = CrashError,
        for_good: bool = True,
    ) -> None:
        self.calls = 0
        self._fail_at, self._after, self._error, self._for_good = fail_at, after, error, for_good
        self._dead = False
        wrapped = (self._wrapped(port) for port in (ports.objects, ports.jobs, ports.queue))
        self.ports = Ports(*wrapped, ports.clock)

    def _wrapped(self, port: Any) -> Any:
        failing = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                call = getattr(port, name)
                return failing.guarded(call) if name in failing.CHANGES else call

        return Wrapped()

    def guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            if self._dead:
                raise self._error()
            self.calls += 1
            if self.calls != self._fail_at:
                return call(*arguments, **named)
            self._dead = self._for_good
            if self._after:
                call(*arguments, **named)
            raise self._error()

        return guarded


def passing_failure() -> Temporary:
    return Temporary("toy.passing", "it may work the next time")


CONTENTS = [
    ("archive/empty", b""),
    ("archive/fancy/one", b"abc"),
    ("folder/many", b"the quick brown fox"),
    ("summed/plain/two", b"two stages of it"),
]
"""Keys and contents that between them take every path: no segment, one, several, two stages."""


def expected(key: str, content: bytes) -> bytes:
    """What the conversion that the key asks for makes of the content."""
    return summed(content) if key.startswith("summed/") else loud(content)
