"""A server on this machine that speaks what is documented of ListenBucketNotification, and breaks it on demand."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEEP_ALIVE_SECONDS = 0.05


@dataclass(frozen=True)
class Asked:
    """A request that came, and when."""

    path: str
    headers: Mapping[str, str]
    at: float


class ListenServer(ThreadingHTTPServer):
    """Answers the requests one after the other with `answers`, the last of them again and again."""

    daemon_threads = True

    def __init__(self, *answers: "Answer") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ListenServer

    def do_GET(self) -> None:
        asked = Asked(self.path, dict(self.headers), time.monotonic())
        number = len(self.server.asked)
        self.server.asked.append(asked)
        self.close_connection = True
        self.server.answers[min(number, len(self.server.answers) - 1)](self)

    def chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


Answer = Callable[[_Handler], None]


def stream(*pieces: bytes, then: str = "stay", silent: bool = False) -> Answer:
    """Agree to listen and send the pieces; then `stay` and keep alive (or `silent`), `end` in order, or `cut`."""

    def answer(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.flush()
        for piece in pieces:
            handler.chunk(piece)
        if then == "end":
            handler.chunk(b"")
        elif then == "cut":
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            while not handler.server.ending.wait(KEEP_ALIVE_SECONDS):
                if not silent:
                    handler.chunk(b" ")

    return answer


def refuse(status: int, code: str = "", *, kind: str = "application/xml") -> Answer:
    """Refuse with an error of S3, or with another body."""

    def answer(handler: _Handler) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>" if code else "no"
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


@contextmanager
def listening(*answers: Answer) -> Iterator[ListenServer]:
    """The server while the context lasts."""
    server = ListenServer(*answers)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
