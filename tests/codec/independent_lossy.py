"""A second decoder of videos of bursts, written from codec/FORMAT.md alone (sections 3, 4 and 7 to 18).

As `independent_decoder`, whose reading of frames it shares, it is a witness and imports nothing from the package. It is
plain: all the pictures in memory, transforms as matrices, hard decisions. It reads pictures that stand where they were
written, at the size that their strips name; finding others again is the package's own affair. Reed-Solomon is that of
the package `reedsolo`.

Rules: bytes or planes in, reels out. Section numbers below are those of FORMAT.md.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, reduce
from math import gcd
from typing import Any, NamedTuple

import av
import crc32c
import numpy as np
import numpy.typing as npt
import reedsolo
from independent_decoder import (
    DATA,
    HEADER_BYTES,
    HEADER_MASK,
    LEADER,
    MAGIC,
    PARITY,
    PICTURE_BYTES,
    Assembly,
    BadReelError,
    Frame,
    Header,
    Reel,
    Secret,
    whitening,
    within_bounds,
    xor,
)

Array = npt.NDArray[Any]

SIZES = ((256, 144), (640, 360), (848, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
LUMA_REST, CHROMA_REST = 126, 128
STRIP_MASK = hashlib.shake_128(b"bytereel strip mask").digest(16)
DCT4, DCT8, CELLS = 0, 1, 2
CODEWORD_BYTES = 255
BLOCK_BYTES, SLOT_BYTES = 1024, 1028
SPAN_MAX = max(PICTURE_BYTES)
FRAME_ROOM = 316


class Picture(NamedTuple):
    """Planes: `y` [height, width], `u` and `v` half as high and wide."""

    y: Array
    u: Array
    v: Array


@dataclass(frozen=True)
class Strip:
    """Section 14. All but `picture` is the same in the pictures of a burst, and in no other burst."""

    mark: bytes
    kind: int
    number: int
    picture: int
    pictures: int
    family: int
    code: int
    size: int
    first: int
    second: int
    parity: int
    rows: int


# --- video to pictures, and their strips: sections 12 to 14


def pictures_of(video: bytes) -> list[Picture]:
    """Returns the pictures of a video in any container and codec that libav knows."""
    with av.open(io.BytesIO(video)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    pictures = []
    for planes in frames:
        height, width = planes.shape[0] * 2 // 3, planes.shape[1]
        u, v = planes[height:].reshape(2, height // 2, width // 2)
        pictures.append(Picture(planes[:height], u, v))
    return pictures


def strip_rows(size: int) -> int:
    return 2 if SIZES[size][0] < 512 else 1


def rows_max(size: int) -> int:
    return SIZES[size][1] // 16 - 2 * strip_rows(size)


def cell_means(y: Array, size: int) -> Array:
    """Returns the means of the 128 cells of the upper and of the lower strip, without the pixels at their edges."""
    width = SIZES[size][0]
    in_a_row = 32 if width < 512 else 64 if width < 1024 else 128
    w, h = 8 if width < 2048 else 16, 8 if width < 1024 else 16
    left = (width - in_a_row * w) // 2 // 16 * 16
    strips = []
    for top in (0, 16 * (strip_rows(size) + rows_max(size))):
        drawn = y[top : top + 128 // in_a_row * h, left : left + in_a_row * w].astype(float)
        cells = drawn.reshape(-1, h, in_a_row, w)[:, 1:-1, :, 1:-1]
        strips.append(cells.mean(axis=(1, 3)).ravel())
    return np.stack(strips)


def strip_of(picture: Picture) -> Strip | None:
    """Reads the strips of a picture, together, then each alone; None where there is none."""
    height, width = picture.y.shape
    if (width, height) not in SIZES:
        return None
    means = cell_means(picture.y, SIZES.index((width, height)))
    for cells in (means.sum(axis=0), *means):
        threshold = (cells.min() + cells.max()) / 2
        for _ in range(4):
            if cells.min() < threshold < cells.max():
                threshold = (cells[cells > threshold].mean() + cells[cells <= threshold].mean()) / 2
        strip = parse_strip(np.packbits(cells > threshold).tobytes())
        if strip is not None and SIZES[strip.size] == (width, height):
            return strip
    return None


def parse_strip(shown: bytes) -> Strip | None:
    raw = xor(shown, STRIP_MASK)
    if crc32c.crc32c(raw[:12]) != int.from_bytes(raw[12:], "big"):
        return None
    number = int.from_bytes(raw[2:5], "big")
    family, code, version, size = raw[7] >> 6, raw[7] >> 5 & 1, raw[7] >> 4 & 1, raw[7] & 15
    strip = Strip(raw[:2], number >> 22, number & 0x3FFFFF, raw[5], raw[6], family, code, size, *raw[8:12])
    return strip if version == 0 and strip_within_bounds(strip) else None


def strip_within_bounds(strip: Strip) -> bool:
    parameters = {
        DCT4: 1 <= strip.first <= 16 and strip.second <= 16,
        DCT8: strip.first in range(2, 17, 2) and strip.second == 0,
        CELLS: strip.first in (2, 4, 6, 8) and strip.second in (2, 6, 7),
    }
    return (
        strip.kind <= PARITY
        and (strip.kind != LEADER or strip.number <= 1)
        and strip.picture < strip.pictures
        and strip.size < len(SIZES)
        and 1 <= strip.rows <= rows_max(strip.size)
        and parameters.get(strip.family, False)
        and (strip.parity >= 1 if strip.code else strip.parity in range(2, 129, 2))
    )


# --- pictures to bytes: sections 16 and 18


def demodulated(strip: Strip, picture: Picture) -> Array:
    """Returns the bytes of a picture."""
    top, bottom = 16 * strip_rows(strip.size), 16 * (strip_rows(strip.size) + strip.rows)
    y = picture.y[top:bottom].astype(float)
    u, v = (plane[top // 2 : bottom // 2].astype(float) for plane in picture[1:])
    if strip.family == CELLS:
        return from_cells(strip, y, u, v)
    size = 4 if strip.family == DCT4 else 8
    luma = coefficients(y - LUMA_REST, 16, size)[:, :, places(size, strip.first)]
    parts = [luma.reshape(len(luma), -1)]
    for plane in (u, v) if strip.second else ():
        chroma = coefficients(plane - CHROMA_REST, 8, size)
        a, b, c, d = chroma[:, :, 0].T
        chroma[:, :, 0] = np.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], axis=1)
        parts.append(chroma[:, :, : strip.second].reshape(len(chroma), -1))
    return np.packbits(np.concatenate(parts, axis=1).ravel() >= 0, bitorder="little")


def places(size: int, count: int) -> list[int]:
    """Returns the zig-zag positions of a block's bits."""
    return [*range(15), 16] if size == 8 and count == 16 else list(range(count))


