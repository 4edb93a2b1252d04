"""A child that lies: a thread speaks in its place, and the parent believes none of it."""

import contextlib
import io
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from bytereel_codec import BytereelError, Permanent, Temporary
from bytereel_codec.libav.formats import PIXELS_MAX
from bytereel_codec.libav.sandbox import run
from bytereel_codec.libav.sandbox.memory import WINDOW_BYTES
from bytereel_codec.libav.sandbox.planes import SLOT_BYTES
from bytereel_codec.libav.sandbox.wire import Job, Kind, Message, Task, heard, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let whoever starts a child talk to `speak(connection)` instead."""
    threads = []

    def lie(speak: Callable[[socket.socket], None]) -> None:
        def start(job: Job, memory_fd: int) -> socket.socket:
            ours, theirs = socket.socketpair()

            def speaking() -> None:
                with theirs, contextlib.suppress(OSError):
                    speak(theirs)

            threads.append(threading.Thread(target=speaking))
            threads[-1].start()
            return ours

        monkeypatch.setattr(run, "start_child", start)

    monkeypatch.setattr(run, "SILENCE_SECONDS_MAX", 0.3)
    yield lie
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def picture(number: int = 0, pixel_format: int = 0, width: int = 64, height: int = 32, *lines: int) -> Message:
    return Message(Kind.SHOWN, number, sizes=(pixel_format, width, height, *(lines or (64, 32, 32))))


def attempt(task: Task = Task.PICTURES) -> int:
    job = run.Run(io.BytesIO(bytes(5000)), Job(task, slot_bytes=SLOT_BYTES))
    return sum(1 for _ in (job.packets() if task is Task.PACKETS else job.pictures()))


def test_an_honest_child_is_believed(liar):
    liar(lambda end: [say(end, each) for each in (picture(), picture(2), Message(Kind.END))])
    assert attempt() == 2


@pytest.mark.parametrize(
    "lie",
    [
        picture(3),
        picture(2**32 - 1),
        picture(0, 4),
        picture(0, 0, 0, 32),
        picture(0, 0, 64, 0),
        picture(0, 0, PIXELS_MAX, 2),
        picture(0, 0, 2**32 - 1, 2**32 - 1),
        picture(0, 0, 64, 32, 63, 32, 32),
        picture(0, 0, 64, 32, 64, 31, 32),
        picture(0, 2, 64, 32, 127, 64, 64),
        picture(0, 0, 64, 32, 2**32 - 1, 32, 32),
        picture(0, 0, 1, PIXELS_MAX, 4, 1, 1),
        Message(Kind.BYTES, 0, 10),
        Message(Kind.GIVEN),
        Message(Kind.FREE),
        Message(Kind.END, 4),
        Message(Kind.END, 2**32 - 1),
    ],
)
def test_a_lie_is_refused(liar, lie):
    liar(lambda end: [say(end, each) for each in (picture(), lie, Message(Kind.END))])
    with pytest.raises(Permanent) as raised:
        attempt()
    assert raised.value.error_id == "media.refused"


@pytest.mark.parametrize("lie", [Message(Kind.BYTES, 0, SLOT_BYTES + 1), Message(Kind.BYTES, 3, 1), picture()])
def test_a_lie_about_packets_is_refused(liar, lie):
    liar(lambda end: [say(end, each) for each in (Message(Kind.BYTES, 0, SLOT_BYTES), lie, Message(Kind.END))])
    with pytest.raises(Permanent) as raised:
        attempt(Task.PACKETS)
    assert raised.value.error_id == "media.refused"


@pytest.mark.parametrize(("count", "holds"), [(5000, True), (5001, False)])
def test_no_more_pictures_come_than_the_file_has_bytes(liar, count, holds):
    def speak(end: socket.socket) -> None:
        for _ in range(count):
            say(end, picture())
            heard(end)
        say(end, Message(Kind.END))

    liar(speak)
    if holds:
        assert attempt() == count
        return
    with pytest.raises(Permanent, match="more pictures than bytes"):
        attempt()


@pytest.mark.parametrize(("passes", "holds"), [(4, True), (5, False)])
def test_a_file_is_not_read_without_end(liar, monkeypatch, passes, holds):
    monkeypatch.setattr(run, "_SERVED_PASSES_MAX", 4)
    monkeypatch.setattr(run, "_SERVED_BYTES_MIN", 0)

    def speak(end: socket.socket) -> None:
        for _ in range(passes):
            say(end, Message(Kind.READ, WINDOW_BYTES, 0))
            heard(end)
        say(end, Message(Kind.END))

    liar(speak)
    if holds:
        assert attempt() == 0
        return
    with pytest.raises(Permanent, match="does not end"):
        attempt()


@pytest.mark.parametrize(
    ("place", "wanted", "given"),
    [(0, 10, 10), (4990, 100, 10), (5000, 1, 0), (2**64 - 1, 2**32 - 1, 0), (0, 2**32 - 1, 5000)],
)
def test_a_child_gets_no_bytes_but_the_files(liar, place, wanted, given):
    answers = []

    def speak(end: socket.socket) -> None:
        say(end, Message(Kind.READ, wanted, place))
        answers.append(heard(end))
        say(end, Message(Kind.END))

    liar(speak)
    assert attempt() == 0
    assert answers == [Message(Kind.GIVEN, given, 0, (0,) * 6)]


def test_a_child_that_says_nothing_is_not_waited_for_for_ever(liar):
    liar(lambda end: time.sleep(1))
    with pytest.raises(Temporary) as raised:
        attempt()
    assert raised.value.error_id == "media.interrupted"


def test_a_child_that_asks_and_never_listens_is_not_waited_for_for_ever(liar):
    ask = struct.pack("<B3xIQ6I", Kind.READ, 1, 0, *[0] * 6)
    liar(lambda end: end.sendall(ask * 100_000))
    with pytest.raises(BytereelError):
        attempt()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda kind, number, place, sizes: struct.pack("<B3xIQ6I", kind, number, place, *sizes),
                st.integers(0, 9),
                st.sampled_from([0, 1, 2, 3, 255, 2**32 - 1]),
                st.sampled_from([0, 1, 5000, 2**63, 2**64 - 1]),
                st.lists(st.sampled_from([0, 1, 2, 3, 16, 64, 4096, 2**32 - 1]), min_size=6, max_size=6),
            ),
        ),
        max_size=8,
    ),
    st.sampled_from(list(Task)),
)
def test_whatever_a_child_says_only_the_error_families_come_out(liar, said, task):
    liar(lambda end: end.sendall(b"".join(said)))
    try:
        attempt(task)
    except BytereelError as error:
        assert error.error_id.startswith("media.")


def test_random_bytes_are_no_messages(liar):
    noise = random.Random(3).randbytes(4000)
    liar(lambda end: end.sendall(noise))
    with pytest.raises(Permanent) as raised:
        attempt()
    assert raised.value.error_id == "media.refused"
