"""Which decoders can show a stream: the smallest level of H.264 that holds it. Pure arithmetic.

A decoder states the level up to which it goes, and refuses what claims more: hardware and OpenH264 end at 5.2.

Source: ITU-T H.264 (08/2021) tables A-1 and A-2 (High profile). MaxCPB and MinCR are left out: with a whole picture a
second or more, what MaxBR allows is within both at every level.
"""

from dataclasses import dataclass

_HIGH_BITS = 1250  # bits of slices a second for each unit of MaxBR, in the High profile


@dataclass(frozen=True, slots=True)
class Level:
    """One level. `number` is level_idc; the others are MaxMBPS, MaxFS and MaxBR of the standard."""

    number: int
    macroblocks_per_second: int
    macroblocks: int
    rate: int


LEVELS = (
    Level(10, 1485, 99, 64),
    Level(11, 3000, 396, 192),
    Level(12, 6000, 396, 384),
    Level(13, 11880, 396, 768),
    Level(20, 11880, 396, 2000),
    Level(21, 19800, 792, 4000),
    Level(22, 20250, 1620, 4000),
    Level(30, 40500, 1620, 10000),
    Level(31, 108000, 3600, 14000),
    Level(32, 216000, 5120, 20000),
    Level(40, 245760, 8192, 20000),
    Level(41, 245760, 8192, 50000),
    Level(42, 522240, 8704, 50000),
    Level(50, 589824, 22080, 135000),
    Level(51, 983040, 36864, 240000),
    Level(52, 2073600, 36864, 240000),
)


def level_of(columns: int, rows: int, pictures_per_second: int, picture_bytes: int) -> Level | None:
    """The smallest level, 5.2 at most, that holds pictures of so many macroblocks and coded bytes; None: none does."""
    macroblocks = columns * rows
    bits_per_second = 8 * picture_bytes * pictures_per_second
    for level in LEVELS:
        if (
            macroblocks <= level.macroblocks
            and max(columns, rows) ** 2 <= 8 * level.macroblocks
            and macroblocks * pictures_per_second <= level.macroblocks_per_second
            and bits_per_second <= _HIGH_BITS * level.rate
        ):
            return level
    return None


def level_stated(sps: bytes) -> int:
    """level_idc of a sequence parameter set without start code. Source: ITU-T H.264 7.3.2.1.1."""
    return sps[3]


def with_level(sps: bytes, number: int) -> bytes:
    """The sequence parameter set with another level_idc."""
    return sps[:3] + bytes([number]) + sps[4:]
