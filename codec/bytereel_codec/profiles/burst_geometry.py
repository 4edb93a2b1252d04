"""How many frames a burst of pictures carries, one burst a segment; with the face of `geometry.Geometry`.

Source: FORMAT.md sections 13 and 15.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bytereel_codec.channel.burst import PICTURES_BETWEEN_GREY, BurstShape, smallest_shape
from bytereel_codec.channel.modulation import Code
from bytereel_codec.channel.raster import Raster
from bytereel_codec.frame.geometry import FRAME_BYTES_MAX, FRAME_RESERVED_BYTES
from bytereel_codec.profiles.profiles import Channel, Profile

_BURST_FRAME_BYTES = 128 << 10
_PICTURES_OF_ENCODER = 8
_PARITY_OF_A_LOST_PICTURE = 20  # of 255: a sixteenth, and some for errors
LEADER_BYTES_RESERVED = 4096
LEADER_PICTURES_MIN = 3  # with half of the bytes parity, one lost picture of two would leave nothing for errors


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
    def profile_number(self) -> int:
        """The number of its profile, in every frame's header."""
        return self.profile.number

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
    def coded_picture_bytes(self) -> int:
        """About how large a picture of a full burst is as coded."""
        return round(self.expansion * self.frames_max * self.span_bytes / self.channel.pictures)

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
    def frame_bytes(self) -> int:
        """The room of one frame."""
        return min(self._full_bytes // self.frames_max, FRAME_BYTES_MAX)

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that one frame carries."""
        return self.frame_bytes - FRAME_RESERVED_BYTES

    @property
    def frames_share_chunks(self) -> bool:
        """A burst is one chunk."""
        return True

    def segment_frames(self) -> int:
        """Frames of a full segment."""
        return self.frames_max

    def segment_frames_min(self) -> int:
        """Frames of 16 pictures: short bursts, of which a cut video has more that are whole."""
        return -(-PICTURES_BETWEEN_GREY * self.frames_max // self.channel.pictures)

    def segment_frames_max(self) -> int:
        """Frames that a segment can have at most: those of a full one."""
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
        return self.shape(frames * self.frame_bytes).coded_pictures

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; `geometry_from_dict` is the inverse."""
        return {"name": self.name, "profile": self.profile.to_dict()}
