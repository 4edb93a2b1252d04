"""Tar streams made member by member, of headers that may say anything and whose checksums are right. Pure.

Source: POSIX.1-2017 pax, ustar interchange format; GNU tar manual, "Basic Tar Format"; GNU sparse formats 0.0 to 1.0.
"""

from collections.abc import Callable, Sequence
from random import Random

BLOCK_BYTES = 512
ESCAPED = "/tmp/bytereel-fuzz-escaped"
"""An absolute name that streams try to make: it must never be there."""

_GOOD = ("a", "b", "a/b", "d", "d/", "d/x", "d/y", "./e", "f/./b", "g//b", "h", "i/j/k/l", "m")
_NAMES = (*_GOOD, *_GOOD, *_GOOD, *_GOOD, *_GOOD, "a/b/c", "x" * 99, "x" * 255, "x" * 256, "d/" * 200 + "x",
          "d/" * 300 + "x", "..", "../outside", "a/../../outside", "../out/x", "/etc/bytereel-fuzz", ESCAPED,
          f"{ESCAPED}/x", "", ".", "/", "//", "\x00", "a\x00b", "\x1b[2J", "-rf", "caf\u00e9", "cafe\u0301",
          "\udcff\udcfe", "a\\b", "A", "a/B", "\u202egpj", "a\n", " ", "outside", "../outside/kept")  # fmt: skip
_LINKS = (*_GOOD, *_GOOD, *_NAMES, ".", "..", "../..", "../../..", "a/..", "../a", "d/../../outside",
          "../../outside/kept", "a/b/../../..")  # fmt: skip
_TYPES = b"0000\x0055511222234567xgLKSDMVNIAE Z\xff"
_SIZES = (0, 0, 0, 1, 5, 511, 512, 513, 1024, 4096, 70_000)
_ODD_SIZES = (1 << 20, 1 << 33, (1 << 62), -1, -512, 0o77777777777)
_NUMBERS = (b"", b"0", b"0000644", b"7777", b"-1", b" 12 ", b"99999999", b"\x80" + bytes(6) + b"\x01",
            b"\xff" * 8, b"zz", b"\x00")  # fmt: skip
_PAX_KEYS = ("path", "linkpath", "size", "mtime",
          "uid", "gid", "uname", "atime", "hdrcharset", "comment", "GNU.sparse.major", "GNU.sparse.minor",
          "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.numblocks",
          "GNU.sparse.offset", "GNU.sparse.numbytes", "SCHILY.xattr.user.x", "", "=")  # fmt: skip
_PAX_VALUES = ("0", "1", "-1", "5", "9" * 30, "1e400", "nan", "inf", "-1e300", "1.5", "0,5,10,5", "1,2,3", "BINARY", "",
               "\x00", "10", "x" * 5000, "1048576")  # fmt: skip


def stream(random: Random) -> bytes:
    """A whole stream: a few members, none, some or all of them odd; seldom very many, or very long ones."""
    choice = random.random()
    if choice < 0.01:
        return _many(random)
    if choice < 0.014:
        return _long(random)
    odd = random.choice((0.05, 0.3, 1.0))
    makers = (_MEMBERS if random.random() < odd else _SOUND for _ in range(random.randint(1, 9)))
    members = b"".join(random.choice(each)(random) for each in makers)
    end = random.choice(
        (bytes(2 * BLOCK_BYTES), bytes(2 * BLOCK_BYTES), b"", bytes(BLOCK_BYTES), bytes(20 * BLOCK_BYTES))
    )
    return members + end + (_member(random) if random.random() < 0.05 else b"")


def header(name: str, kind: bytes = b"0", size: bytes | int = 0, link: str = "", **odd: bytes) -> bytes:
    """A member's block, its checksum right; numbers may be any bytes."""
    fields = [
        _text(name)[:100].ljust(100, b"\x00"),
        _field(odd.get("mode", b"0000755"), 8),
        _field(odd.get("uid", b"0000000"), 8),
        _field(odd.get("gid", b"0000000"), 8),
        _size(size),
        _field(odd.get("mtime", b"00000000001"), 12),
        b" " * 8,
        kind,
        _text(link)[:100].ljust(100, b"\x00"),
        odd.get("magic", b"ustar\x0000"),
        bytes(64),
        _field(odd.get("major", b"0000001"), 8) + _field(odd.get("minor", b"0000003"), 8),
        odd.get("rest", b"")[:167].ljust(167, b"\x00"),
    ]
    block = bytearray(b"".join(fields))
    return summed(block)


