"""What is sent to the gateway: requests that are nearly right, in one piece or in many. Pure."""

import json
from collections.abc import Sequence
from random import Random

from tools.fuzz.mutate import TEXTS, deep_json, mutated, mutated_json

_OBJECT = {"key": "archive/a.zip", "eTag": "abc", "size": 3}
_RECORD = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "uploads"}, "object": _OBJECT}}
_EVENT = {"EventName": "s3:ObjectCreated:Put", "Key": "uploads/archive/a.zip", "Records": [_RECORD]}
_PATHS = ("/events", "/events", "/events", "/healthz", "/", "/events/", "/%0a2026-11-27 FAKE", "/\x1b[2J",
          "/events?a=%00", "http://other/healthz", "*", "/../../etc/passwd", "//healthz",
          "/healthz\u2028x", "/" + "a" * 9000)  # fmt: skip
_METHODS = ("POST", "POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "post", "GET\x00", "A" * 3000)
_VERSIONS = ("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1 x", "", "HTTP/9.9")
_HEADERS = ("Host: a", "Host: a", "Host: b", "Connection: close", "Connection: keep-alive", "Expect: 100-continue",
            "Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: gzip, chunked",
            "Content-Length: 5", "Content-Length: -5", "Content-Length: +5", "Content-Length: 99999999999999999999",
            "Content-Length: 5, 5", "Content-Length: \u0665", "Content-Length: 0x10", "Authorization: Bearer \u00ff",
            "X: a\r\n b", " X: folded", "X", "X: " + "a" * 70_000, "Upgrade: websocket", "Connection: Upgrade",
            "Upgrade: h2c", "X\x00: a", "X: \x00\x1b[2J", "Content-Type: application/json",
            "Host: a\rX: b", ": empty")  # fmt: skip
_TOKENS = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"0\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
           b"Content-Length: 1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
           b"FFFFFFFFFFFFFFFF\r\n", b";a=b\r\n")  # fmt: skip
_GOOD_HEAD = b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def request(random: Random) -> bytes:
    """One to three requests in a row, each more or less one."""
    content = b"".join(_one(random) for _ in range(random.choice((1, 1, 1, 2, 3))))
    return mutated(random, content, tokens=_TOKENS) if random.random() < 0.4 else content


def body(random: Random) -> bytes:
    """What is posted: an event, one that is nearly one, or none."""
    choice = random.random()
    if choice < 0.1:
        return json.dumps(_EVENT).encode()
    if choice < 0.15:
        return deep_json(random)
    if choice < 0.18:
        return b"x" * random.choice(((1 << 20) - 1, 1 << 20, (1 << 20) + 1))
    if choice < 0.3:
        named = {**_RECORD, "s3": {"bucket": {"name": random.choice(TEXTS)}, "object": {"key": random.choice(TEXTS)}}}
        return json.dumps({"Records": [named]}).encode()
    return mutated_json(random, _EVENT)


def _one(random: Random) -> bytes:
    content = body(random)
    if random.random() < 0.5:
        return _GOOD_HEAD % len(content) + content
    line = f"{random.choice(_METHODS)} {random.choice(_PATHS)} {random.choice(_VERSIONS)}"
    headers = [random.choice(_HEADERS) for _ in range(random.randint(0, 6))]
    if random.random() < 0.6:
        headers.append(f"Content-Length: {len(content)}")
    elif random.random() < 0.5:
        headers.append("Transfer-Encoding: chunked")
        content = _chunked(random, content)
    end = random.choice(("\r\n", "\r\n", "\r\n", "\n"))
    head = end.join([line, *headers, "", ""])
    return head.encode("utf-8", "surrogatepass") + content


def _chunked(random: Random, content: bytes) -> bytes:
    chunks: list[bytes] = []
    at = 0
    while at < len(content) and len(chunks) < 50:
        size = random.choice((1, 7, 1000, len(content)))
        part = content[at : at + size]
        odd = random.choice((b"", b"", b"", b";a=b", b";" + b"x" * 9000, b"  "))
        chunks.append(b"%x%s\r\n%s\r\n" % (len(part), odd, part))
        at += size
    return b"".join(chunks) + random.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"", b"0\r\nX: trailer\r\n\r\n", b"-1\r\n"))


def pieces(random: Random, content: bytes) -> Sequence[int]:
    """Where the bytes are cut as they are sent; nowhere, mostly."""
    if random.random() < 0.7 or len(content) < 2:
        return []
    return sorted(random.sample(range(1, len(content)), min(len(content) - 1, random.randint(1, 5))))
