"""Takes the webhooks of stores over HTTP and queues the sources that they are about.

200 is answered once the queue has made them durable, and never before. What is no event is answered 400; whatever
prevents the queueing is answered 503, and the sender's spool keeps the event. An event is a hint and nothing more:
intake looks up what the store holds.

| request | answer |
|---|---|
| `POST /events` | 200 durable, or nothing to do; 400, 401, 408, 413 the request is wrong; 503 try again |
| `GET`, `HEAD /events` | 200: what a MinIO-compatible server asks when it starts |
| `GET`, `HEAD /healthz` | 200 when the queue can be read, else 503; in either case soon |
"""

import asyncio
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bytereel.errors import BytereelError, Permanent, Temporary, is_state_lost, reason_of
from bytereel.events import body_of, sources_in
from bytereel.messages import INTAKE, event_of
from bytereel.model import Location, ObjectRef
from bytereel.ports.ports import Ports
from bytereel.service.admission import peer_of

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 1 << 20
FOREIGN = ("event.foreign_bucket", "event.foreign_prefix")
BODY_SECONDS_MAX = 30.0
HEALTH_SECONDS_MAX = 2.0
"""How long the queue may take to say that it is there; a later word counts for the next who asks."""
POSTS_MAX = 256
PEER_POSTS_MAX = 64
"""Events that are being queued at once, in all and of one peer; more are answered 503."""
RETRY_SECONDS = 3
"""How long a sender should wait after a 503; a MinIO-compatible server waits as long between its tries."""
HEALTH_PATH = "/healthz"


class Gateway:
    """The answers. What blocks runs in `pool`: its threads bound how many queue at once.

    Health has a thread of its own, and one look at the queue serves everybody who asks meanwhile.
    """

    def __init__(self, ports: Ports, token: bytes | None, pool: ThreadPoolExecutor) -> None:
        self._ports = ports
        self._token = token
        self._pool = pool
        self._posts: Counter[str] = Counter()
        self._looking: asyncio.Future[int] | None = None
        self._looker = ThreadPoolExecutor(1, "health")
        self.lost: BytereelError | None = None
        """Why the state cannot be used any more, once it cannot."""

    def app(self) -> ASGIApp:
        """The application, with a log line for every answer."""
        routes = [
            Route("/events", self.take, methods=["POST"]),
            Route("/events", _be_there, methods=["GET", "HEAD"]),
            Route(HEALTH_PATH, self.health, methods=["GET", "HEAD"]),
        ]
        return _Logged(Starlette(routes=routes))

    async def take(self, request: Request) -> Response:
        """Queue the sources of the event that was posted."""
        if not self._is_known(request):
            error = Permanent("gateway.unauthorized", "the token is missing or wrong")
            return _failure(401, error, {"WWW-Authenticate": "Bearer"})
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                body = await _read_body(request)
        except Permanent as error:
            return _failure(413, error, {"Connection": "close"})
        except TimeoutError:
            slow = Temporary("gateway.slow", f"the body took more than {BODY_SECONDS_MAX:g} s")
            return _failure(408, slow, {"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        peer = peer_of(request.client.host if request.client else "")
        if self._posts[peer] >= PEER_POSTS_MAX or self._posts.total() >= POSTS_MAX:
            return _later(Temporary("gateway.crowded", "too many events at once: send it again"))
        self._posts[peer] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._keep, body)
        finally:
            self._posts[peer] -= 1
            self._posts += Counter()  # forgets who has none

    async def health(self, _: Request) -> Response:
        """Say whether the queue can be read, soon."""
        if self._looking is None or self._looking.done():
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(self._looker, self._ports.queue.size, INTAKE)
        try:
            await asyncio.wait_for(asyncio.shield(self._looking), HEALTH_SECONDS_MAX)
        except TimeoutError:
            return _later(Temporary("gateway.no_queue", f"the queue gave no sign for {HEALTH_SECONDS_MAX:g} s"))
        except BytereelError as error:
            return self._refusal(error)
        return _answer({"status": "ok"})

    def _refusal(self, error: BytereelError) -> Response:
        """What is answered when the queue cannot be used now, or never again."""
        if is_state_lost(error):
            self.lost = error
        return _later(error)

    def _is_known(self, request: Request) -> bool:
        """Whether the request has the token, where one is asked for; the time it takes does not tell how much of it."""
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(given.strip().encode("utf-8"), self._token) and scheme.lower() == "bearer"

    def _keep(self, body: bytes) -> Response:
        """Make the body's sources durable in the queue, all or none, then answer.

        An event about something else than the inbox is taken too, with a warning: whoever sent it would send it for
        ever, and everything behind it would wait.
        """
        try:
            sources = sources_of(body, self._ports.inbox)
        except Permanent as error:
            if error.error_id not in FOREIGN:
                return _failure(400, error)
            log.warning("an event is ignored: %s", reason_of(error))
            return _answer({"queued": 0, "ignored": error.to_dict()})
        if sources:
            try:
                self._ports.queue.send(INTAKE, [event_of(source) for source in sources])
            except BytereelError as error:
                return self._refusal(error)
        return _answer({"queued": len(sources)})


def sources_of(body: bytes, inbox: Location) -> Sequence[ObjectRef]:
    """The sources that a posted event is about. Raises: Permanent, as `sources_in`."""
    try:
        return sources_in(body_of(body.decode("utf-8")), inbox)
    except (UnicodeDecodeError, RecursionError) as error:
        raise Permanent("event.malformed", f"no JSON of a store: {type(error).__name__}") from error


async def _read_body(request: Request) -> bytes:
    """The whole body. Raises: Permanent `gateway.too_large`."""
    body = bytearray()
    announced = int(request.headers.get("content-length", "0"))
    if announced <= BODY_BYTES_MAX:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                break
    if max(announced, len(body)) > BODY_BYTES_MAX:
        raise Permanent("gateway.too_large", f"a body has {BODY_BYTES_MAX} bytes at most", expected=BODY_BYTES_MAX)
    return bytes(body)


async def _be_there(_: Request) -> Response:
    return Response()


def _answer(values: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: what was sent may hold characters that have no form in UTF-8, and is repeated in errors."""
    text = json.dumps(values, default=str, separators=(",", ":"))
    return Response(text, status, headers, "application/json")


def _later(error: BytereelError) -> Response:
    return _failure(503, error, {"Retry-After": str(RETRY_SECONDS)})


def _failure(status: int, error: BytereelError, headers: dict[str, str] | None = None) -> Response:
    log.warning("%s: %s", error.error_id, error.message)
    return _answer({"error": error.to_dict()}, status, headers)


class _Logged:
    """Logs every answer: method, path, status and time; health checks as debug, for they come every few seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            level = logging.DEBUG if scope["path"] == HEALTH_PATH and status == 200 else logging.INFO
            seconds = time.monotonic() - started_at
            log.log(level, "%.16s %.200r %d %.1f ms", scope["method"], scope["path"], status, seconds * 1000)
