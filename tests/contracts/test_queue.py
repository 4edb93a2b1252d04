"""What every `Queue` must do."""

import pytest

EXACT = ("memory", "embedded")
"""One transaction or lock at a time. SQS promises less: messages come in about the order sent, a lease that ran out
may be gone although nobody took the message, and a lease has no owner that could be known to be dead."""

FENCED = (*EXACT, "ministack")
"""Here the receipt of a lease that somebody else has by now is refused. moto takes every receipt that a message ever
had, as SQS may; there a message taken twice is acknowledged by whoever is done first."""

LOCKED = (*EXACT, "ministack")
"""Here threads may meet: moto, in this process, takes no locks."""


def only(adapters):
    return pytest.mark.parametrize("queue", adapters, indirect=True)


def bodies_of(queue, name, count):
    return [queue.lease([name], "w", 60).body["n"] for _ in range(count)]


def test_an_empty_queue_gives_nothing(queue):
    assert queue.lease(["q"], "w", 60) is None
    assert queue.size("q") == 0


def test_a_message_comes_with_its_body(queue):
    queue.send("q", [{"n": 1, "key": "nä\udcffme\x00"}])
    message = queue.lease(["q"], "w", 60)
    assert message.body == {"n": 1, "key": "nä\udcffme\x00"}
    assert (message.queue, message.deliveries) == ("q", 1)


def test_every_message_comes_once(queue):
    queue.send("q", [{"n": 1}, {"n": 2}])
    queue.send("q", [{"n": 3}])
    assert sorted(bodies_of(queue, "q", 3)) == [1, 2, 3]
    assert queue.lease(["q"], "w", 60) is None


@only(EXACT)
def test_messages_come_in_the_order_sent(queue):
    queue.send("q", [{"n": 1}, {"n": 2}])
    queue.send("q", [{"n": 3}])
    assert bodies_of(queue, "q", 3) == [1, 2, 3]


def test_sending_nothing_is_nothing(queue):
    queue.send("q", [])
    assert queue.size("q") == 0


def test_the_first_queue_that_has_one_is_served(queue):
    queue.send("low", [{"n": 1}])
    queue.send("high", [{"n": 2}])
    assert queue.lease(["high", "low"], "w", 60).body == {"n": 2}
    assert queue.lease(["high", "low"], "w", 60).body == {"n": 1}
    queue.send("q", [{"n": 3}])
    assert queue.lease(["high", "low"], "w", 60) is None


def test_a_delayed_message_waits(queue, clock):
    queue.send("q", [{"n": 1}], delay_seconds=2)
    assert queue.lease(["q"], "w", 60) is None
    assert queue.size("q") == 1
    clock.advance(2)
    assert queue.lease(["q"], "w", 60) is not None


def test_a_held_message_is_had_again_when_its_lease_ends(queue, clock):
    queue.send("q", [{"n": 1}])
    first = queue.lease(["q"], "a", 2)
    assert queue.lease(["q"], "b", 60) is None
    clock.advance(2)
    second = queue.lease(["q"], "b", 60)
    assert (second.id, second.deliveries) == (first.id, 2)
    assert second.receipt != first.receipt


def test_a_queue_whose_messages_are_all_held_is_passed_by(queue, clock):
    queue.send("q", [{"n": 1}])
    assert queue.lease(["q", "r"], "w", 10.0).body == {"n": 1}
    queue.send("r", [{"n": 2}])
    assert queue.lease(["q", "r"], "other", 10.0).body == {"n": 2}


def test_extend_holds_from_now_on(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 2)
    clock.advance(1)
    assert queue.extend(message, 2)
    clock.advance(1)
    assert queue.lease(["q"], "b", 60) is None
    clock.advance(1)
    assert queue.lease(["q"], "b", 60) is not None


def test_an_acknowledged_message_is_gone(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 1)
    queue.acknowledge(message)
    queue.acknowledge(message)
    clock.advance(1)
    assert queue.lease(["q"], "a", 60) is None
    assert queue.size("q") == 0


def test_a_released_message_is_free_after_the_delay(queue, clock):
    queue.send("q", [{"n": 1}])
    queue.release(queue.lease(["q"], "a", 60), delay_seconds=2)
    assert queue.lease(["q"], "b", 60) is None
    clock.advance(2)
    assert queue.lease(["q"], "b", 60).deliveries == 2


