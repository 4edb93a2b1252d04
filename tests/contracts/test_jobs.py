"""What every `JobTable` must do."""

from dataclasses import replace

import pytest
from bytereel.errors import LeaseLost, TransitionRefused
from bytereel.model import (
    JOB_ENDED,
    JOB_RUNNING,
    JOB_TRANSITIONS,
    Job,
    JobState,
    ObjectRef,
    Segment,
    SegmentState,
)
from bytereel.ports.jobs import StageProgress

# the transitions that bring a new job into each state
WAYS = {
    JobState.RECEIVED: (),
    JobState.PLANNED: ("plan",),
    JobState.ENCODING: ("plan", "start"),
    JobState.FINALIZING: ("plan", "complete"),
    JobState.DONE: ("plan", "complete", "finish"),
    JobState.FAILED: ("fail",),
    JobState.CANCELLED: ("cancel",),
}

# moto holds its tables in this process without locks: its transactions are atomic for one caller at a time
for_threads = pytest.mark.parametrize("jobs", ["memory", "embedded", "ministack"], indirect=True)


def new_job(job_id="j", created_at=1.0):
    source = ObjectRef("inbox", f"nä me\udcff{job_id}", "v1")
    return Job(job_id, source, 100, "archive", "default", JobState.RECEIVED, created_at, created_at)


def planned_job(jobs, job_id="j", stages=(0, 0, 0), now=2.0):
    jobs.create(new_job(job_id))
    segments = [Segment(job_id, index, stage, index * 10, index * 10 + 10) for index, stage in enumerate(stages)]
    return jobs.plan(job_id, {"parameters": [1, "zwei"]}, segments, now)


def job_in(jobs, state, job_id="j"):
    jobs.create(new_job(job_id))
    for transition in WAYS[state]:
        if transition == "plan":
            jobs.plan(job_id, {}, [], 2.0)
        else:
            jobs.advance(job_id, transition, 2.0)
    assert jobs.get(job_id).state is state


def finish(jobs, index, job_id="j", now=5.0):
    segment = jobs.lease_segment(job_id, index, "w", now, now + 10)
    return jobs.finish_segment(segment, f"k{index}", 7, {"n": index}, now)


def test_a_job_is_created_once(jobs):
    assert jobs.create(new_job())
    assert not jobs.create(replace(new_job(), source_bytes=5))
    assert jobs.get("j") == new_job()
    assert jobs.get("other") is None


@for_threads
def test_creating_has_one_winner(jobs, race):
    outcomes = race([lambda: jobs.create(new_job())] * 8)
    assert sorted(outcomes) == [False] * 7 + [True]


def test_ids_that_no_job_has_are_unknown(jobs):
    for number in range(3):
        jobs.create(new_job(f"j{number}"))
    assert jobs.unknown(["j0", "x", "j2", "y"]) == {"x", "y"}
    assert jobs.unknown([]) == set()
    many = [f"j{number}" for number in range(250)]
    assert jobs.unknown(many) == set(many[3:])


def test_jobs_are_found_by_the_start_of_their_id(jobs):
    for job_id in ("ab2", "ab1", "abc", "b", "a"):
        jobs.create(new_job(job_id))
    assert [job.id for job in jobs.find("ab", limit=9)] == ["ab1", "ab2", "abc"]
    assert [job.id for job in jobs.find("ab", limit=2)] == ["ab1", "ab2"]
    assert [job.id for job in jobs.find("b", limit=9)] == ["b"]
    assert jobs.find("abcd", limit=9) == []


