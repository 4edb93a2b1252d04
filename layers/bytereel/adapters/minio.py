"""The events of a MinIO-compatible server, by the long poll of the `minio` client: one connection, heard to its end.

The server forgets: what happens while nobody listens is never told. So the client's own way of connecting again,
at once, for ever and without a word, is kept from it here: every connection is made, and its end heard of, by whoever
listens. Credentials come from botocore's chain, as for every other client.

Source: docs.min.io, ListenBucketNotification: lines of JSON, with blanks between them that keep the connection alive.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote_plus, urlsplit
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from boto3.session import Session
from botocore.exceptions import ClientError
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.datatypes import EventIterable
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3 import BaseHTTPResponse

from bytereel.adapters.aws import CONNECT_SECONDS_MAX, CREDENTIALS_HINT, meaning_of, translated
from bytereel.errors import BytereelError, Permanent, Temporary
from bytereel.model import Location

Event = Mapping[str, Any]

CREATED = ("s3:ObjectCreated:*",)
REGION = "us-east-1"
"""What a server that was not told of any region takes."""

SILENCE_SECONDS_MAX = 30.0
"""A server gives a sign of life every 0.5 s; after so long without one the connection is dead."""
LINE_BYTES_MAX = 1 << 20
READ_BYTES = 1 << 16


class MinioEvents:
    """What one server says of one location. One thread listens; any thread may close.

    Raises: Permanent `settings.invalid` for an endpoint that cannot be one of a MinIO-compatible server.
    """

    def __init__(
        self,
        endpoint_url: str | None,
        location: Location,
        session: Session,
        *,
        region: str | None = None,
        silence_seconds: float = SILENCE_SECONDS_MAX,
    ) -> None:
        self.name = f"the bucket {location.bucket!r}"
        self._location = location
        self._url = urlsplit(endpoint_url or "")
        self._provider = _SessionCredentials(session, self.name)
        self._region = region or session.region_name or REGION
        self._ca_certs = session._session.get_config_variable("ca_bundle") or certifi.where()
        self._timeout = urllib3.Timeout(connect=CONNECT_SECONDS_MAX, read=silence_seconds)
        self._closed = threading.Event()
        self._heard: _OneAnswer | None = None
        self._events(_OneAnswer(lambda: None, self._closed))

    def listen(self, connected: Callable[[], None]) -> Iterator[Event]:
        """Connect, call `connected` once the server has agreed, and give every event until the connection ends.

        Events are in the shape of S3's notification. Raises: Temporary `service.unreachable` at the end of the
        connection, `event.garbled`; Permanent `credentials.*`, `service.absent` and others, as every client.
        """
        self._heard = _OneAnswer(connected, self._closed, timeout=self._timeout, ca_certs=self._ca_certs)
        with _vendor_translated(self.name), contextlib.closing(self._heard), self._events(self._heard) as events:
            for event in events:
                yield _encoded(event)

    def close(self) -> None:
        """End the connection, and let no other begin."""
        self._closed.set()
        if self._heard:
            self._heard.interrupt()

    def _events(self, http_client: "_OneAnswer") -> EventIterable:
        """The client's iterator, which connects when it is asked for an event."""
        try:
            if self._url.scheme not in ("http", "https") or not self._url.hostname:
                raise ValueError("it is no http or https URL")  # noqa: TRY301 - as the client refuses others
            client = Minio(
                self._url.netloc + self._url.path.rstrip("/"),
                secure=self._url.scheme == "https",
                region=self._region,
                http_client=http_client,
                credentials=self._provider,
            )
            return client.listen_bucket_notification(
                self._location.bucket, prefix=self._location.prefix, events=CREATED
            )
        except ValueError as error:
            raise Permanent(
                "settings.invalid",
                f"nobody can listen to {self._url.geturl()!r}: {error}",
                hint="BYTEREEL_LISTEN needs the BYTEREEL_ENDPOINT_URL of a MinIO-compatible server",
            ) from error


class _SessionCredentials(Provider):
    """The credentials that botocore's chain has now: those of a role are renewed."""

    def __init__(self, session: Session, what: str) -> None:
        self._session = session
        self._what = what

    def retrieve(self) -> Credentials:
        """See `Provider.retrieve`. Raises: Permanent `credentials.missing`; as botocore's chain."""
        with translated(self._what):
            found = self._session.get_credentials()
            if found is None:
                raise Permanent("credentials.missing", f"no credentials for {self._what}", hint=CREDENTIALS_HINT)
            now = found.get_frozen_credentials()
        if not now.access_key or not now.secret_key:
            raise Permanent("credentials.missing", f"empty credentials for {self._what}", hint=CREDENTIALS_HINT)
        return Credentials(now.access_key, now.secret_key, now.token)


