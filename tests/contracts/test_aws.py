"""What the errors of the services mean: what the caller must do, and what a user reads."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from botocore.exceptions import ClientError
from bytereel.adapters.aws import ATTEMPTS_MAX, make_client, meaning_of, translated
from bytereel.errors import BytereelError, Permanent, Temporary

from localstack.servers import REGION, free_port


def answer(code: str, status: int = 400) -> ClientError:
    said = {"Error": {"Code": code, "Message": "as the service says"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "family", "error_id"),
    [
        (answer("ExpiredToken"), Temporary, "credentials.expired"),
        (answer("ExpiredTokenException"), Temporary, "credentials.expired"),
        (answer("InvalidAccessKeyId", 403), Permanent, "credentials.rejected"),
        (answer("SignatureDoesNotMatch", 403), Permanent, "credentials.rejected"),
        (answer("UnrecognizedClientException"), Permanent, "credentials.rejected"),
        (answer("AccessDenied", 403), Permanent, "access.denied"),
        (answer("AccessDeniedException"), Permanent, "access.denied"),
        (answer("NoSuchBucket", 404), Permanent, "service.absent"),
        (answer("ResourceNotFoundException"), Permanent, "service.absent"),
        (answer("QueueDoesNotExist"), Permanent, "service.absent"),
        (answer("SlowDown", 503), Temporary, "service.busy"),
        (answer("ProvisionedThroughputExceededException"), Temporary, "service.busy"),
        (answer("ThrottlingException"), Temporary, "service.busy"),
        (answer("OverLimit", 403), Temporary, "service.busy"),
        (answer("SomethingNew", 500), Temporary, "service.busy"),
        (answer("SomethingNew", 429), Temporary, "service.busy"),
        (answer("SomethingNew", 400), Permanent, "service.refused"),
    ],
)
def test_every_refusal_says_whether_to_try_again(
    error: ClientError, family: type[BytereelError], error_id: str
) -> None:
    meaning = meaning_of(error, "the bucket x")
    assert (type(meaning), meaning.error_id) == (family, error_id)
    assert "the bucket x" in meaning.message


def test_a_server_that_is_not_there_is_unreachable_within_a_bound_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    client = make_client("sqs", endpoint_url=f"http://127.0.0.1:{free_port()}", region=REGION)
    with pytest.raises(Temporary) as caught, translated("the queue q"):
        client.get_queue_url(QueueName="q")
    assert caught.value.error_id == "service.unreachable"
    assert "BYTEREEL_ENDPOINT_URL" in caught.value.hint


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Permanent) as caught:
        make_client("sqs")
    assert caught.value.error_id == "region.missing"


def test_a_look_that_is_refused_without_a_reason_may_be_of_expired_credentials() -> None:
    error = ClientError({"Error": {"Code": "400"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "HeadObject")  # type: ignore[arg-type]
    assert isinstance(meaning_of(error, "x"), Temporary)


class Busy(BaseHTTPRequestHandler):
    """Answers 503 to everything, and counts."""

    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_client_tries_a_bounded_number_of_times_with_jitter_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    server = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = make_client("sqs", endpoint_url=f"http://127.0.0.1:{server.server_port}", region=REGION)
        with pytest.raises(Temporary), translated("the queue q"):
            client.get_queue_url(QueueName="q")
    finally:
        server.shutdown()
        server.server_close()
    assert Busy.asked == ATTEMPTS_MAX == 6
    assert len(pauses) == ATTEMPTS_MAX - 1
    assert len(set(pauses)) == len(pauses)
    assert all(0 <= pause <= 20 for pause in pauses)


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(Permanent) as caught:
        make_client("sqs", region=REGION)
    assert "nope" in caught.value.message
    assert "AWS_PROFILE" in caught.value.hint
