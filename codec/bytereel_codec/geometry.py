"""Picture sizes, and how a source of a given size is cut into pictures and segments. Pure arithmetic.

Sizes are pixels; a picture of w x h holds w * h * 3 / 2 bytes in 4:2:0. All sides are multiples of 16.
Source: FORMAT.md section 2.
"""

from dataclasses import dataclass

from bytereel_codec.errors import Permanent

# What a picture keeps for itself: two frame headers (its own; one inside a parity frame's payload), nonce, tag, digest.
FRAME_RESERVED_BYTES = 128 + 128 + 12 + 16 + 32
SEGMENT_FRAMES_MAX = 4096
DATA_FRAMES_MAX = 1 << 19  # 6.5 TB at 2160p; with parity as large, a decoder notes twice as many
_SEGMENTS_WANTED = 24
_SEGMENT_BYTES_WANTED = 26 << 20
_SEGMENTS_MAX = 9000  # a store's multipart upload ends at 10,000 parts


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
        return self.macroblocks * 384

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that one picture carries."""
        return self.picture_bytes - FRAME_RESERVED_BYTES


# The rates keep the stream under 240 Mbit/s, which players take (measured up to 9 frames/s at 1080p).
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
PICTURE_BYTES_MAX = max(g.picture_bytes for g in GEOMETRIES.values())
_TIERS = ((512 << 10, "144p"), (8 << 20, "360p"), (64 << 20, "720p"), (64 << 30, "1080p"))


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


@dataclass(frozen=True, slots=True)
class Layout:
    """How many pictures of which size carry a source. `source_bytes` is None while a stream has not ended."""

    geometry: Geometry
    frames_per_segment: int
    source_bytes: int | None

    @property
    def segment_span_bytes(self) -> int:
        """Bytes of the source in a full segment."""
        return self.geometry.span_bytes * self.frames_per_segment

    @property
    def frames(self) -> int:
        """Data pictures. Only for a known size."""
        assert self.source_bytes is not None
        return -(-self.source_bytes // self.geometry.span_bytes)

    @property
    def segments(self) -> int:
        """Data segments; 0 where the size is not known."""
        return 0 if self.source_bytes is None else -(-self.source_bytes // self.segment_span_bytes)

    def frames_in(self, segment: int) -> int:
        """Data pictures of that segment. Only for a known size."""
        return min(self.frames_per_segment, self.frames - segment * self.frames_per_segment)

    def segment_range(self, segment: int) -> tuple[int, int]:
        """The half-open range of the source that the segment carries. Only for a known size."""
        assert self.source_bytes is not None
        start = segment * self.segment_span_bytes
        return start, min(start + self.segment_span_bytes, self.source_bytes)


def layout_for(source_bytes: int | None, *, geometry: Geometry | None = None, parity_percent: float = 0.0) -> Layout:
    """The layout of a source: about 26 MiB a segment, more segments where parity needs columns.

    Data and parity segments together are at most 9,000, and what rounding up adds.
    """
    geometry = geometry or geometry_for(source_bytes)
    frames = max(1, min(8, _SEGMENT_BYTES_WANTED // geometry.span_bytes))
    if source_bytes is not None:
        total = -(-source_bytes // geometry.span_bytes)
        if parity_percent:
            frames = max(1, min(frames, -(-total // _SEGMENTS_WANTED)))
        frames = max(frames, -(-total // int(_SEGMENTS_MAX / (1 + parity_percent / 100))))
        require_frames(total)
    return Layout(geometry, frames, source_bytes)


def require_frames(count: int) -> None:
    """Raises: Permanent `source.too_large` when a reel cannot have that many data frames."""
    if count > DATA_FRAMES_MAX:
        raise Permanent(
            "source.too_large",
            "the source is too large for one reel",
            hint="cut it into parts, or choose a larger geometry",
            expected=DATA_FRAMES_MAX,
            actual=count,
        )