def summed(block: bytearray | bytes) -> bytes:
    """A header block with its checksum mended."""
    changed = bytearray(block)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\x00 " % sum(changed)
    return bytes(changed)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _field(content: bytes, size: int) -> bytes:
    return content[:size].ljust(size, b"\x00")


def _size(size: bytes | int) -> bytes:
    """A size as octal digits, or in base 256 where those do not reach."""
    if isinstance(size, bytes):
        return _field(size, 12)
    if 0 <= size < 8**11:
        return b"%011o\x00" % size
    return b"\x80" + (size & (1 << 88) - 1).to_bytes(11, "big") if size >= 0 else size.to_bytes(12, "big", signed=True)


def padded(content: bytes) -> bytes:
    """The content filled up to whole blocks."""
    return content + bytes(-len(content) % BLOCK_BYTES)


def _member(random: Random) -> bytes:
    return random.choice(_MEMBERS)(random)


def _sound_name(random: Random) -> str:
    """A name that a folder may well have, seldom twice."""
    return "/".join(f"{random.choice('abcdefgh')}{random.randrange(100)}" for _ in range(random.choice((1, 1, 2, 4))))


def _sound_file(random: Random) -> bytes:
    content = random.randbytes(random.choice(_SIZES))
    mode = random.choice((b"0000644", b"0000755", b"0004755", b"0000000"))
    return header(_sound_name(random), b"0", len(content), mode=mode) + padded(content)


def _sound_folder(random: Random) -> bytes:
    return header(_sound_name(random) + "/", b"5", mode=random.choice((b"0000755", b"0000000", b"0002775")))


def _sound_link(random: Random) -> bytes:
    return header(_sound_name(random), b"2", 0, _sound_name(random).rpartition("/")[2])


def _sound_extended(random: Random) -> bytes:
    content = random.randbytes(random.choice(_SIZES))
    records = [("path", _sound_name(random) + "-" + "x" * random.randint(0, 200)), ("mtime", "1.5")]
    return pax([*records, ("size", str(len(content)))]) + header("x", b"0", len(content)) + padded(content)


_SOUND = (_sound_file, _sound_file, _sound_folder, _sound_link, _sound_extended)


def _plain(random: Random) -> bytes:
    """A member of any type, its content of the size that it states, more or less."""
    kind = bytes([random.choice(_TYPES)])
    size = random.choice(_SIZES if random.random() < 0.93 else _ODD_SIZES)
    content = random.randbytes(max(0, min(size, 70_000)))
    if random.random() < 0.1:
        content = content[: random.randint(0, len(content))]
    odd = {}
    for name in ("mode", "uid", "gid", "mtime", "major"):
        if random.random() < 0.1:
            odd[name] = random.choice(_NUMBERS)
    if random.random() < 0.1:
        odd["magic"] = random.choice((b"ustar  \x00", bytes(8), b"ustar\x0099"))
    return header(random.choice(_NAMES), kind, size, random.choice(_LINKS), **odd) + padded(content)


def _file(random: Random) -> bytes:
    content = random.randbytes(random.choice(_SIZES))
    return header(random.choice(_NAMES), b"0", len(content)) + padded(content)


def _folder(random: Random) -> bytes:
    return header(random.choice(_NAMES), b"5", mode=random.choice((b"0000000", b"0000755", b"0007777")))


def _link(random: Random) -> bytes:
    return header(random.choice(_NAMES), random.choice((b"1", b"2")), 0, random.choice(_LINKS))


def pax(records: Sequence[tuple[str, str]], *, kind: bytes = b"x", size: int | None = None) -> bytes:
    """An extended header of those records."""
    body = b"".join(_record(*record) for record in records)
    return header("pax", kind, len(body) if size is None else size) + padded(body)


def _record(key: str, value: str) -> bytes:
    content = b" " + _text(key) + b"=" + _text(value) + b"\n"
    length = len(content) + 1
    while len(str(length)) + len(content) != length:
        length += 1
    return str(length).encode() + content


def _extended(random: Random) -> bytes:
    records = [(random.choice(_PAX_KEYS), random.choice((*_PAX_VALUES, *_NAMES))) for _ in range(random.randint(1, 4))]
    size = random.choice((None, None, None, 0, 10, *_ODD_SIZES)) if random.random() < 0.2 else None
    body = pax(records, kind=random.choice(b"xxxxg").to_bytes(1, "big"), size=size)
    if random.random() < 0.1:
        body = body[:BLOCK_BYTES] + body[BLOCK_BYTES:].replace(b" ", random.choice((b"", b"9 ", b"-")), 1)
    return body + _member_after(random)


