"""Jobs, plans and segments as items of the DynamoDB table, and back. Pure: no client, no clock.

Text that may hold lone surrogates is ASCII JSON; times are numbers with every digit of the float. A plan is one
item with every planned segment in it. A segment has a row of its own from its first lease on; until then it waits,
as its plan says.
"""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bytereel import changes
from bytereel.adapters.dynamodb.table import PARTITION, SORT, TTL_ATTRIBUTE
from bytereel.errors import Integrity, Permanent
from bytereel.model import JOB_RUNNING, SEGMENT_TRANSITIONS, Job, JobState, ObjectRef, Segment, SegmentState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

Value = str | int | float | bytes
Item = Mapping[str, "AttributeValueTypeDef"]
Key = dict[str, "AttributeValueTypeDef"]

PLAN_BYTES_MAX = 390 * 1024
PLAN_JSON_BYTES_MAX = 64 * 1024 * 1024
RUNNING = "running"
NO_PLAN = ""
SIGN = 1 << 63
MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class JobRow:
    """The row of a job: the job without its plan, and what the conditions of a write name.

    `generation` is the token of its plan, `era` counts its retries, `revision` its changes.
    """

    job: Job
    generation: str
    era: int
    revision: int


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan as stored, never changed: its own JSON, and (start, end, stage) of every segment."""

    generation: str
    parameters_json: str = "null"
    ranges: Sequence[tuple[int, int, int]] = ()

    @property
    def parameters(self) -> Mapping[str, Any] | None:
        """The plan, shared with nobody; None where there is none."""
        parameters: Mapping[str, Any] | None = json.loads(self.parameters_json)
        return parameters


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as its job stands now, and of its row the revision and when it expires; 0 where it has none."""

    segment: Segment
    revision: int = 0
    expires_at: int = 0


def wired(value: Value) -> "AttributeValueTypeDef":
    """The value as the API has it; a float keeps every digit, written as DynamoDB itself writes numbers."""
    if isinstance(value, str):
        return {"S": value}
    return {"B": value} if isinstance(value, bytes) else {"N": format(Decimal(repr(value + 0)).normalize(), "f")}


def item_of(attributes: Mapping[str, Value]) -> Key:
    """The attributes as an item or a key."""
    return {name: wired(value) for name, value in attributes.items()}


def partition_of(job_id: str) -> str:
    """The partition key of all rows of the job."""
    return f"job#{job_id}"


def job_key(job_id: str) -> Key:
    """Where the job stands."""
    return item_of({PARTITION: partition_of(job_id), SORT: "job"})


def plan_key(job_id: str) -> Key:
    """Where its plan stands."""
    return item_of({PARTITION: partition_of(job_id), SORT: "plan"})


def segment_key(job_id: str, generation: str, index: int) -> Key:
    """Where a segment of the plan of that generation stands."""
    return item_of({PARTITION: partition_of(job_id), SORT: segment_sort(generation, index)})


def segment_sort(generation: str, index: int) -> str:
    """The sort key of a segment's row: of one plan, in the order of the index."""
    return f"segment#{generation}#{index:06d}"


def job_id_in(item: Item) -> str:
    """The id of the job that the row belongs to."""
    return item[PARTITION]["S"].partition("#")[2]


def index_in(item: Item) -> int:
    """The index of the segment that the row belongs to."""
    return int(item[SORT]["S"].rpartition("#")[2])


def generation_in(item: Item) -> str:
    """The generation of the plan that the item is."""
    return item["generation"]["S"]


def created_order(created_at: float, job_id: str) -> str:
    """A string that sorts as (created_at, id) does: the bits of a float, turned so that they sort as it does."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", created_at + 0.0))
    ordered = bits | SIGN if not bits & SIGN else bits ^ (2 * SIGN - 1)
    return f"{ordered:016x}#{job_id}"


def minute_of(now: float) -> int:
    """The minute that a time lies in: index keys made of it change once a minute at most."""
    return int(now // MINUTE_SECONDS)


def attributes_of_time(now: float) -> dict[str, Value]:
    """What every change that counts as an update of the job sets."""
    return {"updated_at": now, "updated_minute": minute_of(now)}


def attributes_of_state(state: JobState, now: float) -> dict[str, Value]:
    """What every change of a job's state sets; a job that runs is also named among those that do."""
    attributes = attributes_of_time(now) | {"state": state.value}
    return attributes | {RUNNING: RUNNING} if state in JOB_RUNNING else attributes


def attributes_of_new(job: Job) -> dict[str, Value]:
    """The attributes of a new job's row, its key apart."""
    return {
        "id": job.id,
        "initial": job.id[:1],
        **attributes_of_source(job),
        "conversion": job.conversion,
        "profile": job.profile,
        "created_at": job.created_at,
        "created_order": created_order(job.created_at, job.id),
        "generation": NO_PLAN,
        "era": 0,
        "revision": 0,
        **attributes_of_state(job.state, job.updated_at),
        **attributes_of_counts(job),
        "reason": json.dumps(job.reason),
        "result": json.dumps(job.result),
    }


