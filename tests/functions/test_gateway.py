"""The gateway for webhooks over real HTTP: what is durable when, who may post, and what it answers to nonsense."""

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import BytereelError, Integrity, Permanent, Temporary
from bytereel.messages import INTAKE
from bytereel.model import Location
from bytereel.ports.ports import Ports
from bytereel.ports.queues import Queue
from bytereel.service import webhook as gateway_module
from bytereel.service.connection import Limits
from bytereel.service.server import TOKEN_BYTES_MAX, open_socket, read_token, server_of, url_of
from bytereel.service.webhook import BODY_BYTES_MAX, Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.by_the_clock import fastest

PLACE = Location("uploads", "in/")
LIMITS = Limits()
TOKEN = "a-token-of-some-length"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Door:
    """A gateway that runs, and its queue."""

    host: str
    port: int
    queue: Queue

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def post(self, event: Any, **headers: str) -> Answer:
        return self.ask("POST", "/events", json.dumps(event).encode(), **headers)

    def queued(self) -> list[Mapping[str, Any]]:
        found = []
        while message := self.queue.lease([INTAKE], "test", 60.0):
            found.append(message.body)
            self.queue.acknowledge(message)
        return found


@contextmanager
def open_door(
    queue: Queue, token: bytes | None = None, threads: int = 8, limits: Limits = LIMITS, sent_bytes: int = 0
) -> Iterator[Door]:
    ports = Ports(MemoryObjects(), MemoryJobs(), queue, SystemClock(), inbox=PLACE)
    with open_socket("127.0.0.1:0", loopback_only=True) as listening, ThreadPoolExecutor(threads) as pool:
        if sent_bytes:  # what the kernel keeps of an answer that is not read, on every connection
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sent_bytes)
        server = server_of(Gateway(ports, token, pool), limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        host, port = listening.getsockname()
        try:
            yield Door(host, port, queue)
        finally:
            server.should_exit = True
            thread.join(20.0)
            assert not thread.is_alive()


class Refusing(MemoryQueue):
    """A queue that raises what it is told to."""

    def __init__(self, error: BytereelError | None = None) -> None:
        super().__init__(SystemClock())
        self.error = error

    def send(self, queue: str, bodies: Any, *, delay_seconds: float = 0.0) -> None:
        if self.error:
            raise self.error
        super().send(queue, bodies, delay_seconds=delay_seconds)

    def size(self, queue: str) -> int:
        if self.error:
            raise self.error
        return super().size(queue)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door(Refusing()) as opened:
        yield opened


def webhook(key: str, bucket: str = PLACE.bucket, name: str = "s3:ObjectCreated:Put", version: str = "v1") -> Any:
    """As a MinIO-compatible server posts it."""
    stored = {"key": quote_plus(key), "size": 3, "eTag": "abc", "versionId": version, "sequencer": "18A"}
    record = {"eventSource": "minio:s3", "eventName": name, "s3": {"bucket": {"name": bucket}, "object": stored}}
    return {"EventName": name, "Key": f"{bucket}/{key}", "Records": [record]}


def test_a_webhook_is_queued_as_the_very_version_of_its_source(door: Door) -> None:
    answer = door.post(webhook("in/archive/a b+c%20é/日本.txt"))
    assert (answer.status, answer.json) == (200, {"queued": 1})
    assert door.queued() == [{"bucket": "inbox", "key": "archive/a b+c%20é/日本.txt", "version": "v1"}]


def test_all_the_records_of_an_event_are_queued_or_none(door: Door) -> None:
    records = [webhook(f"in/{number}")["Records"][0] for number in range(3)]
    assert door.post({"Records": records}).json == {"queued": 3}
    assert [body["key"] for body in door.queued()] == ["0", "1", "2"]
    records[1] = {"eventName": "s3:ObjectCreated:Put"}
    assert door.post({"Records": records}).status == 400
    assert door.queued() == []


@pytest.mark.parametrize(
    "event",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "another"},
        {"Records": []},
        webhook("in/a", name="s3:ObjectRemoved:Delete"),
        webhook("in/folder/"),
    ],
    ids=["test event", "no records", "removal", "folder marker"],
)
def test_an_event_without_a_source_is_taken_and_queues_nothing(door: Door, event: Any) -> None:
    assert door.post(event).json == {"queued": 0}
    assert door.queued() == []


@pytest.mark.parametrize(
    ("event", "error_id"),
    [
        (webhook("in/a", bucket="another"), "event.foreign_bucket"),
        (webhook("out/a"), "event.foreign_prefix"),
    ],
)
def test_an_event_about_something_else_than_the_inbox_is_taken_lest_it_hold_up_the_others(
    door: Door, event: Any, error_id: str
) -> None:
    answer = door.post(event)
    assert (answer.status, answer.json["queued"], answer.json["ignored"]["id"]) == (200, 0, error_id)
    assert door.queued() == []