def test_a_message_released_without_a_delay_is_free_at_once(queue):
    queue.send("q", [{"n": 1}])
    queue.release(queue.lease(["q"], "a", 60))
    assert queue.lease(["q"], "b", 60).deliveries == 2


@only(EXACT)
def test_a_released_message_stands_behind_those_that_waited(queue, clock):
    queue.send("q", [{"n": 1}, {"n": 2}])
    clock.advance(1)
    queue.release(queue.lease(["q"], "a", 60))
    assert bodies_of(queue, "q", 2) == [2, 1]


def end_as_if_held(queue, lost):
    assert not queue.extend(lost, 60)
    queue.acknowledge(lost)
    queue.release(lost)
    queue.bury(lost, "lost")
    assert queue.size("q") == 1
    assert queue.dead() == []


def test_a_lease_given_back_has_no_effect(queue):
    queue.send("q", [{"n": 1}])
    lost = queue.lease(["q"], "a", 60)
    queue.release(lost)
    end_as_if_held(queue, lost)
    assert queue.lease(["q"], "c", 60) is not None


@only(FENCED)
def test_a_lease_that_somebody_else_has_has_no_effect(queue, clock):
    queue.send("q", [{"n": 1}])
    lost = queue.lease(["q"], "a", 1)
    clock.advance(1)
    held = queue.lease(["q"], "b", 60)
    end_as_if_held(queue, lost)
    assert queue.lease(["q"], "c", 60) is None
    assert queue.extend(held, 60)


def test_a_lease_that_merely_ran_out_still_acknowledges(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 1)
    clock.advance(1)
    queue.acknowledge(message)
    assert queue.size("q") == 0


@only(EXACT)
def test_a_lease_that_merely_ran_out_can_be_extended(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 1)
    clock.advance(2)
    assert queue.extend(message, 5)
    assert queue.lease(["q"], "b", 60) is None


def test_a_buried_message_is_kept_with_its_reason(queue, clock):
    queue.send("q", [{"n": 1}, {"n": 2}])
    held = sorted((queue.lease(["q"], "a", 1) for _ in range(2)), key=lambda message: message.body["n"])
    for message, reason in zip(held, ("first \udcff", "second"), strict=True):
        queue.bury(message, reason)
    clock.advance(1)
    assert queue.lease(["q"], "a", 60) is None
    assert queue.size("q") == 0
    dead = queue.dead()
    assert [(message.body["n"], message.queue, message.deliveries, reason) for message, reason in dead] == [
        (1, "q", 1, "first \udcff"),
        (2, "q", 1, "second"),
    ]
    assert queue.dead(limit=1) == dead[:1]


def test_dead_letters_are_forgotten_from_the_oldest(queue, clock):
    moments = []
    for number in range(3):
        queue.send("q", [{"n": number}])
        moments.append(clock.now())
        queue.bury(queue.lease(["q"], "a", 60), "why")
        clock.advance(0.5)
    assert queue.forget_dead(moments[0]) == 0
    assert queue.forget_dead(moments[2]) == 2
    assert [message.body["n"] for message, _ in queue.dead()] == [2]


def test_size_counts_waiting_delayed_and_held(queue):
    queue.send("q", [{"n": 1}, {"n": 2}])
    queue.send("q", [{"n": 3}], delay_seconds=60)
    queue.send("r", [{"n": 1}])
    queue.lease(["q"], "a", 60)
    assert queue.size("q") == 3


@only(EXACT)
def test_release_owner_frees_what_a_dead_process_held(queue):
    queue.send("q", [{"n": 1}, {"n": 2}, {"n": 3}])
    held = [queue.lease(["q"], "dead", 1000), queue.lease(["q"], "dead", 1000)]
    queue.lease(["q"], "alive", 1000)
    assert queue.release_owner("dead") == 2
    assert queue.release_owner("dead") == 0
    assert not queue.extend(held[0], 10)
    assert bodies_of(queue, "q", 2) == [1, 2]
    assert queue.lease(["q"], "w", 10) is None


@only(LOCKED)
def test_racing_workers_never_share_a_message(queue, race):
    queue.send("q", [{"n": number} for number in range(64)])

    def work(owner):
        def run():
            taken = []
            while message := queue.lease(["q"], owner, 1000):
                taken.append(message.body["n"])
                queue.acknowledge(message)
            return taken

        return run

    taken = race([work(f"w{number}") for number in range(8)])
    assert sorted(number for each in taken for number in each) == list(range(64))
    assert queue.size("q") == 0
