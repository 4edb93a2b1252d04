"""Hearing the events of a MinIO-compatible server: the real client, against a server that breaks the connection."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from boto3.session import Session
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.adapters.minio import LINE_BYTES_MAX, MinioEvents
from bytereel.errors import BytereelError, Permanent, Temporary
from bytereel.events import sources_in
from bytereel.messages import INTAKE, event_of
from bytereel.model import INBOX, Location, ObjectRef
from bytereel.ports.ports import Ports
from bytereel.settings import load_settings
from bytereel.wiring import Home, open_event_source
from bytereel.workers import listener as listener_module
from bytereel.workers.listener import (
    END_SECONDS_MAX,
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    EventListener,
    pause_seconds,
)
from bytereel.workers.supervisor import Supervisor
from hypothesis import given
from hypothesis import strategies as st
from listen_server import Answer, ListenServer, listening, refuse, stream

from localstack.servers import Server, free_port

PLACE = Location("uploads", "in/")
KEYS = ("archive/plain.bin", "archive/a b+c%20d%2Fe.zip", "archive/été/日本.txt", "archive/100%.txt")


def session(**chosen: str) -> Session:
    return Session(
        **{"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-west-3", **chosen}
    )


def record_of(key: str, version: str = "v1", name: str = "s3:ObjectCreated:Put") -> dict[str, Any]:
    """A record as a listener gets it: with the key as it is, other than by webhook."""
    stored = {"key": f"{PLACE.prefix}{key}", "eTag": "abc", "versionId": version, "sequencer": "18A", "size": 3}
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventName": name,
        "s3": {"bucket": {"name": PLACE.bucket}, "object": stored},
    }


def line_of(*keys: str) -> bytes:
    return json.dumps({"Records": [record_of(key) for key in keys]}).encode() + b"\n"


def events_at(server: ListenServer, **chosen: Any) -> MinioEvents:
    return MinioEvents(server.url, PLACE, session(), **chosen)


def hear(source: MinioEvents) -> tuple[list[ObjectRef], BytereelError]:
    """What is heard until the connection ends, and why it ended."""
    heard: list[ObjectRef] = []
    try:
        for event in source.listen(lambda: None):
            heard += sources_in(event, PLACE)
    except BytereelError as error:
        return heard, error
    raise AssertionError("a connection ends with a reason")


@pytest.mark.parametrize("then", ["end", "cut"])
def test_events_are_heard_with_their_very_keys_until_the_connection_ends(then: str) -> None:
    with listening(stream(*map(line_of, KEYS), then=then)) as server:
        heard, reason = hear(events_at(server))
    assert heard == [ObjectRef(INBOX, key, "v1") for key in KEYS]
    assert (type(reason), reason.error_id) == (Temporary, "service.unreachable")
    assert len(server.asked) == 1, "connecting again is the caller's business"


def test_lines_may_come_in_any_pieces_with_blanks_and_empty_events_between() -> None:
    said = (
        b"  \n" + line_of("a") + b'   {"Records":[]}\n \r\n' + line_of("b", "c") + b'{"Records":null}\n ' + line_of("d")
    )
    for size in (1, 7, 100, len(said)):
        pieces = [said[start : start + size] for start in range(0, len(said), size)]
        with listening(stream(*pieces, then="end")) as server:
            heard, _ = hear(events_at(server))
        assert [source.key for source in heard] == ["a", "b", "c", "d"]


def test_the_request_names_the_place_and_the_creations_and_is_signed_with_the_sessions_credentials() -> None:
    with listening(stream(then="end")) as server:
        hear(MinioEvents(server.url, PLACE, session(aws_access_key_id="mine", aws_session_token="token")))
    (asked,) = server.asked
    assert urlsplit(asked.path).path == "/uploads"
    query = parse_qs(urlsplit(asked.path).query)
    assert query == {"events": ["s3:ObjectCreated:*"], "prefix": ["in/"]}
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=mine/")
    assert "/eu-west-3/s3/" in headers["authorization"]
    assert headers["x-amz-security-token"] == "token"


@pytest.mark.parametrize(
    "garbage",
    [
        b"no json\n",
        b"{\n",
        b"{}\n",
        b"[]\n",
        b"3\n",
        b'"Records"\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * (LINE_BYTES_MAX + 100_000),
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_ends_the_connection_and_nothing_is_asked_again(garbage: bytes) -> None:
    with listening(stream(line_of("a"), garbage, line_of("b"))) as server:
        heard, reason = hear(events_at(server))
    assert [source.key for source in heard] == ["a"]
    assert isinstance(reason, Temporary), reason
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "record",
    [
        3,
        None,
        [],
        {},
        {"s3": 3},
        {"s3": {"object": {"key": 3}}},
        {"s3": {"object": []}},
        {"s3": {"object": {"key": "\ud800"}}},
    ],
)
def test_a_record_of_another_shape_is_passed_on_for_intake_to_refuse(record: Any) -> None:
    said = json.dumps({"Records": [record]}).encode() + b"\n"
    with listening(stream(said)) as server:
        source = events_at(server)
        try:
            event = next(source.listen(lambda: None))
        except Temporary as refused:
            assert refused.error_id == "event.garbled"
            return
        assert event == {"Records": [record]}
        with pytest.raises(Permanent):
            sources_in(event, PLACE)


def test_a_connection_that_falls_silent_is_over() -> None:
    with listening(stream(line_of("a"), silent=True)) as server:
        heard, reason = hear(events_at(server, silence_seconds=0.3))
    assert len(heard) == 1
    assert reason.error_id == "service.unreachable"


@pytest.mark.parametrize(
    ("answer", "family", "error_id"),
    [
        (refuse(403, "InvalidAccessKeyId"), Permanent, "credentials.rejected"),
        (refuse(403, "SignatureDoesNotMatch"), Permanent, "credentials.rejected"),
        (refuse(403, "AccessDenied"), Permanent, "access.denied"),
        (refuse(404, "NoSuchBucket"), Permanent, "service.absent"),
        (refuse(400, "ExpiredToken"), Temporary, "credentials.expired"),
        (refuse(503, "SlowDown"), Temporary, "service.busy"),
        (refuse(503, kind="text/html"), Temporary, "service.busy"),
        (refuse(502, kind="text/plain"), Temporary, "service.busy"),
        (refuse(307, kind="text/plain"), Permanent, "service.refused"),
        (refuse(503, "", kind="application/xml"), Temporary, "event.garbled"),
    ],
)
def test_a_refusal_says_what_to_do(answer: Answer, family: type[BytereelError], error_id: str) -> None:
    with listening(answer) as server:
        heard, reason = hear(events_at(server))
    assert (heard, type(reason), reason.error_id) == ([], family, error_id)
    assert "secret" not in str(reason.to_dict())


def test_a_server_that_is_down_is_unreachable() -> None:
    _, reason = hear(MinioEvents(f"http://127.0.0.1:{free_port()}", PLACE, session()))
    assert reason.error_id == "service.unreachable"


def test_without_credentials_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with listening(stream()) as server:
        _, reason = hear(MinioEvents(server.url, PLACE, Session()))
    assert reason.error_id == "credentials.missing"
    assert server.asked == []


@pytest.mark.parametrize("url", [None, "", "http://", "https://s3.amazonaws.com", "http://127.0.0.1:9000/below", "ftp"])
def test_an_endpoint_that_nobody_can_listen_to_is_refused_at_once(url: str | None) -> None:
    with pytest.raises(Permanent) as refused:
        MinioEvents(url, PLACE, session())
    assert refused.value.error_id == "settings.invalid"
    assert "BYTEREEL_ENDPOINT_URL" in refused.value.hint


def test_a_store_that_knows_no_listening_is_told_from_one_that_does(ministack_server: Server) -> None:
    own = session(aws_access_key_id=ministack_server.access_key, aws_secret_access_key=ministack_server.secret_key)
    client = own.client("s3", endpoint_url=ministack_server.endpoint_url, region_name="us-east-1")
    client.create_bucket(Bucket="deaf")
    heard, reason = hear(MinioEvents(ministack_server.endpoint_url, Location("deaf"), own, region="us-east-1"))
    assert heard == []
    assert isinstance(reason, Temporary)


class Queue(MemoryQueue):
    """A queue that refuses as often as it is told."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.refusals = 0

    def send(self, queue: str, bodies: Any, *, delay_seconds: float = 0.0) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Temporary("store.full", "no space is left")
        super().send(queue, bodies, delay_seconds=delay_seconds)

    def sources(self) -> list[str]:
        """The keys that intake would be given, taken out of the queue."""
        found = []
        while message := self.lease([INTAKE], "test", 60.0):
            found += [source.key for source in sources_in(message.body, PLACE)]
            self.acknowledge(message)
        return found


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PAUSE_SECONDS_MIN", 0.01)


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


