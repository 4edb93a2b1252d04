"""What holds of SQS alone: its batches, its dead letters, what it costs when idle, and how it fails."""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager

import pytest
from botocore.awsrequest import AWSResponse
from bytereel.adapters import aws
from bytereel.adapters.aws import make_client
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.sqs import calls as sqs_calls
from bytereel.adapters.sqs.calls import BATCH_BYTES_MAX, BATCH_MAX, TEXT_BYTES_MAX, batches_of
from bytereel.adapters.sqs.letters import REASON_CHARACTERS_MAX, TEXT_CHARACTERS_MAX
from bytereel.adapters.sqs.queue import LOOKS_BEFORE_WAITING, RETENTION_SECONDS, UNREADABLE_MAX, SqsQueue, create_queues
from bytereel.errors import Permanent, Temporary
from bytereel.messages import BULK, ENCODE, FINALIZE, INTAKE, QUEUES
from bytereel.ports.ports import Ports
from bytereel.settings import load_settings
from bytereel.workers.heartbeat import Heartbeat
from bytereel.workers.worker import Worker
from hypothesis import given
from hypothesis import strategies as st

from localstack.servers import REGION, free_port, ministack
from tests.by_the_clock import fastest


@pytest.fixture
def client(ministack_sqs):
    return ministack_sqs


@pytest.fixture
def prefix(client):
    name = f"test-{uuid.uuid4().hex[:12]}"
    create_queues(client, name)
    return name


@pytest.fixture
def queue(client, prefix):
    return SqsQueue(client, prefix, wait_seconds=0)


@contextmanager
def hooked(client, event, handler):
    client.meta.events.register(event, handler)
    try:
        yield
    finally:
        client.meta.events.unregister(event, handler)


@contextmanager
def counted(client):
    """How often each operation is asked for while the context lasts, and what was asked."""
    asked = []

    def note(params, model, **_):
        asked.append((model.name, json.loads(params["body"])))

    with hooked(client, "before-call.sqs", note):
        yield asked


def of(asked, operation):
    return [body for name, body in asked if name == operation]


def url_of(client, prefix, queue):
    return client.get_queue_url(QueueName=f"{prefix}-{queue}")["QueueUrl"]


def leased(queue, name=ENCODE, seconds=60):
    message = queue.lease([name], "w", seconds)
    assert message is not None
    return message


def numbers_in(queue, name=ENCODE):
    return Counter(message.body["n"] for message in iter(lambda: queue.lease([name], "w", 60), None))


def take_no_more_than_sqs_long_did(client, prefix):
    """Queues made before August 2025, and other servers, take 256 KiB where SQS takes 1 MiB now."""
    for name in (ENCODE, "encode-dead"):
        client.set_queue_attributes(
            QueueUrl=url_of(client, prefix, name), Attributes={"MaximumMessageSize": str(256 * 1024)}
        )


class TestSending:
    def test_many_bodies_go_in_batches(self, queue, client):
        with counted(client) as asked:
            queue.send(ENCODE, [{"n": number} for number in range(25)])
        assert [len(body["Entries"]) for body in of(asked, "SendMessageBatch")] == [10, 10, 5]
        assert queue.size(ENCODE) == 25
        assert numbers_in(queue) == Counter(range(25))

    def test_large_bodies_share_a_batch_as_far_as_they_fit(self, queue, client):
        bodies = [{"n": number, "text": "x" * 100_000} for number in range(5)]
        with counted(client) as asked:
            queue.send(ENCODE, bodies)
        assert [len(body["Entries"]) for body in of(asked, "SendMessageBatch")] == [2, 2, 1]
        assert numbers_in(queue) == Counter(range(5))

    def test_a_body_that_is_too_large_is_refused_by_name(self, queue, prefix):
        with pytest.raises(Permanent) as raised:
            queue.send(ENCODE, [{"text": "x" * TEXT_BYTES_MAX}])
        assert raised.value.error_id == "message.too_large"
        assert raised.value.facts["queue"] == f"{prefix}-encode"

    @given(st.lists(st.integers(1, TEXT_BYTES_MAX), max_size=40))
    def test_batches_keep_the_order_and_the_limits(self, sizes):
        texts = ["x" * size for size in sizes]
        batches = list(batches_of("q", texts))
        assert list(itertools.chain.from_iterable(batches)) == texts
        assert all(1 <= len(batch) <= BATCH_MAX and sum(map(len, batch)) <= BATCH_BYTES_MAX for batch in batches)

    def test_what_sqs_may_refuse_travels_escaped(self, queue, client):
        body = {"key": "a\udcffb\x00c\ufffe\U0001f600"}
        with counted(client) as asked:
            queue.send(ENCODE, [body])
        assert of(asked, "SendMessageBatch")[0]["Entries"][0]["MessageBody"].isascii()
        assert leased(queue).body == body

    def test_a_delay_is_cut_to_what_sqs_keeps(self, queue, client):
        with counted(client) as asked:
            queue.send(ENCODE, [{"n": 1}], delay_seconds=1e9)
            queue.send(ENCODE, [{"n": 1}], delay_seconds=0.2)
        assert [body["Entries"][0]["DelaySeconds"] for body in of(asked, "SendMessageBatch")] == [900, 1]