@pytest.mark.parametrize(
    ("body", "error_id"),
    [
        (b'{"Records": 3}', "event.malformed"),
        (b'{"s3": 1e999}', "message.malformed"),
        (b'{"s3": NaN}', "message.malformed"),
        (b"{}", "message.malformed"),
        (b"", "event.malformed"),
        (b"[]", "event.malformed"),
        (b"no json", "event.malformed"),
        (b"\xff\xfe", "event.malformed"),
        (b'{"a":' + b"[" * 200_000, "event.malformed"),
        (b'{"a":' + b"9" * 10_000 + b"}", "event.malformed"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_can_make_no_job_is_answered_400_with_the_reason(door: Door, body: bytes, error_id: str) -> None:
    answer = door.ask("POST", "/events", body)
    assert answer.status == 400
    assert answer.json["error"]["family"] == "permanent"
    assert answer.json["error"]["id"] == error_id
    assert door.queued() == []


@given(
    event=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Records", "s3", "bucket", "object", "key", "name", "detail", "version", "eventName"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_json_whatever_is_a_server_error(door: Door, event: Any) -> None:
    assert door.post(event).status in (200, 400)


@pytest.mark.parametrize(
    "error",
    [
        Temporary("store.full", "no space is left"),
        Temporary("state.busy", "locked"),
        Permanent("credentials.rejected", "not known"),
        Integrity("state.damaged", "damaged"),
    ],
    ids=lambda error: error.error_id,
)
def test_what_keeps_the_queue_from_storing_is_never_answered_200(error: BytereelError) -> None:
    with open_door(Refusing(error)) as door:
        for answer in (door.post(webhook("in/a")), door.ask("GET", "/healthz")):
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json["error"]["id"] == error.error_id
        assert door.post({"Records": []}).status == 200


def test_a_bug_in_the_queue_is_a_server_error_and_the_next_request_is_answered() -> None:
    class Buggy(Refusing):
        def send(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError

    with open_door(Buggy()) as door:
        assert door.post(webhook("in/a")).status == 500
        assert door.ask("GET", "/healthz").status == 200


def test_a_full_disk_is_answered_503_and_the_next_event_200_once_there_is_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    pages = "PRAGMA max_page_count = {}"
    with database.reading() as connection:
        now = connection.execute("PRAGMA page_count").fetchone()[0]

    class Bounded(SqliteQueue):
        limit = now

        def send(self, *arguments: Any, **options: Any) -> None:
            with self.database.reading() as connection:
                connection.execute(pages.format(self.limit))
            super().send(*arguments, **options)

    queue = Bounded(database, SystemClock())
    event = {"Records": [webhook(f"in/{number:0900}")["Records"][0] for number in range(30)]}
    with open_door(queue) as door:
        full = door.post(event)
        assert (full.status, full.json["error"]["id"]) == (503, "store.full")
        assert queue.size(INTAKE) == 0
        queue.limit = 1_000_000
        assert door.post(event).json == {"queued": 30}
        assert queue.size(INTAKE) == 30


def test_no_answer_comes_before_the_queue_has_stored() -> None:
    class Slow(MemoryQueue):
        stored = threading.Event()

        def send(self, queue: str, bodies: Any, *, delay_seconds: float = 0.0) -> None:
            assert self.stored.wait(20.0)
            super().send(queue, bodies, delay_seconds=delay_seconds)

    queue = Slow(SystemClock())
    with open_door(queue) as door, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(door.post, webhook("in/a"))
        time.sleep(0.3)
        assert not answer.done()
        assert door.ask("GET", "/events").status == 200, "nobody waits for somebody else's send"
        queue.stored.set()
        assert answer.result(20.0).status == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer \xe9", 401),
    ],
)
def test_only_who_brings_the_token_may_post(header: str | None, status: int) -> None:
    with open_door(Refusing(), TOKEN.encode()) as door:
        answer = door.post(webhook("in/a"), **({} if header is None else {"Authorization": header}))
        assert answer.status == status
        assert len(door.queued()) == (status == 200)
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN.encode() not in answer.body


def test_an_unknown_sender_is_refused_before_its_body_is_read() -> None:
    with open_door(Refusing(), TOKEN.encode()) as door, socket.create_connection((door.host, door.port), 10) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("token", [None, TOKEN.encode()])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", ["/events", "/healthz"])
def test_who_asks_whether_it_is_there_is_told_so(method: str, path: str, token: bytes | None) -> None:
    with open_door(Refusing(), token) as door:
        assert door.ask(method, path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/events", 405), ("DELETE", "/events", 405), ("POST", "/healthz", 405), ("POST", "/", 404)],
)
def test_nothing_else_is_answered(door: Door, method: str, path: str, status: int) -> None:
    assert door.ask(method, path).status == status


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(door: Door) -> None:
    with socket.create_connection((door.host, door.port), 10) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1))
        assert raw.recv(100).startswith(b"HTTP/1.1 413"), "not a byte of it was waited for"
    with socket.create_connection((door.host, door.port), 10) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(BODY_BYTES_MAX // 65536 + 1):
            raw.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    body = json.dumps(webhook("in/a")).encode()
    assert door.ask("POST", "/events", body.ljust(BODY_BYTES_MAX)).status == 200
    assert len(door.queued()) == 1


def test_a_body_that_never_comes_is_not_waited_for_for_ever(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "BODY_SECONDS_MAX", 0.2)
    with socket.create_connection((door.host, door.port), 10) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        assert raw.recv(100).startswith(b"HTTP/1.1 408")


def test_a_sender_that_goes_away_halfway_queues_nothing_and_harms_nobody(door: Door) -> None:
    body = json.dumps(webhook("in/a")).encode()
    for end in (0, 1, len(body) - 1):
        with socket.create_connection((door.host, door.port), 10) as raw:
            raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:end])
    assert door.post(webhook("in/b")).status == 200
    assert [sent["key"] for sent in door.queued()] == ["b"]


