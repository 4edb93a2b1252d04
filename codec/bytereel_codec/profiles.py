"""The profiles: named settings of the conversion between bytes and video, as data."""

from dataclasses import dataclass

from bytereel_codec.errors import Permanent


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: what it is for, and what it survives."""

    name: str
    purpose: str
    survives: str


PROFILES = {
    p.name: p
    for p in (
        Profile(
            "archive",
            "storage and players that keep the video stream as it is",
            "copying, remuxing (MP4, Matroska), cutting and joining; lost segments up to the parity chosen",
        ),
    )
}


def profile_named(name: str) -> Profile:
    """The profile of that name. Raises: Permanent `profile.unknown`."""
    if name not in PROFILES:
        raise Permanent("profile.unknown", f"there is no profile {name!r}", hint=f"one of {', '.join(PROFILES)}")
    return PROFILES[name]