class Refusing:
    """Keeps entries of batches from the server, and has its answer say that they failed."""

    def __init__(self, client, ids, batches, *, fault=False):
        self._client, self._ids, self._batches = client, ids, batches
        self._failure = {"Code": "InvalidMessageContents" if fault else "InternalError", "SenderFault": fault}
        self._kept = []
        self.seen = []

    def __enter__(self):
        self._client.meta.events.register("before-parameter-build.sqs.SendMessageBatch", self._take_out)
        self._client.meta.events.register("after-call.sqs.SendMessageBatch", self._say_so)
        return self

    def __exit__(self, *_):
        self._client.meta.events.unregister("before-parameter-build.sqs.SendMessageBatch", self._take_out)
        self._client.meta.events.unregister("after-call.sqs.SendMessageBatch", self._say_so)

    def _take_out(self, params, **_):
        entries = params["Entries"]
        self.seen.append([entry["Id"] for entry in entries])
        refused = len(self.seen) <= self._batches
        self._kept = [entry["Id"] for entry in entries if refused and entry["Id"] in self._ids]
        # One entry stays, for a batch must not be empty; where all are refused it goes to a queue nobody reads.
        params["Entries"] = [entry for entry in entries if entry["Id"] not in self._kept] or [
            {"Id": "other", "MessageBody": "{}", "DelaySeconds": 900}
        ]

    def _say_so(self, parsed, **_):
        parsed["Failed"] = [{"Id": each, **self._failure} for each in self._kept]


class TestPartialFailures:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(sqs_calls, "PAUSE_SECONDS_MAX", 0.01)

    def test_what_a_batch_left_out_is_sent_again_and_nothing_else(self, queue, client):
        with Refusing(client, {"3", "7"}, batches=1) as refusing:
            queue.send(ENCODE, [{"n": number} for number in range(10)])
        assert refusing.seen == [[str(number) for number in range(10)], ["3", "7"]]
        assert numbers_in(queue) == Counter(range(10))

    def test_it_gives_up_after_a_bounded_number_of_sends(self, queue, client, prefix):
        with Refusing(client, {"1"}, batches=10**9) as refusing, pytest.raises(Temporary) as raised:
            queue.send(ENCODE, [{"n": number} for number in range(3)])
        assert raised.value.error_id == "service.busy"
        assert raised.value.facts["queue"] == f"{prefix}-encode"
        assert len(refusing.seen) == sqs_calls.SENDS_MAX

    def test_what_is_the_senders_fault_is_not_sent_again(self, queue, client):
        with Refusing(client, {"1"}, batches=10**9, fault=True) as refusing, pytest.raises(Permanent) as raised:
            queue.send(ENCODE, [{"n": number} for number in range(3)])
        assert raised.value.error_id == "service.refused"
        assert len(refusing.seen) == 1


