"""Picture sizes, and how a source of a given size is cut into frames and segments. Pure arithmetic.

Two things carry frames: pictures of samples (`Geometry`, profile `archive`), one frame each; and bursts of pictures
that survive another encoder (`BurstGeometry`), one burst a segment. Both have the face that a `Layout` needs.
Source: FORMAT.md sections 2, 13 and 15.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bytereel_codec.channel.burst import PICTURES_BETWEEN_GREY, BurstShape, smallest_shape
from bytereel_codec.channel.modulation import Code
from bytereel_codec.channel.raster import RASTERS, Raster, raster_named
from bytereel_codec.errors import Permanent
from bytereel_codec.profiles import PROFILES, Channel, Profile

# What a picture keeps for itself: two frame headers (its own; one inside a parity frame's payload), nonce, tag, digest.
FRAME_HEADER_BYTES = 128
FRAME_RESERVED_BYTES = 2 * FRAME_HEADER_BYTES + 12 + 16 + 32
SEGMENT_FRAMES_MAX = 4096
DATA_FRAMES_MAX = 1 << 19  # 6.5 TB at 2160p; with parity as large, a decoder notes twice as many
_BURST_FRAME_BYTES = 128 << 10
_BURST_BYTES_MIN = 16 << 10
_PICTURES_OF_ENCODER = 8
_PARITY_OF_A_LOST_PICTURE = 20  # of 255: a sixteenth, and some for errors
LEADER_BYTES_RESERVED = 4096
LEADER_PICTURES_MIN = 3  # with half of the bytes parity, one lost picture of two would leave nothing for errors
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

    @property
    def profile(self) -> Profile:
        """The profile whose pictures these are."""
        return PROFILES["archive"]

    @property
    def expansion(self) -> float:
        """About how large a long reel of random bytes is, without parity (measured: `make bench`)."""
        return 1.0055

    @property
    def working_bytes(self) -> int:
        """Memory to write a segment: a picture, its coded form at its worst, what compressing and sealing copy."""
        return 7 * self.picture_bytes

    def segment_frames(self) -> int:
        """Frames of a full segment of about 26 MiB."""
        return max(1, min(8, _SEGMENT_BYTES_WANTED // self.span_bytes))

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


@dataclass(frozen=True)
class BurstGeometry:
    """Bursts of one profile at one picture size, one burst a segment of at most `frames_max` frames."""

    profile: Profile
    raster: Raster

    @property
    def channel(self) -> Channel:
        """How the bursts are drawn and encoded."""
        assert self.profile.channel is not None
        return self.profile.channel

    @property
    def name(self) -> str:
        """The picture size's name."""
        return self.raster.name

    @property
    def width(self) -> int:
        """Pixels."""
        return self.raster.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.raster.height

    @property
    def frames_per_second(self) -> int:
        """Pictures a second."""
        return self.channel.frames_per_second

    @property
    def expansion(self) -> float:
        """About how large a long reel of random bytes is, without parity across segments."""
        return self.channel.expansion

    @property
    def working_bytes(self) -> int:
        """Memory to write a segment: the burst's bytes and their coded form, and the encoder's pictures."""
        pictures = (2 * PICTURES_BETWEEN_GREY + _PICTURES_OF_ENCODER) * self.width * self.height * 3
        return round((3 + 2 * self.expansion) * self._full_bytes) + pictures

    @cached_property
    def _full_bytes(self) -> int:
        return BurstShape(self.raster, self.channel.modulation, self.channel.pictures).data_bytes

    @cached_property
    def frames_max(self) -> int:
        """Frames in a full burst: each at least 128 KiB, where a burst holds as much."""
        return max(1, min(self.channel.pictures, self._full_bytes // _BURST_FRAME_BYTES))

    @cached_property
    def picture_bytes(self) -> int:
        """The room of one frame."""
        return min(self._full_bytes // self.frames_max, PICTURE_BYTES_MAX)

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that one frame carries."""
        return self.picture_bytes - FRAME_RESERVED_BYTES

    def segment_frames(self) -> int:
        """Frames of a full segment."""
        return self.frames_max

    def shape(self, data_bytes: int) -> BurstShape:
        """The burst that holds that many bytes of frames."""
        modulation = self.channel.modulation
        if data_bytes > self._full_bytes // 2:
            return smallest_shape(self.raster, modulation, data_bytes, rows_min=self.raster.rows_max)
        return smallest_shape(self.raster, modulation, data_bytes, pictures_min=self._pictures_min)

    @property
    def _pictures_min(self) -> int:
        """As few pictures as may be; where the parity can bring back a picture in 16, so many that one may be lost."""
        modulation = self.channel.modulation
        recovers = modulation.code == Code.REED_SOLOMON and modulation.parity >= _PARITY_OF_A_LOST_PICTURE
        return PICTURES_BETWEEN_GREY if recovers else 1

    def leader_shape(self, data_bytes: int) -> BurstShape:
        """The burst of a leader of that many bytes: tougher than data, and in so many pictures that one may be lost."""
        modulation = self.channel.modulation.for_leader()
        return smallest_shape(self.raster, modulation, data_bytes, pictures_min=LEADER_PICTURES_MIN)

    def leader_pictures(self) -> int:
        """Pictures that a leader has the time of."""
        return self.leader_shape(LEADER_BYTES_RESERVED).coded_pictures

    def picture_of(self, frame: int, frames_per_segment: int) -> int:
        """The picture at which the burst begins whose first frame has that number in the reel.

        Every segment has the time of a full one; where it compresses well, its last picture stays for longer.
        """
        if frame == 0:
            return 0
        segments, rest = divmod(frame - 1, frames_per_segment)
        before = segments * self.pictures_of(frames_per_segment) + (self.pictures_of(rest) if rest else 0)
        return self.leader_pictures() + before

    def pictures_of(self, frames: int) -> int:
        """Pictures of a segment of that many frames, at most."""
        return self.shape(frames * self.picture_bytes).coded_pictures

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; `geometry_from_dict` is the inverse."""
        return {"name": self.name, "profile": self.profile.to_dict()}


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


AnyGeometry = Geometry | BurstGeometry


def geometry_of_profile(profile: Profile, name: str | None, source_bytes: int | None) -> AnyGeometry:
    """The geometry of that name, or the one that suits the source's size. Raises: Permanent `geometry.unknown`."""
    if profile.channel is None:
        return geometry_named(name) if name else geometry_for(source_bytes)
    if name is None:
        tiers = profile.channel.geometries
        name = next(
            (each for limit, each in tiers if limit is not None and source_bytes is not None and source_bytes <= limit),
            tiers[-1][1],
        )
    raster = raster_named(name)
    geometry = BurstGeometry(profile, raster)
    if geometry.frames_max * geometry.picture_bytes < _BURST_BYTES_MIN:
        raise Permanent(
            "geometry.too_small",
            f"pictures of {name} carry too little for profile {profile.name}",
            hint=f"one of {', '.join(RASTERS)}, but larger",
        )
    return geometry


def geometry_from_dict(values: Mapping[str, Any]) -> AnyGeometry:
    """The inverse of a geometry's `to_dict`."""
    if "profile" not in values:
        return geometry_named(values["name"])
    return BurstGeometry(Profile.from_dict(values["profile"]), raster_named(values["name"]))


@dataclass(frozen=True, slots=True)
class Layout:
    """How many frames of which size carry a source. `source_bytes` is None while a stream has not ended."""

    geometry: AnyGeometry
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


def layout_for(source_bytes: int | None, *, geometry: AnyGeometry | None = None, parity_percent: float = 0.0) -> Layout:
    """The layout of a source: about 26 MiB a segment, or one burst; more segments where parity needs columns.

    Data and parity segments together are at most 9,000, and what rounding up adds.

    Raises: Permanent `source.too_large`.
    """
    geometry = geometry or geometry_for(source_bytes)
    frames = geometry.segment_frames()
    if source_bytes is not None:
        total = -(-source_bytes // geometry.span_bytes)
        if parity_percent:
            frames = max(1, min(frames, -(-total // _SEGMENTS_WANTED)))
        needed = -(-total // int(_SEGMENTS_MAX / (1 + parity_percent / 100)))
        if isinstance(geometry, BurstGeometry) and needed > geometry.frames_max:
            raise _too_large(geometry.frames_max * _SEGMENTS_MAX, total)
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
