"""The columns of jobs and segments, each stated here and nowhere else.

To add one, give the model its field and add a line here, `since` the next version and with a DEFAULT. Text that may
hold a file name is kept as JSON: a name that is not valid UTF-8 has no form as SQLite text.
"""

import json
from typing import Any

from bytereel.adapters.sqlite.columns import Column, Table
from bytereel.model import Job, JobState, ObjectRef, Segment, SegmentState


def _json_or_null(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _value_or_none(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _source_text(source: ObjectRef) -> str:
    return json.dumps([source.bucket, source.key, source.version])


def _source_of(text: str) -> ObjectRef:
    return ObjectRef(*json.loads(text))


JOBS = Table(
    "jobs",
    Job,
    ["id"],
    [
        Column("id", "TEXT NOT NULL"),
        Column("source", "TEXT NOT NULL", write=_source_text, read=_source_of, changes=True),
        Column("source_bytes", "INTEGER NOT NULL", changes=True),
        Column("conversion", "TEXT NOT NULL"),
        Column("profile", "TEXT NOT NULL"),
        Column("state", "TEXT NOT NULL", read=JobState, changes=True),
        Column("created_at", "REAL NOT NULL"),
        Column("updated_at", "REAL NOT NULL", changes=True),
        Column("plan", "TEXT", write=_json_or_null, read=_value_or_none, changes=True),
        Column("segments_total", "INTEGER NOT NULL", changes=True),
        Column("segments_done", "INTEGER NOT NULL", changes=True),
        Column("stage", "INTEGER NOT NULL", changes=True),
        Column("stage_remaining", "INTEGER NOT NULL", changes=True),
        Column("reason", "TEXT NOT NULL", write=json.dumps, read=json.loads, changes=True),
        Column("result", "TEXT NOT NULL", write=json.dumps, read=json.loads, changes=True),
    ],
)

SEGMENTS = Table(
    "segments",
    Segment,
    ["job_id", "number"],
    [
        Column("job_id", "TEXT NOT NULL"),
        Column("number", "INTEGER NOT NULL", "index"),
        Column("stage", "INTEGER NOT NULL"),
        Column("start_byte", "INTEGER NOT NULL", "start"),
        Column("end_byte", "INTEGER NOT NULL", "end"),
        Column("state", "TEXT NOT NULL", read=SegmentState, changes=True),
        Column("attempt", "INTEGER NOT NULL", changes=True),
        Column("owner", "TEXT NOT NULL", changes=True),
        Column("lease_until", "REAL NOT NULL", changes=True),
        Column("fragment_key", "TEXT NOT NULL", changes=True),
        Column("fragment_bytes", "INTEGER NOT NULL", changes=True),
        Column("result", "TEXT NOT NULL", write=json.dumps, read=json.loads, changes=True),
    ],
    end=" WITHOUT ROWID",
)
