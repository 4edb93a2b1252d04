"""The road on S3, DynamoDB and SQS, all three spoken by an emulator beside it: what it costs, moves and writes.

The emulator's own work is not counted: core seconds are those of our processes, bytes and writes those of our clients.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measure import COMMAND, MEBIBYTE, Scratch, median, random_file, run_process
from bench.rows import Row

if TYPE_CHECKING:
    from bytereel.ports.ports import Ports

    from localstack.emulate import Emulation

CORES_RATIO_MAX = 1.5
CORES_BYTES_MIN = 256 * MEBIBYTE
"""Below it, the start of the processes is most of it."""
HEARD_SECONDS_MAX = 1.0
FINALIZER_SEGMENTS_MAX = 2.0
WRITES_MAX = 6.0
LEASE_SECONDS = 60.0
LOOK_SECONDS = 0.005
HEARD_TIMEOUT_SECONDS = 30.0

_BODIES = {"PutObject": "Body", "UploadPart": "Body"}
_WRITES = {"PutItem": 1, "UpdateItem": 1, "DeleteItem": 1}


@contextmanager
def cloud_in(folder: Path, *, functions: bool) -> "Iterator[Emulation]":
    """An emulated cloud, which this process's own clients find too."""
    from localstack.emulate import emulation

    before = dict(os.environ)
    with emulation(folder, functions=functions) as running:
        os.environ.update(running.environment)
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


def measure_cores(scratch: Scratch, size: int, rounds: int) -> Iterator[Row]:
    """Core seconds of `put`, and of the road until all is done: on a home folder and in the cloud, in turns."""
    source = random_file(scratch.fresh("source"), size)
    embedded, cloud = [], []
    with cloud_in(scratch.fresh("cloud"), functions=False) as running:
        for _ in range(rounds):
            home = {**dict.fromkeys(running.environment, ""), "BYTEREEL_HOME": str(scratch.fresh("home"))}
            embedded.append(_core_seconds(source, home))
            cloud.append(_core_seconds(source, running.environment))
    section = f"The road on an emulated cloud, {size // MEBIBYTE} MiB, one worker"
    for index, what in ((1, "the road, from intake to the finished video"), (0, "`put`, which uploads")):
        here, there = ([each[index] for each in measured] for measured in (embedded, cloud))
        yield Row(section, f"core seconds on a home folder: {what}", min(here), "s")
        yield Row(section, f"core seconds in the cloud, the server's not counted: {what}", min(there), "s")
        bound = CORES_RATIO_MAX if index and size >= CORES_BYTES_MIN else None
        note = f"middle of the rounds {median([b / a for a, b in zip(here, there, strict=True)]):.2f}"
        yield Row(section, f"cloud / home folder: {what}", min(there) / min(here), "x", bound, note=note)
    sums = [min(sum(each) for each in measured) for measured in (embedded, cloud)]
    yield Row(section, "cloud / home folder: both together", sums[1] / sums[0], "x", note="the upload is a client's")
    for name in ("source", "home", "cloud"):
        scratch.fresh(name)


