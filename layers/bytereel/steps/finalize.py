"""The third step: compose the fragments into the output, check it, write its manifest, end the job, clear up.

It may run twice, even at once: the output is replaced whole by the same bytes, and one run ends the job.

Of a source that its output hides, nothing is written down beside the output, and the job table is told to forget what
it knows: size and version, which in a folder and in some stores says as much as a digest.
"""

import hashlib
import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import crc32c
from bytereel_codec.codes.crc import crc32c_combine
from bytereel_codec.version import SOFTWARE

from bytereel.conversions.protocol import Assembly
from bytereel.dispatch import fail_job
from bytereel.errors import Integrity, Permanent, TransitionRefused, reason_of
from bytereel.messages import Body, job_of
from bytereel.model import OUTBOX, WORK, Job, JobState, ObjectInfo, ObjectRef, Segment, SegmentState
from bytereel.ports.objects import Buffer, ObjectStore, Part
from bytereel.ports.ports import Ports
from bytereel.reading import every_object, every_segment, finished_segment, record_in
from bytereel.routing import (
    MANIFEST_SUFFIX,
    Conversions,
    Route,
    job_key,
    manifest_key,
    marked_key,
    output_key,
    route_key,
)

log = logging.getLogger(__name__)

READ_BYTES = 1024 * 1024
READ_BACK_BYTES = 8 * 1024 * 1024
MANIFEST_BYTES_MAX = 64 * 1024 * 1024


def finalize(ports: Ports, conversions: Conversions, body: Body) -> None:
    """Make the output of the job that `body` names, whose segments are all done.

    A fragment that was lost or damaged ends the job as failed and takes its segment back, so that a retry
    encodes it again, and it alone. Raises: Temporary.
    """
    job = _to_finalize(ports, job_of(body))
    if job is None:
        return
    segments = list(every_segment(ports.jobs, job.id))
    undone = [segment.index for segment in segments if segment.state is not SegmentState.DONE]
    if undone:
        fail_job(
            ports,
            job.id,
            f"the fragments of segments {_some(undone)} are lost or damaged "
            "(retry the job: these segments are encoded again)",
        )
        return
    try:
        result = _make_output(ports, conversions, job, segments)
    except (Permanent, Integrity) as error:
        _give_up(ports, job, segments, reason_of(error))
        return
    if _finish(ports, job, result):
        clear_fragments(ports.objects, job.id)


def clear_fragments(objects: ObjectStore, job_id: str) -> None:
    """Delete every fragment of a job."""
    objects.delete_all([info.ref for info in every_object(objects, WORK, f"{job_id}/")])


def _to_finalize(ports: Ports, job_id: str) -> Job | None:
    """The job in state `finalizing`, or None when there is nothing to make (any more)."""
    job = ports.jobs.get(job_id)
    if job is None or job.state in (JobState.FAILED, JobState.CANCELLED, JobState.RECEIVED):
        return None
    if job.state is JobState.DONE:
        clear_fragments(ports.objects, job_id)
        return None
    if job.state is JobState.FINALIZING:
        return job
    if any(segment.state is not SegmentState.DONE for segment in every_segment(ports.jobs, job_id)):
        log.info("job %s is not ready to be finalized", job_id)
        return None
    return ports.jobs.advance(job_id, "complete", ports.clock.now())


def _make_output(ports: Ports, conversions: Conversions, job: Job, segments: Sequence[Segment]) -> Mapping[str, Any]:
    """Store output and manifest; return the job's result. Raises: Permanent, Integrity, Temporary."""
    assert job.plan is not None, "a job that finalizes was planned"
    assembly = conversions[job.conversion].assemble(
        job.plan, [finished_segment(ports.objects, segment) for segment in segments]
    )
    ref = ObjectRef(OUTBOX, _claimed(ports, job, _wanted_key(conversions, job, assembly), assembly.mode))
    made = _compose(ports, ref, assembly, segments)
    manifest = _manifest(ports, job, segments, assembly, made)
    where = ObjectRef(OUTBOX, manifest_key(ref.key))
    text = json.dumps(manifest, indent=2, sort_keys=True).encode("utf-8") + b"\n"
    ports.objects.put(where, [text], mode=assembly.mode)
    return {
        "output": ref.key,
        "manifest": where.key,
        "output_bytes": made.info.size_bytes,
        "output_crc32c": f"{made.crc32c:08x}",
        "output_sha256": made.sha256,
        "expansion": manifest.get("expansion"),
        "facts": dict(assembly.facts),
        "hides_source": assembly.hides_source,
    }


