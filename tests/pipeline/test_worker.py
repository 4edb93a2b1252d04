"""The worker's threads: the memory budget, draining, heartbeats, and what it does with a bug."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.dispatch import is_quiet
from bytereel.model import JobState
from bytereel.operations import cancel
from bytereel.settings import load_settings
from bytereel.workers.budget import MemoryBudget
from bytereel.workers.worker import Worker
from bytereel_codec.errors import Permanent
from toys import Road, loud

MEBIBYTE = 1024 * 1024


def real_time_road() -> Road:
    return Road(clock=SystemClock())  # type: ignore[arg-type]


def worker_on(road: Road, **chosen: object) -> Worker:
    usual = {"poll_seconds": 0.005, "memory_budget_bytes": 64 * MEBIBYTE, "threads": 8}
    settings = load_settings(**{**usual, **chosen})
    return Worker(road.ports, road.conversions, settings, "worker")


@contextmanager
def running(worker: Worker) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(10.0)
        assert not thread.is_alive()


def wait_for(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


def run_until_quiet(worker: Worker, road: Road) -> None:
    with running(worker):
        wait_for(lambda: is_quiet(road.ports.queue))


class Crowd:
    """Counts how many segments are converted at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, _: int) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize(("cost_mebibytes", "most"), [(64, 1), (33, 1), (32, 2), (20, 3)])
def test_no_more_segments_run_at_once_than_fit_in_memory(cost_mebibytes: int, most: int) -> None:
    road, crowd = real_time_road(), Crowd()
    road.loud.on_convert = crowd
    road.loud.cost_bytes = cost_mebibytes * MEBIBYTE
    job_ids = [road.put(f"{number}", b"abcdefghijklmnop") for number in range(4)]
    run_until_quiet(worker_on(road), road)
    assert crowd.most == most
    assert all(road.output(job_id) == loud(b"abcdefghijklmnop") for job_id in job_ids)


def test_a_segment_that_can_never_fit_fails_its_job_and_names_the_setting() -> None:
    road = real_time_road()
    road.loud.cost_bytes = 65 * MEBIBYTE
    job_id = road.put("a", b"abc")
    run_until_quiet(worker_on(road), road)
    assert road.job(job_id).state is JobState.FAILED
    assert "BYTEREEL_MEMORY_BUDGET_BYTES" in road.job(job_id).reason


def test_while_one_segment_waits_for_memory_the_others_stay_free_for_other_workers() -> None:
    road, gate = real_time_road(), threading.Event()
    road.loud.on_convert = lambda index: gate.wait(10.0) and None
    road.loud.cost_bytes = 64 * MEBIBYTE
    road.put("a", b"abcdefghijklmnop")
    with running(worker_on(road)):
        wait_for(lambda: len(held_messages(road)) == 2)
        time.sleep(0.05)
        assert len(held_messages(road)) == 2
        gate.set()


def held_messages(road: Road) -> list[object]:
    entries = list(road.ports.queue._entries.values())
    return [entry for entry in entries if entry.receipt and entry.queue == "encode"]


def test_stopping_finishes_what_runs_and_leaves_the_rest() -> None:
    road, begun, gate = real_time_road(), threading.Event(), threading.Event()

    def hold(_: int) -> None:
        begun.set()
        gate.wait(10.0)

    road.loud.on_convert = hold
    job_id = road.put("a", b"abcdefghijklmnop")
    worker = worker_on(road, threads=1)
    with running(worker) as thread:
        assert begun.wait(10.0)
        worker.stop()
        gate.set()
        thread.join(10.0)
    assert road.job(job_id).segments_done == 1
    assert held_messages(road) == []
    run_until_quiet(worker_on(road), road)
    assert road.output(job_id) == loud(b"abcdefghijklmnop")
    assert set(road.loud.finished.values()) == {1}


def test_a_segment_longer_than_its_lease_keeps_it() -> None:
    road = real_time_road()
    road.loud.on_convert = lambda index: time.sleep(2.2)
    job_id = road.put("a", b"abcd")
    with running(worker_on(road, lease_seconds=1.0)), running(worker_on(road, lease_seconds=1.0)):
        wait_for(lambda: road.ports.jobs.get(job_id) and road.job(job_id).state is JobState.DONE)
    assert road.loud.finished == {("a", 0): 1}


def test_a_cancelled_job_is_noticed_between_two_chunks() -> None:
    road = real_time_road()

    def cancel_and_wait(_: int) -> None:
        cancel(road.ports, job_id)
        time.sleep(0.6)

    road.loud.on_convert = cancel_and_wait
    job_id = road.put("a", b"abcd")
    run_until_quiet(worker_on(road, lease_seconds=1.0), road)
    assert road.job(job_id).state is JobState.CANCELLED
    assert road.loud.finished == {}


def test_a_bug_is_tried_again_and_then_fails_the_job_and_the_worker_goes_on() -> None:
    road = real_time_road()

    def stumble(index: int) -> None:
        raise ZeroDivisionError("a bug")

    road.loud.on_convert = stumble
    broken, sound = road.put("broken", b"abc"), road.put("summed/empty", b"")
    run_until_quiet(worker_on(road, deliveries_max=2), road)
    assert "ZeroDivisionError" in road.job(broken).reason
    assert road.job(sound).state is JobState.DONE


def test_a_worker_whose_parent_is_gone_stops() -> None:
    road = real_time_road()
    settings = load_settings(poll_seconds=0.005)
    Worker(road.ports, road.conversions, settings, "worker", alive=lambda: False).run()


def test_a_budget_gives_room_when_others_gave_theirs_back() -> None:
    budget = MemoryBudget(100)
    assert budget.try_take(60, 0.0)
    assert not budget.try_take(41, 0.01)
    assert budget.try_take(40, 0.0)
    budget.give_back(60)
    assert not budget.try_take(61, 0.0)
    assert budget.try_take(60, 0.0)
    with pytest.raises(Permanent):
        budget.try_take(101, 0.0)
