"""What writes the frames of a reel as chunks of video: a picture of samples for each, or a burst for a segment."""

from collections.abc import Callable
from typing import Protocol

from bytereel_codec.channel.device import Device
from bytereel_codec.frame.geometry import Geometry, ReelGeometry
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.video.picture import Bytes, PictureWriter

Keep = Callable[[Bytes], object]
"""Takes a frame's image as it stands in its burst."""


class FrameWriter(Protocol):
    """Writes frames in order. Not for use by two threads at once."""

    @property
    def payload(self) -> memoryview:
        """Where the next frame's payload is put."""

    def begin(self) -> None:
        """Start a segment or leader; what an interrupted one left is dropped."""

    def write(self, header: FrameHeader, length: int, number: int) -> memoryview:
        """The chunk that ends with the frame whose payload is `payload[:length]`, good until the next call.

        Empty where the frame shares a chunk with the next one. `number` is the frame's place in the reel.
        """

    def init_section(self, pictures: int | None) -> bytes:
        """`ftyp` and `moov` of the reel; `pictures` None where their number is not known. Always of one size."""


def frame_writer(
    geometry: ReelGeometry, reel_id: bytes, keep: Keep | None = None, device: Device = Device.CPU
) -> FrameWriter:
    """The writer for frames of that geometry; `keep` takes the images of a burst's frames too."""
    if isinstance(geometry, BurstGeometry):
        from bytereel_codec.bursts.writer import BurstWriter

        return BurstWriter(geometry, reel_id, keep, device)
    assert isinstance(geometry, Geometry), "there are no others"
    return PictureWriter(geometry, reel_id)
