"""What a user does with jobs: find, look, cancel, retry. Each is one function on the ports."""

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bytereel.dispatch import carry_on
from bytereel.errors import Integrity, Permanent, Temporary, TransitionRefused
from bytereel.events import jobs_in
from bytereel.failures import clear_failure
from bytereel.model import (
    JOB_ENDED,
    JOB_RUNNING,
    WORK,
    Job,
    JobState,
    Message,
    ObjectInfo,
    ObjectRef,
    SegmentState,
    job_id_of,
)
from bytereel.ports.jobs import JobTable
from bytereel.ports.ports import Ports
from bytereel.reading import every_segment

log = logging.getLogger(__name__)

POLL_SECONDS_MIN = 0.005
POLL_SECONDS_MAX = 0.1
UNKNOWN_CONVERSION = "conversion.unknown"
UNKNOWN_PROFILE = "profile.unknown"
ID_START = re.compile("[0-9a-f]{1,26}")


def receive(ports: Ports, source: ObjectInfo, conversion: str, profile: str) -> str:
    """Make the job of a source that was just uploaded, so that it can be seen before a worker takes it in; its id.

    Intake makes it too, where this did not happen or comes later: an id is taken once.
    """
    job_id, now = job_id_of(source.ref), ports.clock.now()
    ports.jobs.create(Job(job_id, source.ref, source.size_bytes, conversion, profile, JobState.RECEIVED, now, now))
    return job_id


def new_key(conversion: str, profile: str, name: str, known: Mapping[str, Sequence[str]]) -> str:
    """A key that no other upload has: `<conversion>/<profile>/<time and chance>/<name>`.

    `known` are the profiles of each conversion, the first one taken where `profile` is empty. Raises: Permanent
    `conversion.unknown`, `profile.unknown`.
    """
    if conversion not in known:
        raise Permanent(UNKNOWN_CONVERSION, f"there is no conversion {conversion!r}: {', '.join(known)}")
    profiles = known[conversion]
    profile = profile or profiles[0]
    if profile not in profiles:
        raise Permanent(UNKNOWN_PROFILE, f"{conversion} has no profile {profile!r}: {', '.join(profiles)}")
    unique = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + os.urandom(5).hex()
    return f"{conversion}/{profile}/{unique}/{name}"


def await_job(ports: Ports, job_id: str, timeout_seconds: float, look: Callable[[Job | None, float], None]) -> Job:
    """The job once it has ended, looked at some ten times a second.

    `look` is told at each time where it stands, None where no such job is seen yet, and the seconds waited. Raises:
    Temporary `wait.timeout`.
    """
    started_at = time.monotonic()
    pause_seconds = POLL_SECONDS_MIN
    while True:
        job = ports.jobs.get(job_id)
        if job is not None and job.state in JOB_ENDED:
            return job
        waited_seconds = time.monotonic() - started_at
        look(job, waited_seconds)
        if waited_seconds >= timeout_seconds:
            raise Temporary(
                "wait.timeout",
                f"job {job_id} has not ended after {timeout_seconds:g} s",
                hint=f"a running `bytereel up` goes on with it: `bytereel status {job_id} --watch`",
                job=job_id,
            )
        time.sleep(pause_seconds)
        pause_seconds = min(POLL_SECONDS_MAX, pause_seconds * 1.2)


def find_job(jobs: JobTable, prefix: str) -> Job:
    """The one job whose id starts with `prefix`.

    Raises: Permanent `job.unknown` when there is none, `job.ambiguous` when there are several.
    """
    found = jobs.find(prefix, limit=2) if ID_START.fullmatch(prefix) else []
    if not found:
        raise Permanent(
            "job.unknown",
            f"no job has an id that starts with {prefix!r}",
            hint="`bytereel jobs` lists them",
            job=prefix,
        )
    if len(found) > 1:
        raise Permanent(
            "job.ambiguous",
            f"several jobs have an id that starts with {prefix!r}",
            hint="give more digits",
            job=prefix,
        )
    return found[0]


def cancel(ports: Ports, job_id: str) -> Job:
    """End a running job; its workers stop at their next chunk, and the sweep clears its fragments.

    A job that is cancelled already stays so. Raises: Permanent `job.unknown`, `job.ended`.
    """
    job = find_job(ports.jobs, job_id)
    if job.state is JobState.CANCELLED:
        return job
    try:
        cancelled = ports.jobs.advance(job.id, "cancel", ports.clock.now(), reason="cancelled")
    except TransitionRefused as error:
        raise Permanent(
            "job.ended",
            f"job {job.id} has ended already and cannot be cancelled",
            hint=f"`bytereel status {job.id}` says how",
            job=job.id,
        ) from error
    log.info("job %s cancelled", job.id)
    return cancelled


