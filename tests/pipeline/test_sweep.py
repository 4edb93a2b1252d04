"""What the sweep resumes, clears and lets go of, and what it leaves alone."""

from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from bytereel import operations
from bytereel.adapters.clock import ManualClock
from bytereel.errors import Permanent
from bytereel.messages import BULK, ENCODE, QUEUES
from bytereel.model import INBOX, OUTBOX, WORK, JobState, ObjectRef, job_id_of
from bytereel.operations import cancel, retry
from bytereel.settings import load_settings
from bytereel.steps.sweep import CROWD, DAY_SECONDS, SweepLimits, sweep
from bytereel.wiring import open_home
from bytereel.workers.chores import ForwardJumps, tidy
from toys import CrashError, Failing, Road, loud

LIMITS = SweepLimits(stall_seconds=100.0, keep_done_days=1.0)


def drop_messages(road: Road) -> None:
    """Lose every message, as no durable queue would."""
    while message := road.ports.queue.lease(QUEUES, "thief", 60.0):
        road.ports.queue.acknowledge(message)


def test_a_job_whose_messages_are_all_gone_is_resumed_from_any_state() -> None:
    for handled in range(6):
        road = Road()
        job_id = road.put("summed/a", b"abcdefgh")
        road.deliver_one()
        for _ in range(handled):
            road.deliver_one()
        drop_messages(road)
        road.clock.advance(1.0)
        resumed = sweep(road.ports, LIMITS).resumed
        assert resumed == (road.job(job_id).state is not JobState.DONE)
        road.run()
        assert road.output(job_id) == b"<ABCDEFGH44>"
        assert set(road.summed.finished.values()) == {1}


def test_a_retry_that_was_cut_off_before_it_sent_its_messages_is_resumed() -> None:
    road = Road()
    job_id = road.put("a", b"REFUSED")
    road.run()
    failing = Failing(road.ports, 2, after=False)
    try:
        retry(failing.ports, job_id)
    except CrashError:
        road.clock.advance(1.0)
    assert sweep(road.ports, LIMITS).resumed == 1


def test_a_busy_job_is_left_alone_and_a_silent_one_resumed_when_others_still_wait() -> None:
    road = Road()
    road.put("a", b"abcdefgh")
    road.deliver_one()
    waiting = road.ports.queue.size(ENCODE)
    road.clock.advance(99.0)
    assert sweep(road.ports, LIMITS).resumed == 0
    road.clock.advance(2.0)
    assert sweep(road.ports, LIMITS).resumed == 1
    assert road.ports.queue.size(ENCODE) == 2 * waiting


def test_waiting_jobs_behind_a_long_queue_are_not_resumed_over_and_over() -> None:
    road = Road()
    road.put("a", b"abcd" * 1500)
    road.deliver_one()
    for _ in range(5):
        road.clock.advance(1000.0)
        sweep(road.ports, LIMITS)
    assert road.ports.queue.size(BULK) == 1500


def test_orphans_go_and_fragments_in_use_stay() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    road.deliver_one()
    road.deliver_one()
    now = road.clock.now()
    road.ports.jobs.lease_segment(job_id, 1, "other", now, now + 60.0)
    kept = [f"{job_id}/000000.1", f"{job_id}/000001.1"]
    for key in [kept[1], f"{job_id}/000000.7", f"{job_id}/000009.1", f"{job_id}/what", "absent/000000.1"]:
        road.ports.objects.put(ObjectRef(WORK, key), [b"orphan"])
    report = sweep(road.ports, LIMITS)
    assert (report.orphans, report.orphan_bytes) == (4, 24)
    assert road.keys(WORK) == kept


def test_one_call_clears_a_bounded_number_and_the_next_goes_on_from_there() -> None:
    road = Road()
    for index in range(25):
        road.ports.objects.put(ObjectRef(WORK, f"absent/{index:06d}.1"), [b"x"])
    limits = SweepLimits(100.0, 1.0, objects_max=10)
    cursor, calls = "", 0
    while road.keys(WORK):
        cursor = sweep(road.ports, limits, cursor).cursor
        calls += 1
    assert calls == 3
    assert cursor == ""


def test_fragments_of_a_cancelled_job_are_cleared_when_it_was_not_retried_for_a_while() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    road.deliver_one()
    road.deliver_one()
    cancel(road.ports, job_id)
    assert sweep(road.ports, LIMITS).orphans == 0
    road.clock.advance(101.0)
    assert sweep(road.ports, LIMITS).orphans == 1


