"""What the errors of the services mean: what the caller must do, and what a user reads."""

import pytest
from botocore.exceptions import ClientError
from bytereel.adapters.aws import make_client, meaning_of, translated
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
