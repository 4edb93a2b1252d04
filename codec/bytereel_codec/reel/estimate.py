"""How long a reel will be, before anything is encoded. Pure arithmetic."""

from dataclasses import dataclass

from bytereel_codec.frame.geometry import ReelGeometry
from bytereel_codec.reel.layout import layout_for
from bytereel_codec.reel.parity import parity_shape

_LEADERS_BYTES = 16 << 10  # two leaders and what stands around them, about


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a source that does not compress becomes. `reel_bytes` is approximate.

    `pictures` is the exact playing time, counted in pictures. A video of bursts holds a few pictures fewer: where a
    leader or the last segment is shorter than the time kept for it, its last picture is shown longer.
    """

    geometry: str
    source_bytes: int
    segments: int
    parity_segments: int
    pictures: int
    seconds: float
    reel_bytes: int


def estimate(source_bytes: int, geometry: ReelGeometry, parity_percent: float = 0.0) -> Estimate:
    """The reel of a source of that size. Raises: Permanent `source.too_large`, `parity.bad_percent`."""
    layout = layout_for(source_bytes, geometry=geometry, parity_percent=parity_percent)
    shape = parity_shape(layout.segments, parity_percent)
    data = sum(geometry.pictures_of(layout.frames_in(index)) for index in range(layout.segments))
    parity = sum(
        geometry.pictures_of(layout.frames_in(shape.group_and_column(index)[0])) for index in range(shape.segments)
    )
    pictures = data + parity + 2 * geometry.leader_pictures()
    share = 1 + shape.segments / max(1, layout.segments)
    return Estimate(
        geometry.name,
        source_bytes,
        layout.segments,
        shape.segments,
        pictures,
        pictures / geometry.frames_per_second,
        round(source_bytes * share * geometry.expansion) + _LEADERS_BYTES,
    )
