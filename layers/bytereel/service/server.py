"""Where the gateway listens: its address, who may reach it, and its way from start to end."""

import asyncio
import ipaddress
import logging
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn

from bytereel.errors import Permanent
from bytereel.ports.ports import Ports
from bytereel.service.admission import Admission
from bytereel.service.connection import BoundedConnection, Limits
from bytereel.service.webhook import Gateway
from bytereel.signals import on_ending

log = logging.getLogger(__name__)

THREADS = 8
IDLE_SECONDS_MAX = 75
"""Longer than clients keep an idle connection, so that none is closed while a request is on its way."""
END_SECONDS_MAX = 30
BACKLOG = 512
TOKEN_BYTES_MAX = 4096
OTHER_FILES = 64
"""Open files beside the connections: the state, the log, the threads'."""


def serve(ports: Ports, address: str, token_file: Path | None) -> None:
    """Answer on `address` (`HOST:PORT`; port 0: a free one) until a signal asks for the end; finish what is under way.

    Raises: Permanent `gateway.bad_address`, `gateway.token_missing`, `gateway.bad_token`, `gateway.few_files`; what
    `is_state_lost`, once that was answered.
    """
    token = read_token(token_file) if token_file else None
    limits = within_files(Limits(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with open_socket(address, loopback_only=token is None) as listening, ThreadPoolExecutor(THREADS) as pool:
        gateway = Gateway(ports, token, pool)
        server = server_of(gateway, limits)
        with on_ending(_end(server)):
            log.info("the gateway listens on %s, %s", url_of(listening), "with a token" if token else "without a token")
            server.run(sockets=[listening])
    log.info("the gateway has ended")
    if gateway.lost is not None:
        raise gateway.lost


def server_of(gateway: Gateway, limits: Limits) -> uvicorn.Server:
    """A server of the gateway's answers; it ends by itself once the gateway has lost its state."""

    async def look() -> None:
        if gateway.lost is not None:
            server.should_exit = True

    admission: Admission[BoundedConnection] = Admission(limits.peer_connections, limits.connections)
    server = uvicorn.Server(
        uvicorn.Config(
            gateway.app(),
            loop="asyncio",
            http=cast("type[asyncio.Protocol]", partial(BoundedConnection, limits=limits, admission=admission)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS_MAX,
            timeout_graceful_shutdown=END_SECONDS_MAX,
            callback_notify=look,
            timeout_notify=0,
        )
    )
    return server


def within_files(limits: Limits, files_max: int) -> Limits:
    """The limits as far as a process that may open `files_max` files can keep them.

    Raises: Permanent `gateway.few_files` where that is no room for connections of several peers.
    """
    room = limits.connections if files_max == resource.RLIM_INFINITY else files_max - OTHER_FILES
    connections = min(limits.connections, room)
    if connections < 2:
        raise Permanent(
            "gateway.few_files",
            f"the gateway may open {files_max} files, of which it needs {OTHER_FILES} itself",
            hint=f"raise the limit of open files (ulimit -n) to {limits.connections + OTHER_FILES}",
        )
    return replace(limits, connections=connections, peer_connections=min(limits.peer_connections, connections // 2))


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
    family, _, _, _, bound = found[0]
    if loopback_only and not ipaddress.ip_address(bound[0]).is_loopback:
        raise Permanent(
            "gateway.token_missing",
            f"the gateway does not listen on {address} without a token: anybody could post events",
            hint="set BYTEREEL_GATEWAY_TOKEN_FILE, or listen on 127.0.0.1",
        )
    try:
        listening = socket.create_server(bound[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise _bad_address(address, error.strerror or str(error)) from error
    # Connections inherit it. Without, every answer after a connection's first waits 40 ms for the client's ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a socket listens, as a client is told."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _end(server: uvicorn.Server) -> Callable[..., None]:
    """What ends the server and nothing else at a signal: uvicorn would raise it once more when it has ended."""

    def end(*_: object) -> None:
        server.should_exit = True

    return end


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