class _OneAnswer(urllib3.PoolManager):
    """Connections for one listening: lets one answer of events through, and refuses to ask again after it."""

    def __init__(self, connected: Callable[[], None], closed: threading.Event, **options: Any) -> None:
        super().__init__(num_pools=1, maxsize=1, retries=False, cert_reqs="CERT_REQUIRED", **options)
        self._connected = connected
        self._closed = closed
        self._lines: _EventLines | None = None

    def urlopen(self, method: str, url: str, redirect: bool = False, **options: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """See `PoolManager.urlopen`. Raises: Temporary when there was an answer already."""
        if self._lines or self._closed.is_set():
            raise _ended("it sent what is no event" if self._lines else "it was closed")
        response = super().urlopen(method, url, redirect=redirect, **options)
        if response.status != 200:
            return response
        self._lines = _EventLines(response, self._closed)
        self._connected()
        return cast(BaseHTTPResponse, self._lines)

    def interrupt(self) -> None:
        """Have a read that waits in another thread return."""
        if self._lines:
            self._lines.interrupt()

    def close(self) -> None:
        """Let go of the connection."""
        if self._lines:
            self._lines.close()
        self.clear()


class _EventLines:
    """As much of a response as the client's iterator uses: lines of a bounded length, without the blanks between."""

    def __init__(self, response: BaseHTTPResponse, closed: threading.Event) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._closed = closed
        self._buffer = b""

    @property
    def closed(self) -> bool:
        """Never: the iterator would take that for a reason to connect again."""
        return False

    def readline(self) -> bytes:
        """The next line that says something. Raises: Temporary at the end, and for a line that has none."""
        while not self._closed.is_set():
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                if line.strip():
                    return line
                continue
            more = self._response.read1(READ_BYTES)
            if not more:
                raise _ended("the server ended it")
            self._buffer = (self._buffer + more).lstrip()
            if len(self._buffer) > LINE_BYTES_MAX and b"\n" not in self._buffer:
                raise _garbled(f"a line of more than {LINE_BYTES_MAX} bytes")
        raise _ended("it was closed")

    def interrupt(self) -> None:
        """Have a read that waits in another thread return; no effect once the connection is over."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()

    def release_conn(self) -> None:
        """Nothing: an answer that was never read to its end is of no use to another request."""


@contextmanager
def _vendor_translated(what: str) -> Iterator[None]:
    """Raise what the errors of the client and of its transport mean."""
    try:
        yield
    except S3Error as error:
        raise _meaning(error.code or "", error.message or "", error.response.status, what) from error
    except ServerError as error:
        raise _meaning(str(error.status_code), str(error), error.status_code, what) from error
    except InvalidResponseError as error:
        raise _meaning(str(error._code), str(error), error._code, what) from error
    except urllib3.exceptions.HTTPError as error:
        raise _ended(str(error)) from error
    except (ValueError, KeyError, TypeError, RecursionError, ParseError) as error:  # the client trusts every byte
        raise _garbled(f"{type(error).__name__}: {error}") from error


def _meaning(code: str, message: str, status: int, what: str) -> BytereelError:
    """The meaning of an answer, as for every other service of the family."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return meaning_of(ClientError(answer, "ListenBucketNotification"), what)


def _ended(why: str) -> Temporary:
    return Temporary("service.unreachable", f"the connection for events is over: {why}")


def _garbled(what: str) -> Temporary:
    return Temporary("event.garbled", f"the server sent what is no event: {what[:200]}")


def _encoded(event: Event) -> Event:
    """The event with its keys URL-encoded, as S3 and the server's own webhooks have them: listeners get them plain.

    What has not the shape of an event stays as it is: whoever reads it says so.
    Source: minio, cmd/event-notification.go, sendEvent: `ToEvent(false)` for listeners, `ToEvent(true)` for targets.
    """
    records = event["Records"]
    return {**event, "Records": [_encoded_record(record) for record in records]} if isinstance(records, list) else event


def _encoded_record(record: Any) -> Any:
    try:
        stored = record["s3"]["object"]
        encoded = {**record, "s3": {**record["s3"], "object": {**stored, "key": quote_plus(stored["key"])}}}
    except (KeyError, TypeError, UnicodeEncodeError):  # JSON also writes halves of characters, which no key has
        return record
    return encoded