class TestDeadLetters:
    def test_a_message_that_nobody_answers_ends_there_by_itself(self, client):
        prefix = f"test-{uuid.uuid4().hex[:12]}"
        create_queues(client, prefix, receptions_max=2)
        queue = SqsQueue(client, prefix, wait_seconds=0)
        queue.send(ENCODE, [{"n": 1}])
        for deliveries in (1, 2):
            message = leased(queue)
            assert message.deliveries == deliveries
            queue.release(message)
        assert queue.lease([ENCODE], "w", 60) is None
        for _ in range(3):
            [(letter, reason)] = queue.dead()
            assert (letter.queue, letter.body, letter.deliveries) == (ENCODE, {"n": 1}, 2)
            assert reason == "received 2 times without an answer"

    def test_how_often_sqs_hands_a_message_out_is_asked_once(self, queue, client, prefix):
        for _ in range(12):
            client.send_message(QueueUrl=url_of(client, prefix, "encode-dead"), MessageBody="{}")
        with counted(client) as asked:
            assert [message.deliveries for message, _ in queue.dead()] == [25] * 12
        assert [body["AttributeNames"] for body in of(asked, "GetQueueAttributes")].count(["RedrivePolicy"]) == 1

    @pytest.mark.parametrize("text", ["no json", "[]", "17", '{"n": ', "[" * 200_000, "\U0001f600" * 50_000])
    def test_a_text_that_is_no_message_is_buried_and_the_next_one_served(self, queue, client, prefix, text):
        take_no_more_than_sqs_long_did(client, prefix)
        client.send_message(QueueUrl=url_of(client, prefix, ENCODE), MessageBody=text)
        queue.send(ENCODE, [{"n": 1}])
        assert leased(queue).body == {"n": 1}
        assert queue.size(ENCODE) == 1
        [(letter, reason)] = queue.dead()
        assert text.startswith(letter.body["text"])
        assert (letter.queue, letter.deliveries, bool(reason)) == (ENCODE, 1, True)

    @pytest.mark.parametrize("text", ["\U0001f600" * 60_000, "\u00e4" * 120_000])
    def test_a_body_that_escaped_is_too_large_is_buried_as_the_beginning_of_its_text(self, queue, client, prefix, text):
        take_no_more_than_sqs_long_did(client, prefix)
        sent = json.dumps({"text": text}, ensure_ascii=False)
        client.send_message(QueueUrl=url_of(client, prefix, ENCODE), MessageBody=sent)
        queue.bury(leased(queue), "\U0001f600" * REASON_CHARACTERS_MAX)
        [(letter, reason)] = queue.dead()
        assert letter.body["text"] == json.dumps({"text": text})[:TEXT_CHARACTERS_MAX]
        assert reason == "\U0001f600" * REASON_CHARACTERS_MAX

    def test_a_look_buries_a_bounded_number_of_texts(self, queue, client, prefix):
        for _ in range(UNREADABLE_MAX + 1):
            client.send_message(QueueUrl=url_of(client, prefix, ENCODE), MessageBody="no json")
        assert queue.lease([ENCODE], "w", 60) is None
        assert queue.size(ENCODE) == 1
        assert queue.lease([ENCODE], "w", 60) is None
        assert len(queue.dead()) == UNREADABLE_MAX + 1

    def test_letters_of_all_queues_are_shown_from_the_oldest_as_often_as_asked(self, queue):
        for number, name in zip(range(24), itertools.cycle(QUEUES), strict=False):
            queue.send(name, [{"n": number}])
            queue.bury(leased(queue, name), f"reason {number}")
            time.sleep(0.002)
        for _ in range(2):
            dead = queue.dead()
            assert [(message.body["n"], reason) for message, reason in dead] == [(n, f"reason {n}") for n in range(24)]
            assert [message.queue for message, _ in dead] == list(QUEUES) * 6
        assert [message.body["n"] for message, _ in queue.dead(limit=3)] == [0, 1, 2]

    def test_a_letter_is_there_before_its_message_is_gone(self, queue, client, monkeypatch):
        queue.send(ENCODE, [{"n": 1}])
        message = queue.lease([ENCODE], "w", 60)
        seen = []
        delete = client.delete_message
        monkeypatch.setattr(client, "delete_message", lambda **named: (seen.extend(queue.dead()), delete(**named))[1])
        queue.bury(message, "because")
        assert [(letter.body, reason) for letter, reason in seen] == [({"n": 1}, "because")]
        assert queue.size(ENCODE) == 0

    def test_a_letter_of_somebody_else_is_shown_too(self, queue, client, prefix):
        notes = {"reason": {"DataType": "String", "StringValue": "not json"}}
        url = url_of(client, prefix, "encode-dead")
        client.send_message(QueueUrl=url, MessageBody="no json", MessageAttributes=notes)
        [(letter, reason)] = queue.dead()
        assert letter.body == {"text": "no json"}
        assert "without an answer" in reason

    def test_a_long_reason_is_cut(self, queue):
        queue.send(ENCODE, [{"text": "x" * (TEXT_BYTES_MAX - 100)}])
        queue.bury(leased(queue), "\U0001f600" * 50_000)
        [(letter, reason)] = queue.dead()
        assert reason == "\U0001f600" * REASON_CHARACTERS_MAX
        assert len(letter.body["text"]) == TEXT_BYTES_MAX - 100

    def test_what_sqs_itself_has_forgotten_is_not_asked_for(self, queue, client):
        with counted(client) as asked:
            assert queue.forget_dead(time.time() - RETENTION_SECONDS - 60) == 0
        assert asked == []

    def test_letters_that_are_not_old_are_shown_again(self, queue):
        queue.send(ENCODE, [{"n": 1}])
        queue.bury(leased(queue), "why")
        assert queue.forget_dead(time.time() - 3600) == 0
        assert len(queue.dead()) == 1


