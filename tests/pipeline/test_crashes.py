"""A crash or a passing failure at every port call, lost leases, messages in any order: one right end."""

from itertools import count

import pytest
from bytereel.messages import ENCODE, FINALIZE, INTAKE, QUEUES, event_of
from bytereel.model import WORK, JobState, ObjectRef, SegmentState
from bytereel.operations import retry
from bytereel.steps.encode import encode_segment
from bytereel.steps.sweep import SweepLimits, sweep
from bytereel.workers.delivery import Delivery, DeliveryLimits
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CONTENTS, LIMITS, CrashError, Failing, Road, expected, loud, passing_failure

SWEEP = SweepLimits(stall_seconds=100.0, keep_done_days=1.0)


def run_until_crash(road: Road, failing: Failing) -> bool:
    """Hand out messages as the worker `doomed`; whether it crashed before none was left."""
    try:
        while road.deliver_one(failing.ports, owner="doomed"):
            pass
    except CrashError:
        return True
    return False


def bury_the_dead(road: Road) -> None:
    road.ports.jobs.release_owner("doomed")
    road.ports.queue.release_owner("doomed")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("key", "content"), CONTENTS)
def test_a_crash_at_any_port_call_loses_nothing_and_converts_no_finished_segment_again(
    key: str, content: bytes, after: bool
) -> None:
    for fail_at in count(1):
        road = Road()
        job_id = road.put(key, content)
        failing = Failing(road.ports, fail_at, after=after)
        crashed = run_until_crash(road, failing)
        done = {each.index for each in road.ports.jobs.segments(job_id) if each.state is SegmentState.DONE}
        before = {**road.loud.finished, **road.summed.finished}
        bury_the_dead(road)
        road.run()
        assert road.job(job_id).state is JobState.DONE, f"crash at call {fail_at}"
        assert road.output(job_id) == expected(key, content)
        again = {**road.loud.finished, **road.summed.finished}
        assert all(again[pair] == before[pair] for pair in before if pair[1] in done)
        assert road.keys(WORK) == []
        if not crashed:
            return


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("key", "content"), CONTENTS)
def test_a_passing_failure_at_any_port_call_is_overcome(key: str, content: bytes, after: bool) -> None:
    for fail_at in count(1):
        road = Road()
        job_id = road.put(key, content)
        failing = Failing(road.ports, fail_at, after=after, error=passing_failure, for_good=False)
        for _ in range(200):
            try:
                road.deliver_one(failing.ports)
            except type(passing_failure()):  # settling failed: the lease has to end
                road.clock.advance(61.0)
            road.clock.advance(1.0)
        assert road.job(job_id).state is JobState.DONE, f"failure at call {fail_at}"
        assert road.output(job_id) == expected(key, content)
        if failing.calls < fail_at:
            return


def test_a_crash_without_anybody_noticing_is_overcome_when_the_leases_end() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    assert run_until_crash(road, Failing(road.ports, 12, after=True))
    road.clock.advance(120.0)
    road.run()
    assert road.output(job_id) == loud(b"abcdefgh")


def test_an_attempt_that_lost_its_lease_changes_nothing_and_takes_its_fragment_away() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.deliver_one()

    def overtaken(_: int) -> None:
        road.loud.on_convert = lambda index: None
        road.clock.advance(120.0)
        encode_segment(road.ports, road.conversions, {"job": job_id, "index": 0}, owner="other", lease_seconds=60.0)

    road.loud.on_convert = overtaken
    encode_segment(road.ports, road.conversions, {"job": job_id, "index": 0}, owner="slow", lease_seconds=60.0)
    assert road.keys(WORK) == [f"{job_id}/000000.2"]
    segment = road.ports.jobs.segment(job_id, 0)
    assert segment is not None
    assert (segment.attempt, segment.fragment_key) == (2, f"{job_id}/000000.2")
    road.run()
    assert road.output(job_id) == loud(b"abc")


def test_a_segment_that_somebody_else_holds_is_left_alone_and_looked_after_later() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.deliver_one()
    now = road.clock.now()
    road.ports.jobs.lease_segment(job_id, 0, "silent", now, now + 60.0)
    assert road.deliver_one()
    assert not road.deliver_one(), "it comes back only when the lease ends"
    assert road.ports.queue.size(ENCODE) == 1
    road.run()
    assert road.output(job_id) == loud(b"abc")


def test_a_passing_failure_that_does_not_pass_fails_the_job_with_the_last_reason() -> None:
    road = Road()
    job_id = road.put("a", b"abcdef")

    def fail(index: int) -> None:
        if index == 1:
            raise passing_failure()

    road.loud.on_convert = fail
    road.run()
    assert road.job(job_id).reason == "tried 5 times: it may work the next time"
    assert [message.body for message, _ in road.ports.queue.dead()] == [{"job": job_id, "index": 1}]
    assert not any(each.state is SegmentState.LEASED for each in road.ports.jobs.segments(job_id))


