"""Which picture size suits a source, for any profile: pictures of samples, or bursts of pictures.

Source: FORMAT.md sections 2 and 13.
"""

from collections.abc import Mapping
from typing import Any

from bytereel_codec.channel.raster import RASTERS, raster_named
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.geometry import ReelGeometry, geometry_for, geometry_named
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.profiles import Profile

_BURST_BYTES_MIN = 16 << 10


def geometry_of_profile(profile: Profile, name: str | None, source_bytes: int | None) -> ReelGeometry:
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
    if geometry.frames_max * geometry.frame_bytes < _BURST_BYTES_MIN:
        raise Permanent(
            "geometry.too_small",
            f"pictures of {name} carry too little for profile {profile.name}",
            hint=f"one of {', '.join(RASTERS)}, but larger",
        )
    return geometry


def geometry_from_dict(values: Mapping[str, Any]) -> ReelGeometry:
    """The inverse of a geometry's `to_dict`."""
    if "profile" not in values:
        return geometry_named(values["name"])
    return BurstGeometry(Profile.from_dict(values["profile"]), raster_named(values["name"]))
