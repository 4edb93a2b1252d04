"""The strips of a data picture: its header in 128 light and dark cells, drawn above the data area and again below it.

Sixteen bytes: mark 2 (the first of the reel's id), kind 2 bits and number 22 bits, picture 1, pictures 1, modulation
4, rows 1, CRC32C 4, all big-endian, XOR a fixed mask. Bits from the most significant one of byte 0 on, a cell each, row
by row. A cell is many times larger and stronger than any symbol of the data area, so the header outlives the payload:
gain, offset, scale and a misplacement of a quarter of a cell do not matter, nor does the loss of one strip.

Parsing is strict: a value out of its bounds makes the header invalid, so no later code meets a hostile count.

Source: FORMAT.md section 14.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import crc32c
import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.raster import CHROMA_REST, LUMA_REST, Picture, Plane, Raster, raster_of_code
from bytereel_codec.channel.strip_kernels import (
    BODY_BYTES,
    CODE_BYTE,
    STRIP_BYTES,
    STRIP_CELLS,
    STRIP_MASK,
    search_rects,
)
from bytereel_codec.frame.kinds import Kind

STRIP_AMPLITUDE = 64
MARK_BYTES = 2
NUMBER_MAX = (1 << 22) - 1
_VERSION = 0

Rects = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StripHeader:
    """What a picture says of itself. `raster` is the full one, `rows` the macroblock rows that carry data.

    `number` counts bursts (data, parity); a leader's is 0 in front and 1 at the end. `picture` counts from 0 within the
    burst of `pictures` (1 to 255).
    """

    mark: bytes
    kind: Kind
    number: int
    picture: int
    pictures: int
    raster: Raster
    modulation: Modulation
    rows: int

    @property
    def shape(self) -> BurstShape:
        """That of the burst the picture belongs to."""
        return BurstShape(replace(self.raster, rows_used=self.rows), self.modulation, self.pictures)

    def pack(self) -> bytes:
        """The 16 bytes as the cells show them. The header has to be within its bounds."""
        assert _in_bounds(self), self
        shape, code = self.modulation, self.modulation.family << 6 | self.modulation.code << 5 | _VERSION << 4
        body = (
            self.mark
            + (self.kind << 22 | self.number).to_bytes(3, "big")
            + bytes((self.picture, self.pictures))
            + bytes((code | self.raster.code, shape.first, shape.second, shape.parity, self.rows))
        )
        return _masked(body + crc32c.crc32c(body).to_bytes(4, "big"))


def parse_strip(raw: bytes) -> StripHeader | None:
    """The header in the 16 bytes that the cells show, or None when they are damaged or out of bounds."""
    packed = _masked(raw)
    if crc32c.crc32c(packed[:BODY_BYTES]) != int.from_bytes(packed[BODY_BYTES:], "big"):
        return None
    kind, number = packed[2] >> 6, int.from_bytes(packed[2:5], "big") & NUMBER_MAX
    picture, pictures, codes, first, second, parity, rows = packed[5:BODY_BYTES]
    raster, family, version = raster_of_code(codes & 15), codes >> 6, codes >> 4 & 1
    if raster is None or kind > Kind.PARITY or family > Family.CELLS or version != _VERSION:
        return None
    modulation = Modulation(Family(family), first, second, parity, Code(codes >> 5 & 1))
    header = StripHeader(packed[:MARK_BYTES], Kind(kind), number, picture, pictures, raster, modulation, rows)
    return header if _in_bounds(header) else None


def _masked(raw: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(raw, STRIP_MASK, strict=True))


def _in_bounds(header: StripHeader) -> bool:
    return (
        len(header.mark) == MARK_BYTES
        and 0 <= header.number <= (1 if header.kind == Kind.LEADER else NUMBER_MAX)
        and 0 <= header.picture < header.pictures <= 255
        and 0 < header.rows <= header.raster.rows_max
        and header.raster.rows_used is None
        and header.modulation.is_known
    )


class Cells(NamedTuple):
    """Where a raster's cells stand, in its pixels: `x` the left end of both strips, `upper` and `lower` their tops."""

    x: int
    upper: int
    lower: int
    a_row: int
    rows: int
    width: int
    height: int
    raster_width: int
    raster_height: int
    raster_code: int


