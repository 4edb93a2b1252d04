"""What holds of the DynamoDB table alone: what it costs, its limits, its collisions, and what it must never do."""

import json
import random
import threading
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from botocore.awsrequest import AWSResponse
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.dynamodb import calls as dynamodb_calls
from bytereel.adapters.dynamodb import rows
from bytereel.adapters.dynamodb.jobs import DynamoJobs
from bytereel.adapters.dynamodb.table import BY_SILENCE, INDEXES, TTL_ATTRIBUTE, create_table, definition_of
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.errors import BytereelError, LeaseLost, Permanent, Temporary, TransitionRefused
from bytereel.model import JOB_TRANSITIONS, Job, JobState, ObjectRef, Segment, SegmentState
from bytereel.ports.jobs import StageProgress
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

TABLE = "bytereel-jobs"
KEEP_SECONDS = 4e9
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}


@pytest.fixture
def client(ministack_table):
    return ministack_table


@pytest.fixture
def jobs(client):
    return DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)


def new_job(job_id="j", now=1.0):
    return Job(job_id, ObjectRef("inbox", "k", "v"), 100, "archive", "default", JobState.RECEIVED, now, now)


def planned_job(jobs, stages=(0, 0, 0), now=2.0, job_id="j"):
    jobs.create(new_job(job_id))
    segments = [Segment(job_id, index, stage, index, index + 1) for index, stage in enumerate(stages)]
    return jobs.plan(job_id, {"p": 1}, segments, now)


@contextmanager
def hooked(client, event, handler, *, first=False):
    register = client.meta.events.register_first if first else client.meta.events.register
    register(event, handler)
    try:
        yield
    finally:
        client.meta.events.unregister(event, handler)


@contextmanager
def counted(client):
    """Counts what is really sent: requests by operation, and under "items" the items that they write."""
    counts = Counter()

    def count(request, **_):
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        counts[operation] += 1
        if operation in WRITES:
            counts["items"] += len(json.loads(request.body).get("TransactItems", "1"))

    with hooked(client, "before-send.dynamodb", count):
        yield counts


def answer_with(code, status=400, **more):
    """A handler that answers a request in place of the server."""

    class Body:
        def stream(self, **_):
            yield json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}).encode()

    def answer(request, **_):
        return AWSResponse(request.url, status, {"x-amzn-requestid": "1"}, Body())

    return answer


def losing_the_first_answer():
    """A handler that has the client send its request again, although it was answered."""
    lost = []

    def lose(attempts, **_):
        if attempts == 1:
            lost.append(True)
            return 0.0
        return None

    return lose, lost


def index_keys(client):
    item = client.get_item(TableName=TABLE, Key=rows.job_key("j"), ConsistentRead=True)["Item"]
    return [item.get(attribute) for keys in INDEXES.values() for attribute in keys]


def test_a_whole_job_writes_four_items_a_segment_and_never_scans(client, jobs):
    count = 12
    with counted(client) as sent:
        planned_job(jobs, stages=(0,) * count)
        for index in range(count):
            segment = jobs.lease_segment("j", index, "w", 3.0, 13.0)
            jobs.finish_segment(segment, f"k{index}", 7, {}, 4.0)
        jobs.advance("j", "complete", 5.0)
        jobs.advance("j", "finish", 6.0)
        list(jobs.list()), jobs.stalled(9.0), jobs.find("j", 2), jobs.count(), jobs.unknown(["j"])
    assert sent["items"] == 1 + 2 + 4 * count + 2
    assert sent["items"] <= 6 * count
    assert "Scan" not in sent