def retry(ports: Ports, job_id: str) -> Job:
    """Let a failed or cancelled job go on where it stopped: segments whose fragments are there stay done.

    Raises: Permanent `job.unknown`, `job.not_failed`; Temporary.
    """
    job = find_job(ports.jobs, job_id)
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Permanent(
            "job.not_failed",
            f"job {job.id} is {job.state}: only a failed or cancelled job is retried",
            job=job.id,
            state=job.state,
        )
    if job.plan is None:
        retried = ports.jobs.advance(job.id, "retry_unplanned", ports.clock.now(), reason="")
    else:
        _take_back_lost(ports, job)
        retried = ports.jobs.advance(job.id, "retry_planned", ports.clock.now(), reason="")
    clear_failure(ports, retried)
    log.info("job %s retried: %d of %d segments are done", job.id, retried.segments_done, retried.segments_total)
    carry_on(ports, job.id)
    return retried


def view(job: Job, now: float) -> dict[str, Any]:
    """A job as JSON-able values for a user: where it stands, how fast it goes, why it failed, its output.

    `source_bytes` and what follows from it are None where the table was told to forget them.
    """
    progress = _progress(job)
    size = None if job.result.get("hides_source") else job.source_bytes
    seconds = max(0.0, (now if job.state in JOB_RUNNING else job.updated_at) - job.created_at)
    return {
        "id": job.id,
        "state": job.state.value,
        "source": job.source.key,
        "source_bytes": size,
        "conversion": job.conversion,
        "profile": job.profile,
        "created_at": job.created_at,
        "created": _iso(job.created_at),
        "updated_at": job.updated_at,
        "updated": _iso(job.updated_at),
        "segments_done": job.segments_done,
        "segments_total": job.segments_total,
        "progress": progress,
        "seconds": round(seconds, 3),
        "bytes_per_second": round(size * progress / seconds) if seconds and size is not None else None,
        "reason": job.reason,
        "output": job.result.get("output"),
        "manifest": job.result.get("manifest"),
        "output_bytes": job.result.get("output_bytes"),
        "output_crc32c": job.result.get("output_crc32c"),
        "output_sha256": job.result.get("output_sha256"),
        "expansion": job.result.get("expansion"),
    }


def _iso(seconds: float) -> str:
    """A time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Checksums:
    """Holds a copy of a job's output against the checksums that the job was done with; older jobs have none."""

    def __init__(self, job: Job) -> None:
        from crc32c import crc32c  # not loaded by commands that check nothing

        self._job = job
        self._crc32c = crc32c
        self._expected = {
            name: job.result[f"output_{name}"] for name in ("crc32c", "sha256") if job.result.get(f"output_{name}")
        }
        self._crc = 0
        self._digest = hashlib.sha256()

    def update(self, content: memoryview) -> None:
        """Take the next bytes."""
        if "crc32c" in self._expected:
            self._crc = self._crc32c(content, self._crc)
        if "sha256" in self._expected:
            self._digest.update(content)

    def check(self) -> dict[str, str]:
        """The checksums that are right, by name. Raises: Integrity `output.damaged`."""
        actual = {"crc32c": f"{self._crc:08x}", "sha256": self._digest.hexdigest()}
        for name, expected in self._expected.items():
            if actual[name] != expected:
                raise Integrity(
                    "output.damaged",
                    f"the output of job {self._job.id} is not what was made: its {name} is {actual[name]}",
                    hint="put its source again to have it made anew",
                    job=self._job.id,
                    expected=expected,
                    actual=actual[name],
                )
        return self._expected


def dead_letters(ports: Ports, limit: int = 1000) -> Sequence[dict[str, Any]]:
    """The messages that were given up, oldest first, as JSON-able values; `job` is None where it belongs to no job."""
    return [
        {
            "queue": message.queue,
            "body": dict(message.body),
            "deliveries": message.deliveries,
            "reason": reason,
            "job": _known_job(ports, message),
        }
        for message, reason in ports.queue.dead(limit=limit)
    ]


def _known_job(ports: Ports, message: Message) -> str | None:
    try:
        found = jobs_in(message.queue, message.body, ports.inbox)
    except Permanent:
        return None
    return next((job_id for job_id in found if ports.jobs.get(job_id)), None)


def _progress(job: Job) -> float:
    if job.state is JobState.DONE:
        return 1.0
    return round(job.segments_done / job.segments_total, 4) if job.segments_total else 0.0


def _take_back_lost(ports: Ports, job: Job) -> None:
    """Take back the done segments whose fragments are gone or have another size: they are encoded again."""
    for segment in every_segment(ports.jobs, job.id):
        if segment.state is not SegmentState.DONE:
            continue
        info = ports.objects.stat(ObjectRef(WORK, segment.fragment_key))
        if info is None or info.size_bytes != segment.fragment_bytes:
            ports.jobs.release_segment(segment, failed=True)