@lru_cache(maxsize=64)
def cells_of(raster: Raster) -> Cells:
    """The cells of a raster."""
    if raster.width < 512:
        a_row, width, height = 32, 8, 8
    elif raster.width < 1024:
        a_row, width, height = 64, 8, 8
    else:
        a_row, width, height = STRIP_CELLS, 8 if raster.width < 2048 else 16, 16
    x, rows = (raster.width - a_row * width) // 32 * 16, STRIP_CELLS // a_row
    lower = 16 * raster.lower_strip_row
    return Cells(x, 0, lower, a_row, rows, width, height, raster.width, raster.height, raster.code)


def signs(header: StripHeader) -> npt.NDArray[np.float64]:
    """float64[128]: 1 for a light cell, -1 for a dark one."""
    return np.where(np.unpackbits(np.frombuffer(header.pack(), np.uint8)) == 1, 1.0, -1.0)


def draw(header: StripHeader, picture: Picture, raster: Raster, amplitude: int = STRIP_AMPLITUDE) -> None:
    """Draw both strips of `header` in `picture`, of the size of `raster`; what they do not fill comes to rest.

    `amplitude`: steps of luma from rest to light, 8 to 120.
    """
    assert header.raster.code == raster.code
    cells = cells_of(raster)
    luma = (LUMA_REST + amplitude * signs(header)).astype(np.uint8).reshape(cells.rows, cells.a_row)
    drawn = luma.repeat(cells.height, axis=0).repeat(cells.width, axis=1)
    for top in (cells.upper, cells.lower):
        bottom = top + 16 * raster.strip_rows
        picture.y[top:bottom] = LUMA_REST
        picture.u[top // 2 : bottom // 2] = CHROMA_REST
        picture.v[top // 2 : bottom // 2] = CHROMA_REST
        picture.y[top : top + drawn.shape[0], cells.x : cells.x + drawn.shape[1]] = drawn


@lru_cache(maxsize=16)
def _known_cells(raster_code: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The light and the dark ones of the cells that are the same in every header of a raster: its code, bits unused."""
    fixed, value = bytearray(STRIP_BYTES), bytearray(STRIP_BYTES)
    fixed[CODE_BYTE : CODE_BYTE + 3] = 0x1F, 0xE0, 0xE0
    value[CODE_BYTE] = _VERSION << 4 | raster_code
    shown = np.unpackbits(np.frombuffer(_masked(bytes(value)), np.uint8))
    is_fixed = np.unpackbits(np.frombuffer(fixed, np.uint8)) == 1
    return np.flatnonzero(is_fixed & (shown == 1)), np.flatnonzero(is_fixed & (shown == 0))


class Reading(NamedTuple):
    """A header read, which of the rectangles it was found in, and the luma of dark and light cells."""

    header: StripHeader
    rect: int
    dark: float
    light: float


def search(y_plane: Plane, raster: Raster, rects: Rects) -> Reading | None:
    """The first of `rects` in which the strips of `raster` can be read, as a picture that fills the rectangle has them.

    `rects` float64[n, 4]: x, y, width, height in pixels of `y_plane` uint8[any, any], not necessarily within it.
    """
    raw, levels = np.empty(STRIP_BYTES, np.uint8), np.empty(2)
    index = search_rects(y_plane, cells_of(raster), *_known_cells(raster.code), rects, raw, levels)
    header = parse_strip(raw.tobytes()) if index >= 0 else None
    return Reading(header, index, float(levels[0]), float(levels[1])) if header else None


def read(y_plane: Plane, raster: Raster, dx: int = 0, dy: int = 0) -> StripHeader | None:
    """The header of a picture of `raster` that stands `dx`, `dy` pixels right, down in `y_plane` (negative: cut off).

    Both strips together, then each alone. None where none of them gives a valid header that names this raster.
    """
    reading = search(y_plane, raster, np.array([[dx, dy, raster.width, raster.height]], np.float64))
    return reading.header if reading else None