def coefficients(plane: Array, side: int, size: int) -> Array:
    """Returns the DCT of a plane cut in macroblocks of `side` pixels: [macroblock, block, zig-zag position]."""
    rows, columns, inside = plane.shape[0] // side, plane.shape[1] // side, side // size
    blocks = plane.reshape(rows, inside, size, columns, inside, size).transpose(0, 3, 1, 4, 2, 5)
    frequency, position = np.arange(size)[:, None], np.arange(size)
    basis = np.cos((2 * position + 1) * frequency * np.pi / (2 * size)) * np.sqrt(2 / size)
    basis[0] = np.sqrt(1 / size)
    flat = (basis @ blocks @ basis.T).reshape(rows * columns, inside * inside, size * size)
    return flat[:, :, zigzag(size)]


def zigzag(size: int) -> list[int]:
    """Returns the raster positions of a block's coefficients in the zig-zag order of frames: right first, then down."""
    every = [(v, h) for v in range(size) for h in range(size)]
    return [v * size + h for v, h in sorted(every, key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))]


def from_cells(strip: Strip, y: Array, u: Array, v: Array) -> Array:
    side, bits = strip.second >> 1, strip.first
    rows, columns = y.shape[0] // side, y.shape[1] // side
    if side == 1:
        levels = y.reshape(-1, 1)
        colours = palette(bits, "grey")[:, :1]
    else:
        weights = np.array([[1, 2, 1], [2, 2, 2], [1, 2, 1]]) / 14
        luma = (y[: 3 * rows, : 3 * columns].reshape(rows, 3, columns, 3) * weights[:, None, :]).sum(axis=(1, 3))
        levels = np.stack([luma, cell_chroma(u, rows, columns), cell_chroma(v, rows, columns)], axis=2).reshape(-1, 3)
        colours = palette(bits, "ega" if strip.second & 1 else "yuv")
    distances = ((levels[:, None] - colours) ** 2 * np.array([2, 1, 1])[: levels.shape[1]]).sum(axis=2)
    symbols = distances.argmin(axis=1)
    every_bit = (symbols[:, None] >> np.arange(bits - 1, -1, -1) & 1).ravel()
    return np.packbits(every_bit[: len(every_bit) // 8 * 8])


def cell_chroma(plane: Array, rows: int, columns: int) -> Array:
    """Returns the chroma of each cell: least squares over the 3 x 3 samples that four cells share (section 18)."""
    padded = np.full((3 * (-(-rows // 2)), 3 * (-(-columns // 2))), float(CHROMA_REST))
    height, width = min(len(padded), len(plane), (3 * rows + 1) // 2), min(padded.shape[1], (3 * columns + 1) // 2)
    padded[:height, :width] = plane[:height, :width]
    weights = np.array([[7, 2, -1], [-1, 2, 7]]) / 8
    groups = padded.reshape(len(padded) // 3, 3, -1, 3)
    cells = np.einsum("ai,gihj,bj->gahb", weights, groups, weights)
    return cells.reshape(2 * len(groups), -1)[:rows, :columns]


@cache
def palette(bits: int, name: str) -> Array:
    """Returns the colours of section 18, by symbol: [2^bits, 3]."""
    if name == "ega":
        return from_rgb([ega(bits, symbol) for symbol in range(1 << bits)])
    yuv = {
        2: ([60, 192], [78, 178], [128]),
        4: ([36, 96, 156, 216], [78, 178], [78, 178]),
        6: ([36, 96, 156, 216], [44, 100, 156, 212], [44, 100, 156, 212]),
        8: ([36, 62, 87, 113, 139, 165, 190, 216], [38, 64, 89, 115, 141, 167, 192, 218], [38, 98, 158, 218]),
    }[bits]
    if name == "grey":
        darkest, step = {2: (36, 60), 4: (36, 12), 6: (32, 3), 8: (0, 1)}[bits]
        yuv = ([darkest + step * level for level in range(1 << bits)], [128], [128])
    colours = np.zeros((1 << bits, 3))
    for place in np.ndindex(*map(len, yuv)):
        symbol = 0
        for level, levels in zip(place, yuv, strict=True):
            symbol = symbol * len(levels) + (level ^ level >> 1)
        colours[symbol] = [levels[level] for level, levels in zip(place, yuv, strict=True)]
    return colours


def ega(bits: int, symbol: int) -> tuple[int, int, int]:
    """Returns red, green and blue of the display's colour."""
    if bits == 8:
        return (symbol >> 5) * 255 // 7, (symbol >> 2 & 7) * 255 // 7, (symbol & 3) * 85
    number = (0, 11, 13, 15)[symbol] if bits == 2 else symbol
    if bits == 4 and number == 6:
        return 170, 85, 0
    third = number >> 3 if bits == 6 else 7 * (number >> 3)
    red, green, blue = (170 * (number >> i & 1) + 85 * (third >> i & 1) for i in (2, 1, 0))
    return red, green, blue


def from_rgb(rgb: list[tuple[int, int, int]]) -> Array:
    red, green, blue = np.array(rgb).T / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    cb, cr = (blue - luma) / 1.8556, (red - luma) / 1.5748
    return np.floor(np.stack([16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr], axis=1) + 0.5)


# --- bytes of a burst to frames: sections 15 and 17


@cache
def field() -> tuple[Array, Array]:
    """Returns powers of 2 in GF(2^8) with polynomial 0x11D (twice over), and their logarithms."""
    powers, logs, value = np.zeros(510, int), np.zeros(256, int), 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logs[value] = exponent
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return powers, logs


def are_codewords(matrix: Array, parity: int) -> Array:
    """Returns which columns have all the generator's roots."""
    powers, logs = field()
    right = np.ones(matrix.shape[1], bool)
    for root in range(parity):
        steps = (root * np.arange(CODEWORD_BYTES - 1, -1, -1) % 255)[:, None]
        terms = np.where(matrix == 0, 0, powers[logs[matrix] + steps])
        right &= np.bitwise_xor.reduce(terms, axis=0) == 0
    return right


def codewords_of(total_bytes: int, pictures: int) -> int:
    """Returns how many codewords a burst has."""
    width = total_bytes // CODEWORD_BYTES
    while width > 0 and gcd(width, total_bytes // pictures) > 1:
        width -= 1
    return width


def corrected(content: Array, lost: Array, parity: int, pictures: int) -> bytes:
    """Undoes the Reed-Solomon code; a codeword that is beyond it stays as it is."""
    width = codewords_of(len(content), pictures)
    matrix = content[: CODEWORD_BYTES * width].reshape(CODEWORD_BYTES, width).copy()
    missing = lost[: CODEWORD_BYTES * width].reshape(CODEWORD_BYTES, width)
    codec = reedsolo.RSCodec(parity, nsize=CODEWORD_BYTES, fcr=0, prim=0x11D, generator=2)
    for column in np.flatnonzero(~are_codewords(matrix, parity) | missing.any(axis=0)):
        erased = np.flatnonzero(missing[:, column]).tolist()
        try:
            _, word, _ = codec.decode(matrix[:, column].tobytes(), erase_pos=erased)
        except reedsolo.ReedSolomonError:
            continue
        matrix[:, column] = list(word)
    return matrix[: CODEWORD_BYTES - parity].tobytes()


def rebuilt(content: Array, lost: Array, group_blocks: int) -> bytes:
    """Undoes the XOR code; two wrong blocks of a group stay as they are."""
    slots = len(content) // SLOT_BYTES
    data = slots * group_blocks // (group_blocks + 1)
    groups = slots - data
    blocks, wrong = [], []
    for slot in range(slots):
        at = slot * SLOT_BYTES
        block, checksum = content[at : at + BLOCK_BYTES].tobytes(), content[at + BLOCK_BYTES : at + SLOT_BYTES]
        blocks.append(block)
        intact = crc32c.crc32c(block) == int.from_bytes(checksum.tobytes(), "little")
        wrong.append(not intact or lost[at : at + SLOT_BYTES].any())
    for group in range(groups):
        members = range(group, slots, groups)
        bad = [slot for slot in members if wrong[slot]]
        if len(bad) == 1:
            blocks[bad[0]] = reduce(xor, (blocks[slot] for slot in members if slot != bad[0]), bytes(BLOCK_BYTES))
    return b"".join(blocks[:data])


def frames_of_burst(data: bytes) -> Iterator[Frame]:
    """Yields the intact frames that stand one behind the other."""
    magic, at = xor(MAGIC, HEADER_MASK[:8]), 0
    while 0 <= at <= len(data) - HEADER_BYTES:
        header = header_of(xor(data[at : at + HEADER_BYTES], HEADER_MASK))
        if header is None or at + HEADER_BYTES + header.length > len(data):
            at = data.find(magic, at + 1)
            continue
        stream = whitening(header.reel_id) * (2 + header.length // 65_536)
        first = (header.own_crc + HEADER_BYTES) % 65_536
        at += HEADER_BYTES + header.length
        payload = xor(data[at - header.length : at], stream[first : first + header.length])
        if crc32c.crc32c(payload) == header.payload_crc:
            yield Frame(header, payload)


def header_of(raw: bytes) -> Header | None:
    """Reads the unmasked header of a frame in a burst; None where a reader passes over it (section 3)."""
    if raw[:8] != MAGIC or crc32c.crc32c(raw[:124]) != int.from_bytes(raw[124:128], "big"):
        return None
    if raw[8] != 1:
        raise BadReelError(f"a frame of format version {raw[8]}")
    counts = [int.from_bytes(raw[at : at + 4], "big") for at in range(28, 56, 4)]
    groups, columns = int.from_bytes(raw[56:58], "big"), int.from_bytes(raw[58:60], "big")
    checksums = int.from_bytes(raw[64:68], "big"), int.from_bytes(raw[124:128], "big")
    header = Header(raw, raw[9], raw[11], raw[12:28], *counts, groups, columns, raw[60], *checksums)
    fits = 1 <= header.span <= SPAN_MAX and HEADER_BYTES + header.length <= header.span + FRAME_ROOM
    others = within_bounds(replace(header, span=SPAN_MAX, length=0))  # spans are the one thing that profiles change
    return header if fits and others and raw[10] else None


# --- frames to reels


class BurstAssembly(Assembly):
    """The frames of one reel of bursts; parity brings back frames of its profile."""

    def put_back(self, segment: int, j: int, image: bytes) -> None:
        header = header_of(image[:HEADER_BYTES])
        if header is None or (header.kind, header.segment, header.frame) != (DATA, segment, j):
            raise BadReelError(f"parity brings back another frame than {j} of segment {segment}")
        payload, rest = image[HEADER_BYTES:][: header.length], image[HEADER_BYTES + header.length :]
        if crc32c.crc32c(payload) != header.payload_crc or any(rest):
            raise BadReelError(f"parity brings back no valid frame {j} of segment {segment}")
        self.add(Frame(header, payload))


class Burst(NamedTuple):
    """The bytes of a burst as they were read, and which of them were not."""

    strip: Strip
    content: Array
    lost: Array

    @property
    def data(self) -> bytes:
        if self.strip.code:
            return rebuilt(self.content, self.lost, self.strip.parity)
        return corrected(self.content, self.lost, self.strip.parity, self.strip.pictures)


def bursts_in(pictures: Iterable[Picture]) -> Iterator[Burst]:
    """Yields all the bursts that the pictures belong to."""
    bursts: dict[Strip, dict[int, Array]] = {}
    for picture in pictures:
        strip = strip_of(picture)
        if strip is not None:
            bursts.setdefault(replace(strip, picture=0), {}).setdefault(strip.picture, demodulated(strip, picture))
    for strip, found in bursts.items():
        size = len(next(iter(found.values())))
        content = np.zeros((strip.pictures, size), np.uint8)
        lost = np.ones((strip.pictures, size), bool)
        for number, part in found.items():
            content[number], lost[number] = part, False
        yield Burst(strip, content.ravel(), lost.ravel())


def frames_in_pictures(pictures: Iterable[Picture]) -> Iterator[Frame]:
    """Yields the intact frames of all bursts."""
    for burst in bursts_in(pictures):
        yield from frames_of_burst(burst.data)


def frames_in(video: bytes) -> Iterator[Frame]:
    """Yields the intact frames in a video of bursts."""
    return frames_in_pictures(pictures_of(video))


def decode_pictures(
    pictures: Iterable[Picture], *, passphrase: bytes | None = None, key: bytes | None = None
) -> dict[bytes, Reel]:
    """Returns the reels that pictures hold, by reel id, as `independent_decoder.decode` does.

    Pictures come in any order, doubled or not; those without a strip are passed over.

    Raises:
        SecretError: a reel is sealed and the secret is missing or wrong.
        BadReelError: another format version, or frames that contradict each other or their digests.
    """
    assemblies: dict[bytes, BurstAssembly] = {}
    for frame in frames_in_pictures(pictures):
        assemblies.setdefault(frame.header.reel_id, BurstAssembly(frame.header)).add(frame)
    reels, secret = {}, Secret(passphrase, key)
    for reel_id, assembly in assemblies.items():
        reel = Reel(reel_id)
        assembly.read_leaders(secret)
        reel.leader = assembly.leader
        assembly.fill(reel, secret)
        reels[reel_id] = reel
    return reels


def decode(video: bytes, *, passphrase: bytes | None = None, key: bytes | None = None) -> dict[bytes, Reel]:
    """Returns the reels in a video of bursts, in whatever codec and container; see `decode_pictures`."""
    return decode_pictures(pictures_of(video), passphrase=passphrase, key=key)