def _member_after(random: Random) -> bytes:
    return random.choice((_file, _link, _plain, _folder))(random)


def _gnu_long(random: Random) -> bytes:
    name = _text(random.choice((*_NAMES, "long/" * 60 + "x", "y" * 70_000))) + random.choice((b"\x00", b""))
    return header("././@LongLink", random.choice((b"L", b"K")), len(name)) + padded(name) + _member_after(random)


def _gnu_sparse(random: Random) -> bytes:
    entries = b"".join(
        random.choice((b"00000000000\x00", b"00000001000\x00", b"\x80" + bytes(10) + b"\x05")) for _ in range(8)
    )
    rest = entries + bytes([random.randint(0, 1)]) + b"00000010000\x00"
    extra = b"".join(random.randbytes(504) + b"\x01" + bytes(7) for _ in range(random.randint(0, 3)))
    return header(random.choice(_NAMES), b"S", 512, rest=rest, magic=b"ustar  \x00") + extra + bytes(BLOCK_BYTES)


def _pax_sparse(random: Random) -> bytes:
    """GNU sparse 1.0: the map stands in front of the content, as long as it says itself."""
    records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", random.choice(_NAMES)),
               ("GNU.sparse.realsize", random.choice(("10", "-1", "9" * 20)))]  # fmt: skip
    count = random.choice((b"1", b"100", b"99999999", b"-1", b"x", b""))
    lines = (
        count
        + b"\n"
        + b"".join(random.choice((b"0\n", b"5\n", b"-1\n", b"zz\n")) for _ in range(random.choice((2, 300))))
    )
    return pax(records) + header("x", b"0", len(lines) + BLOCK_BYTES) + padded(lines) + bytes(BLOCK_BYTES)


def _noise(random: Random) -> bytes:
    return random.choice((random.randbytes(BLOCK_BYTES), summed(random.randbytes(BLOCK_BYTES)), b"\xff" * BLOCK_BYTES))


def _race(random: Random) -> bytes:
    """A link, and members through it."""
    link, target = random.choice(("a", "d", "a/b")), random.choice(_LINKS)
    through = random.choice((f"{link}/x", f"{link}/outside/kept", f"{link}/../x"))
    again = header(link, random.choice(b"5012").to_bytes(1, "big"), 0, random.choice(_LINKS))
    return header(link, b"2", 0, target) + random.choice((b"", again)) + header(through, b"0", 5) + padded(b"hello")


def _many(random: Random) -> bytes:
    """Very many small members, all alike or all different."""
    count = random.choice((1000, 4000))
    block = random.choice(
        (header("d", b"5"), header("f"), header("l", b"2", 0, "f"), header("h", b"1", 0, "f"), pax([("path", "q")]))
    )
    if random.random() < 0.5:
        return block * count + bytes(2 * BLOCK_BYTES)
    kind = random.choice(b"0512").to_bytes(1, "big")
    return b"".join(header(f"n{number}", kind, 0, "n0") for number in range(count)) + bytes(2 * BLOCK_BYTES)


def _long(random: Random) -> bytes:
    """What a reader would hold whole, if it let a stream make it: maps, names, records, chains of headers."""
    size = random.choice((1 << 20, 4 << 20, 16 << 20))
    sparse = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "x"),
        ("GNU.sparse.realsize", "9"),
    ]
    lines = str(size // 4).encode() + b"\n" + b"0\n" * (size // 2)
    more = bytes(504) + b"\x01" + bytes(7)
    made: Sequence[Callable[[], bytes]] = (
        lambda: pax(sparse) + header("x", b"0", len(lines) + BLOCK_BYTES) + padded(lines),
        lambda: header("././@LongLink", b"L", size) + bytes(b"n" * size) + header("x"),
        lambda: pax([("comment", "c" * size)]) + header("x"),
        lambda: pax([(f"k{number}", "v") for number in range(size >> 7)]) + header("x"),
        lambda: pax([("path", "p")]) * (size // 1024) + header("x"),
        lambda: pax([("comment", "c" * 500_000)], kind=b"g") * (size // 500_000) + header("x"),
        lambda: header("x", b"S", 0, rest=bytes(96) + b"\x01", magic=b"ustar  \x00") + more * (size // 512),
        lambda: header("big", b"0", size) + bytes(size),
    )  # fmt: skip
    return random.choice(made)() + bytes(2 * BLOCK_BYTES)


_MEMBERS = (_plain, _plain, _file, _file, _folder, _link, _link, _extended, _extended, _gnu_long, _gnu_sparse,
            _pax_sparse, _noise, _race, _race)  # fmt: skip
