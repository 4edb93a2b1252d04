"""The sizes of pictures of samples (profile `archive`), each of which carries one frame. Pure arithmetic.

Source: FORMAT.md section 2.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from bytereel_codec.errors import Permanent
from bytereel_codec.frame.sizes import HEADER_BYTES, MACROBLOCK_BYTES

# What a picture keeps for itself: two frame headers (its own; one inside a parity frame's payload), nonce, tag, digest.
FRAME_RESERVED_BYTES = 2 * HEADER_BYTES + 12 + 16 + 32
EXPANSION = 1.0055
SEGMENT_FRAMES_MAX = 4096
DATA_FRAMES_MAX = 1 << 19  # 6.5 TB at 2160p; with parity as large, a decoder notes twice as many
_SEGMENT_BYTES_WANTED = 26 << 20


class ReelGeometry(Protocol):
    """What a layout asks of the pictures that carry a reel: those of samples here, or bursts of them."""

    @property
    def name(self) -> str:
        """The picture size's name."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def frames_per_second(self) -> int:
        """Pictures a second."""

    @property
    def profile_number(self) -> int:
        """The number, in every frame's header, of the profile whose pictures these are."""

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that one frame carries."""

    @property
    def expansion(self) -> float:
        """About how large a long reel of random bytes is, without parity across segments."""

    @property
    def working_bytes(self) -> int:
        """Memory to write a segment."""

    @property
    def frames_share_chunks(self) -> bool:
        """Whether the frames of a segment are one chunk, coded by another encoder; else each is a chunk of its own."""

    def segment_frames(self) -> int:
        """Frames of a full segment."""

    def segment_frames_min(self) -> int:
        """Frames that a segment has where the source has as many."""

    def segment_frames_max(self) -> int:
        """Frames that a segment can have at most."""

    def leader_pictures(self) -> int:
        """Pictures that a leader has the time of."""

    def picture_of(self, frame: int, frames_per_segment: int) -> int:
        """The picture at which the reel's frame of that number stands, or its burst begins."""

    def pictures_of(self, frames: int) -> int:
        """Pictures of a segment of that many frames, at most."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; `geometry_from_dict` is the inverse."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """One picture size. `span_bytes` is how many bytes of the source a full picture carries."""

    name: str
    width: int
    height: int
    frames_per_second: int

    @property
    def macroblocks(self) -> int:
        """Macroblocks in a picture."""
        return self.width * self.height // 256

    @property
    def picture_bytes(self) -> int:
        """Samples in a picture, in bytes."""
        return self.macroblocks * MACROBLOCK_BYTES

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that one picture carries."""
        return self.picture_bytes - FRAME_RESERVED_BYTES

    @property
    def profile_number(self) -> int:
        """The number, in every frame's header, of the profile whose pictures these are."""
        return 0

    @property
    def expansion(self) -> float:
        """About how large a long reel of random bytes is, without parity across segments (measured by the benches)."""
        return EXPANSION

    @property
    def working_bytes(self) -> int:
        """Memory to write a segment: a picture, its coded form at its worst, what compressing and sealing copy."""
        return 7 * self.picture_bytes

    @property
    def frames_share_chunks(self) -> bool:
        """Each is a chunk of its own."""
        return False

    def segment_frames(self) -> int:
        """Frames of a full segment of about 26 MiB."""
        return max(1, min(8, _SEGMENT_BYTES_WANTED // self.span_bytes))

    def segment_frames_min(self) -> int:
        """Frames that a segment has at least, where the source has as many; with parity it may have fewer."""
        return self.segment_frames()

    def segment_frames_max(self) -> int:
        """Frames that a segment can have at most."""
        return SEGMENT_FRAMES_MAX

    def leader_pictures(self) -> int:
        """Pictures that a leader has the time of."""
        return 1

    def picture_of(self, frame: int, frames_per_segment: int) -> int:
        """The picture at which the reel's frame of that number stands: its own."""
        del frames_per_segment
        return frame

    def pictures_of(self, frames: int) -> int:
        """Pictures of a segment of that many frames."""
        return frames

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; `geometry_from_dict` is the inverse."""
        return {"name": self.name}


# The rates keep the stream under 240 Mbit/s, which players and levels up to 5.1 take (9 frames/s at 1080p do too).
GEOMETRIES = {
    g.name: g
    for g in (
        Geometry("144p", 256, 144, 8),
        Geometry("360p", 640, 368, 8),
        Geometry("720p", 1280, 720, 8),
        Geometry("1080p", 1920, 1088, 8),
        Geometry("2160p", 3840, 2160, 2),
    )
}
FRAME_BYTES_MAX = max(g.picture_bytes for g in GEOMETRIES.values())
# A full picture of 2160p is larger than some decoders take at any level (OpenH264: 7,077,888 bytes).
_TIERS = ((512 << 10, "144p"), (8 << 20, "360p"), (64 << 20, "720p"), (1 << 40, "1080p"))


def geometry_named(name: str) -> Geometry:
    """The geometry of that name. Raises: Permanent `geometry.unknown`."""
    if name not in GEOMETRIES:
        raise Permanent("geometry.unknown", f"there is no geometry {name!r}", hint=f"one of {', '.join(GEOMETRIES)}")
    return GEOMETRIES[name]


def geometry_of_span(span_bytes: int) -> Geometry | None:
    """The geometry whose pictures carry that many source bytes, or None."""
    return next((g for g in GEOMETRIES.values() if g.span_bytes == span_bytes), None)


def geometry_for(source_bytes: int | None) -> Geometry:
    """The picture size that suits a source of that many bytes; 1080p where the size is not known."""
    if source_bytes is None:
        return GEOMETRIES["1080p"]
    return GEOMETRIES[next((name for limit, name in _TIERS if source_bytes <= limit), "2160p")]
