"""The gateway under floods, over real sockets: every wait ends, and nobody else is locked out."""

import json
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.errors import Integrity, Permanent
from bytereel.service import webhook
from bytereel.service.connection import Limits
from bytereel.service.server import OTHER_FILES, within_files
from bytereel.service.webhook import BODY_BYTES_MAX
from test_gateway import Door, open_door
from test_gateway import webhook as event_of

FLOOD = 600
SOON_SECONDS = 12.0
"""Within which health and other peers are answered while a flood goes on: much, for the tests share the machine with
others. A gateway that can be locked out stays so until the flood ends, which is never."""
HALF_HEAD = b"POST /events HTTP/1.1\r\nHost: a\r\nX-"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
QUICK = Limits(head_seconds=1.5, body_seconds=2.0, write_seconds=1.0, close_seconds=0.5)
LATE_SECONDS = 5.0
"""By so much a deadline may be late on a busy machine."""
ME, ANOTHER = "127.0.0.1", "127.0.0.2"


def post(body: bytes) -> bytes:
    return b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body


EVENT = post(json.dumps(event_of("in/archive/a")).encode())


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def connect(door: Door, source: str = ME, seconds: float = 20.0) -> socket.socket:
    return socket.create_connection((door.host, door.port), seconds, source_address=(source, 0))


def ask(door: Door, request: bytes, source: str = ME) -> bytes:
    """The status line of the answer to a request on a connection of its own."""
    with connect(door, source) as raw:
        raw.sendall(request)
        return raw.recv(4096).partition(b"\r\n")[0]


def answer(raw: socket.socket) -> bytes:
    """One answer, whose body is JSON."""
    found = b""
    while not found.endswith(b"}"):
        data = raw.recv(4096)
        if not data:
            break
        found += data
    return found


def all_that_comes(raw: socket.socket) -> bytes:
    """What is received up to the connection's end."""
    found = b""
    try:
        while data := raw.recv(65536):
            found += data
    except ConnectionError:
        pass
    return found


@contextmanager
def flood(door: Door, start: bytes, sources: list[str], count: int = FLOOD) -> Iterator[list[socket.socket]]:
    """So many connections that each sent the start of something, in turn from each of the sources."""
    with ExitStack() as stack:
        opened = []
        for number in range(count):
            raw = stack.enter_context(connect(door, sources[number % len(sources)]))
            try:
                raw.sendall(start)
            except ConnectionError:
                continue
            opened.append(raw)
        yield opened


def addresses(count: int) -> list[str]:
    return [f"127.0.{number // 200 + 1}.{number % 200 + 1}" for number in range(count)]


