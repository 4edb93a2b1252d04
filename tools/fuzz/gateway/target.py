"""The target `gateway`: raw bytes over a socket. Law: every answer is HTTP and no 500, the health endpoint answers
afterwards and meanwhile, the log has one line a record, memory stays.
"""

import re
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from random import Random

from tools.fuzz.case import Case
from tools.fuzz.gateway.requests import pieces, request
from tools.fuzz.gateway.server import Server
from tools.fuzz.target import LawBroken, Limits, Outcome

NAME = "gateway"
_REQUESTS, _HALF_HEADS = "requests", "half heads"
_HALF_HEADS_MAX = 600
_FILES_MAX = 4096
_ANSWER_SECONDS = 0.15
_ANSWER_BYTES_MAX = 1 << 20
_GROWTH_BYTES_MAX = 96 << 20
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class GatewayTarget:
    """Bytes for the gateway. `facts`: `kind`; `cuts` where they are cut when sent, by how many `connections`."""

    name = NAME
    limits = Limits(core_seconds=20.0, growth_bytes=_GROWTH_BYTES_MAX)

    def __init__(self, server: Server) -> None:
        self._server = server
        self._server.start()
        self._base_bytes = server.peak_bytes()

    def make(self, random: Random) -> Case:
        """Requests for one connection; seldom the beginning of a head for very many."""
        content = request(random)
        if random.random() < 0.002:
            count = random.randint(1, _HALF_HEADS_MAX)
            head = content[: random.randint(1, 60)].split(b"\r\n\r\n")[0]
            return Case(NAME, head, {"kind": _HALF_HEADS, "connections": count, "cuts": []})
        return Case(NAME, content, {"kind": _REQUESTS, "connections": 1, "cuts": list(pieces(random, content))})

    def run(self, case: Case) -> Outcome:
        """Send it, read what is answered, look at health and log."""
        self._server.start()
        with ExitStack() as stack:
            answers = [self._sent(stack, case) for _ in range(case.facts["connections"])]
            self._server.check_health()
        self._server.check_log()
        statuses = sorted({status for answer in answers for status in _statuses(answer)})
        if 500 in statuses:
            raise LawBroken("status_500", repr(answers[0][:200]))
        grown = self._server.peak_bytes() - self._base_bytes
        label = str(statuses[0]) if statuses else "no answer"
        return Outcome(label, f"{statuses} {len(answers[0]).bit_length()}", max(0, grown))

    def _sent(self, stack: ExitStack, case: Case) -> bytes:
        """Open a connection, send the case; what was answered, nothing where very many are opened."""
        connection = stack.enter_context(self._server.connect())
        content, start = case.content, 0
        try:
            for end in [*(cut for cut in case.facts["cuts"] if cut < len(content)), len(content)]:
                connection.sendall(content[start:end])
                start = end
            return _answer(connection) if case.facts["connections"] == 1 else b""
        except (ConnectionError, TimeoutError):
            return b""  # it may hang up whenever it likes

    def shrinks(self, case: Case) -> bool:
        """Whatever one connection sends."""
        return bool(case.facts["connections"] == 1)

    def close(self) -> None:
        """End the gateway."""
        self._server.stop()


def _answer(connection: socket.socket) -> bytes:
    """What comes until nothing comes any more for a moment."""
    connection.settimeout(_ANSWER_SECONDS)
    answer = b""
    try:
        while len(answer) < _ANSWER_BYTES_MAX and (part := connection.recv(1 << 16)):
            answer += part
            if _is_whole(answer):
                connection.settimeout(_ANSWER_SECONDS / 10)
    except (TimeoutError, ConnectionError):
        return answer
    return answer


def _is_whole(answer: bytes) -> bool:
    """Whether an answer seems to be over: nothing more is waited for as long."""
    return b"\r\n\r\n" in answer


def _statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in a row. Raises: LawBroken for what is no HTTP."""
    if answer and not answer.startswith(b"HTTP/1.1 "):
        raise LawBroken("no_http", repr(answer[:200]))
    return [int(status) for status in _STATUS.findall(answer)]


def open_target(folder: Path) -> GatewayTarget:
    """The target, its gateway running."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = _FILES_MAX if hard == resource.RLIM_INFINITY else min(_FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    return GatewayTarget(Server(folder))
