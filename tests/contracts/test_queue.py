"""What every `Queue` must do."""

import pytest


def bodies_of(queue, name, count):
    return [queue.lease([name], "w", 10).body["n"] for _ in range(count)]


def test_an_empty_queue_gives_nothing(queue):
    assert queue.lease(["q"], "w", 10) is None
    assert queue.size("q") == 0


def test_messages_come_in_the_order_sent_with_their_bodies(queue):
    queue.send("q", [{"n": 1, "key": "nä\udcffme"}, {"n": 2}])
    queue.send("q", [{"n": 3}])
    first = queue.lease(["q"], "w", 10)
    assert first.body == {"n": 1, "key": "nä\udcffme"}
    assert (first.queue, first.deliveries) == ("q", 1)
    assert bodies_of(queue, "q", 2) == [2, 3]


def test_sending_nothing_is_nothing(queue):
    queue.send("q", [])
    assert queue.size("q") == 0


def test_the_first_queue_that_has_one_is_served(queue):
    queue.send("low", [{"n": 1}])
    queue.send("high", [{"n": 2}])
    assert queue.lease(["high", "low"], "w", 10).body == {"n": 2}
    assert queue.lease(["high", "low"], "w", 10).body == {"n": 1}
    queue.send("other", [{"n": 3}])
    assert queue.lease(["high", "low"], "w", 10) is None


def test_a_delayed_message_waits(queue, clock):
    queue.send("q", [{"n": 1}], delay_seconds=5)
    assert queue.lease(["q"], "w", 10) is None
    assert queue.size("q") == 1
    clock.advance(5)
    assert queue.lease(["q"], "w", 10) is not None


def test_a_held_message_is_had_again_when_its_lease_ends(queue, clock):
    queue.send("q", [{"n": 1}])
    first = queue.lease(["q"], "a", 10)
    assert queue.lease(["q"], "b", 10) is None
    clock.advance(10)
    second = queue.lease(["q"], "b", 10)
    assert (second.id, second.deliveries) == (first.id, 2)
    assert second.receipt != first.receipt


def test_extend_holds_from_now_on(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 10)
    clock.advance(9)
    assert queue.extend(message, 10)
    clock.advance(9)
    assert queue.lease(["q"], "b", 10) is None
    clock.advance(1)
    assert queue.lease(["q"], "b", 10) is not None


def test_an_acknowledged_message_is_gone(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 10)
    queue.acknowledge(message)
    queue.acknowledge(message)
    clock.advance(100)
    assert queue.lease(["q"], "a", 10) is None
    assert queue.size("q") == 0


def test_a_released_message_is_free_after_the_delay(queue, clock):
    queue.send("q", [{"n": 1}])
    queue.release(queue.lease(["q"], "a", 10), delay_seconds=3)
    assert queue.lease(["q"], "b", 10) is None
    clock.advance(3)
    assert queue.lease(["q"], "b", 10).deliveries == 2


def test_a_released_message_stands_behind_those_that_waited(queue, clock):
    queue.send("q", [{"n": 1}, {"n": 2}])
    clock.advance(1)
    queue.release(queue.lease(["q"], "a", 10))
    assert bodies_of(queue, "q", 2) == [2, 1]


@pytest.mark.parametrize("lose", ["released", "taken"])
def test_a_lost_lease_has_no_effect(queue, clock, lose):
    queue.send("q", [{"n": 1}])
    lost = queue.lease(["q"], "a", 10)
    if lose == "released":
        queue.release(lost)
    else:
        clock.advance(10)
        queue.lease(["q"], "b", 1000)
    assert not queue.extend(lost, 10)
    queue.acknowledge(lost)
    queue.release(lost)
    queue.bury(lost, "lost")
    assert queue.size("q") == 1
    assert queue.dead() == []
    assert (queue.lease(["q"], "c", 10) is None) == (lose == "taken")


def test_a_lease_that_merely_ran_out_still_acknowledges(queue, clock):
    queue.send("q", [{"n": 1}])
    message = queue.lease(["q"], "a", 10)
    clock.advance(11)
    assert queue.extend(message, 5)
    queue.acknowledge(message)
    assert queue.size("q") == 0


def test_a_buried_message_is_kept_with_its_reason(queue, clock):
    queue.send("q", [{"n": 1}, {"n": 2}])
    for reason in ("first \udcff", "second"):
        queue.bury(queue.lease(["q"], "a", 10), reason)
    clock.advance(100)
    assert queue.lease(["q"], "a", 10) is None
    assert queue.size("q") == 0
    dead = queue.dead()
    assert [(message.body["n"], message.queue, message.deliveries, reason) for message, reason in dead] == [
        (1, "q", 1, "first \udcff"),
        (2, "q", 1, "second"),
    ]
    assert queue.dead(limit=1) == dead[:1]


def test_dead_letters_are_forgotten_from_the_oldest(queue, clock):
    queue.send("q", [{"n": number} for number in range(3)])
    while message := queue.lease(["q"], "a", 10):
        queue.bury(message, "why")
        clock.advance(10)
    assert queue.forget_dead(clock.now() - 30) == 0
    assert queue.forget_dead(clock.now() - 15) == 2
    assert [message.body["n"] for message, _ in queue.dead()] == [2]


def test_size_counts_waiting_and_held(queue):
    queue.send("q", [{"n": 1}, {"n": 2}])
    queue.send("r", [{"n": 1}])
    queue.lease(["q"], "a", 10)
    assert queue.size("q") == 2


def test_release_owner_frees_what_a_dead_process_held(queue):
    queue.send("q", [{"n": 1}, {"n": 2}, {"n": 3}])
    held = [queue.lease(["q"], "dead", 1000), queue.lease(["q"], "dead", 1000)]
    queue.lease(["q"], "alive", 1000)
    assert queue.release_owner("dead") == 2
    assert queue.release_owner("dead") == 0
    assert not queue.extend(held[0], 10)
    assert bodies_of(queue, "q", 2) == [1, 2]
    assert queue.lease(["q"], "w", 10) is None


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
