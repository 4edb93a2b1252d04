"""What the adapters for S3, SQS and DynamoDB share: how a client is made, and what its errors mean.

Retries are botocore's: exponential, with jitter, bounded; what still fails then is `Temporary`. Credentials come
from botocore's chain (environment, profile, role). botocore's own exceptions end here: none leaves an adapter.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from bytereel.errors import BytereelError, Permanent, Temporary

Service = Literal["s3", "sqs", "dynamodb"]
Clients = Callable[[Service], Any]
"""Makes the client of a service."""

ATTEMPTS_MAX = 6
CONNECT_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 60.0
CONNECTIONS_MAX = 40

PROFILE_HINT = "check AWS_PROFILE, and the files that AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name"
CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of this machine"

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_REJECTED = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        "AuthFailure",
        "IncompleteSignature",
        "MissingAuthenticationToken",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "AllAccessDisabled"})
_ABSENT = frozenset(
    {
        "NoSuchBucket",
        "NotFound",
        "404",
        "ResourceNotFoundException",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)
_FULL = frozenset({"XMinioStorageFull", "InsufficientStorage", "507"})
_PASSING = frozenset(
    {
        "500", "502", "503", "504", "429",
        "InternalError", "InternalServerError", "InternalFailure", "ServiceUnavailable", "SlowDown", "RequestTimeout",
        "RequestTimeTooSkewed", "OperationAborted", "Throttling", "ThrottlingException", "ThrottledException",
        "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
        "BandwidthLimitExceeded", "ProvisionedThroughputExceededException", "TransactionInProgressException",
        "TransactionConflictException", "PriorRequestNotComplete", "LimitExceededException",
        "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidPart", "NoSuchUpload",
        "ConditionalRequestConflict",
        "OverLimit", "QueueDeletedRecently", "AWS.SimpleQueueService.OverLimit",
        "AWS.SimpleQueueService.QueueDeletedRecently",
        "KmsThrottled", "KMS.ThrottlingException", "ItemCollectionSizeLimitExceededException",
    }
)  # fmt: skip


def new_session() -> boto3.session.Session:
    """A session, which finds the credentials once for all its clients. Raises: Permanent `settings.invalid`."""
    try:
        return boto3.session.Session()
    except BotoCoreError as error:
        raise Permanent(
            "settings.invalid", f"the configuration of AWS cannot be used: {error}", hint=PROFILE_HINT
        ) from error


def make_client(
    service: Service,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    session: boto3.session.Session | None = None,
) -> Any:
    """A client of one service, for any number of threads; several made of one session start faster.

    Checksums are sent and asked for by the adapters themselves, where they are known already: botocore's own, and a
    digest in the signature, would read every byte once more. Raises: Permanent `settings.invalid`, `region.missing`.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        connect_timeout=CONNECT_SECONDS_MAX,
        read_timeout=READ_SECONDS_MAX,
        max_pool_connections=CONNECTIONS_MAX,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint_url else "auto", "payload_signing_enabled": False},
        user_agent_extra="bytereel",
    )
    try:
        made = session or new_session()
        return made.client(service, endpoint_url=endpoint_url, region_name=region, config=config)
    except NoRegionError as error:
        raise Permanent(
            "region.missing", f"{service} needs a region", hint="set BYTEREEL_REGION or AWS_DEFAULT_REGION"
        ) from error
    except PartialCredentialsError as error:
        raise meaning_of(error, service) from error
    except (BotoCoreError, ValueError) as error:
        raise Permanent(
            "settings.invalid", f"{service} cannot be used: {error}", hint="check BYTEREEL_ENDPOINT_URL and AWS_PROFILE"
        ) from error


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise what the block's botocore errors mean; `what` names the bucket, table or queue for the user."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise meaning_of(error, what) from error


def code_of(error: ClientError) -> str:
    """The service's code of an error, or the HTTP status where it sent no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def meaning_of(error: ClientError | BotoCoreError, what: str) -> BytereelError:
    """The error of ours for one of botocore's: what the caller must do, in words that name `what`."""
    if isinstance(error, ClientError):
        return _meaning_of_answer(error, what)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Permanent("credentials.missing", f"no credentials for {what}", hint=CREDENTIALS_HINT)
    if isinstance(error, HTTPClientError | BotoConnectionError):
        return Temporary(
            "service.unreachable",
            f"{what} cannot be reached: {error}",
            hint="check the network and BYTEREEL_ENDPOINT_URL",
        )
    return Temporary("service.failed", f"{what}: {error}")


def _is_look_without_reason(error: ClientError) -> bool:
    """Whether a HEAD was refused as a bad request: it has no body to say why, and expiry is the usual reason."""
    return code_of(error) == "400" and error.operation_name.startswith("Head")


def _meaning_of_answer(error: ClientError, what: str) -> BytereelError:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    facts = {"code": code, "operation": error.operation_name}
    if code in _EXPIRED or _is_look_without_reason(error):
        hint = "renew them; a role renews its own"
        return Temporary("credentials.expired", f"the credentials for {what} have expired", hint=hint, **facts)
    if code in _REJECTED:
        return Permanent(
            "credentials.rejected", f"{what} does not know these credentials", hint=CREDENTIALS_HINT, **facts
        )
    if code in _DENIED:
        hint = "the policy of this user or role must allow it"
        return Permanent("access.denied", f"{what} refuses {error.operation_name}", hint=hint, **facts)
    if code in _ABSENT:
        hint = "check the name in the settings; `bytereel doctor` lists what is missing"
        return Permanent("service.absent", f"{what} does not exist", hint=hint, **facts)
    said = str(error.response.get("Error", {}).get("Message", "")) or code
    if code in _PASSING or code in _FULL or status >= 500 or status == 429:
        error_id = "store.full" if code in _FULL or status == 507 else "service.busy"
        return Temporary(error_id, f"{what} cannot answer now: {said}", hint="try again later", **facts)
    return Permanent("service.refused", f"{what} refuses {error.operation_name}: {said}", **facts)