def attributes_of_source(job: Job) -> dict[str, Value]:
    """What the row says of the source."""
    source = [job.source.bucket, job.source.key, job.source.version]
    return {"source": json.dumps(source), "source_bytes": job.source_bytes}


def attributes_of_counts(job: Job) -> dict[str, Value]:
    """The counters of the job and the stage they are of."""
    return {
        "segments_total": job.segments_total,
        "segments_done": job.segments_done,
        "stage": job.stage,
        "stage_remaining": job.stage_remaining,
    }


def job_row_of(item: Item) -> JobRow:
    """The row of a job, from its item."""
    job = Job(
        job_id_in(item),
        ObjectRef(*json.loads(item["source"]["S"])),
        int(item["source_bytes"]["N"]),
        item["conversion"]["S"],
        item["profile"]["S"],
        JobState(item["state"]["S"]),
        float(item["created_at"]["N"]),
        float(item["updated_at"]["N"]),
        None,
        int(item["segments_total"]["N"]),
        int(item["segments_done"]["N"]),
        int(item["stage"]["N"]),
        int(item["stage_remaining"]["N"]),
        json.loads(item["reason"]["S"]),
        json.loads(item["result"]["S"]),
    )
    return JobRow(job, item["generation"]["S"], int(item["era"]["N"]), int(item["revision"]["N"]))


def plan_item(job_id: str, generation: str, plan: Mapping[str, Any], segments: Sequence[Segment]) -> Key:
    """The item of a plan. Raises: Permanent `plan.too_large` when it would not fit in one."""
    assert [segment.index for segment in segments] == list(range(len(segments))), "a plan numbers its segments from 0"
    ranges = [(segment.start, segment.end, segment.stage) for segment in segments]
    text = json.dumps([json.dumps(plan), ranges], separators=(",", ":")).encode("ascii")
    body = zlib.compress(text)
    if len(body) > PLAN_BYTES_MAX or len(text) > PLAN_JSON_BYTES_MAX:
        raise Permanent(
            "plan.too_large",
            f"the plan of job {job_id} has {len(body)} bytes, {PLAN_BYTES_MAX} are possible",
            hint="choose larger segments",
            job=job_id,
            segments=len(segments),
            plan_bytes=len(body),
            plan_json_bytes=len(text),
            plan_bytes_max=PLAN_BYTES_MAX,
        )
    return plan_key(job_id) | item_of({"generation": generation, "body": body})


def plan_row_of(item: Item) -> PlanRow:
    """The plan, from its item. Raises: Integrity `plan.damaged`."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(bytes(item["body"]["B"]), PLAN_JSON_BYTES_MAX)
        parameters, ranges = json.loads(text)
        return PlanRow(item["generation"]["S"], parameters, tuple((start, end, stage) for start, end, stage in ranges))
    except (zlib.error, ValueError, TypeError) as error:
        raise Integrity(
            "plan.damaged", f"the plan of job {job_id_in(item)} cannot be read", job=job_id_in(item)
        ) from error


def segment_item(segment: Segment, row: JobRow, revision: int, expires_at: int) -> Key:
    """The item of a segment's row, as written in the job's present plan and era."""
    return segment_key(row.job.id, row.generation, segment.index) | item_of(
        {
            "state": segment.state.value,
            "attempt": segment.attempt,
            "owner": segment.owner,
            "lease_until": segment.lease_until,
            "fragment_key": segment.fragment_key,
            "fragment_bytes": segment.fragment_bytes,
            "result": json.dumps(segment.result),
            "era": row.era,
            "revision": revision,
            TTL_ATTRIBUTE: expires_at,
        }
    )


def segment_row_of(item: Item | None, row: JobRow, plan: PlanRow, index: int) -> SegmentRow:
    """A planned segment, from its item if it has one.

    What was leased or failed before the job's last retry waits again: the retry itself wrote no row.
    """
    start, end, stage = plan.ranges[index]
    segment = Segment(row.job.id, index, stage, start, end)
    if item is None:
        return SegmentRow(segment)
    segment = replace(
        segment,
        state=SegmentState(item["state"]["S"]),
        attempt=int(item["attempt"]["N"]),
        owner=item["owner"]["S"],
        lease_until=float(item["lease_until"]["N"]),
        fragment_key=item["fragment_key"]["S"],
        fragment_bytes=int(item["fragment_bytes"]["N"]),
        result=json.loads(item["result"]["S"]),
    )
    if int(item["era"]["N"]) < row.era and segment.state in SEGMENT_TRANSITIONS["retry"][0]:
        segment = changes.given_back(segment, "retry")
    return SegmentRow(segment, int(item["revision"]["N"]), int(item[TTL_ATTRIBUTE]["N"]))