def test_a_heartbeat_writes_two_items_and_a_retry_and_a_cancel_one(client, jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    for call, items in (
        (lambda: jobs.extend_segment(segment, 4.0, 14.0), 2),
        (lambda: jobs.release_segment(segment), 1),
        (lambda: jobs.advance("j", "cancel", 5.0), 1),
        (lambda: jobs.advance("j", "retry_planned", 6.0), 1),
        (lambda: jobs.advance("j", "cancel", 7.0), 1),
        (lambda: jobs.delete("j"), 2),
    ):
        with counted(client) as sent:
            call()
        assert sent["items"] == items


def test_a_job_whose_plan_is_known_is_read_in_one_request(client, jobs):
    planned_job(jobs)
    jobs.get("j")
    with counted(client) as sent:
        assert jobs.get("j").plan == {"p": 1}
    assert sent == {"GetItem": 1}


def test_a_thousand_ids_are_looked_up_in_ten_requests(client, jobs):
    for job_id in ("a", "b"):
        jobs.create(new_job(job_id))
    ids = {"a", "b"} | {f"n{number}" for number in range(998)}
    with counted(client) as sent:
        assert jobs.unknown(ids) == ids - {"a", "b"}
    assert sent == {"BatchGetItem": 10}


def test_the_writes_of_a_segment_change_no_index(client, jobs):
    planned_job(jobs, now=60.0)
    jobs.advance("j", "start", 60.0)
    before = index_keys(client)
    segment = jobs.lease_segment("j", 0, "w", 61.0, 71.0)
    jobs.extend_segment(segment, 90.0, 99.0)
    jobs.finish_segment(segment, "k", 1, {}, 119.9)
    assert index_keys(client) == before
    jobs.lease_segment("j", 1, "w", 120.0, 130.0)
    assert index_keys(client) != before


def test_only_jobs_that_run_stand_in_the_index_of_those(client, jobs):
    def running():
        partition = {":running": {"S": "running"}}
        return client.query(
            TableName=TABLE,
            IndexName=BY_SILENCE,
            KeyConditionExpression="running = :running",
            ExpressionAttributeValues=partition,
        )["Count"]

    planned_job(jobs)
    assert running() == 1
    jobs.advance("j", "fail", 3.0)
    assert running() == 0
    jobs.advance("j", "retry_planned", 4.0)
    assert running() == 1


def test_thousands_of_segments_are_planned_in_one_transaction_and_listed_by_pages(client, jobs):
    count = 8838
    jobs.create(new_job())
    segments = [
        Segment("j", index, int(index > 8000), index * 127_001, (index + 1) * 127_001) for index in range(count)
    ]
    with counted(client) as sent:
        job = jobs.plan("j", {"p": [1.5, "zwei"]}, segments, 2.0)
    assert (sent["TransactWriteItems"], sent["items"]) == (1, 2)
    assert (job.segments_total, job.stage_remaining) == (count, 8001)
    other = DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)
    assert other.get("j") == job
    taken = other.lease_segment("j", 4321, "w", 3.0, 13.0)
    seen = []
    while page := other.segments("j", after=seen[-1].index if seen else -1, limit=1000):
        seen += page
    assert seen == [*segments[:4321], taken, *segments[4322:]]


def test_rows_of_segments_are_listed_across_pages_of_the_service(jobs):
    stages = (0,) * 30
    planned_job(jobs, stages=stages)
    for index in range(len(stages)):
        segment = jobs.lease_segment("j", index, "w", 3.0, 13.0)
        jobs.finish_segment(segment, "k", 1, {"frames": "x" * 90_000}, 4.0)
    assert Counter(segment.state for segment in jobs.segments("j")) == {SegmentState.DONE: 30}
    jobs.advance("j", "fail", 5.0)
    assert jobs.advance("j", "retry_planned", 6.0).segments_done == 30


def test_a_plan_that_fits_no_item_is_refused_and_changes_nothing(jobs):
    jobs.create(new_job())
    noise = random.Random(1).randbytes(500_000).hex()
    with pytest.raises(Permanent) as refused:
        jobs.plan("j", {"noise": noise}, [], 2.0)
    assert refused.value.error_id == "plan.too_large"
    assert jobs.get("j") == new_job()
    just_fits = random.Random(1).randbytes(340_000).hex()
    assert jobs.plan("j", {"noise": just_fits}, [], 2.0) == jobs.get("j")


