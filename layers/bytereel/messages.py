"""The queues and their messages: what a body says, and how it is read. Bodies come from outside: they are checked."""

from collections.abc import Mapping
from typing import Any

from bytereel.errors import Permanent
from bytereel.model import Job, ObjectRef

INTAKE = "intake"
ENCODE = "encode"
FINALIZE = "finalize"
BULK = "bulk"
QUEUES = (FINALIZE, ENCODE, INTAKE, BULK)
"""In the order in which a worker looks: what is nearest to its end goes first, and nobody waits behind a huge job."""

SHOWN_CHARACTERS_MAX = 200
SEGMENT_INDEX_MAX = 999_999
MALFORMED = "message.malformed"
"""The id of the error for a message that nobody can understand: no job is to blame for it."""
BULK_SEGMENTS_MIN = 65
"""From so many segments on, a job's segments are queued as bulk."""

Body = Mapping[str, Any]


def encode_queue_of(job: Job) -> str:
    """The queue of a job's segments: those of huge jobs have their own, behind everybody else's."""
    return ENCODE if job.segments_total < BULK_SEGMENTS_MIN else BULK


def event_of(source: ObjectRef) -> Body:
    """The intake message for an object that appeared."""
    return {"bucket": source.bucket, "key": source.key, "version": source.version}


def body_of_segment(job_id: str, index: int) -> Body:
    """The encode message for a segment."""
    return {"job": job_id, "index": index}


def body_of_job(job_id: str) -> Body:
    """The finalize message for a job."""
    return {"job": job_id}


def source_of(event: Body) -> ObjectRef:
    """The object that an intake message names. Raises: Permanent `message.malformed`."""
    values = [event.get(name) for name in ("bucket", "key", "version")]
    if not all(map(_is_name, values)) or not values[1]:
        raise _malformed(INTAKE, event)
    return ObjectRef(*map(str, values))


def segment_of(body: Body) -> tuple[str, int]:
    """The job and segment that an encode message names. Raises: Permanent `message.malformed`."""
    index = body.get("index")
    if not isinstance(index, int) or not 0 <= index <= SEGMENT_INDEX_MAX:
        raise _malformed(ENCODE, body)
    return job_of(body), index


def job_of(body: Body) -> str:
    """The job that an encode or finalize message names. Raises: Permanent `message.malformed`."""
    job_id = body.get("job")
    if not isinstance(job_id, str):
        raise Permanent(MALFORMED, "a message that names no job", body=_shown(body))
    return job_id


def _is_name(value: Any) -> bool:
    """Whether a value is a string that a file's name could be; JSON also writes halves of characters."""
    try:
        return isinstance(value, str) and value.encode("utf-8", "surrogateescape") is not None
    except UnicodeEncodeError:
        return False


def _malformed(queue: str, body: Body) -> Permanent:
    return Permanent(MALFORMED, f"not a message of the queue {queue!r}", queue=queue, body=_shown(body))


def _shown(body: Body) -> str:
    """A body that nobody understands, as a user may see it: cut, and as text, for it may hold what JSON cannot."""
    try:
        return str(dict(body))[:SHOWN_CHARACTERS_MAX]
    except RecursionError:
        return "nested too deep to be shown"
