"""A second decoder of reels, written from codec/FORMAT.md alone.

It is a witness: what the package writes must decode here, and what this module cannot read is a fault of the package or
of the text. It therefore imports nothing from the package, and it is plain: the whole reel in memory, one frame after
another, no kernels. It is not meant for use: use the package.

Rules: bytes in, reels out, no I/O. Section numbers below are those of FORMAT.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import crc32c
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MAGIC = b"BYTEREEL"
HEADER_BYTES = 128
MACROBLOCK_BYTES = 384
DIGEST_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
LEADER_BYTES_MAX = 16 * 1024
SEGMENTS_MAX = 2**24
FRAMES_PER_SEGMENT_MAX = 4096
LEADER, DATA, PARITY = 0, 1, 2
COMPRESSED, SEALED, SEGMENT_END, SOURCE_END, FINAL = 1, 2, 4, 8, 16
PICTURE_BYTES = {width * height // 256 * 384 - 316: width * height // 256 * 384 for width, height in
                 ((256, 144), (640, 368), (1280, 720), (1920, 1088), (3840, 2160))}  # fmt: skip

HEADER_MASK = hashlib.shake_128(b"bytereel header mask").digest(HEADER_BYTES)


class BadReelError(ValueError):
    """The bytes are no reel of this version, or contradict themselves."""


class SecretError(BadReelError):
    """A passphrase or a key is missing, or is the wrong one."""


@dataclass(frozen=True)
class Header:
    """Section 3, unmasked; `raw` is what the checksum and the seal cover."""

    raw: bytes
    kind: int
    flags: int
    reel_id: bytes
    segment: int
    frame: int
    frames: int
    frames_per_segment: int
    span: int
    length: int
    segments: int
    groups: int
    columns: int
    scrypt_log2: int
    payload_crc: int
    own_crc: int


@dataclass(frozen=True)
class Frame:
    """An image that passed both its checksums."""

    header: Header
    payload: bytes

    @property
    def image(self) -> bytes:
        return self.header.raw + self.payload


@dataclass
class Reel:
    """What came out. `source` is None where bytes are lost, or where the end of the source is unknown."""

    reel_id: bytes
    leader: dict[str, Any] = field(default_factory=dict)
    source: bytes | None = None
    pieces: dict[int, bytes] = field(default_factory=dict)
    lost: list[tuple[int, int]] = field(default_factory=list)
    recovered: int = 0
    segments_checked: int = 0
    tree_digest: str = ""
    tree_checked: bool = False


# --- bytes of the video to frames: sections 3 to 5


def xor(left: bytes, right: bytes) -> bytes:
    size = max(len(left), len(right))
    mixed = int.from_bytes(left.ljust(size, b"\0"), "little") ^ int.from_bytes(right.ljust(size, b"\0"), "little")
    return mixed.to_bytes(size, "little")


@cache
def whitening(reel_id: bytes) -> bytes:
    return hashlib.shake_128(b"bytereel whitening" + reel_id).digest(65_536)


def unescape(video: bytes, start: int, size: int) -> bytes:
    """Returns `size` bytes of the NAL unit from `start` on, without emulation prevention; fewer at the video's end."""
    reach = size + size // 128 + 16
    while True:
        plain = video[start : start + reach].replace(b"\0\0\3", b"\0\0")
        if len(plain) >= size + 2 or start + reach >= len(video):
            return plain[:size]
        reach *= 2


def header_of(raw: bytes) -> Header | None:
    """Reads an unmasked header; None where a reader passes over it (section 3)."""
    if len(raw) < HEADER_BYTES or raw[:8] != MAGIC or crc32c.crc32c(raw[:124]) != int.from_bytes(raw[124:128], "big"):
        return None
    if raw[8] != 1:
        raise BadReelError(f"a frame of format version {raw[8]}")

    def number(at: int, size: int) -> int:
        return int.from_bytes(raw[at : at + size], "big")

    header = Header(
        raw=raw,
        kind=raw[9],
        flags=raw[11],
        reel_id=raw[12:28],
        segment=number(28, 4),
        frame=number(32, 4),
        frames=number(36, 4),
        frames_per_segment=number(40, 4),
        span=number(44, 4),
        length=number(48, 4),
        segments=number(52, 4),
        groups=number(56, 2),
        columns=number(58, 2),
        scrypt_log2=raw[60],
        payload_crc=number(64, 4),
        own_crc=number(124, 4),
    )
    return header if raw[10] == 0 and within_bounds(header) else None