def test_an_old_done_job_goes_with_its_source_and_its_output_stays() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.run()
    assert sweep(road.ports, LIMITS).expired == 0
    road.clock.advance(DAY_SECONDS + 1)
    assert sweep(road.ports, LIMITS).expired == 1
    assert road.ports.jobs.get(job_id) is None
    assert road.keys(INBOX) == []
    assert "archive/plain/a.mp4" in road.keys(OUTBOX)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_a_job_expires_never_makes_its_source_new(after: bool) -> None:
    for fail_at in count(1):
        road = Road()
        road.put("a", b"abc")
        road.run()
        road.clock.advance(DAY_SECONDS + 1)
        failing = Failing(road.ports, fail_at, after=after)
        with suppress(CrashError):
            sweep(failing.ports, LIMITS)
        sweep(road.ports, replace(LIMITS, settle_seconds=0.0))
        road.run()
        assert set(road.loud.finished.values()) == {1}, f"converted again after a crash at call {fail_at}"
        assert road.keys(INBOX) == []
        if failing.calls < fail_at:
            return


def test_a_job_that_cannot_be_resumed_holds_up_no_other() -> None:
    road = Road()
    first = road.put("a", b"abc")
    road.deliver_one()
    drop_messages(road)
    second = road.put("b", b"def")
    road.deliver_one()
    drop_messages(road)
    road.clock.advance(1.0)
    send = road.ports.queue.send

    def refusing(queue: str, bodies: list[dict[str, object]], **options: float) -> None:
        if any(body.get("job") == first for body in bodies):
            raise Permanent("toy.refused", "not this one")
        send(queue, bodies, **options)

    road.ports.queue.send = refusing
    assert sweep(road.ports, LIMITS).resumed == 1
    road.run()
    assert road.output(second) == loud(b"def")


def test_a_newer_source_under_the_same_key_outlives_the_old_job() -> None:
    road = Road()
    road.put("a", b"abc")
    road.run()
    road.clock.advance(DAY_SECONDS)
    newer = road.put("a", b"def")
    road.run()
    road.clock.advance(2)
    assert sweep(road.ports, LIMITS).expired == 1
    assert road.keys(INBOX) == ["a"]
    assert road.output(newer) == loud(b"def")


def test_failed_and_cancelled_jobs_keep_their_sources() -> None:
    road = Road()
    failed, cancelled = road.put("a", b"REFUSED"), road.put("b", b"abc")
    cancel_later = road.deliver_one() and road.deliver_one()
    assert cancel_later
    cancel(road.ports, cancelled)
    road.run()
    road.clock.advance(10 * DAY_SECONDS)
    assert sweep(road.ports, LIMITS).expired == 0
    assert road.job(failed).state is JobState.FAILED
    assert road.keys(INBOX) == ["a", "b"]


def test_dead_letters_go_when_they_are_as_old_as_a_done_job() -> None:
    road = Road()
    road.ports.queue.send(ENCODE, [{"index": 1}])
    road.deliver_one()
    road.clock.advance(DAY_SECONDS - 1)
    assert sweep(road.ports, LIMITS).dead_letters_expired == 0
    assert len(road.ports.queue.dead()) == 1
    road.clock.advance(2)
    assert sweep(road.ports, LIMITS).dead_letters_expired == 1
    assert road.ports.queue.dead() == []


@pytest.mark.parametrize("hides", [False, True])
def test_an_expired_job_takes_its_own_source_along_and_not_what_took_its_place(hides: bool) -> None:
    road = Road()
    road.loud.hides_source = hides
    kept, replaced = road.put("kept", b"abcd"), road.put("replaced", b"abcd")
    road.run()
    assert bool(road.job(kept).source.version) is not hides
    road.ports.objects.put(ObjectRef(INBOX, "replaced"), [b"somebody else's"])
    road.clock.advance(LIMITS.keep_done_days * DAY_SECONDS + 1)
    assert sweep(road.ports, LIMITS).expired == 2
    assert road.keys(INBOX) == ["replaced"]
    assert road.ports.jobs.get(kept) is road.ports.jobs.get(replaced) is None