@pytest.mark.usefixtures("fast")
def test_a_lost_connection_is_made_again_and_each_asks_for_a_look_at_the_inbox(queue: Queue) -> None:
    answers = (stream(line_of("a"), then="cut"), refuse(503), stream(b"garbage\n"), stream(line_of("b")))
    with listening(*answers) as server, EventListener(events_at(server), queue) as listener:
        looks = 0

        def looked() -> bool:
            nonlocal looks
            looks += listener.has_connected()
            return looks >= 2 and queue.size(INTAKE) == 2

        wait_for(looked)
        assert len(server.asked) == 4
        assert not listener.has_connected()
    assert queue.sources() == ["a", "b"]


@pytest.mark.usefixtures("fast")
def test_an_event_that_cannot_be_queued_ends_its_connection_so_that_the_inbox_is_looked_at(queue: Queue) -> None:
    queue.refusals = 1
    answers = (stream(line_of("a")), stream(line_of("b")))
    with listening(*answers) as server, EventListener(events_at(server), queue) as listener:
        wait_for(lambda: queue.size(INTAKE))
        assert listener.has_connected()
    assert len(server.asked) == 2
    assert queue.sources() == ["b"]


@pytest.mark.parametrize("answer", [stream(then="cut"), stream(b"garbage\n"), refuse(503), refuse(403, "AccessDenied")])
def test_a_server_that_fails_every_time_is_asked_ever_less_often(queue: Queue, answer: Answer) -> None:
    with listening(answer) as server, EventListener(events_at(server), queue, uniform=lambda low, high: high):
        wait_for(lambda: len(server.asked) == 3)
    waits = [later.at - earlier.at for earlier, later in pairwise(server.asked)]
    assert waits[0] >= 2 * PAUSE_SECONDS_MIN
    assert waits[1] >= 4 * PAUSE_SECONDS_MIN