def test_list_is_newest_first_by_state_and_in_pages(jobs):
    for number in range(7):
        jobs.create(new_job(f"j{number}", created_at=float(number // 2)))
    for number in (1, 4):
        jobs.advance(f"j{number}", "cancel", 9.0)
    assert [job.id for job in jobs.list()] == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]
    assert [job.id for job in jobs.list(JobState.CANCELLED)] == ["j4", "j1"]
    assert [job.id for job in jobs.list(JobState.CANCELLED, after=(2.0, "j4"))] == ["j1"]
    seen, after = [], None
    while page := jobs.list(after=after, limit=2):
        seen += [job.id for job in page]
        after = (page[-1].created_at, page[-1].id)
    assert seen == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]


def test_count_says_how_many_stand_in_each_state(jobs):
    for number, state in enumerate(JobState):
        job_in(jobs, state, f"j{number}")
    job_in(jobs, JobState.DONE, "another")
    assert {state: count for state, count in jobs.count().items() if count} == {
        state: 2 if state is JobState.DONE else 1 for state in JobState
    }


def test_a_plan_stores_the_segments_and_the_lowest_stage(jobs):
    job = planned_job(jobs, stages=(2, 1, 1))
    assert job == jobs.get("j")
    assert (job.state, job.plan, job.updated_at) == (JobState.PLANNED, {"parameters": [1, "zwei"]}, 2.0)
    assert (job.segments_total, job.segments_done, job.stage, job.stage_remaining) == (3, 0, 1, 2)
    assert jobs.segments("j") == [Segment("j", 0, 2, 0, 10), Segment("j", 1, 1, 10, 20), Segment("j", 2, 1, 20, 30)]
    assert jobs.segments("j", after=0, limit=1) == [Segment("j", 1, 1, 10, 20)]
    assert jobs.segment("j", 2) == Segment("j", 2, 1, 20, 30)
    assert jobs.segment("j", 3) is None
    assert jobs.segment("absent", 0) is None
    assert jobs.segments("absent") == []


def test_a_plan_without_segments_has_nothing_remaining(jobs):
    jobs.create(new_job())
    job = jobs.plan("j", {}, [], 2.0)
    assert (job.state, job.segments_total, job.stage_remaining) == (JobState.PLANNED, 0, 0)


def test_a_second_plan_is_refused_and_changes_nothing(jobs):
    planned_job(jobs)
    with pytest.raises(TransitionRefused):
        jobs.plan("j", {}, [], 3.0)
    assert len(jobs.segments("j")) == 3
    with pytest.raises(TransitionRefused):
        jobs.plan("absent", {}, [], 3.0)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("transition", sorted(JOB_TRANSITIONS.keys() - {"plan"}))
def test_the_table_alone_decides_which_transitions_happen(jobs, state, transition):
    job_in(jobs, state)
    before = jobs.get("j")
    starts, end = JOB_TRANSITIONS[transition]
    if state in starts:
        job = jobs.advance("j", transition, 7.0, reason="why \udcff", result={"a": [1]})
        assert (job.state, job.updated_at, job.reason, job.result) == (end, 7.0, "why \udcff", {"a": [1]})
        assert jobs.get("j") == job
    else:
        with pytest.raises(TransitionRefused):
            jobs.advance("j", transition, 7.0, reason="why")
        assert jobs.get("j") == before


def test_advancing_an_absent_job_is_refused(jobs):
    with pytest.raises(TransitionRefused):
        jobs.advance("absent", "fail", 1.0)


def test_reason_and_result_stay_until_a_retry_forgets_the_reason(jobs):
    planned_job(jobs)
    jobs.advance("j", "start", 3.0, reason="slow", result={"a": 1})
    job = jobs.advance("j", "fail", 4.0)
    assert (job.reason, job.result) == ("slow", {"a": 1})
    assert jobs.advance("j", "retry_planned", 5.0).reason == ""


def test_a_source_is_forgotten_in_the_write_that_ends_the_job_and_its_key_stays(jobs):
    job_in(jobs, JobState.FINALIZING)
    before = jobs.get("j")
    assert (before.source.version, before.source_bytes) == ("v1", 100)
    done = jobs.advance("j", "finish", 3.0, result={"a": 1}, forget_source=True)
    assert done == jobs.get("j")
    assert (done.state, done.result) == (JobState.DONE, {"a": 1})
    assert (done.source, done.source_bytes) == (ObjectRef("inbox", before.source.key), 0)


def test_a_refused_transition_forgets_nothing(jobs):
    job_in(jobs, JobState.PLANNED)
    with pytest.raises(TransitionRefused):
        jobs.advance("j", "finish", 3.0, forget_source=True)
    assert (jobs.get("j").source.version, jobs.get("j").source_bytes) == ("v1", 100)


@for_threads
def test_racing_transitions_have_one_winner(jobs, race):
    job_in(jobs, JobState.FINALIZING)
    outcomes = race([lambda: jobs.advance("j", "finish", 3.0)] * 8)
    assert sum(isinstance(outcome, Job) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TransitionRefused) for outcome in outcomes) == 7


