"""Parsers of stored state: rows of SQLite and DynamoDB, and a whole state file of which bytes were changed.

Laws: what was written comes back; of what was changed outside, the families speak.
"""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.dynamodb.rows import (
    attributes_of_new,
    item_of,
    job_key,
    job_row_of,
    plan_item,
    plan_row_of,
    segment_row_of,
)
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.adapters.sqlite.rows import JOBS, SEGMENTS
from bytereel.errors import BytereelError
from bytereel.messages import ENCODE, INTAKE
from bytereel.model import Job, JobState, ObjectRef, Segment

from tools.fuzz.mutate import NUMBERS, TEXTS, mutated, mutated_json
from tools.fuzz.parsers.parser import Parser, require
from tools.fuzz.target import Outcome, refusal

STATE = "state"
"""The parser of whole state files."""

_PLAN = {"reel": {"name": "x", "segments": [1, 2, 3]}, "size": 5}
_JOB_ID = "0123456789abcdef0123456789"
_ROW_TEXT = re.compile(rb"\[\"|\{\"|\[\]|\{\}|waiting|planned")


def _job(random: Random) -> bytes:
    """A job as JSON: names and reasons that a store, a reel or a user may bring."""
    texts = [random.choice(TEXTS) for _ in range(4)]
    return json.dumps([*texts, random.choice(NUMBERS[:-2]), json.loads(mutated_or(random, _PLAN))]).encode("ascii")


def mutated_or(random: Random, value: Any) -> bytes:
    """The value as JSON, changed where it still is JSON."""
    content = mutated_json(random, value)
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return json.dumps(value).encode("ascii")
    return content


def _read_job(content: bytes) -> Outcome:
    """A job and a segment through the rows of both tables."""
    try:
        bucket, key, version, reason, number, plan = json.loads(content)
        texts = [bucket, key, version, reason]
        fits = all(isinstance(text, str) for text in texts) and type(number) is int and 0 <= number < 1 << 63
    except (ValueError, TypeError, RecursionError):
        fits = False
    if not fits:
        return Outcome("no job")
    job = Job(_JOB_ID, ObjectRef(bucket, key, version), number, "archive", "archive", JobState.RECEIVED, 1.5, 2.5,
              {"plan": plan}, reason=reason, result={"name": key})  # fmt: skip
    segment = Segment(_JOB_ID, 0, 0, 0, number, owner="w", fragment_key="k", result={"name": key, "plan": plan})
    same = _told(JOBS.of_row(JOBS.row_of(job))) == _told(job)
    same = same and _told(SEGMENTS.of_row(SEGMENTS.row_of(segment))) == _told(segment)
    require(same, "sqlite_round_trip", f"{job} comes back otherwise")
    item: Any = {**job_key(_JOB_ID), **item_of(attributes_of_new(job))}
    found = job_row_of(item).job
    require((found.source, found.reason) == (job.source, job.reason), "dynamodb_round_trip", f"{found}")
    return Outcome("read")


def _told(value: Job | Segment) -> str:
    """All of a value; NaN, which is no equal of itself, included."""
    return repr(value)


def _plan(random: Random) -> bytes:
    body: bytes = plan_item(_JOB_ID, "1", _PLAN, [Segment(_JOB_ID, 0, 0, 0, 5)])["body"]["B"]
    if random.random() < 0.5:
        return mutated(random, body)
    return zlib.compress(mutated_json(random, json.loads(zlib.decompress(body))))


def _read_plan(content: bytes) -> Outcome:
    job = Job(_JOB_ID, ObjectRef("inbox", "k", ""), 5, "archive", "archive", JobState.PLANNED, 1.0, 1.0)
    row = job_row_of({**job_key(_JOB_ID), **item_of(attributes_of_new(job))})
    item: Any = {**job_key(_JOB_ID), "generation": {"S": "1"}, "body": {"B": content}}
    try:
        plan = plan_row_of(item)
        for index in range(min(3, len(plan.ranges))):
            segment_row_of(None, row, plan, index)
    except BytereelError as error:
        return refusal(error)
    return Outcome("read", str(len(plan.ranges)))


def _state_file(folder: Path) -> bytes:
    """A state file with jobs, segments and messages in it."""
    path = folder / "fresh.sqlite"
    database = Database(path)
    jobs, queue = SqliteJobs(database), SqliteQueue(database, SystemClock())
    for number in range(3):
        job_id = f"{number:026x}"
        jobs.create(Job(job_id, ObjectRef("inbox", f"a/{number}", "v"), 9, "archive", "archive",
                        JobState.RECEIVED, 1.0 + number, 1.0 + number))  # fmt: skip
        jobs.plan(job_id, _PLAN, [Segment(job_id, index, 0, index, index + 1) for index in range(4)], 5.0)
        queue.send(ENCODE, [{"job": job_id, "index": 0}])
    with database.writing() as connection:
        connection.execute("SELECT 1")
    with database.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
    return path.read_bytes()


def _changed_state(fresh: bytes, texts: Sequence[int], random: Random) -> bytes:
    """The file with a few bytes changed, more often in the texts of rows than in its structure."""
    if random.random() < 0.5:
        return mutated(random, fresh)
    changed = bytearray(fresh)
    for _ in range(random.randint(1, 3)):
        changed[random.choice(texts) + random.randint(0, 6)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _read_state(path: Path, content: bytes) -> Outcome:
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink(missing_ok=True)
    path.write_bytes(content)
    try:
        database = Database(path, busy_seconds=0.1)
        jobs, queue = SqliteJobs(database), SqliteQueue(database, SystemClock())
        for job in jobs.list():
            jobs.segments(job.id)
        jobs.count()
        held = queue.lease([ENCODE, INTAKE], "fuzz", 60.0)
    except BytereelError as error:
        return refusal(error)
    return Outcome("read", str(held is not None))


def parsers(folder: Path) -> Iterator[Parser]:
    """Those of stored state; `folder` keeps the file that a parser is to read."""
    fresh = _state_file(folder)
    yield Parser("job", _job, _read_job)
    yield Parser("plan", _plan, _read_plan)
    texts = [found.start() for found in _ROW_TEXT.finditer(fresh, len(fresh) // 4)]
    yield Parser(STATE, partial(_changed_state, fresh, texts), partial(_read_state, folder / "state.sqlite"))
