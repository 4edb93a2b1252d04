"""Random sequences of calls have the same outcomes in memory and in SQLite."""

import tempfile
from dataclasses import replace
from pathlib import Path

from bytereel.adapters.clock import ManualClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import BytereelError
from bytereel.model import JOB_TRANSITIONS, Job, JobState, Message, ObjectRef, Segment
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

IDS = st.sampled_from(["a", "b"])
INDEXES = st.integers(0, 3)
OWNERS = st.sampled_from(["w1", "w2"])
NAMES = st.sampled_from(["intake", "encode"])
SECONDS = st.sampled_from([0.0, 1.0, 5.0])


def without_receipts(value):
    """The same without the receipts of messages: they are each queue's own, and drawn by chance."""
    if isinstance(value, Message):
        return replace(value, receipt="")
    return type(value)(map(without_receipts, value)) if isinstance(value, list | tuple) else value


class SideBySide(RuleBasedStateMachine):
    """The same call to both; what it returns or raises, and the rows it leaves, must be equal."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        database = Database(Path(self.folder.name) / "state.db")
        self.clock = ManualClock()
        self.jobs = (MemoryJobs(), SqliteJobs(database))
        self.queues = (MemoryQueue(self.clock), SqliteQueue(database, self.clock))
        self.segments, self.messages = [], []

    def teardown(self):
        self.folder.cleanup()

    def both(self, adapters, call):
        def outcome(adapter):
            try:
                return call(adapter)
            except BytereelError as error:
                return type(error), error.error_id, error.facts

        outcomes = [outcome(adapter) for adapter in adapters]
        first, second = map(without_receipts, outcomes)
        assert first == second
        return outcomes

    def compare_jobs(self):
        for job_id in ("a", "b"):
            self.both(self.jobs, lambda jobs, job_id=job_id: (jobs.get(job_id), list(jobs.segments(job_id))))
        self.both(self.jobs, lambda jobs: {state: count for state, count in jobs.count().items() if count})
        self.both(self.jobs, lambda jobs: (list(jobs.list()), list(jobs.stalled(self.clock.now()))))
        self.both(self.jobs, lambda jobs: (list(jobs.find("a", 2)), list(jobs.find("", 1))))

    @rule(job_id=IDS)
    def create(self, job_id):
        now = self.clock.now()
        job = Job(job_id, ObjectRef("inbox", "k"), 1, "archive", "p", JobState.RECEIVED, now, now)
        self.both(self.jobs, lambda jobs: jobs.create(job))

    @rule(job_id=IDS, stages=st.lists(st.integers(0, 2), max_size=4))
    def plan(self, job_id, stages):
        segments = [Segment(job_id, index, stage, 0, 1) for index, stage in enumerate(stages)]
        self.both(self.jobs, lambda jobs: jobs.plan(job_id, {"n": [1]}, segments, self.clock.now()))

    @rule(
        job_id=IDS,
        transition=st.sampled_from(sorted(JOB_TRANSITIONS.keys() - {"plan"})),
        reason=st.sampled_from([None, "", "why"]),
    )
    def advance(self, job_id, transition, reason):
        self.both(self.jobs, lambda jobs: jobs.advance(job_id, transition, self.clock.now(), reason=reason))
        self.compare_jobs()

    @rule(job_id=IDS, stage=st.integers(0, 2))
    def enter_stage(self, job_id, stage):
        self.both(self.jobs, lambda jobs: jobs.enter_stage(job_id, stage, self.clock.now()))

    @rule(job_id=IDS, index=INDEXES, owner=OWNERS, seconds=SECONDS)
    def lease_segment(self, job_id, index, owner, seconds):
        now = self.clock.now()
        outcome = self.both(self.jobs, lambda jobs: jobs.lease_segment(job_id, index, owner, now, now + seconds))[0]
        if isinstance(outcome, Segment):
            self.segments.append(outcome)

    @rule(choice=st.integers(0, 99), action=st.sampled_from(["extend", "finish", "release", "fail"]))
    def use_segment(self, choice, action):
        if self.segments:
            segment, now = self.segments[choice % len(self.segments)], self.clock.now()
            self.both(
                self.jobs,
                {
                    "extend": lambda jobs: jobs.extend_segment(segment, now, now + 2),
                    "finish": lambda jobs: jobs.finish_segment(segment, "key", 3, {"r": 1}, now),
                    "release": lambda jobs: jobs.release_segment(segment),
                    "fail": lambda jobs: jobs.release_segment(segment, failed=True),
                }[action],
            )
            self.compare_jobs()

    @rule(owner=OWNERS)
    def release_owner(self, owner):
        self.both(self.jobs, lambda jobs: jobs.release_owner(owner))
        self.both(self.queues, lambda queue: queue.release_owner(owner))
        self.compare_jobs()

    @rule(job_id=IDS)
    def delete(self, job_id):
        self.both(self.jobs, lambda jobs: jobs.delete(job_id))

    @rule(name=NAMES, count=st.integers(0, 3), delay=SECONDS)
    def send(self, name, count, delay):
        bodies = [{"n": number} for number in range(count)]
        self.both(self.queues, lambda queue: queue.send(name, bodies, delay_seconds=delay))

    @rule(names=st.permutations(["intake", "encode"]), owner=OWNERS, seconds=SECONDS)
    def lease(self, names, owner, seconds):
        outcomes = self.both(self.queues, lambda queue: queue.lease(names, owner, seconds))
        if isinstance(outcomes[0], Message):
            self.messages.append(dict(zip(map(id, self.queues), outcomes, strict=True)))

    @rule(
        choice=st.integers(0, 99),
        seconds=SECONDS,
        foreign=st.booleans(),
        action=st.sampled_from(["extend", "acknowledge", "release", "bury"]),
    )
    def use_message(self, choice, seconds, foreign, action):
        if self.messages:
            leased = self.messages[choice % len(self.messages)]

            def held(queue):
                message = leased[id(queue)]
                return replace(message, receipt="forged") if foreign else message

            self.both(
                self.queues,
                {
                    "extend": lambda queue: queue.extend(held(queue), seconds),
                    "acknowledge": lambda queue: queue.acknowledge(held(queue)),
                    "release": lambda queue: queue.release(held(queue), delay_seconds=seconds),
                    "bury": lambda queue: queue.bury(held(queue), "why"),
                }[action],
            )
            self.both(self.queues, lambda queue: (queue.size("intake"), queue.size("encode")))
            self.both(self.queues, lambda queue: list(queue.dead()))

    @rule(seconds=SECONDS)
    def forget_dead(self, seconds):
        self.both(self.queues, lambda queue: queue.forget_dead(self.clock.now() - seconds))

    @rule(seconds=SECONDS)
    def wait(self, seconds):
        self.clock.advance(seconds)


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
