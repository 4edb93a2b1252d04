"""Which picture size suits a source, and how the source is cut into frames and segments. Pure arithmetic.

Two things carry frames: pictures of samples (`Geometry`), one frame each; and bursts of pictures that survive another
encoder (`BurstGeometry`), one burst a segment. Both have the face that a `Layout` needs.
Source: FORMAT.md sections 2 and 15.
"""

from dataclasses import dataclass

from bytereel_codec.errors import Permanent
from bytereel_codec.frame.geometry import DATA_FRAMES_MAX, ReelGeometry, geometry_for

_SEGMENTS_WANTED = 24
_SEGMENTS_MAX = 9000  # a store's multipart upload ends at 10,000 parts


@dataclass(frozen=True, slots=True)
class Layout:
    """How many frames of which size carry a source. `source_bytes` is None while a stream has not ended."""

    geometry: ReelGeometry
    frames_per_segment: int
    source_bytes: int | None

    @property
    def segment_span_bytes(self) -> int:
        """Bytes of the source in a full segment."""
        return self.geometry.span_bytes * self.frames_per_segment

    @property
    def frames(self) -> int:
        """Data frames. Only for a known size."""
        assert self.source_bytes is not None
        return -(-self.source_bytes // self.geometry.span_bytes)

    @property
    def segments(self) -> int:
        """Data segments; 0 where the size is not known."""
        return 0 if self.source_bytes is None else -(-self.source_bytes // self.segment_span_bytes)

    def frames_in(self, segment: int) -> int:
        """Data frames of that segment. Only for a known size."""
        return min(self.frames_per_segment, self.frames - segment * self.frames_per_segment)

    def segment_range(self, segment: int) -> tuple[int, int]:
        """The half-open range of the source that the segment carries. Only for a known size."""
        assert self.source_bytes is not None
        start = segment * self.segment_span_bytes
        return start, min(start + self.segment_span_bytes, self.source_bytes)


def layout_for(
    source_bytes: int | None, *, geometry: ReelGeometry | None = None, parity_percent: float = 0.0
) -> Layout:
    """The layout of a source: about 26 MiB a segment, or one burst.

    Smaller sources are cut into more, shorter segments: so that parity has enough of them, and a cut video of bursts
    some that are whole.

    Data and parity segments together are at most about 9,000.

    Raises: Permanent `source.too_large`.
    """
    geometry = geometry or geometry_for(source_bytes)
    frames = geometry.segment_frames()
    if source_bytes is not None:
        total = -(-source_bytes // geometry.span_bytes)
        least = 1 if parity_percent else geometry.segment_frames_min()
        frames = min(frames, max(least, -(-total // _SEGMENTS_WANTED)))
        needed = -(-total // int(_SEGMENTS_MAX / (1 + parity_percent / 100)))
        if needed > geometry.segment_frames_max():
            raise _too_large(geometry.segment_frames_max() * _SEGMENTS_MAX, total)
        frames = max(frames, needed)
        require_frames(total)
    return Layout(geometry, frames, source_bytes)


def require_frames(count: int) -> None:
    """Raises: Permanent `source.too_large` when a reel cannot have that many data frames."""
    if count > DATA_FRAMES_MAX:
        raise _too_large(DATA_FRAMES_MAX, count)


def _too_large(expected: int, actual: int) -> Permanent:
    return Permanent(
        "source.too_large",
        "the source is too large for one reel",
        hint="cut it into parts, or choose a larger geometry",
        expected=expected,
        actual=actual,
    )