SLOW_BODY = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"
REFUSED_BODY = b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{"
CHUNK = b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
PIPELINE = HEALTH * 200


FLOODS = {
    "silent": b"",
    "a byte": b"G",
    "half heads": HALF_HEAD,
    "slow bodies": SLOW_BODY,
    "refused bodies": REFUSED_BODY,
    "chunks": CHUNK,
    "pipelines": PIPELINE,
}


@pytest.mark.parametrize(
    ("kind", "peers"),
    [
        *((kind, 1) for kind in FLOODS),
        ("half heads", 8),
        ("slow bodies", 8),
        ("half heads", FLOOD),
        ("pipelines", FLOOD),
    ],
)
def test_a_flood_locks_out_nobody(kind: str, peers: int) -> None:
    with open_door(MemoryQueue(SystemClock())) as door, flood(door, FLOODS[kind], addresses(peers)):
        for request, source in ((HEALTH, ME), (EVENT, ME), (HEALTH, addresses(1)[0]), (EVENT, addresses(1)[0])):
            started_at = time.monotonic()
            assert ask(door, request, source) == b"HTTP/1.1 200 OK"
            assert time.monotonic() - started_at < SOON_SECONDS


ATTACK = """
import socket, sys, threading
host, port, source, dear = sys.argv[1], int(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.stdin.read())
def attack():
    while True:
        try:
            with socket.create_connection((host, port), 0.5, source_address=(source, 0)) as raw:
                raw.sendall(dear)
        except OSError:
            continue
for _ in range(8):
    threading.Thread(target=attack, daemon=True).start()
threading.Event().wait()
"""
MANY_HEADERS = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 2000 + b"\r\n"


@pytest.mark.parametrize("dear", [CHUNK + b"1\r\n \r\n" * 40_000, MANY_HEADERS * 10], ids=["chunks", "headers"])
def test_a_flood_that_goes_on_locks_out_nobody(dear: bytes) -> None:
    """One peer connects as fast as it can and sends what is dear to read; health and another peer are answered.

    Attacker and gateway share the cores: the gateway may be slow, and it is never stuck.
    """
    with open_door(MemoryQueue(SystemClock())) as door:
        program = [sys.executable, "-c", ATTACK, door.host, str(door.port), ANOTHER]
        attacker = subprocess.Popen(program, stdin=subprocess.PIPE)
        assert attacker.stdin is not None
        with attacker.stdin:
            attacker.stdin.write(dear.hex().encode())
        time.sleep(1.0)
        try:
            for request in (HEALTH, EVENT):
                started_at = time.monotonic()
                assert ask(door, request) == b"HTTP/1.1 200 OK"
                assert time.monotonic() - started_at < 2 * SOON_SECONDS
        finally:
            attacker.kill()
            attacker.wait()


def test_of_a_peers_connections_the_oldest_goes_and_other_peers_keep_theirs() -> None:
    limits = replace(QUICK, peer_connections=4, connections=8, head_seconds=30.0)
    with open_door(MemoryQueue(SystemClock()), limits=limits) as door:
        kept = connect(door, ANOTHER)
        kept.sendall(HALF_HEAD)
        with flood(door, HALF_HEAD, [ME], 4) as within:
            time.sleep(0.2)
            assert not any(map(is_over, within)), "as many as a peer may have"
            with connect(door) as one_more:
                one_more.sendall(HEALTH)
                assert b"200 OK" in answer(one_more)
                assert [is_over(raw) for raw in within] == [True, False, False, False]
                said = all_that_comes(within[0])
                assert said.startswith(b"HTTP/1.1 503 ")
                assert b'"gateway.crowded"' in said
        kept.sendall(b"A: b\r\nContent-Length: 2\r\n\r\n{}")
        assert kept.recv(100).startswith(b"HTTP/1.1 400 ")
        kept.close()


def is_over(raw: socket.socket) -> bool:
    """Whether something has come, or the end."""
    raw.settimeout(0.05)
    try:
        raw.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        raw.settimeout(20.0)
    return True


def dribble(raw: socket.socket, data: bytes, every_seconds: float = 0.05) -> float:
    """Send a byte at a time until the other side has enough; how long that took."""
    started_at = time.monotonic()
    for number in range(len(data)):
        try:
            raw.sendall(data[number : number + 1])
        except ConnectionError:
            break
        if is_over(raw):
            break
        time.sleep(max(0.0, every_seconds - 0.05))
    return time.monotonic() - started_at


@pytest.fixture
def quick() -> Iterator[Door]:
    with open_door(MemoryQueue(SystemClock()), limits=QUICK) as door:
        yield door


def test_a_head_has_its_time_and_no_more_however_it_dribbles(quick: Door) -> None:
    with connect(quick) as raw:
        assert QUICK.head_seconds * 0.8 < dribble(raw, HALF_HEAD + b"a" * 1000) < QUICK.head_seconds + LATE_SECONDS
        said = all_that_comes(raw)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b'"gateway.slow"' in said
    with connect(quick) as raw:
        started_at = time.monotonic()
        assert all_that_comes(raw) == b"", "who said nothing is told nothing"
        assert QUICK.head_seconds * 0.8 < time.monotonic() - started_at < QUICK.head_seconds + LATE_SECONDS
    with connect(quick) as raw:
        raw.sendall(HEALTH[:-2])
        time.sleep(QUICK.head_seconds * 0.6)
        raw.sendall(HEALTH[-2:])
        assert answer(raw).startswith(b"HTTP/1.1 200 ")


def test_the_next_head_of_a_connection_has_its_own_time_from_its_first_byte_on(quick: Door) -> None:
    with connect(quick) as raw:
        for _ in range(3):
            raw.sendall(HEALTH)
            assert answer(raw).startswith(b"HTTP/1.1 200 ")
            time.sleep(QUICK.head_seconds * 0.7)
        raw.sendall(HEALTH + HALF_HEAD)
        assert answer(raw).startswith(b"HTTP/1.1 200 ")
        assert dribble(raw, b"a" * 1000) < QUICK.head_seconds + LATE_SECONDS
        assert all_that_comes(raw).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("start", [SLOW_BODY, REFUSED_BODY, CHUNK], ids=["slow", "refused", "chunked"])
def test_a_body_has_its_time_and_no_more_also_when_it_was_refused(quick: Door, start: bytes) -> None:
    with connect(quick) as raw:
        raw.sendall(start)
        started_at = time.monotonic()
        ended = threading.Event()

        def keep_on() -> None:
            while not ended.wait(0.05):
                try:
                    raw.sendall(b"1\r\n \r\n" if start is CHUNK else b" ")
                except OSError:
                    return

        sender = threading.Thread(target=keep_on)
        sender.start()
        all_that_comes(raw)
        ended.set()
        sender.join()
        assert QUICK.body_seconds * 0.8 < time.monotonic() - started_at < QUICK.body_seconds + LATE_SECONDS


def test_a_slow_body_in_time_is_taken(quick: Door) -> None:
    with connect(quick) as raw:
        raw.sendall(EVENT[:-1])
        time.sleep(QUICK.body_seconds * 0.6)
        raw.sendall(EVENT[-1:])
        assert answer(raw).startswith(b"HTTP/1.1 200 ")


def test_who_reads_no_answers_is_not_waited_for_for_ever() -> None:
    with open_door(MemoryQueue(SystemClock()), limits=QUICK, sent_bytes=4096) as door, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((door.host, door.port))
        raw.settimeout(20.0)
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                raw.sendall(HEALTH * 50)
                time.sleep(0.01)
        assert ask(door, HEALTH) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(("chunks", "status"), [(128, 200), (129, 400)])
def test_a_body_has_so_many_chunks_and_no_more(quick: Door, chunks: int, status: int) -> None:
    body = json.dumps(event_of("in/a")).encode()
    pieces = [body, *[b" "] * (chunks - 1)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert ask(quick, head + sent + b"0\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("bytes_more", "status"), [(0, 200), (1, 400)])
def test_an_unfinished_head_has_so_many_bytes_and_no_more(quick: Door, bytes_more: int, status: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ".ljust(QUICK.head_bytes + bytes_more, b"a")
    with connect(quick) as raw:
        raw.sendall(head)
        time.sleep(0.1)
        with suppress(ConnectionError):
            raw.sendall(b"\r\n\r\n")
        assert answer(raw).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("lines", "status"), [(64, 200), (65, 400)])
def test_a_head_has_so_many_lines_and_no_more_also_behind_another_request(quick: Door, lines: int, status: int) -> None:
    many = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * (lines - 2) + b"c: d\r\n\r\n"
    assert ask(quick, many).startswith(b"HTTP/1.1 %d " % status)
    with connect(quick) as raw:
        raw.sendall(HEALTH + many)
        said = b""
        while said.count(b"HTTP/1.1") < 2:
            said += raw.recv(4096)
        assert b"HTTP/1.1 %d " % status in said.partition(b"ok")[2]


@pytest.mark.parametrize("rest", [b"zz\r\n", b"1;" + b"a" * 100_000])
def test_a_body_that_turns_into_nonsense_is_answered_and_logs_no_bug(
    quick: Door, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for start in (CHUNK, CHUNK.replace(b"/events", b"/nowhere")):
        with connect(quick) as raw:
            raw.sendall(start)
            time.sleep(0.1)
            raw.sendall(rest)
            assert all_that_comes(raw).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b""))
    assert [record for record in caplog.records if record.exc_info] == []
    assert ask(quick, EVENT) == b"HTTP/1.1 200 OK"


def test_many_requests_on_one_connection_are_all_answered_in_order(quick: Door) -> None:
    with connect(quick) as raw:
        raw.sendall((HEALTH + EVENT) * 20 + HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answers = all_that_comes(raw)
    assert answers.count(b"HTTP/1.1 200 OK") == 41
    assert answers.count(b'{"queued":1}') == 20
    assert len(quick.queued()) == 20


class Stuck(MemoryQueue):
    """A queue that neither stores nor says its size until it may."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.may = threading.Event()
        self.looks = 0

    def send(self, *given: Any, **named: Any) -> None:
        assert self.may.wait(30.0)
        super().send(*given, **named)

    def size(self, queue: str) -> int:
        self.looks += 1
        return super().size(queue)


def test_health_answers_while_intake_is_stuck_with_all_its_threads() -> None:
    queue = Stuck()
    with open_door(queue) as door, flood(door, EVENT, [ME], 100) as posts:
        for source in (ME, ANOTHER):
            started_at = time.monotonic()
            assert ask(door, HEALTH, source) == b"HTTP/1.1 200 OK"
            assert time.monotonic() - started_at < SOON_SECONDS
        assert ask(door, EVENT) == b"HTTP/1.1 503 Service Unavailable", "enough of this peer's are under way"
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(ask, door, EVENT, ANOTHER)
            time.sleep(0.2)
            queue.may.set()
            assert other.result(20.0) == b"HTTP/1.1 200 OK"
        said = [answer(raw).split()[1] for raw in posts]
    assert said.count(b"200") == webhook.PEER_POSTS_MAX
    assert said.count(b"503") == 100 - webhook.PEER_POSTS_MAX


def test_health_does_not_wait_for_a_queue_that_gives_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "HEALTH_SECONDS_MAX", 0.2)

    class Silent(Stuck):
        def size(self, queue: str) -> int:
            self.looks += 1
            assert self.may.wait(30.0)
            return 0

    queue = Silent()
    with open_door(queue) as door:
        started_at = time.monotonic()
        answers = [ask(door, HEALTH) for _ in range(5)]
        assert answers == [b"HTTP/1.1 503 Service Unavailable"] * 5
        assert time.monotonic() - started_at < 5 * 0.2 + SOON_SECONDS
        assert queue.looks == 1, "one look serves everybody"
        queue.may.set()
        wait_until(lambda: ask(door, HEALTH) == b"HTTP/1.1 200 OK")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_gateway_that_lost_its_state_says_503_and_ends() -> None:
    class Lost(MemoryQueue):
        def send(self, *_: Any, **__: Any) -> None:
            raise Integrity("state.replaced", "somebody took it away")

    with open_door(Lost(SystemClock())) as door:
        assert ask(door, EVENT) == b"HTTP/1.1 503 Service Unavailable"

        def is_closed() -> bool:
            try:
                connect(door, seconds=1.0).close()
            except OSError:
                return True
            return False

        wait_until(is_closed)


@pytest.mark.parametrize(
    ("files_max", "connections", "peer"),
    [
        (resource.RLIM_INFINITY, 512, 128),
        (1024, 512, 128),
        (512 + OTHER_FILES, 512, 128),
        (511 + OTHER_FILES, 511, 128),
        (100 + OTHER_FILES, 100, 50),
        (2 + OTHER_FILES, 2, 1),
    ],
)
def test_there_are_no_more_connections_than_open_files(files_max: int, connections: int, peer: int) -> None:
    limits = within_files(Limits(), files_max)
    assert (limits.connections, limits.peer_connections) == (connections, peer)


def test_too_few_open_files_are_refused_at_the_start() -> None:
    with pytest.raises(Permanent) as caught:
        within_files(Limits(), 1 + OTHER_FILES)
    assert caught.value.error_id == "gateway.few_files"


def test_the_bounds_of_a_body_and_its_time_fit_each_other() -> None:
    assert Limits().body_seconds > webhook.BODY_SECONDS_MAX, "the answer that says why comes first"
    assert Limits().chunks * 8192 >= BODY_BYTES_MAX, "a body in pieces of 8 KiB is taken"
