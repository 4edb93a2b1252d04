"""A connection of the gateway with an end to everything: uvicorn's protocol, and a deadline for each of its phases.

uvicorn waits for ever for a head, for the rest of a body that was refused, and for a reader that does not read. Here a
phase ends in time whatever dribbles in meanwhile, and a connection goes when others need its place (`Admission`).

| phase | what is waited for | ends after |
|---|---|---|
| HEAD | the end of a head, from the accept or its first byte on | `head_seconds`: 408 |
| BODY | the end of a body, also of one that was refused | `body_seconds`: cut off |
| ANSWER | the gateway's own answer | no deadline here: whatever gives it has its own |
| IDLE | the next request | uvicorn's keep-alive: closed |
| CLOSING | that the peer has taken what was sent | `close_seconds`: cut off |
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bytereel.errors import BytereelError, Temporary
from bytereel.service.admission import Admission, peer_of

log = logging.getLogger(__name__)

HEAD_END = b"\r\n\r\n"
REASONS = {408: b"Request Timeout", 503: b"Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, one peer and all of them may take."""

    head_seconds: float = 10.0
    body_seconds: float = 35.0
    """A little more than the answers to a body allow it: those say why."""
    write_seconds: float = 30.0
    """How long a peer may leave an answer unread."""
    close_seconds: float = 5.0
    head_bytes: int = 8192
    head_lines: int = 64
    chunks: int = 128
    """Of one body. Lines and chunks are what is dear to read: with these bounds any request costs about the same."""
    peer_connections: int = 128
    connections: int = 512


class Phase(Enum):
    """What a connection is waiting for."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()
    CLOSING = auto()
    CLOSED = auto()


class BoundedConnection(H11Protocol):
    """One connection to the gateway, from the accept to its end."""

    def __init__(self, *, limits: Limits, admission: "Admission[BoundedConnection]", **given: Any) -> None:
        super().__init__(**given)
        self.conn: h11.Connection = _Parser(limits)
        self._limits = limits
        self._admission = admission
        self._seconds = {
            Phase.HEAD: limits.head_seconds,
            Phase.BODY: limits.body_seconds,
            Phase.CLOSING: limits.close_seconds,
        }
        self._peer = ""
        self._phase: tuple[Phase, object] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else "")
        self._enter(Phase.HEAD)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._follow(Phase.HEAD)

    def on_response_complete(self) -> None:
        """Called when an answer was handed to the transport as a whole."""
        super().on_response_complete()
        self._follow(Phase.HEAD if self.conn.trailing_data[0] else Phase.IDLE)

    def shutdown(self) -> None:
        """Called when the server ends: an answer under way may be finished."""
        super().shutdown()
        if self.transport.is_closing():
            self._enter(Phase.CLOSING)

    def timeout_keep_alive_handler(self) -> None:
        """Called when no next request came for long; the rest of a refused body has the deadline of its phase."""
        if self._phase is not None and self._phase[0] is Phase.IDLE:
            super().timeout_keep_alive_handler()
            self._enter(Phase.CLOSING)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        _cancel(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._enter(Phase.CLOSED)
        _cancel(self._unread)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, where an answer can still be given; whoever was answering is told to stop."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def give_way(self) -> None:
        """Go, because others need the place."""
        if self._phase is None or self._phase[0] is not Phase.HEAD:
            self.transport.abort()
        else:
            self._refuse(503, Temporary("gateway.crowded", "too many connections at once: come again"))
            if self.transport.get_write_buffer_size():
                self.transport.abort()

    def _follow(self, between: Phase) -> None:
        """Find out the phase; `between` is the one where no request is under way."""
        if self.transport.is_closing():
            self._enter(Phase.CLOSING)
        elif self.conn.their_state is h11.IDLE:
            self._enter(between)
        elif self.conn.their_state is h11.SEND_BODY:
            self._enter(Phase.BODY)
        else:
            self._enter(Phase.ANSWER)

    def _enter(self, phase: Phase) -> None:
        """Begin a phase, unless it goes on for the same request: what dribbles in moves no deadline."""
        if self._phase == (phase, self.cycle) or (self._phase and self._phase[0] is Phase.CLOSED):
            return
        self._phase = (phase, self.cycle)
        _cancel(self._deadline)
        seconds = self._seconds.get(phase)
        self._deadline = self.loop.call_later(seconds, self._end) if seconds is not None else None
        if phase is Phase.CLOSED:
            self._admission.leave(self._peer, self)
        elif phase is not Phase.CLOSING:
            self._take_place(waited_for=phase is not Phase.ANSWER)

    def _take_place(self, *, waited_for: bool) -> None:
        one_too_many = self._admission.enter(self._peer, self, waited_for=waited_for)
        if one_too_many is not None:
            one_too_many.give_way()

    def _end(self) -> None:
        """The phase took too long."""
        if self._phase is not None and self._phase[0] is Phase.HEAD:
            slow = Temporary("gateway.slow", f"the head took more than {self._limits.head_seconds:g} s")
            self._refuse(408, slow)
        else:
            self.transport.abort()

    def _refuse(self, status: int, error: BytereelError) -> None:
        """Say why to a peer that has sent a part of a head, and close."""
        log.debug("%s: %s", error.error_id, error.message)
        if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            body = json.dumps({"error": error.to_dict()}).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            answer = h11.Response(status_code=status, headers=headers, reason=REASONS[status])
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._enter(Phase.CLOSING)


class _Parser(h11.Connection):
    """Takes no head of more than so many lines, and no body of more than so many chunks."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(h11.SERVER, limits.head_bytes)
        self._limits = limits
        self._chunks = 0

    def next_event(self) -> Any:
        """See `h11.Connection`. Raises: h11.RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            self._check_head(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_end:
            self._chunks += 1
            if self._chunks > self._limits.chunks:
                raise h11.RemoteProtocolError("too many chunks")
        return event

    def _check_head(self, start: bytes) -> None:
        """Count the lines of a head that is there in part or as a whole, before each of them is looked at."""
        end = start.find(HEAD_END, 0, self._limits.head_bytes)
        if start.count(b"\n", 0, end if end >= 0 else self._limits.head_bytes) > self._limits.head_lines:
            raise h11.RemoteProtocolError("too many headers")


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
