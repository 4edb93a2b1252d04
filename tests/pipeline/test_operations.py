"""Cancel, retry, find and show."""

import pytest
from bytereel.leases import Unwatched
from bytereel.messages import ENCODE, FINALIZE
from bytereel.model import INBOX, WORK, JobState, ObjectRef, SegmentState
from bytereel.operations import cancel, dead_letters, find_job, retry, view
from bytereel.steps.encode import encode_segment
from bytereel_codec.errors import Permanent
from toys import Road, loud, passing_failure


class LostAfterFirst(Unwatched):
    """Says after the first chunk that the lease is gone."""

    def __init__(self) -> None:
        self.asked = 0

    def lost(self) -> bool:
        self.asked += 1
        return self.asked > 1


def test_a_cancelled_job_converts_nothing_more_and_its_messages_are_dropped() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    road.deliver_one()
    cancel(road.ports, job_id)
    road.run()
    assert road.job(job_id).state is JobState.CANCELLED
    assert road.loud.finished == {}
    assert cancel(road.ports, job_id).state is JobState.CANCELLED


def test_a_conversion_under_way_stops_at_its_next_chunk_when_its_lease_is_gone() -> None:
    road = Road()
    job_id = road.put("a", b"abcd")
    road.deliver_one()
    road.loud.on_convert = lambda index: cancel(road.ports, job_id) and None
    watch = LostAfterFirst()
    encode_segment(
        road.ports, road.conversions, {"job": job_id, "index": 0}, owner="worker", lease_seconds=60.0, watch=watch
    )
    assert road.loud.finished == {}
    assert road.keys(WORK) == []


def test_a_segment_that_ends_after_its_job_was_cancelled_does_not_count() -> None:
    road = Road()
    job_id = road.put("a", b"abcd")
    road.deliver_one()
    road.loud.on_convert = lambda index: cancel(road.ports, job_id) and None
    road.run()
    assert road.job(job_id).segments_done == 0
    assert road.keys(WORK) == []


def test_a_cancelled_job_goes_on_where_it_stopped() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefghijkl")
    for _ in range(3):
        road.deliver_one()
    cancel(road.ports, job_id)
    road.run()
    assert retry(road.ports, job_id).segments_done == 2
    assert road.ports.queue.size(ENCODE) == 1, "what is done is not queued again"
    road.run()
    assert road.output(job_id) == loud(b"abcdefghijkl")
    assert set(road.loud.finished.values()) == {1}


def test_a_retry_encodes_again_what_was_swept_away() -> None:
    road = Road()
    job_id = road.put("summed/a", b"abcdefgh")
    while road.ports.queue.size(FINALIZE) == 0:
        road.deliver_one()
    cancel(road.ports, job_id)
    for key in road.keys(WORK):
        road.ports.objects.delete(ObjectRef(WORK, key))
    road.run()
    assert retry(road.ports, job_id).segments_done == 0
    road.run()
    assert road.output(job_id) == b"<ABCDEFGH44>"


def test_a_failed_job_can_be_retried_when_the_cause_is_gone() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")

    def fail(_: int) -> None:
        raise passing_failure()

    road.loud.on_convert = fail
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    road.loud.on_convert = lambda index: None
    assert retry(road.ports, job_id).reason == ""
    road.run()
    assert road.output(job_id) == loud(b"abcdefgh")
    assert all(each.state is SegmentState.DONE for each in road.ports.jobs.segments(job_id))


def test_a_job_that_failed_before_its_plan_is_planned_again() -> None:
    road = Road()
    job_id = road.put("a", b"REFUSED")
    road.run()
    assert retry(road.ports, job_id).state is JobState.RECEIVED
    road.run()
    assert road.job(job_id).reason == "this source cannot be taken (try another)"


def test_running_and_done_jobs_are_not_retried_and_done_ones_not_cancelled() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.deliver_one()
    with pytest.raises(Permanent, match="only a failed or cancelled job"):
        retry(road.ports, job_id)
    road.run()
    with pytest.raises(Permanent, match="has ended already"):
        cancel(road.ports, job_id)


def test_a_job_is_found_by_the_start_of_its_id() -> None:
    road = Road()
    ids = [road.put(f"{number}", b"x") for number in range(30)]
    road.run()
    assert find_job(road.ports.jobs, ids[0]).id == ids[0]
    assert find_job(road.ports.jobs, ids[7][:12]).id == ids[7]
    for prefix, error_id in (("", "job.unknown"), ("zz", "job.unknown"), ("z" * 26, "job.unknown")):
        with pytest.raises(Permanent) as caught:
            find_job(road.ports.jobs, prefix)
        assert caught.value.error_id == error_id
    shared = next(each[0] for each in ids if sum(other[0] == each[0] for other in ids) > 1)
    with pytest.raises(Permanent, match="jobs have an id that starts with"):
        find_job(road.ports.jobs, shared)


def test_a_view_shows_progress_rate_reason_and_output() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    road.deliver_one()
    road.deliver_one()
    road.clock.advance(2.0)
    shown = view(road.job(job_id), road.clock.now())
    assert (shown["state"], shown["progress"], shown["bytes_per_second"]) == ("encoding", 0.5, 2)
    road.run()
    shown = view(road.job(job_id), road.clock.now())
    assert (shown["state"], shown["progress"], shown["output"]) == ("done", 1.0, "archive/plain/a.mp4")
    assert shown["expansion"] == 1.25
    assert road.keys(INBOX) == ["a"]


def test_a_dead_letter_names_its_job_or_says_that_there_is_none() -> None:
    road = Road()
    road.put("a", b"ab!")
    road.ports.queue.send("intake", [{"bucket": "outbox", "key": "stray", "version": "1"}])
    road.ports.queue.send(FINALIZE, [{}])
    road.run()
    found = {each["reason"]: (each["queue"], each["job"]) for each in dead_letters(road.ports)}
    assert set(found.values()) == {("intake", None), (FINALIZE, None)}
    assert any(reason.startswith("outbox/stray is not in the inbox") for reason in found)