class TestMakingQueues:
    def test_making_them_again_changes_nothing(self, queue, client, prefix):
        queue.send(ENCODE, [{"n": 1}])
        url = url_of(client, prefix, ENCODE)
        client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "33"})
        create_queues(client, prefix)
        create_queues(client, prefix, visibility_seconds=44, receptions_max=3)
        kept = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert kept["VisibilityTimeout"] == "33"
        assert kept["MessageRetentionPeriod"] == str(RETENTION_SECONDS)
        assert json.loads(kept["RedrivePolicy"])["maxReceiveCount"] == 25
        assert leased(queue).body == {"n": 1}

    def test_dead_letters_stay_as_long_as_sqs_keeps_them(self, client, prefix):
        url = url_of(client, prefix, "encode-dead")
        kept = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert kept["MessageRetentionPeriod"] == str(RETENTION_SECONDS)
        assert "RedrivePolicy" not in kept


def answering(code, status=400, times=10**9):
    """A handler that answers the first `times` requests in place of the server."""
    left = [times]

    def answer(**_):
        left[0] -= 1
        if left[0] < 0:
            return None
        error = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return AWSResponse("http://127.0.0.1/", status, {}, None), error

    return answer


class TestFailures:
    @pytest.mark.parametrize(
        "call",
        [
            lambda queue: queue.send(ENCODE, [{"n": 1}]),
            lambda queue: queue.lease([ENCODE], "w", 60),
            lambda queue: queue.size(ENCODE),
        ],
    )
    def test_a_queue_that_is_absent_is_named(self, client, call):
        with pytest.raises(Permanent) as raised:
            call(SqsQueue(client, "nobodys"))
        assert raised.value.error_id == "service.absent"
        assert "nobodys-encode" in raised.value.message

    def test_dead_letters_that_are_absent_are_named(self, client):
        with pytest.raises(Permanent, match="nobodys-finalize-dead"):
            SqsQueue(client, "nobodys").dead()

    @pytest.mark.parametrize(
        "code",
        [
            "ReceiptHandleIsInvalid",
            "MessageNotInflight",
            "AWS.SimpleQueueService.MessageNotInflight",
            "InvalidParameterValue",
            "InvalidParameterValueException",
        ],
    )
    def test_every_way_to_say_that_a_lease_is_lost_is_understood(self, queue, client, code):
        queue.send(ENCODE, [{"n": 1}])
        message = leased(queue)
        with (
            hooked(client, "before-call.sqs.ChangeMessageVisibility", answering(code)),
            hooked(client, "before-call.sqs.DeleteMessage", answering(code)),
        ):
            assert not queue.extend(message, 60)
            queue.bury(message, "why")
            queue.release(message)
            queue.acknowledge(message)
        assert queue.dead() == []
        assert queue.size(ENCODE) == 1

    @pytest.mark.parametrize("code", ["OverLimit", "AWS.SimpleQueueService.OverLimit"])
    def test_too_many_messages_held_at_once_is_temporary(self, queue, client, code):
        with (
            hooked(client, "before-call.sqs.ReceiveMessage", answering(code, 403)),
            pytest.raises(Temporary, match="encode") as raised,
        ):
            queue.lease([ENCODE], "w", 60)
        assert raised.value.error_id == "service.busy"

    def test_a_queue_that_was_deleted_a_moment_ago_can_be_made_later(self, client):
        deleted = answering("AWS.SimpleQueueService.QueueDeletedRecently")
        with hooked(client, "before-call.sqs.CreateQueue", deleted), pytest.raises(Temporary):
            create_queues(client, f"test-{uuid.uuid4().hex[:12]}")

    def test_an_acknowledgement_that_failed_can_be_made_again(self, queue, client):
        queue.send(ENCODE, [{"n": 1}])
        message = leased(queue)
        with (
            hooked(client, "before-call.sqs.DeleteMessage", answering("RequestThrottled", times=1)),
            pytest.raises(Temporary),
        ):
            queue.acknowledge(message)
        assert queue.extend(message, 60)
        queue.acknowledge(message)
        assert queue.size(ENCODE) == 0

    def test_a_late_heartbeat_does_not_hide_a_message_that_was_released(self, queue):
        queue.send(ENCODE, [{"n": 1}])
        message = leased(queue)
        queue.release(message)
        assert not queue.extend(message, 60)
        assert leased(queue).deliveries == 2

    def test_a_server_that_is_away_is_temporary(self, monkeypatch):
        monkeypatch.setattr(aws, "ATTEMPTS_MAX", 1)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        away = make_client("sqs", endpoint_url=f"http://127.0.0.1:{free_port()}", region=REGION)
        with pytest.raises(Temporary, match="p-encode"):
            SqsQueue(away, "p").lease([ENCODE], "w", 60)

    @pytest.mark.servers
    def test_credentials_that_the_server_does_not_know_are_rejected(self, tmp_path, monkeypatch):
        monkeypatch.setenv("AUTH", "true")
        with ministack(tmp_path) as server:
            for key, error_id in (
                (server.access_key, "service.absent"),
                ("AKIANOBODY0NOBODY0AA", "credentials.rejected"),
            ):
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
                queue = SqsQueue(make_client("sqs", endpoint_url=server.endpoint_url, region=REGION), "p")
                with pytest.raises(Permanent) as raised:
                    queue.size(ENCODE)
                assert raised.value.error_id == error_id