def test_many_posts_at_once_are_all_stored(tmp_path: Path) -> None:
    queue = SqliteQueue(Database(tmp_path / "state.db"), SystemClock())
    with open_door(queue) as door, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: door.post(webhook(f"in/{number}")), range(300)))
        assert {answer.status for answer in answers} == {200}
        assert sorted(int(body["key"]) for body in door.queued()) == list(range(300))


def test_an_answer_on_a_connection_that_is_kept_waits_for_nothing(door: Door) -> None:
    connection = http.client.HTTPConnection(door.host, door.port, timeout=20)

    def ask() -> None:
        connection.request("POST", "/events", json.dumps(webhook("in/a")))
        assert connection.getresponse().read()

    ask()
    assert fastest(ask, rounds=24) < 0.03, "delayed acknowledgements of TCP take 40 ms each"
    connection.close()
    assert len(door.queued()) == 25


def test_every_answer_is_one_line_of_the_log_and_a_health_check_none(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door.post(webhook("in/a"))
    door.ask("GET", "/healthz")
    door.ask("GET", "/no%0Asuch%7Fplace")
    door.queued()

    def lines_so_far() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("bytereel")]

    end = time.monotonic() + 10.0
    while len(lines_so_far()) < 2 and time.monotonic() < end:
        time.sleep(0.01)  # a line is written once its answer is sent
    lines = lines_so_far()
    assert len(lines) == 2
    assert lines[0].startswith("POST '/events' 200 ")
    assert lines[1].startswith("GET '/no\\nsuch\\x7fplace' 404 ")


@pytest.mark.parametrize(
    "address",
    ["", "9300", "localhost", ":9300", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "no such host:1", "::"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Permanent) as refused:
        open_socket(address, loopback_only=False).close()
    assert refused.value.error_id == "gateway.bad_address"


def test_an_address_that_is_taken_is_refused() -> None:
    with open_socket("127.0.0.1:0", loopback_only=True) as taken, pytest.raises(Permanent) as refused:
        open_socket(url_of(taken).removeprefix("http://"), loopback_only=True)
    assert refused.value.error_id == "gateway.bad_address"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_without_a_token_only_this_machine_is_listened_to(address: str) -> None:
    with pytest.raises(Permanent) as refused:
        open_socket(address, loopback_only=True)
    assert refused.value.error_id == "gateway.token_missing"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "127.0.0.2:0"])
def test_this_machine_has_several_names(address: str) -> None:
    with open_socket(address, loopback_only=True) as listening:
        assert url_of(listening).startswith("http://")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"caf\xc3\xa9", b"nul\x00", b"a" * (TOKEN_BYTES_MAX + 1)], ids=repr
)
def test_a_token_that_is_no_word_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert refusal_of(lambda: read_token(file)) == "gateway.bad_token"
    assert refusal_of(lambda: read_token(tmp_path / "none")) == "gateway.bad_token"
    assert refusal_of(lambda: read_token(tmp_path)) == "gateway.bad_token"


def refusal_of(call: Callable[[], object]) -> str:
    with pytest.raises(Permanent) as refused:
        call()
    return refused.value.error_id


def test_a_token_is_read_without_the_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\r\n")
    assert read_token(file) == TOKEN.encode()
