"""A lossy reel states a level that holds it, and what OpenH264 shows of it is what libavcodec shows."""

import pytest
from bytereel_codec.profiles.profiles import PROFILES
from lossy_reels import sample
from openh264 import assert_shown_alike, stated_level

LEVELS = {
    "balanced": {"360p": 22, "720p": 31, "1080p": 41},
    "rugged": {"360p": 22, "720p": 31, "1080p": 40},
    "stream": {"360p": 22, "720p": 31, "1080p": 40},
    "classic16": {"360p": 32, "720p": 50, "1080p": 51},
}


@pytest.mark.parametrize("geometry", ["360p", "720p", "1080p"])
@pytest.mark.parametrize("profile", [name for name, profile in PROFILES.items() if profile.channel])
def test_openh264_shows_a_lossy_reel(profile: str, geometry: str) -> None:
    video = sample(profile, geometry).reel
    assert stated_level(video) == LEVELS[profile][geometry]
    assert_shown_alike(video)
