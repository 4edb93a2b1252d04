"""A proxy on real sockets that does to requests and answers what networks and stores do on bad days."""

import base64
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import crc32c

from localstack.servers import HOST, Server

CRC_HEADER = "x-amz-checksum-crc32c"


@dataclass
class Fault:
    """What happens to the next `times` requests of a method whose path and query contain `about`.

    `answer`: this status instead of the store's. `stall_seconds`: nothing is said for so long. `lose`: the store
    does it, the answer is lost. `cut_after`: the connection ends after so many bytes of the answer's body.
    `damage`: a byte of the request's body is turned on its way; with `forge`, its checksum is made to fit.
    `damage_answer`: a byte of the answer's body is turned.
    """

    method: str
    times: int = 1_000_000
    about: str = ""
    answer: int = 0
    code: str = "SlowDown"
    stall_seconds: float = 0.0
    lose: bool = False
    cut_after: int = -1
    damage: bool = False
    forge: bool = False
    damage_answer: bool = False


@dataclass
class LyingProxy:
    """The proxy: where it listens, the faults to come, and what passed."""

    server: Server
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.method == method and fault.about in path and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def count(self, up: int, down: int) -> None:
        with self.lock:
            self.bytes_up += up
            self.bytes_down += down

    def seen(self, method: str, about: str = "") -> int:
        """How many such requests came."""
        return sum(each.startswith(f"{method} ") and about in each for each in self.requests)


@contextmanager
def lying_proxy(upstream: Server) -> Iterator[LyingProxy]:
    """A proxy in front of `upstream`, which must not check signatures; it ends with the context."""
    there = urlsplit(upstream.endpoint_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.fault_of(self.command, self.path) or Fault("")
            if fault.stall_seconds:
                time.sleep(fault.stall_seconds)
                self.close_connection = True
                return
            if fault.answer:
                self._answer(fault.answer, {}, f"<Error><Code>{fault.code}</Code></Error>".encode(), fault)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            if fault.damage or fault.forge:
                body = _turned(body)
            if fault.forge:
                headers = {name: value for name, value in headers.items() if name.lower() != CRC_HEADER}
                headers[CRC_HEADER] = base64.b64encode(crc32c.crc32c(body).to_bytes(4, "big")).decode()
            connection = http.client.HTTPConnection(there.hostname or HOST, there.port, timeout=60)
            try:
                connection.request(self.command, self.path, body, headers)
                found = connection.getresponse()
                content = found.read()
            finally:
                connection.close()
            proxy.count(len(body), 0)
            if fault.lose:
                self.close_connection = True
                return
            self._answer(found.status, dict(found.getheaders()), content, fault)

        def _answer(self, status: int, headers: dict[str, str], content: bytes, fault: Fault) -> None:
            if fault.damage_answer:
                content = _turned(content)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                    self.send_header(name, value)
            told = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
            self.send_header("Content-Length", told if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            sent = content if fault.cut_after < 0 else content[: fault.cut_after]
            proxy.count(0, len(sent))  # before the client can have it, and look
            self.wfile.write(sent)
            if len(sent) < len(content):
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that has gone is no news."""

    listener = Listener((HOST, 0), Handler)
    proxy = LyingProxy(replace(upstream, endpoint_url=f"http://{HOST}:{listener.server_port}"))
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def _turned(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