def _core_seconds(source: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Of `put`, and of `up` with one worker."""
    quiet = {**environment, "BYTEREEL_LOG_LEVEL": "warning"}
    put = run_process([COMMAND, "put", source, "--json"], quiet)
    up = run_process([COMMAND, "up", "--workers", "1", "--until-idle", "--json"], quiet)
    return put.core_seconds, up.core_seconds


def measure_moved(scratch: Scratch, size: int) -> Iterator[Row]:
    """Bytes through the encoders and the finalizer, and rows written, for one large file."""
    from bytereel.messages import FINALIZE, INTAKE

    source = random_file(scratch.fresh("source"), size)
    with cloud_in(scratch.fresh("cloud"), functions=False) as running:
        run_process([COMMAND, "put", source], running.environment)
        counts = _Counts()
        with counts.counting(running) as (ports, deliver):
            steps = _run_all(ports, deliver, counts)
            job = ports.jobs.list()[0]
            segments = list(ports.jobs.segments(job.id, limit=10_000))
    longest = max(segment.end - segment.start for segment in segments)
    encode = [step for name, step in steps if name not in (INTAKE, FINALIZE)]
    finalize = [step for name, step in steps if name == FINALIZE]
    ranges = sum(segment.end - segment.start for segment in segments)
    section = f"What the road moves for {size // MEBIBYTE} MiB, {len(segments)} segments of {longest / 1e6:.1f} MB"
    through = sum(step["read"] + step["written"] for step in finalize)
    yield Row(
        section, "segments' worth read and written by the finalizer", through / longest, "", FINALIZER_SEGMENTS_MAX
    )
    yield Row(
        section, "bytes the encoders read / their ranges", sum(step["read"] for step in encode) / ranges, "x", 1.0
    )
    writes = sum(step["rows"] for _, step in steps) / len(segments)
    yield Row(section, "rows written to DynamoDB, a segment", writes, "", WRITES_MAX, 1.0)
    yield Row(section, "scans", sum(step["Scan"] for _, step in steps), "", 0)
    scratch.fresh("source")
    scratch.fresh("cloud")


def _run_all(ports: "Ports", deliver: Any, counts: "_Counts") -> Sequence[tuple[str, Counter[str]]]:
    """Run every message's step; which queue each came from, and what it moved."""
    from bytereel.messages import QUEUES

    steps = []
    while message := ports.queue.lease(QUEUES, "bench", LEASE_SECONDS):
        counts.counted.clear()
        deliver(message)
        steps.append((message.queue, Counter(counts.counted)))
    return steps


class _Counts:
    """What our clients read, wrote and asked for, as botocore says it of each request."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def counting(self, running: "Emulation") -> Iterator[tuple["Ports", Any]]:
        """The ports of the running cloud, counted, and what delivers a message to its step."""
        from bytereel.adapters import aws
        from bytereel.conversions.registry import load_conversions
        from bytereel.wiring import open_home
        from bytereel.workers.delivery import Delivery, DeliveryLimits

        made, original = [], aws.make_client

        def counted_client(*arguments: Any, **options: Any) -> Any:
            client = original(*arguments, **options)
            client.meta.events.register("before-call", self._asked)
            client.meta.events.register("after-call", self._answered)
            made.append(client)
            return client

        aws.make_client = counted_client
        try:
            ports = open_home(running.settings).ports
        finally:
            aws.make_client = original
        limits = DeliveryLimits(LEASE_SECONDS, deliveries_max=5, deaths_max=20)
        yield ports, Delivery(ports, load_conversions(running.settings), "bench", limits).deliver

    def _asked(self, model: Any, params: Mapping[str, Any], **_: Any) -> None:
        body = params.get("body") or b""
        with self._lock:
            self.counted[model.name] += 1
            if model.name in _BODIES:
                self.counted["written"] += len(body)
            self.counted["rows"] += _rows_of(model.name, body)

    def _answered(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        if model.name == "GetObject":
            with self._lock:
                self.counted["read"] += int(parsed.get("ContentLength", 0))


def _rows_of(operation: str, body: Any) -> int:
    """How many rows a request to DynamoDB writes."""
    if operation == "TransactWriteItems":
        return len([each for each in json.loads(body)["TransactItems"] if "ConditionCheck" not in each])
    if operation == "BatchWriteItem":
        return sum(len(rows) for rows in json.loads(body)["RequestItems"].values())
    return _WRITES.get(operation, 0)


def measure_heard(scratch: Scratch, rounds: int) -> Iterator[Row]:
    """From the end of an upload by boto3 to the job's row, the functions warm, small files."""
    with cloud_in(scratch.fresh("cloud"), functions=True) as running:
        seconds = [_heard_seconds(running, number) for number in range(rounds + 1)][1:]
    section = "An upload that the bucket tells of, the functions behind the runtime API"
    note = f"middle of {rounds}; the slowest {max(seconds):.2f}"
    yield Row(section, "from upload to the job's row", median(seconds), "s", HEARD_SECONDS_MAX, note=note)
    scratch.fresh("cloud")


def _heard_seconds(running: "Emulation", number: int) -> float:
    from bytereel.adapters.aws import make_client
    from bytereel.model import INBOX, ObjectRef, job_id_of
    from bytereel.wiring import open_home

    ports = open_home(running.settings).ports
    key = f"heard-{number}"
    client = make_client("s3", endpoint_url=running.settings.endpoint_url, region=running.settings.region)
    client.put_object(Bucket=running.settings.locations[INBOX].bucket, Key=key, Body=b"small")
    started_at = time.monotonic()
    info = ports.objects.stat(ObjectRef(INBOX, key))
    assert info is not None, "the store has what it took"
    while ports.jobs.get(job_id_of(info.ref)) is None:
        if time.monotonic() - started_at > HEARD_TIMEOUT_SECONDS:
            raise TimeoutError("the upload was not heard of")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - started_at