def test_a_lease_starts_the_job_and_counts_the_attempt(jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 1, "w", 3.0, 13.0)
    assert (segment.state, segment.attempt, segment.owner, segment.lease_until) == (SegmentState.LEASED, 1, "w", 13.0)
    assert jobs.segment("j", 1) == segment
    assert (jobs.get("j").state, jobs.get("j").updated_at) == (JobState.ENCODING, 3.0)


def test_a_held_segment_cannot_be_leased_until_its_lease_ends(jobs):
    planned_job(jobs)
    jobs.lease_segment("j", 0, "a", 3.0, 13.0)
    assert jobs.lease_segment("j", 0, "b", 12.9, 20.0) is None
    assert jobs.lease_segment("j", 0, "b", 13.0, 20.0).attempt == 2


def test_what_cannot_be_leased_changes_nothing(jobs):
    planned_job(jobs, stages=(0, 0, 0, 1))
    finish(jobs, 0)
    jobs.release_segment(jobs.lease_segment("j", 1, "w", 5.0, 9.0), failed=True)
    before = jobs.get("j"), jobs.segments("j")
    for index in (0, 1, 3, 99):
        assert jobs.lease_segment("j", index, "w", 50.0, 60.0) is None
    assert jobs.lease_segment("absent", 0, "w", 50.0, 60.0) is None
    assert (jobs.get("j"), jobs.segments("j")) == before


@pytest.mark.parametrize("transition", ["fail", "cancel", "complete"])
def test_no_segment_is_leased_extended_or_finished_once_the_job_left_encoding(jobs, transition):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    jobs.advance("j", transition, 4.0)
    assert jobs.lease_segment("j", 1, "w", 5.0, 15.0) is None
    assert not jobs.extend_segment(segment, 5.0, 15.0)
    with pytest.raises(LeaseLost):
        jobs.finish_segment(segment, "k", 1, {}, 5.0)
    assert jobs.get("j").updated_at == 4.0


@for_threads
def test_leasing_has_one_winner(jobs, race):
    planned_job(jobs)
    outcomes = race([lambda: jobs.lease_segment("j", 0, "w", 3.0, 13.0)] * 12)
    assert sum(outcome is not None for outcome in outcomes) == 1