def test_a_message_that_ends_every_worker_fails_its_job() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    limits = DeliveryLimits(60.0, 5, deaths_max=3)
    road.deliver_one()

    def die(_: int) -> None:
        raise CrashError

    road.loud.on_convert = die
    for _ in range(3):
        with pytest.raises(CrashError):
            road.deliver_one(owner="doomed", limits=limits)
        bury_the_dead(road)
    road.deliver_one(limits=limits)
    assert road.job(job_id).state is JobState.FAILED
    assert "3 workers ended" in road.job(job_id).reason


def test_a_fragment_is_written_once_and_what_lies_there_already_costs_the_attempt() -> None:
    road = Road()
    job_id = road.put("a", b"abcd")
    road.deliver_one()
    road.ports.objects.put(ObjectRef(WORK, f"{job_id}/000000.1"), [b"somebody else's"])
    road.run()
    assert road.output(job_id) == loud(b"abcd")
    [segment] = road.ports.jobs.segments(job_id)
    assert segment.attempt == 2


def test_two_finalizers_at_once_end_the_job_once() -> None:
    road = Road()
    job_id = road.put("a", b"abcdef")
    compose, late = road.ports.objects.compose, []

    def overtaken(*arguments: object, **named: object) -> object:
        if not late:
            late.append(True)
            road.ports.queue.send(FINALIZE, [{"job": job_id}])
            assert road.deliver_one(owner="other")
        return compose(*arguments, **named)

    road.ports.objects.compose = overtaken
    road.run()
    assert road.job(job_id).state is JobState.DONE
    assert road.output(job_id) == loud(b"abcdef")
    assert {each.state for each in road.ports.jobs.segments(job_id)} == {SegmentState.DONE}
    assert road.keys(WORK) == []


def messages_of(road: Road, job_id: str) -> list[tuple[str, dict[str, object]]]:
    """Every message that the job can ever be sent."""
    source = road.job(job_id).source if road.ports.jobs.get(job_id) else None
    encode = [(ENCODE, {"job": job_id, "index": index}) for index in range(6)]
    return [*encode, (FINALIZE, {"job": job_id})] + ([(INTAKE, dict(event_of(source)))] if source else [])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), case=st.sampled_from(CONTENTS))
def test_any_order_and_duplication_of_messages_ends_each_job_once_and_right(
    data: st.DataObject, case: tuple[str, bytes]
) -> None:
    road, (key, content) = Road(), case
    job_id = road.put(key, content)
    ends: list[JobState] = []
    for _ in range(data.draw(st.integers(0, 18), label="steps")):
        match data.draw(st.sampled_from(["deliver", "deliver", "duplicate", "crash", "wait", "sweep"])):
            case "deliver":
                queues = data.draw(st.permutations(QUEUES))
                road.deliver_one(owner="worker") if queues[0] == FINALIZE else deliver_from(road, queues)
            case "duplicate":
                queue, body = data.draw(st.sampled_from(messages_of(road, job_id)))
                road.ports.queue.send(queue, [body])
            case "crash":
                failing = Failing(road.ports, data.draw(st.integers(1, 6)), after=data.draw(st.booleans()))
                run_until_crash(road, failing)
                bury_the_dead(road)
            case "wait":
                road.clock.advance(data.draw(st.sampled_from([0.1, 61.0, 200.0])))
            case "sweep":
                sweep(road.ports, SWEEP)
        job = road.ports.jobs.get(job_id)
        if job and job.state is JobState.DONE:
            ends.append(job.state)
            assert road.output(job_id) == expected(key, content)
        assert not (ends and job and job.state is not JobState.DONE), "a job that ended runs again"
    road.run()
    assert road.job(job_id).state is JobState.DONE, road.job(job_id).reason
    assert road.output(job_id) == expected(key, content)
    sweep(road.ports, SWEEP)
    assert road.keys(WORK) == []


def deliver_from(road: Road, queues: list[str]) -> None:
    """Hand out the first message of the queues in an order that no worker would take them in."""
    message = road.ports.queue.lease(queues, "worker", 60.0)
    if message is not None:
        Delivery(road.ports, road.conversions, "worker", LIMITS).deliver(message)


def test_a_lost_fragment_fails_the_job_and_a_retry_encodes_that_segment_alone() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefghijkl")
    while road.ports.queue.size(FINALIZE) == 0:
        road.deliver_one()
    road.ports.objects.put(ObjectRef(WORK, f"{job_id}/000001.1"), [b"XXXX"])
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert "segments 1: a retry encodes them again" in road.job(job_id).reason
    retry(road.ports, job_id)
    road.run()
    assert road.output(job_id) == loud(b"abcdefghijkl")
    assert [road.loud.finished["a", index] for index in range(3)] == [1, 2, 1]
