"""Where the gateway listens: its address, who may reach it, and its way from start to end."""

import ipaddress
import logging
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from bytereel.errors import Permanent
from bytereel.ports import Ports
from bytereel.service.webhook import Gateway

log = logging.getLogger(__name__)

THREADS = 8
REQUESTS_MAX = 512
"""More connections than that at once are answered 503."""
IDLE_SECONDS_MAX = 75
"""Longer than clients keep an idle connection, so that none is closed while a request is on its way."""
END_SECONDS_MAX = 30
BACKLOG = 512
TOKEN_BYTES_MAX = 4096


def serve(ports: Ports, address: str, token_file: Path | None) -> None:
    """Answer on `address` (`HOST:PORT`; port 0 takes a free one) until SIGTERM or SIGINT, then end what is under way.

    Raises: Permanent `gateway.bad_address`, `gateway.token_missing`, `gateway.bad_token`.
    """
    token = read_token(token_file) if token_file else None
    with open_socket(address, loopback_only=token is None) as listening, ThreadPoolExecutor(THREADS) as pool:
        server = uvicorn.Server(
            uvicorn.Config(
                Gateway(ports, token, pool).app(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=REQUESTS_MAX,
                timeout_keep_alive=IDLE_SECONDS_MAX,
                timeout_graceful_shutdown=END_SECONDS_MAX,
            )
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        with _ended_by_signals(server):
            log.info("the gateway listens on %s, %s", url_of(listening), "with a token" if token else "without a token")
            server.run(sockets=[listening])
    log.info("the gateway has ended")


def read_token(path: Path) -> bytes:
    """The one word in a file. Raises: Permanent `gateway.bad_token`."""
    try:
        with path.open("rb") as file:
            token = file.read(TOKEN_BYTES_MAX + 1).strip()
    except OSError as error:
        raise _bad_token(path, error.strerror or str(error)) from error
    if not token or len(token) > TOKEN_BYTES_MAX or any(not 0x21 <= byte <= 0x7E for byte in token):
        raise _bad_token(path, f"it must hold one word of ASCII, {TOKEN_BYTES_MAX} bytes at most")
    return token


def open_socket(address: str, *, loopback_only: bool) -> socket.socket:
    """A socket that listens on `HOST:PORT`. Raises: Permanent `gateway.bad_address`, `gateway.token_missing`."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise _bad_address(address, "it is no HOST:PORT")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _bad_address(address, str(getattr(error, "strerror", error))) from error
    family, _, _, _, place = found[0]
    if loopback_only and not ipaddress.ip_address(place[0]).is_loopback:
        raise Permanent(
            "gateway.token_missing",
            f"the gateway does not listen on {address} without a token: anybody could post events",
            hint="set BYTEREEL_GATEWAY_TOKEN_FILE, or listen on 127.0.0.1",
        )
    try:
        listening = socket.create_server(place[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise _bad_address(address, error.strerror or str(error)) from error
    # Connections inherit it. Without, every answer after a connection's first waits 40 ms for the client's ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a socket listens, as a client is told."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Have SIGTERM and SIGINT end the server and nothing else: it raises them once more when it has ended."""

    def end(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bad_address(address: str, why: str) -> Permanent:
    return Permanent(
        "gateway.bad_address", f"the gateway cannot listen on {address!r}: {why}", hint="--listen 127.0.0.1:9300"
    )


def _bad_token(path: Path, why: str) -> Permanent:
    return Permanent(
        "gateway.bad_token",
        f"{str(path)!r} cannot be the token's file: {why}",
        hint="BYTEREEL_GATEWAY_TOKEN_FILE names a file with one word",
        path=str(path),
    )