def _wanted_key(conversions: Conversions, job: Job, assembly: Assembly) -> str:
    route = Route(job.conversion, job.profile, route_key(job.source.key, conversions).path)
    if assembly.named_by_job:
        return job_key(route, assembly.output_name, job.id)
    return output_key(route, assembly.output_name)


def _claimed(ports: Ports, job: Job, wanted: str, mode: int | None) -> str:
    """The output's key, claimed by this job's manifest: the one wanted or, where another job has that, a marked one.

    So no output ever replaces another job's, however their sources were called. Raises: Permanent `output.taken`.
    """
    marked = marked_key(wanted, job.id)
    for key in (marked,) if wanted.endswith(MANIFEST_SUFFIX) else (wanted, marked):
        where = ObjectRef(OUTBOX, manifest_key(key))
        try:
            ports.objects.put(where, [json.dumps({"job": job.id}).encode("ascii")], if_absent=True, mode=mode)
        except Permanent as error:
            if error.error_id != "object.exists":
                raise
            if record_in(ports.objects, where, MANIFEST_BYTES_MAX).get("job") != job.id:
                continue
        else:
            if ports.objects.stat(ObjectRef(OUTBOX, key)) is not None:  # somebody's, though nobody claims it
                ports.objects.delete(where)
                continue
        return key
    raise Permanent("output.taken", f"another job has the output {marked!r}", hint="move it away, then retry the job")


@dataclass(frozen=True, slots=True)
class _Output:
    """The output as it was stored, and its checksums; `sha256` (hex) where it was asked for."""

    info: ObjectInfo
    crc32c: int
    sha256: str | None


def _compose(ports: Ports, ref: ObjectRef, assembly: Assembly, segments: Sequence[Segment]) -> _Output:
    parts = [_part(segments[index]) for index in assembly.order]
    expected = len(assembly.head) + sum(part.size_bytes for part in parts) + len(assembly.tail)
    stored = ports.objects.compose(ref, assembly.head, parts, assembly.tail, mode=assembly.mode, sha256=ports.sha256)
    found = ports.objects.stat(ref)
    actual = found.size_bytes if found else -1
    if stored.size_bytes != expected or actual != expected:
        raise Integrity(
            "output.size",
            f"the stored output has {actual} bytes instead of {expected}",
            hint="check the disk, then retry the job",
            key=ref.key,
            expected=expected,
            actual=actual,
        )
    crc = _crc_of(assembly.head, parts, assembly.tail)
    wanted = ports.sha256 and stored.sha256 is None
    return _Output(stored, crc, _read_back(ports.objects, stored, crc) if wanted else stored.sha256)


def _crc_of(head: Buffer, parts: Sequence[Part], tail: Buffer) -> int:
    """The CRC32C of the whole, put together from those of its parts."""
    crc = crc32c.crc32c(head)
    for part in parts:
        crc = crc32c_combine(crc, part.crc32c, part.size_bytes)
    return crc32c.crc32c(tail, crc)


def _read_back(objects: ObjectStore, stored: ObjectInfo, crc: int) -> str:
    """The SHA-256 (hex) of what the store holds, read once. Raises: Integrity `output.damaged`."""
    digest, found = hashlib.sha256(), 0
    buffer = memoryview(bytearray(READ_BACK_BYTES))
    for offset in range(0, stored.size_bytes, READ_BACK_BYTES):
        count = objects.read_into(stored.ref, offset, buffer)
        digest.update(buffer[:count])
        found = crc32c.crc32c(buffer[:count], found)
    if found != crc:
        raise Integrity(
            "output.damaged",
            "the stored output is not what was composed",
            hint="retry the job",
            key=stored.ref.key,
            expected=f"{crc:08x}",
            actual=f"{found:08x}",
        )
    return digest.hexdigest()