def within_bounds(header: Header) -> bool:
    return (
        header.kind <= PARITY
        and header.flags <= 31
        and not any(header.raw[61:64])
        and not any(header.raw[68:124])
        and header.frame < header.frames
        and 1 <= header.frames_per_segment <= FRAMES_PER_SEGMENT_MAX
        and (header.frames == 2 if header.kind == LEADER else header.frames <= header.frames_per_segment)
        and header.span in PICTURE_BYTES
        and HEADER_BYTES + header.length <= PICTURE_BYTES[header.span]
        and header.segments <= SEGMENTS_MAX
        and header.segment < SEGMENTS_MAX
        and not (header.kind == DATA and header.segments and header.segment >= header.segments)
        and not (header.kind == LEADER and header.segment)
        and parity_within_bounds(header)
        and header.scrypt_log2 <= 18
    )


def parity_within_bounds(header: Header) -> bool:
    groups, columns = header.groups, header.columns
    if not groups or not columns:
        return groups == columns and header.kind != PARITY
    rows = -(-header.segments // groups)
    return 1 <= rows <= 255 - columns and (header.kind != PARITY or header.segment < groups * columns)


def image_to_frame(image: bytes) -> Frame | None:
    header = header_of(image[:HEADER_BYTES])
    if header is None:
        return None
    payload = image[HEADER_BYTES : HEADER_BYTES + header.length]
    intact = len(payload) == header.length and crc32c.crc32c(payload) == header.payload_crc
    return Frame(header, payload) if intact else None


def frame_at(video: bytes, at: int) -> Frame | None:
    """Reads the frame whose masked magic stands at `at` (sections 4 and 5)."""
    header = header_of(xor(unescape(video, at, HEADER_BYTES), HEADER_MASK))
    if header is None:
        return None
    image_bytes = HEADER_BYTES + header.length
    samples = unescape(video, at, image_bytes + 2 * ((image_bytes - 1) // MACROBLOCK_BYTES))
    stride = MACROBLOCK_BYTES + 2
    standing = b"".join(samples[i : i + MACROBLOCK_BYTES] for i in range(0, len(samples), stride))
    table = whitening(header.reel_id)
    first = (header.own_crc + HEADER_BYTES) % 65_536
    stream = (table * (2 + header.length // 65_536))[first : first + header.length]
    return image_to_frame(header.raw + xor(standing[HEADER_BYTES:], stream[: len(standing) - HEADER_BYTES]))


def frames_in(video: bytes) -> Iterator[Frame]:
    for found in re.finditer(re.escape(xor(MAGIC, HEADER_MASK[:8])), video):
        frame = frame_at(video, found.start())
        if frame is not None:
            yield frame


# --- payload to block: section 7


@cache
def reel_key(reel_id: bytes, scrypt_log2: int, passphrase: bytes | None, key: bytes | None) -> bytes:
    if scrypt_log2:
        if passphrase is None:
            raise SecretError("the reel is sealed with a passphrase")
        return Scrypt(salt=reel_id, length=32, n=1 << scrypt_log2, r=8, p=1).derive(passphrase)
    if key is None:
        raise SecretError("the reel is sealed with a key")
    return HKDF(algorithm=SHA256(), length=32, salt=reel_id, info=b"bytereel frame key").derive(key)


@dataclass(frozen=True)
class Secret:
    """What the caller knows."""

    passphrase: bytes | None = None
    key: bytes | None = None


def block_of(frame: Frame, secret: Secret) -> bytes:
    """Undoes seal, then compression, of a data frame or a leader."""
    header, block = frame.header, frame.payload
    if header.flags & SEALED:
        cipher = AESGCM(reel_key(header.reel_id, header.scrypt_log2, secret.passphrase, secret.key))
        if len(block) < NONCE_BYTES + TAG_BYTES:
            raise BadReelError(f"segment {header.segment} frame {header.frame} is too short for its seal")
        try:
            block = cipher.decrypt(block[:NONCE_BYTES], block[NONCE_BYTES:], header.raw[:48])
        except InvalidTag as error:
            raise SecretError("the seal does not open: another secret, or a forged frame") from error
    if header.flags & COMPRESSED:
        size = zstandard.frame_content_size(block)
        if not 0 <= size <= header.span + DIGEST_BYTES:
            raise BadReelError(f"segment {header.segment} frame {header.frame} states a content size of {size}")
        block = zstandard.ZstdDecompressor().decompress(block)
    return block


# --- lost frames: section 9


@cache
def products(factor: int) -> bytes:
    """The table of factor * x in GF(2^8) with polynomial 0x11D, for bytes.translate."""
    table = bytearray(256)
    for other in range(256):
        product, left, right = 0, factor, other
        while right:
            if right & 1:
                product ^= left
            left = (left << 1) ^ (0x11D if left & 0x80 else 0)
            right >>= 1
        table[other] = product
    return bytes(table)


def times(factor: int, image: bytes) -> bytes:
    return image.translate(products(factor))


def inverse(number: int) -> int:
    return products(number).index(1)


def weight(column: int, row: int) -> int:
    return inverse((255 - column) ^ row)


def solve(lost_rows: list[int], known: dict[int, bytes], sums: dict[int, bytes]) -> dict[int, bytes] | None:
    """Returns the lost rows' images, from the rows that are known and the columns' sums; None with too few columns."""
    if len(sums) < len(lost_rows):
        return None
    lines: list[tuple[list[int], bytes]] = []
    for column, total in sorted(sums.items())[: len(lost_rows)]:
        rest = total
        for row, image in known.items():
            rest = xor(rest, times(weight(column, row), image))
        lines.append(([weight(column, row) for row in lost_rows], rest))
    for pivot in range(len(lines)):
        other = next(i for i in range(pivot, len(lines)) if lines[i][0][pivot])
        lines[pivot], lines[other] = lines[other], lines[pivot]
        lines[pivot] = scaled(lines[pivot], inverse(lines[pivot][0][pivot]))
        for i in range(len(lines)):
            if i != pivot and lines[i][0][pivot]:
                factors, image = scaled(lines[pivot], lines[i][0][pivot])
                merged = [left ^ right for left, right in zip(lines[i][0], factors, strict=True)]
                lines[i] = (merged, xor(lines[i][1], image))
    return {row: line[1] for row, line in zip(lost_rows, lines, strict=True)}


def scaled(line: tuple[list[int], bytes], factor: int) -> tuple[list[int], bytes]:
    return [products(factor)[number] for number in line[0]], times(factor, line[1])


# --- frames to a reel: sections 8, 10 and 11


class Assembly:
    """The frames of one reel, and what they say together."""

    def __init__(self, first: Header) -> None:
        self.span = first.span
        self.frames_per_segment = first.frames_per_segment
        self.data: dict[tuple[int, int], Frame] = {}
        self.parity: dict[tuple[int, int], Frame] = {}
        self.leaders: dict[int, Frame] = {}
        self.leader: dict[str, Any] = {}

    def add(self, frame: Frame) -> None:
        """Takes the first intact copy of each frame; passes over a frame of another layout (section 3)."""
        header = frame.header
        if (header.span, header.frames_per_segment) != (self.span, self.frames_per_segment):
            return
        if header.kind == LEADER:
            self.leaders.setdefault(header.frame, frame)
        else:
            home = self.data if header.kind == DATA else self.parity
            home.setdefault((header.segment, header.frame), frame)

    def read_leaders(self, secret: Secret) -> None:
        """Takes a leader that is final before one that is not; the one at the end before the front one."""
        for frame in sorted(self.leaders.values(), key=lambda f: (bool(f.header.flags & FINAL), f.header.frame)):
            block = block_of(frame, secret)
            if len(block) > LEADER_BYTES_MAX:
                raise BadReelError(f"a leader of {len(block)} bytes")
            self.leader = json.loads(block.decode("ascii"))

    def segments(self) -> int | None:
        """Data segments of the reel, from headers, else from the last frame of the source, else from a final leader."""
        everything = [*self.data.values(), *self.parity.values(), *self.leaders.values()]
        known = {f.header.segments for f in everything} - {0}
        known |= {f.header.segment + 1 for f in self.data.values() if f.header.flags & SOURCE_END}
        if "segments" in self.leader:
            known.add(self.leader["segments"])
        if len(known) > 1:
            raise BadReelError(f"the reel states several numbers of segments: {sorted(known)}")
        return known.pop() if known else None

    def frames_of(self, segment: int, segments: int | None) -> int | None:
        """Frames of a data segment; None where nothing says how many its last segment has."""
        if segments is None or segment < segments - 1:
            return self.frames_per_segment
        stated = {f.header.frames for (s, _), f in self.data.items() if s == segment}
        if not stated and "size_bytes" in self.leader:
            stated = {-(-self.leader["size_bytes"] // self.span) - segment * self.frames_per_segment}
        if len(stated) > 1:
            raise BadReelError(f"segment {segment} states several numbers of frames: {sorted(stated)}")
        return stated.pop() if stated else None

    def recover(self, segments: int) -> int:
        """Puts back every frame that parity can bring back; returns how many."""
        shapes = {(f.header.groups, f.header.columns) for f in self.parity.values()}
        if not shapes:
            return 0
        if len(shapes) > 1:
            raise BadReelError(f"parity frames state several numbers of groups and columns: {sorted(shapes)}")
        count, _ = shapes.pop()
        cells = {(segment % count, j) for (segment, j) in self.parity}
        return sum(self.recover_cell(group, j, count, segments) for group, j in sorted(cells))

    def recover_cell(self, group: int, j: int, groups: int, segments: int) -> int:
        known: dict[int, bytes] = {}
        lost: list[int] = []
        for row, segment in enumerate(range(group, segments, groups)):
            frames = self.frames_of(segment, segments)
            if (segment, j) in self.data:
                known[row] = self.data[segment, j].image
            elif frames is None or j < frames:
                lost.append(row)
        sums = {p // groups: f.payload for (p, frame), f in self.parity.items() if p % groups == group and frame == j}
        solved = solve(lost, known, sums) if lost else None
        for row, image in (solved or {}).items():
            if any(image):  # a last segment of unknown length has no such frame where nothing but zeros comes back
                self.put_back(row * groups + group, j, image)
        return sum(any(image) for image in (solved or {}).values())

    def put_back(self, segment: int, j: int, image: bytes) -> None:
        frame = image_to_frame(image)
        if frame is None or any(image[HEADER_BYTES + frame.header.length :]):
            raise BadReelError(f"parity brings back no valid frame {j} of segment {segment}")
        header = frame.header
        same_reel = all(header.reel_id == other.header.reel_id for other in self.parity.values())
        if (header.kind, header.segment, header.frame, same_reel) != (DATA, segment, j, True):
            raise BadReelError(f"parity brings back another frame than {j} of segment {segment}")
        self.add(frame)

    def fill(self, reel: Reel, secret: Secret) -> None:
        """Writes pieces, losses, digests and, when nothing is lost, the source into `reel`."""
        segments = self.segments()
        if segments:
            reel.recovered = self.recover(segments)
        listed = segments if segments is not None else 1 + max((s for s, _ in self.data), default=-1)
        digests, whole = [], segments is not None
        for segment in range(listed):
            frames = self.frames_of(segment, segments)
            digest = self.fill_segment(reel, segment, frames, secret)
            digests.append(digest or b"")
            whole = whole and digest is not None
        if whole:
            reel.source = b"".join(piece for _, piece in sorted(reel.pieces.items()))
            reel.tree_digest = hashlib.sha256(b"".join(digests)).hexdigest()
            self.check_whole(reel)

    def fill_segment(self, reel: Reel, segment: int, frames: int | None, secret: Secret) -> bytes | None:
        """Returns the segment's digest, checked; None where a frame of it is lost."""
        own, stated, complete = hashlib.sha256(), b"", frames is not None
        for j in range(frames if frames is not None else self.frames_per_segment):
            offset = (segment * self.frames_per_segment + j) * self.span
            frame = self.data.get((segment, j))
            if frame is None:
                end = min(offset + self.span, self.leader.get("size_bytes", offset + self.span))
                reel.lost.append((offset, end))
                complete = False
                continue
            piece, digest = self.piece_of(frame, secret)
            reel.pieces[offset] = piece
            stated = digest or stated
            own.update(piece)
        if not complete:
            return None
        if own.digest() != stated:
            raise BadReelError(f"segment {segment} has another digest than it states")
        reel.segments_checked += 1
        return stated

    def piece_of(self, frame: Frame, secret: Secret) -> tuple[bytes, bytes]:
        """Returns a data frame's source bytes and, from the last of a segment, the digest it states."""
        flags, block = frame.header.flags, block_of(frame, secret)
        cut = len(block) - (DIGEST_BYTES if flags & SEGMENT_END else 0)
        if cut != self.span and not (flags & SOURCE_END and 0 < cut < self.span):
            raise BadReelError(f"segment {frame.header.segment} frame {frame.header.frame} holds {cut} bytes")
        return block[:cut], block[cut:]

    def check_whole(self, reel: Reel) -> None:
        assert reel.source is not None
        expected = {
            "size_bytes": len(reel.source),
            "digest": reel.tree_digest,
            "sha256": hashlib.sha256(reel.source).hexdigest(),
        }
        for name, actual in expected.items():
            if name in self.leader and self.leader[name] != actual:
                raise BadReelError(f"the leader states {name} {self.leader[name]}, the frames hold {actual}")
        reel.tree_checked = "digest" in self.leader


def decode(video: bytes, *, passphrase: bytes | None = None, key: bytes | None = None) -> dict[bytes, Reel]:
    """Returns the reels that a video holds, by reel id.

    `video` is any bytes in which each picture stands in one piece, in any order, doubled or not. Lost frames come back
    from parity; what stays lost is listed in `Reel.lost` as [start, end) of the source, and `Reel.source` is None.

    Raises:
        SecretError: a reel is sealed and the secret is missing or wrong.
        BadReelError: another format version, or frames that contradict each other or their digests.
    """
    assemblies: dict[bytes, Assembly] = {}
    for frame in frames_in(video):
        assemblies.setdefault(frame.header.reel_id, Assembly(frame.header)).add(frame)
    reels = {}
    for reel_id, assembly in assemblies.items():
        secret = Secret(passphrase, key)
        reel = Reel(reel_id)
        assembly.read_leaders(secret)
        reel.leader = assembly.leader
        assembly.fill(reel, secret)
        reels[reel_id] = reel
    return reels