def test_a_worker_from_before_a_retry_can_do_nothing(jobs):
    planned_job(jobs)
    old = jobs.lease_segment("j", 0, "old", 3.0, 13.0)
    jobs.advance("j", "cancel", 4.0)
    jobs.advance("j", "retry_planned", 5.0)
    jobs.lease_segment("j", 1, "new", 5.0, 15.0)
    waiting = Segment("j", 0, 0, 0, 1, attempt=1)
    assert jobs.segment("j", 0) == waiting
    assert not jobs.extend_segment(old, 6.0, 16.0)
    jobs.release_segment(old)
    jobs.release_segment(old, failed=True)
    with pytest.raises(LeaseLost):
        jobs.finish_segment(old, "k", 1, {}, 6.0)
    assert jobs.segment("j", 0) == waiting
    assert jobs.get("j").stage_remaining == 3
    new = jobs.lease_segment("j", 0, "new", 7.0, 17.0)
    assert new.attempt == 2
    with pytest.raises(LeaseLost):
        jobs.finish_segment(old, "k", 1, {}, 8.0)
    assert jobs.finish_segment(new, "k", 1, {}, 9.0) == StageProgress(0, 2)


def encoding(jobs, job_id):
    planned_job(jobs, (0, 0, 0, 1), job_id=job_id)
    for index in (0, 1):
        jobs.lease_segment(job_id, index, "w", 3.0, 13.0)
    jobs.finish_segment(jobs.segment(job_id, 0), "k", 1, {"r": 1}, 4.0)


def between_stages(jobs, job_id):
    encoding(jobs, job_id)
    jobs.finish_segment(jobs.segment(job_id, 1), "k", 1, {}, 4.0)
    jobs.finish_segment(jobs.lease_segment(job_id, 2, "w", 4.0, 14.0), "k", 1, {}, 4.0)


def cancelled(jobs, job_id):
    encoding(jobs, job_id)
    jobs.advance(job_id, "cancel", 5.0)


def received(jobs, job_id):
    jobs.create(new_job(job_id))


def replanned(jobs, job_id, transition="fail"):
    jobs.advance(job_id, transition, 6.0)
    jobs.advance(job_id, "retry_unplanned", 6.0)
    jobs.plan(job_id, {"p": 2}, [Segment(job_id, index, 0, 0, 9) for index in range(3)], 6.0)


def retried(jobs, job_id):
    with suppress(TransitionRefused):
        jobs.advance(job_id, "fail", 6.0)
    jobs.advance(job_id, "retry_planned", 6.0)


def made_anew(jobs, job_id):
    with suppress(TransitionRefused):
        jobs.advance(job_id, "fail", 6.0)
    jobs.delete(job_id)
    planned_job(jobs, (0, 0), job_id=job_id)


CALLS = {
    "lease": (encoding, lambda jobs, j: jobs.lease_segment(j, 2, "w", 20.0, 30.0)),
    "take over": (encoding, lambda jobs, j: jobs.lease_segment(j, 1, "w", 20.0, 30.0)),
    "extend": (encoding, lambda jobs, j: jobs.extend_segment(held(j, 1), 7.0, 30.0)),
    "finish": (encoding, lambda jobs, j: jobs.finish_segment(held(j, 1), "l", 2, {}, 7.0)),
    "release": (encoding, lambda jobs, j: jobs.release_segment(held(j, 1))),
    "give up": (encoding, lambda jobs, j: jobs.release_segment(held(j, 1), failed=True)),
    "lose": (encoding, lambda jobs, j: jobs.release_segment(held(j, 0), failed=True)),
    "lose late": (between_stages, lambda jobs, j: jobs.release_segment(held(j, 0), failed=True)),
    "enter": (between_stages, lambda jobs, j: jobs.enter_stage(j, 1, 7.0)),
    "complete": (encoding, lambda jobs, j: jobs.advance(j, "complete", 7.0)),
    "retry": (cancelled, lambda jobs, j: jobs.advance(j, "retry_planned", 7.0)),
    "begin again": (cancelled, lambda jobs, j: jobs.advance(j, "retry_unplanned", 7.0)),
    "delete": (cancelled, lambda jobs, j: jobs.delete(j)),
    "plan": (received, lambda jobs, j: jobs.plan(j, {"p": 3}, [Segment(j, 0, 0, 0, 1)], 7.0)),
}
MEANWHILE = {
    "cancel": lambda jobs, j: jobs.advance(j, "cancel", 6.0),
    "fail": lambda jobs, j: jobs.advance(j, "fail", 6.0, reason="why", result={"a": 1}),
    "retry": retried,
    "plan": replanned,
    "make anew": made_anew,
    "lease": lambda jobs, j: jobs.lease_segment(j, 2, "v", 6.0, 40.0),
    "take over": lambda jobs, j: jobs.lease_segment(j, 1, "v", 13.0, 40.0),
    "extend": lambda jobs, j: jobs.extend_segment(held(j, 1), 6.0, 40.0),
    "finish": lambda jobs, j: jobs.finish_segment(held(j, 1), "m", 1, {}, 6.0),
    "lose": lambda jobs, j: jobs.release_segment(held(j, 0), failed=True),
    "enter": lambda jobs, j: jobs.enter_stage(j, 1, 6.0),
}