@given(failures=st.integers(0, 10**6), chance=st.floats(0, 1))
def test_pauses_grow_up_to_a_bound_and_differ(failures: int, chance: float) -> None:
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * chance

    pause = pause_seconds(failures, uniform)
    assert PAUSE_SECONDS_MIN / 2 <= pause <= PAUSE_SECONDS_MAX
    assert pause_seconds(failures + 1, uniform) >= pause
    assert pause_seconds(failures, lambda low, _: low) < pause_seconds(failures, lambda _, high: high)


@pytest.mark.parametrize("answer", [stream(), stream(silent=True), refuse(503)], ids=["alive", "silent", "refused"])
def test_the_end_comes_at_once_whatever_the_server_does(queue: Queue, answer: Answer) -> None:
    with listening(answer) as server:
        with EventListener(events_at(server), queue):
            wait_for(lambda: server.asked)
            time.sleep(0.1)
            started_at = time.monotonic()
        assert time.monotonic() - started_at < END_SECONDS_MAX / 2
        assert "event-listener" not in {thread.name for thread in threading.enumerate()}


def test_the_same_failure_is_logged_once(queue: Queue, fast: None, caplog: pytest.LogCaptureFixture) -> None:
    with listening(refuse(403, "InvalidAccessKeyId")) as server, EventListener(events_at(server), queue):
        wait_for(lambda: len(server.asked) > 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "'uploads'" in warnings[0]


def test_without_the_setting_there_is_nothing_to_listen_to(tmp_path: Path, queue: Queue) -> None:
    source = open_event_source(load_settings(home=tmp_path))
    assert source is None
    with EventListener(source, queue) as listener:
        assert not listener.has_connected()


def cloud_settings(server: ListenServer, tmp_path: Path) -> dict[str, Any]:
    return {
        "home": tmp_path,
        "endpoint_url": server.url,
        "region": "us-east-1",
        "inbox_bucket": f"{PLACE.bucket}/{PLACE.prefix}",
        "work_bucket": "work-bucket",
        "outbox_bucket": "outbox-bucket",
        "listen": True,
        "workers": 1,
        "settle_seconds": 0.2,
        "sweep_seconds": 3600.0,
    }


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    chosen = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    yield chosen


@pytest.mark.usefixtures("fast", "credentials")
def test_up_hears_events_and_finds_what_was_uploaded_while_it_could_not(tmp_path: Path, queue: Queue) -> None:
    objects = MemoryObjects()
    gate = threading.Event()

    def cut_later(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.chunk(line_of("archive/heard"))
        gate.wait(10.0)
        stored.append(objects.put(ObjectRef(INBOX, "archive/missed"), [b"missed"]))

    stored: list[Any] = []
    with listening(cut_later, stream()) as server:
        settings = load_settings(**cloud_settings(server, tmp_path))
        ports = Ports(objects, MemoryJobs(), queue, SystemClock(), inbox=PLACE)
        home = Home("toy", ports, SimpleNamespace(), str, tmp_path)  # type: ignore[arg-type]
        supervisor = Supervisor(home, settings, ("sleep", "60"))
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            wait_for(lambda: queue.size(INTAKE) == 1)
            time.sleep(1.0)  # the sweeps of the start are over
            gate.set()
            wait_for(lambda: queue.size(INTAKE) == 2)
        finally:
            supervisor.stop()
            thread.join(10.0)
    assert not thread.is_alive()
    first, second = (queue.lease([INTAKE], "test", 60.0) for _ in range(2))
    assert first and second
    assert [source.key for source in sources_in(first.body, PLACE)] == ["archive/heard"]
    assert second.body == event_of(stored[0].ref)