def test_extending_moves_the_lease_and_updates_the_job(jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    assert jobs.extend_segment(segment, 10.0, 20.0)
    assert jobs.segment("j", 0).lease_until == 20.0
    assert jobs.get("j").updated_at == 10.0
    assert jobs.stalled(9.0) == []


@pytest.mark.parametrize("next_owner", ["a", "b"])
def test_an_attempt_that_lost_its_lease_can_do_nothing_whoever_has_it_now(jobs, next_owner):
    planned_job(jobs)
    lost = jobs.lease_segment("j", 0, "a", 3.0, 13.0)
    held = jobs.lease_segment("j", 0, next_owner, 13.0, 23.0)
    assert (lost.attempt, held.attempt) == (1, 2)
    assert not jobs.extend_segment(lost, 14.0, 90.0)
    jobs.release_segment(lost)
    jobs.release_segment(lost, failed=True)
    with pytest.raises(LeaseLost):
        jobs.finish_segment(lost, "k", 1, {}, 14.0)
    assert jobs.segment("j", 0) == held
    assert jobs.get("j").stage_remaining == 3


def test_a_worker_of_a_job_that_lost_its_rows_and_was_made_anew_cannot_finish_for_another(jobs):
    planned_job(jobs)
    lost = jobs.lease_segment("j", 0, "a", 3.0, 13.0)
    jobs.advance("j", "cancel", 4.0)
    jobs.delete("j")
    planned_job(jobs)
    held = jobs.lease_segment("j", 0, "b", 5.0, 15.0)
    assert held.attempt == lost.attempt
    assert not jobs.extend_segment(lost, 6.0, 90.0)
    jobs.release_segment(lost)
    with pytest.raises(LeaseLost):
        jobs.finish_segment(lost, "k", 1, {}, 6.0)
    assert jobs.segment("j", 0) == held


def test_finishing_notes_the_fragment_and_counts_one_fewer(jobs):
    planned_job(jobs, stages=(0, 0, 1))
    assert finish(jobs, 0) == StageProgress(0, 1)
    done = jobs.segment("j", 0)
    assert (done.state, done.fragment_key, done.fragment_bytes, done.result, done.attempt) == (
        SegmentState.DONE,
        "k0",
        7,
        {"n": 0},
        1,
    )
    assert finish(jobs, 1, now=6.0) == StageProgress(0, 0)
    job = jobs.get("j")
    assert (job.segments_done, job.stage_remaining, job.updated_at) == (2, 0, 6.0)


def test_a_segment_is_finished_once(jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 13.0)
    jobs.finish_segment(segment, "k", 1, {}, 4.0)
    with pytest.raises(LeaseLost):
        jobs.finish_segment(segment, "k", 1, {}, 4.0)
    assert jobs.get("j").stage_remaining == 2


def test_a_lease_that_ran_out_but_that_nobody_took_still_counts(jobs):
    planned_job(jobs)
    segment = jobs.lease_segment("j", 0, "w", 3.0, 4.0)
    assert jobs.finish_segment(segment, "k", 1, {}, 100.0) == StageProgress(0, 2)


@for_threads
def test_racing_finishes_count_exactly_and_one_sees_zero(jobs, race):
    planned_job(jobs, stages=(0,) * 12)
    outcomes = race([lambda index=index: finish(jobs, index) for index in range(12)])
    remaining = [progress.remaining for progress in outcomes]
    assert 0 in remaining
    assert all(each <= exact for each, exact in zip(sorted(remaining), range(12), strict=True))
    assert (jobs.get("j").segments_done, jobs.get("j").stage_remaining) == (12, 0)


@pytest.mark.parametrize("jobs", ["memory", "embedded"], indirect=True)
def test_racing_finishes_are_told_exactly_what_remains_where_one_lock_holds_the_table(jobs, race):
    planned_job(jobs, stages=(0,) * 12)
    outcomes = race([lambda index=index: finish(jobs, index) for index in range(12)])
    assert sorted(progress.remaining for progress in outcomes) == list(range(12))


def test_a_released_segment_waits_again_and_a_failed_one_does_not(jobs):
    planned_job(jobs)
    jobs.release_segment(jobs.lease_segment("j", 0, "w", 3.0, 13.0))
    assert jobs.segment("j", 0) == Segment("j", 0, 0, 0, 10, attempt=1)
    jobs.release_segment(jobs.lease_segment("j", 0, "w", 3.0, 13.0), failed=True)
    assert jobs.segment("j", 0).state is SegmentState.FAILED
    assert jobs.get("j").stage_remaining == 3


def test_a_done_segment_whose_fragment_was_lost_fails_and_remains_again(jobs):
    planned_job(jobs)
    finish(jobs, 0)
    jobs.release_segment(jobs.segment("j", 0))
    assert jobs.segment("j", 0).state is SegmentState.DONE
    jobs.release_segment(jobs.segment("j", 0), failed=True)
    assert jobs.segment("j", 0).state is SegmentState.FAILED
    assert (jobs.get("j").segments_done, jobs.get("j").stage_remaining) == (0, 3)


@pytest.mark.parametrize("jobs", ["memory", "embedded"], indirect=True)
def test_release_owner_frees_what_a_dead_process_held(jobs):
    planned_job(jobs)
    planned_job(jobs, "k")
    for job_id, index, owner in (("j", 0, "dead"), ("k", 1, "dead"), ("k", 2, "alive")):
        jobs.lease_segment(job_id, index, owner, 3.0, 13.0)
    finish(jobs, 1)
    assert jobs.release_owner("dead") == 2
    assert jobs.release_owner("dead") == 0
    assert jobs.segment("j", 0).state is SegmentState.WAITING
    assert jobs.segment("k", 2).state is SegmentState.LEASED
    assert jobs.lease_segment("k", 1, "w", 4.0, 14.0).attempt == 2


def test_a_stage_is_entered_when_the_one_before_is_over(jobs):
    planned_job(jobs, stages=(0, 1, 1))
    assert jobs.enter_stage("j", 0, 3.0)
    assert not jobs.enter_stage("j", 1, 3.0)
    finish(jobs, 0)
    assert jobs.enter_stage("j", 0, 5.5)
    assert jobs.get("j").updated_at == 5.0
    assert jobs.enter_stage("j", 1, 6.0)
    assert jobs.enter_stage("j", 1, 7.0)
    job = jobs.get("j")
    assert (job.stage, job.stage_remaining, job.updated_at) == (1, 2, 6.0)
    assert not jobs.enter_stage("j", 0, 8.0)
    assert finish(jobs, 2) == StageProgress(1, 1)


@pytest.mark.parametrize("state", sorted(JOB_ENDED))
def test_an_ended_or_absent_job_enters_no_stage(jobs, state):
    job_in(jobs, state)
    assert not jobs.enter_stage("j", 0, 3.0)
    assert not jobs.enter_stage("absent", 0, 3.0)


def test_retry_sets_failed_and_leased_segments_back_and_keeps_done_ones(jobs):
    planned_job(jobs, stages=(0, 1, 1, 1))
    finish(jobs, 0)
    jobs.enter_stage("j", 1, 5.0)
    finish(jobs, 1)
    jobs.lease_segment("j", 2, "w", 5.0, 15.0)
    jobs.release_segment(jobs.lease_segment("j", 3, "w", 5.0, 15.0), failed=True)
    jobs.advance("j", "fail", 6.0, reason="broken")
    job = jobs.advance("j", "retry_planned", 7.0)
    assert [segment.state for segment in jobs.segments("j")] == ["done", "done", "waiting", "waiting"]
    assert (job.state, job.stage, job.stage_remaining, job.segments_done) == (JobState.PLANNED, 1, 2, 2)
    assert jobs.lease_segment("j", 2, "w", 8.0, 18.0).attempt == 2


def test_retry_goes_back_to_the_stage_of_a_lost_fragment(jobs):
    planned_job(jobs, stages=(0, 1))
    finish(jobs, 0)
    jobs.enter_stage("j", 1, 5.0)
    jobs.release_segment(jobs.segment("j", 0), failed=True)
    jobs.advance("j", "fail", 6.0)
    job = jobs.advance("j", "retry_planned", 7.0)
    assert (job.stage, job.stage_remaining, job.segments_done) == (0, 1, 0)


def test_retry_of_a_job_with_every_segment_done_has_nothing_remaining(jobs):
    planned_job(jobs, stages=(0,))
    finish(jobs, 0)
    jobs.advance("j", "fail", 6.0)
    job = jobs.advance("j", "retry_planned", 7.0)
    assert (job.stage, job.stage_remaining, job.segments_done) == (0, 0, 1)


def test_an_unplanned_retry_can_be_planned_anew(jobs):
    planned_job(jobs)
    jobs.advance("j", "fail", 6.0)
    jobs.advance("j", "retry_unplanned", 7.0)
    job = jobs.plan("j", {}, [Segment("j", 0, 0, 0, 5)], 8.0)
    assert (job.segments_total, job.stage_remaining, len(jobs.segments("j"))) == (1, 1, 1)


def test_stalled_gives_running_jobs_oldest_update_first(jobs):
    for number, state in enumerate(JobState):
        job_in(jobs, state, f"j{number}")
    jobs.create(new_job("old", created_at=0.5))
    silent = jobs.stalled(3.0)
    assert silent[0].id == "old"
    assert {job.state for job in silent} == JOB_RUNNING
    assert [job.updated_at for job in silent] == sorted(job.updated_at for job in silent)
    assert jobs.stalled(3.0, limit=2) == silent[:2]
    assert [job.id for job in jobs.stalled(1.0)] == ["old"]
    assert jobs.stalled(0.5) == []


def test_an_ended_job_is_deleted_with_its_segments(jobs):
    planned_job(jobs)
    with pytest.raises(TransitionRefused):
        jobs.delete("j")
    jobs.advance("j", "cancel", 3.0)
    jobs.delete("j")
    jobs.delete("j")
    assert jobs.get("j") is None
    assert jobs.segments("j") == []
    assert jobs.create(new_job())