def test_an_upload_whose_event_was_lost_becomes_a_job_within_one_sweep() -> None:
    road = Road()
    heard = road.put("heard", b"abcd")
    road.run()
    lost = [road.ports.objects.put(ObjectRef(INBOX, key), [b"efgh"]).ref for key in ("lost", "b/lost too", "marker")]
    road.ports.objects.delete(lost.pop())
    limits = replace(LIMITS, settle_seconds=5.0)
    assert sweep(road.ports, limits).announced == 0
    road.clock.advance(10.0)
    assert sweep(road.ports, limits).announced == 2
    road.run()
    assert sweep(road.ports, limits).announced == 0
    assert {job.id for job in road.ports.jobs.list(JobState.DONE)} == {heard, *map(job_id_of, lost)}


def test_the_inbox_is_compared_once_a_round_and_not_while_a_crowd_waits_for_intake() -> None:
    road = Road()
    road.ports.objects.put(ObjectRef(INBOX, "lost"), [b"abcd"])
    road.clock.advance(10.0)
    limits = replace(LIMITS, settle_seconds=5.0)
    assert sweep(road.ports, limits, cursor="work:x").announced == 0
    road.ports.queue.send("intake", [{}] * CROWD)
    assert sweep(road.ports, limits).announced == 0


def test_a_watched_inbox_is_left_to_its_watcher() -> None:
    road = Road()
    road.ports.objects.put(ObjectRef(INBOX, "dropped"), [b"abcd"])
    road.clock.advance(1e6)
    assert sweep(road.ports, LIMITS).announced == 0


def test_a_round_of_many_pages_resumes_a_job_once_and_looks_at_every_upload() -> None:
    road = Road()
    road.put("a", b"abcdefgh")
    road.deliver_one()
    lost = [road.ports.objects.put(ObjectRef(INBOX, f"lost {number}"), [b"efgh"]).ref for number in range(7)]
    for number in range(5):
        road.ports.objects.put(ObjectRef(WORK, f"orphan/{number:06d}.1"), [b"x"])
    road.clock.advance(1000.0)
    limits = replace(LIMITS, settle_seconds=5.0, objects_max=2)
    reports = [sweep(road.ports, limits)]
    while reports[-1].cursor:
        reports.append(sweep(road.ports, limits, reports[-1].cursor))
    assert sum(each.resumed for each in reports) == 1
    assert sum(each.announced for each in reports) == len(lost)
    assert sum(each.orphans for each in reports) == 5


@pytest.mark.parametrize(("forward", "expired"), [(0.0, 1), (40 * 86400.0, 0)])
def test_what_is_kept_for_days_survives_a_clock_that_was_set_forward(
    tmp_path: Path, forward: float, expired: int
) -> None:
    settings = load_settings(home=tmp_path / "home", keep_done_days=30)
    home = open_home(settings)
    clock = ManualClock()
    home = replace(home, ports=replace(home.ports, clock=clock))
    now = clock.now()
    source = home.inbox.upload("archive/a", [b"x"])
    job_id = operations.receive(home.ports, source, "archive", "archive")
    home.ports.jobs.plan(job_id, {}, [], now)
    home.ports.jobs.advance(job_id, "complete", now)
    home.ports.jobs.advance(job_id, "finish", now)
    clock.advance(40 * 86400.0)
    assert tidy(home, settings, forward_seconds=forward).swept.expired == expired


def test_only_time_that_did_not_pass_counts_as_set_forward(caplog: pytest.LogCaptureFixture) -> None:
    clock, passed = ManualClock(), [100.0]
    jumps = ForwardJumps(clock, lambda: passed[0])
    for wall, elapsed, ahead in (
        (3600.0, 3600.0, 0.0),
        (60.0, 0.0, 0.0),
        (1.0, 0.0, 61.0),
        (86400.0, 0.0, 86461.0),
        (10.0, 10.0, 86461.0),
        (-86461.0, 0.0, 0.0),
        (-500.0, 0.0, 0.0),
    ):
        clock.advance(wall)
        passed[0] += elapsed
        assert jumps.seconds() == pytest.approx(ahead)
    assert caplog.text.count("set forward by 86461 s") == 1


@pytest.mark.parametrize(("ahead_seconds", "announced"), [(59.0, 0), (61.0, 1), (86400.0, 1), (-1.0, 0), (-11.0, 1)])
def test_an_object_of_before_the_clock_was_set_back_is_found(ahead_seconds: float, announced: int) -> None:
    road = Road()
    road.ports.objects.put(ObjectRef("inbox", "archive/a"), [b"x"])
    road.clock.advance(-ahead_seconds)
    limits = SweepLimits(stall_seconds=900.0, keep_done_days=30.0, settle_seconds=10.0)
    assert sweep(road.ports, limits).announced == announced