def held(job_id, index):
    return Segment(job_id, index, 0, index, index + 1, SegmentState.LEASED, attempt=1, owner="w")


def outcome_of(call, jobs, job_id):
    try:
        return call(jobs, job_id)
    except BytereelError as error:
        return type(error), error.error_id, error.facts


@pytest.mark.parametrize("call", CALLS)
def test_a_change_in_the_midst_of_a_call_counts_as_made_before_it(client, jobs, call):
    start, called = CALLS[call]
    others = DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)
    for number, (name, meanwhile) in enumerate(MEANWHILE.items()):
        memory, job_id, changed = MemoryJobs(), f"j{number}", []

        def change(meanwhile=meanwhile, job_id=job_id, changed=changed, **_):
            if not changed:
                changed.append(True)
                changed.append(outcome_of(meanwhile, others, job_id))

        start(memory, job_id)
        expected = [outcome_of(meanwhile, memory, job_id), outcome_of(called, memory, job_id)]
        start(jobs, job_id)
        with (
            hooked(client, "before-call.dynamodb.TransactWriteItems", change),
            hooked(client, "before-call.dynamodb.UpdateItem", change),
        ):
            outcome = outcome_of(called, jobs, job_id)
        assert [*changed[1:], outcome] == expected, name
        assert (jobs.get(job_id), jobs.segments(job_id)) == (memory.get(job_id), memory.segments(job_id)), name


@pytest.mark.parametrize("moment", ["read", "write"])
def test_a_retry_in_the_midst_of_a_finish_takes_the_lease(client, jobs, moment):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    others = DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)
    retried = []

    def retry(**_):
        if not retried:
            retried.append(True)
            others.advance("j", "cancel", 4.0)
            others.advance("j", "retry_planned", 5.0)
            others.lease_segment("j", 1, "w", 5.0, 15.0)

    operation = {"read": "BatchGetItem", "write": "TransactWriteItems"}[moment]
    with hooked(client, f"before-call.dynamodb.{operation}", retry), pytest.raises(LeaseLost):
        jobs.finish_segment(segment, "k", 1, {}, 6.0)
    assert (jobs.get("j").segments_done, jobs.get("j").stage_remaining) == (0, 3)


def test_a_plan_replaced_in_the_midst_of_a_read_is_read_anew(client, jobs):
    planned_job(jobs)
    other = DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)
    reads = []

    def replan(**_):
        reads.append(True)
        if len(reads) == 2:
            jobs.advance("j", "fail", 3.0)
            jobs.advance("j", "retry_unplanned", 4.0)
            jobs.plan("j", {"p": 2}, [], 5.0)

    with hooked(client, "before-call.dynamodb.GetItem", replan):
        job = other.get("j")
    assert (job.plan, job.segments_total) == ({"p": 2}, 0)


@pytest.mark.parametrize("seed", range(3))
def test_counters_are_those_of_the_rows_whatever_collides(client, seed):
    jobs = DynamoJobs(client, TABLE, keep_seconds=KEEP_SECONDS)
    planned_job(jobs, stages=(0,) * 8)

    def work(number):
        chance = random.Random(f"{seed} {number}")
        for step in range(12):
            now = 10.0 + step
            with suppress(LeaseLost, TransitionRefused):
                segment = jobs.lease_segment("j", chance.randrange(8), f"w{number}", now, now + chance.choice([0, 5]))
                if number == 0 and step % 4 == 3:
                    jobs.advance("j", "fail", now)
                    jobs.advance("j", "retry_planned", now)
                elif segment and chance.random() < 0.7:
                    jobs.finish_segment(segment, "k", 1, {}, now)
                elif done := jobs.segment("j", chance.randrange(8)):
                    jobs.release_segment(done, failed=done.state is SegmentState.DONE)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    job, segments = jobs.get("j"), jobs.segments("j")
    done = sum(segment.state is SegmentState.DONE for segment in segments)
    assert (job.segments_done, job.stage_remaining) == (done, 8 - done), f"seed {seed}"


