"""What the outbox says of a job that failed: `<key>.error.json`, where its output would have been looked for.

Who drops a file in a bucket need not ask the job table what became of it. The record goes when the job is retried. It
never takes the place of anything else: where another object has its key, its name has a mark of its job.
"""

import json
import logging
from collections.abc import Iterator

from bytereel.errors import BytereelError, Permanent, is_state_lost
from bytereel.model import OUTBOX, Job, ObjectRef
from bytereel.ports.ports import Ports
from bytereel.reading import record_in
from bytereel.routing import error_key, marked_key

log = logging.getLogger(__name__)

RECORD_BYTES_MAX = 64 * 1024
_REASON_CHARACTERS_MAX = 4096


def record_failure(ports: Ports, job: Job) -> None:
    """Write the record of a failed job; a store that cannot take it just now costs the record, not the step."""
    text = json.dumps(_record(ports, job), indent=2, sort_keys=True).encode("utf-8") + b"\n"
    try:
        for where in _places(ports, job):
            try:
                ports.objects.put(where, [text], if_absent=True)
            except Permanent as error:
                if error.error_id != "object.exists":
                    raise
                if not _is_of(ports, where, job):
                    continue
                ports.objects.put(where, [text])
            return
    except BytereelError as error:
        if is_state_lost(error):
            raise
        log.warning("job %s: its failure is not told in the outbox: %s", job.id, error.message)


def clear_failure(ports: Ports, job: Job) -> None:
    """Remove the record of a job that is no longer failed, if there is one. Raises: Temporary; as the store does."""
    for where in _places(ports, job):
        if _is_of(ports, where, job):
            ports.objects.delete(where)


def _places(ports: Ports, job: Job) -> Iterator[ObjectRef]:
    wanted = error_key(job, by_job=ports.names_by_job)
    yield ObjectRef(OUTBOX, wanted)
    yield ObjectRef(OUTBOX, marked_key(wanted, job.id))


def _record(ports: Ports, job: Job) -> dict[str, object]:
    source = {} if ports.names_by_job else {"source": {"key": job.source.key, "version": job.source.version}}
    return {
        "job": job.id,
        "conversion": job.conversion,
        "profile": job.profile,
        "state": job.state.value,
        "reason": job.reason[:_REASON_CHARACTERS_MAX],
        "failed_at": job.updated_at,
        **source,
    }


def _is_of(ports: Ports, where: ObjectRef, job: Job) -> bool:
    """Whether the job's own record lies there."""
    record = record_in(ports.objects, where, RECORD_BYTES_MAX)
    return record.get("job") == job.id and "reason" in record