def _manifest(ports: Ports, job: Job, segments: Sequence[Segment], assembly: Assembly, made: _Output) -> dict[str, Any]:
    """What was made, and unless the output hides it, of what."""
    now = ports.clock.now()
    hidden = assembly.hides_source
    return {
        "job": job.id,
        "software": SOFTWARE,
        **({} if hidden else _of_source(job, made.info)),
        "conversion": job.conversion,
        "profile": job.profile,
        "output": _of_output(made),
        "facts": dict(assembly.facts),
        "segments": [{**_of_segment(each), **({} if hidden else _range_of(each))} for each in segments],
        "timings": {"received_at": job.created_at, "finalized_at": now, "seconds": round(now - job.created_at, 3)},
    }


def _of_output(made: _Output) -> dict[str, Any]:
    """The output's checksums, and how a person can see that a copy of it is right."""
    key = made.info.ref.key
    values: dict[str, Any] = {"key": key, "bytes": made.info.size_bytes, "crc32c": f"{made.crc32c:08x}"}
    if made.sha256 is None:
        return values
    name = shlex.quote(key.rpartition("/")[2])
    return {**values, "sha256": made.sha256, "check": f"sha256sum {name}"}


def _of_source(job: Job, stored: ObjectInfo) -> dict[str, Any]:
    """The source, and what tells its size."""
    return {
        "source": {"key": job.source.key, "version": job.source.version, "bytes": job.source_bytes},
        "expansion": round(stored.size_bytes / job.source_bytes, 6) if job.source_bytes else None,
    }


def _range_of(segment: Segment) -> dict[str, Any]:
    return {"start": segment.start, "end": segment.end}


def _of_segment(segment: Segment) -> dict[str, Any]:
    return {
        "index": segment.index,
        "stage": segment.stage,
        "attempt": segment.attempt,
        "fragment_bytes": segment.fragment_bytes,
        "crc32c": f"{segment.result['crc32c']:08x}",
    }


def _finish(ports: Ports, job: Job, result: Mapping[str, Any]) -> bool:
    """Transition `finish`; True when the job is done, by whomever."""
    try:
        ports.jobs.advance(job.id, "finish", ports.clock.now(), result=result, forget_source=result["hides_source"])
    except TransitionRefused:
        found = ports.jobs.get(job.id)
        return found is not None and found.state is JobState.DONE
    log.info("job %s done: %d bytes", job.id, result["output_bytes"])
    return True


def _give_up(ports: Ports, job: Job, segments: Sequence[Segment], reason: str) -> None:
    """End the job, unless another run of this step did; mark damaged segments first: no retry may trust them."""
    damaged = [segment for segment in segments if not _is_whole(ports.objects, segment)]
    found = ports.jobs.get(job.id)
    if found is None or found.state is not JobState.FINALIZING:
        return
    for segment in damaged:
        ports.jobs.release_segment(segment, failed=True)
    if damaged:
        reason = f"{reason} (segments {_some([each.index for each in damaged])}: a retry encodes them again)"
    fail_job(ports, job.id, reason)


def _is_whole(objects: ObjectStore, segment: Segment) -> bool:
    """Whether the stored fragment is what was written, read in bounded pieces."""
    part = _part(segment)
    info = objects.stat(part.ref)
    if info is None or info.size_bytes != part.size_bytes:
        return False
    checksum, buffer = 0, memoryview(bytearray(READ_BYTES))
    for offset in range(0, part.size_bytes, READ_BYTES):
        count = objects.read_into(part.ref, offset, buffer)
        checksum = crc32c.crc32c(buffer[:count], checksum)
    return checksum == part.crc32c


def _part(segment: Segment) -> Part:
    return Part(ObjectRef(WORK, segment.fragment_key), segment.fragment_bytes, int(segment.result["crc32c"]))


def _some(indexes: Sequence[int]) -> str:
    shown = ", ".join(map(str, indexes[:5]))
    return f"{shown} and {len(indexes) - 5} more" if len(indexes) > 5 else shown