def ports_with(queue):
    return Ports(MemoryObjects(), MemoryJobs(), queue, SystemClock())


def test_a_heartbeat_keeps_a_message_beyond_its_first_visibility(queue):
    queue.send(ENCODE, [{"n": 1}])
    message = leased(queue, seconds=1)
    with Heartbeat(ports_with(queue), lease_seconds=2, beat_seconds=0.3) as heartbeat, heartbeat.holding(message):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert queue.lease([ENCODE], "other", 60) is None
            time.sleep(0.1)
    time.sleep(2.1)
    assert leased(queue).id == message.id


class TestIdling:
    @pytest.fixture
    def waiting(self, client, prefix):
        return SqsQueue(client, prefix)

    def test_an_idle_worker_asks_a_few_times_a_second(self, waiting, client, tmp_path):
        worker = Worker(ports_with(waiting), {}, load_settings(home=tmp_path), "w")
        running = threading.Thread(target=worker.run)
        with counted(client) as asked:
            running.start()
            try:
                time.sleep(2)
                settled = len(asked)
                time.sleep(3)
                idle = len(asked) - settled
            finally:
                worker.stop()
                running.join(5)
        assert not running.is_alive()
        assert {name for name, _ in asked} == {"GetQueueUrl", "ReceiveMessage"}
        assert idle <= 5 * 4
        assert settled <= LOOKS_BEFORE_WAITING * len(QUEUES) + len(QUEUES) + 2 * 5

    @pytest.mark.parametrize(("name", "seconds_max"), [(INTAKE, 0.5), (FINALIZE, 1.5), (ENCODE, 1.5), (BULK, 1.5)])
    def test_an_idle_worker_hears_of_a_message_soon(self, waiting, queue, name, seconds_max):
        for _ in range(LOOKS_BEFORE_WAITING):
            assert waiting.lease(QUEUES, "w", 60) is None
        sent = []

        def send_later():
            time.sleep(0.3)
            sent.append(time.monotonic())
            queue.send(name, [{"n": 1}])

        sender = threading.Thread(target=send_later)
        sender.start()
        found = next(filter(None, (waiting.lease(QUEUES, "w", 60) for _ in range(10))))
        heard = time.monotonic()
        sender.join()
        assert (found.queue, found.body) == (name, {"n": 1})
        assert heard - sent[0] < seconds_max

    def test_what_is_sent_from_here_is_found_without_waiting(self, waiting):
        seconds = []
        for _ in range(3):
            for _ in range(LOOKS_BEFORE_WAITING + 1):
                waiting.lease([FINALIZE], "w", 60)
            waiting.send(BULK, [{"n": 1}])
            seconds.append(fastest(lambda: waiting.lease([FINALIZE], "w", 60), rounds=1))
        assert min(seconds) < 0.5