@pytest.mark.parametrize("call", ["create", "advance", "retry", "plan", "lease", "finish", "delete"])
def test_a_write_whose_answer_was_lost_counts_once(client, jobs, call):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    jobs.create(new_job("unplanned"))
    planned_job(jobs, job_id="ended")
    jobs.advance("ended", "cancel", 4.0)
    lose, lost = losing_the_first_answer()
    with hooked(client, "needs-retry.dynamodb.*", lose, first=True):
        outcome = {
            "create": lambda: jobs.create(new_job("new")),
            "advance": lambda: jobs.advance("j", "fail", 4.0).state == JobState.FAILED,
            "retry": lambda: jobs.advance("ended", "retry_planned", 5.0).state == JobState.PLANNED,
            "plan": lambda: jobs.plan("unplanned", {}, [], 4.0).state == JobState.PLANNED,
            "lease": lambda: jobs.lease_segment("j", 1, "w", 3.0, 13.0).attempt == 1,
            "finish": lambda: jobs.finish_segment(segment, "k", 1, {}, 4.0) == StageProgress(0, 2),
            "delete": lambda: jobs.delete("ended") is None,
        }[call]()
    assert outcome
    assert lost


def test_a_finish_counts_once_where_the_service_forgets_request_tokens(client, jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    lose, lost = losing_the_first_answer()

    def forget(request, **_):
        body = json.loads(request.body)
        request.body = json.dumps({**body, "ClientRequestToken": uuid.uuid4().hex}).encode()
        request.headers["Content-Length"] = str(len(request.body))

    with (
        hooked(client, "needs-retry.dynamodb.TransactWriteItems", lose, first=True),
        hooked(client, "before-send.dynamodb.TransactWriteItems", forget),
    ):
        assert jobs.finish_segment(segment, "k", 1, {}, 4.0) == StageProgress(0, 2)
    assert lost
    with pytest.raises(LeaseLost):
        jobs.finish_segment(segment, "k", 1, {}, 5.0)


@pytest.mark.parametrize(
    "code, status",
    [("ProvisionedThroughputExceededException", 400), ("ThrottlingException", 400), ("InternalServerError", 500)],
)
def test_what_the_service_cannot_answer_now_is_temporary(client, jobs, monkeypatch, code, status):
    planned_job(jobs)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with hooked(client, "before-send.dynamodb", answer_with(code, status)):
        for call in (
            lambda: jobs.get("j"),
            lambda: jobs.create(new_job("k")),
            lambda: jobs.advance("j", "fail", 3.0),
            lambda: jobs.lease_segment("j", 0, "w", 3.0, 13.0),
            lambda: jobs.unknown(["j"]),
            jobs.list,
            jobs.count,
        ):
            with pytest.raises(Temporary) as busy:
                call()
            assert busy.value.error_id == "service.busy"
    assert jobs.get("j").state is JobState.PLANNED


@pytest.mark.parametrize("reason", ["TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"])
def test_a_transaction_that_always_collides_is_tried_a_bounded_number_of_times(client, jobs, monkeypatch, reason):
    planned_job(jobs)
    monkeypatch.setattr(dynamodb_calls, "TRIES_MAX", 4)
    cancelled = answer_with("TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": reason}])
    with (
        counted(client) as sent,
        hooked(client, "before-send.dynamodb.TransactWriteItems", cancelled),
        pytest.raises(Temporary) as busy,
    ):
        jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    assert (busy.value.error_id, sent["TransactWriteItems"]) == ("state.busy", 4)


def test_a_transaction_that_the_service_refuses_for_good_is_permanent(client, jobs):
    planned_job(jobs)
    refused = answer_with("TransactionCanceledException", CancellationReasons=[{"Code": "ValidationError"}])
    with hooked(client, "before-send.dynamodb.TransactWriteItems", refused), pytest.raises(Permanent):
        jobs.lease_segment("j", 0, "w", 3.0, 13.0)


