"""How well the pictures of a video of bursts were read."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever reads a lossless reel knows the report and needs neither, nor the OpenCV that they load
    from bytereel_codec.channel.placing.placement import Placement
    from bytereel_codec.channel.strip import StripHeader


@dataclass(slots=True)
class ChannelReport:
    """What a pass over a video saw: pictures shown, those whose strip was `read`, and what became of codewords.

    `strip` is the last one of data or parity; where there was none, of a leader.
    """

    placement: "Placement"
    pictures: int = 0
    read: int = 0
    bursts: int = 0
    codewords: int = 0
    codewords_lost: int = 0
    corrected_bytes: int = 0
    strip: "StripHeader | None" = field(default=None)