def test_a_change_that_meets_a_transaction_is_made_again(client, jobs):
    planned_job(jobs)
    conflict, sent = answer_with("TransactionConflictException"), []

    def once(request, **_):
        sent.append(1)
        return conflict(request) if len(sent) == 1 else None

    with hooked(client, "before-send.dynamodb.UpdateItem", once):
        assert jobs.advance("j", "fail", 3.0).state is JobState.FAILED


def test_rows_that_the_service_left_out_are_asked_for_again(client, jobs):
    for number in range(6):
        jobs.create(new_job(f"j{number}"))

    def leave_out(parsed, **_):
        items = parsed["Responses"][TABLE]
        if len(items) > 1:
            left = [{"pk": item["pk"], "sk": item["sk"]} for item in items[1:]]
            parsed["Responses"][TABLE] = items[:1]
            parsed["UnprocessedKeys"] = {TABLE: {"Keys": left, "ConsistentRead": True}}

    with hooked(client, "after-call.dynamodb.BatchGetItem", leave_out):
        assert len(jobs.list()) == 6


def test_an_absent_table_is_permanent(client):
    jobs = DynamoJobs(client, "no-such-table", keep_seconds=KEEP_SECONDS)
    for call in (
        lambda: jobs.get("j"),
        lambda: jobs.create(new_job()),
        jobs.list,
        lambda: jobs.unknown(["j"]),
    ):
        with pytest.raises(Permanent) as absent:
            call()
        assert absent.value.error_id == "service.absent"


def test_the_table_is_made_as_defined_and_only_once(client):
    create_table(client, TABLE)
    made, wanted = client.describe_table(TableName=TABLE)["Table"], definition_of(TABLE)
    assert made["KeySchema"] == wanted["KeySchema"]
    indexes = {index["IndexName"]: index for index in made["GlobalSecondaryIndexes"]}
    for index in wanted["GlobalSecondaryIndexes"]:
        assert {name: indexes[index["IndexName"]][name] for name in index} == index
    expiry = client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
    assert (expiry["AttributeName"], expiry["TimeToLiveStatus"]) == (TTL_ATTRIBUTE, "ENABLED")


def test_rows_of_segments_expire_and_each_write_puts_it_off(client):
    jobs = DynamoJobs(client, TABLE, keep_seconds=4e9)
    planned_job(jobs)

    def expiries():
        items = client.query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": rows.partition_of("j")}},
        )["Items"]
        return [int(item[TTL_ATTRIBUTE]["N"]) for item in items if TTL_ATTRIBUTE in item]

    assert expiries() == []
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    assert expiries() == [4_000_000_003]
    jobs.extend_segment(segment, 8.0, 18.0)
    assert expiries() == [4_000_000_008]
    jobs.release_segment(segment)
    assert expiries() == [4_000_000_008]


def test_a_deleted_job_leaves_nothing_that_its_successor_would_find(jobs):
    planned_job(jobs)
    jobs.finish_segment(jobs.lease_segment("j", 0, "w", 3.0, 13.0), "k", 1, {}, 4.0)
    jobs.advance("j", "cancel", 5.0)
    jobs.delete("j")
    job = planned_job(jobs)
    assert (job.segments_done, jobs.segment("j", 0)) == (0, Segment("j", 0, 0, 0, 1))


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.text("ab", max_size=2))))
def test_the_order_of_the_index_is_that_of_time_and_id(places):
    assert sorted(places, key=lambda place: rows.created_order(*place)) == sorted(places)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_time_keeps_every_digit(value):
    assert float(rows.wired(value)["N"]) == value


class SideBySide(RuleBasedStateMachine):
    """The same call to the table and to memory: what it returns or raises, and the rows it leaves, must be equal."""

    def __init__(self, client):
        super().__init__()
        self.client = client

    @initialize()
    def open(self):
        self.name = f"beside-{uuid.uuid4().hex}"
        create_table(self.client, self.name)
        self.clock = ManualClock()
        self.jobs = (MemoryJobs(), DynamoJobs(self.client, self.name, keep_seconds=KEEP_SECONDS))
        self.segments = []

    def teardown(self):
        self.client.delete_table(TableName=self.name)

    def both(self, call):
        def outcome(jobs):
            try:
                return call(jobs)
            except BytereelError as error:
                return type(error), error.error_id, error.facts

        first, second = map(outcome, self.jobs)
        assert first == second
        return first

    def compare(self):
        for job_id in ("a1", "a2"):
            self.both(lambda jobs, job_id=job_id: (jobs.get(job_id), list(jobs.segments(job_id))))
        self.both(lambda jobs: {state: count for state, count in jobs.count().items() if count})
        self.both(lambda jobs: [replace(job, plan=None) for job in jobs.list()])
        self.both(lambda jobs: [replace(job, plan=None) for job in jobs.stalled(self.clock.now())])
        self.both(lambda jobs: list(jobs.find("a", 2)))

    @rule(job_id=st.sampled_from(["a1", "a2"]))
    def create(self, job_id):
        self.both(lambda jobs: jobs.create(new_job(job_id, self.clock.now())))

    @rule(job_id=st.sampled_from(["a1", "a2"]), stages=st.lists(st.integers(0, 2), max_size=4))
    def plan(self, job_id, stages):
        segments = [Segment(job_id, index, stage, 0, 1) for index, stage in enumerate(stages)]
        self.both(lambda jobs: jobs.plan(job_id, {"n": [1]}, segments, self.clock.now()))

    @rule(
        job_id=st.sampled_from(["a1", "a2"]),
        transition=st.sampled_from(sorted(JOB_TRANSITIONS.keys() - {"plan"})),
        reason=st.sampled_from([None, "", "why \udcff"]),
    )
    def advance(self, job_id, transition, reason):
        self.both(lambda jobs: jobs.advance(job_id, transition, self.clock.now(), reason=reason))
        self.compare()

    @rule(job_id=st.sampled_from(["a1", "a2"]), stage=st.integers(0, 2))
    def enter_stage(self, job_id, stage):
        self.both(lambda jobs: jobs.enter_stage(job_id, stage, self.clock.now()))

    @rule(job_id=st.sampled_from(["a1", "a2"]), index=st.integers(0, 3), seconds=st.sampled_from([0.0, 5.0]))
    def lease_segment(self, job_id, index, seconds):
        now = self.clock.now()
        outcome = self.both(lambda jobs: jobs.lease_segment(job_id, index, "w", now, now + seconds))
        if isinstance(outcome, Segment):
            self.segments.append(outcome)

    @rule(choice=st.integers(0, 99), action=st.sampled_from(["extend", "finish", "release", "fail"]))
    def use_segment(self, choice, action):
        if self.segments:
            segment, now = self.segments[choice % len(self.segments)], self.clock.now()
            self.both(
                {
                    "extend": lambda jobs: jobs.extend_segment(segment, now, now + 2),
                    "finish": lambda jobs: jobs.finish_segment(segment, "key", 3, {"r": 1}, now),
                    "release": lambda jobs: jobs.release_segment(segment),
                    "fail": lambda jobs: jobs.release_segment(segment, failed=True),
                }[action],
            )
            self.compare()

    @rule(job_id=st.sampled_from(["a1", "a2"]))
    def delete(self, job_id):
        self.both(lambda jobs: jobs.delete(job_id))

    @rule(seconds=st.sampled_from([0.0, 1.5, 70.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)


def test_random_calls_have_the_same_outcomes_as_in_memory(client):
    few = settings(max_examples=25, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(lambda: SideBySide(client), settings=few)


def test_every_read_that_a_decision_rests_on_is_consistent(client, jobs):
    asked = []
    with hooked(
        client, "provide-client-params.dynamodb", lambda params, model, **_: asked.append((model.name, params))
    ):
        planned_job(jobs, (0, 1))
        leased = jobs.lease_segment("j", 0, "w", 3.0, 60.0)
        jobs.extend_segment(leased, 4.0, 90.0)
        jobs.finish_segment(leased, "j/000000.1", 1, {}, 5.0)
        jobs.enter_stage("j", 1, 6.0)
        jobs.segments("j")
        jobs.unknown(["j", "k"])
        jobs.advance("j", "cancel", 7.0)
        jobs.advance("j", "retry_planned", 8.0)
        jobs.get("j")
    reads = [params for name, params in asked if name in ("GetItem", "Query") and "IndexName" not in params]
    batches = [each for name, params in asked if name == "BatchGetItem" for each in params["RequestItems"].values()]
    assert {name for name, _ in asked} >= {"GetItem", "Query", "BatchGetItem"}
    assert all(each.get("ConsistentRead") for each in (*reads, *batches))
