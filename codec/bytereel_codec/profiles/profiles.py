"""The profiles: named settings of the conversion between bytes and video, as data.

`archive` keeps bytes as samples (I_PCM) and has no channel. The others write symbols that survive another encoder:
their `Channel` says how. What a reader needs of it stands in every picture's strip; the rest is the writer's alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.errors import Permanent
from bytereel_codec.frame.geometry import EXPANSION
from bytereel_codec.video.encoders import LIBX264, NVENC

PICTURES_MAX = 255
USER_DEFINED = 255
"""The profile number of a reel whose profile is not one of ours."""

# One grey picture, 16 data pictures predicted from it and the next grey one; nothing that would save bits by
# touching coefficients. Source: docs/adr/0009; each option in `x264 --fullhelp`.
_GRID = {
    "keyint": "9999",
    "scenecut": "0",
    "bframes": "16",
    "b-adapt": "0",
    "b-pyramid": "none",
    "no-deblock": "1",
    "aq-mode": "0",
    "mbtree": "0",
    "ipratio": "1",
    "pbratio": "1",
    "chroma-qp-offset": "0",
    "weightp": "0",
    "weightb": "0",
    "trellis": "0",
    "psy": "0",
    "dct-decimate": "0",
    "me": "dia",
    "partitions": "none",
    "direct": "none",
    "ref": "1",
    "rc-lookahead": "0",
    "deadzone-inter": "6",
}
_GRID4 = {**_GRID, "8x8dct": "0", "subme": "0"}
_GRID8 = {**_GRID, "8x8dct": "1", "no-fast-pskip": "1", "deadzone-intra": "6"}


Options = tuple[tuple[str, str], ...]


def _options(shared: Mapping[str, str], **own: str) -> Options:
    return tuple({**shared, **own}.items())


# Cells of colour cost least as pictures of their own. Source: measured, docs/adr/0009.
_INTRA = {"keyint": "1", "aq-mode": "0", "no-psy": "1", "mbtree": "0", "scenecut": "0", "ipratio": "1"}


@dataclass(frozen=True, slots=True)
class Channel:
    """How a profile's bursts are drawn and encoded.

    `quantiser` is the own encoder's luma QP, and with it the amplitude. `pictures` are data pictures a full burst.
    `expansion` is about how large a reel of random bytes is. `strip_amplitude`: see `channel.strip.draw`; a multiple of
    what one quantiser step is in pixels costs least. `geometries` maps the largest source (bytes; None: any) to
    the picture size for it, smallest first. `encoder` is libavcodec's name of the own encoder, and `encoder_options`
    are that encoder's own names.
    """

    modulation: Modulation
    quantiser: int
    pictures: int
    frames_per_second: int
    preset: str
    encoder_options: Options
    expansion: float
    strip_amplitude: int
    geometries: tuple[tuple[int | None, str], ...] = ((128 << 10, "360p"), (1 << 20, "720p"), (None, "1080p"))
    encoder: str = LIBX264

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "modulation": self.modulation.to_dict(), "encoder_options": dict(self.encoder_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Channel":
        """The inverse of `to_dict`."""
        geometries = tuple((limit, name) for limit, name in values["geometries"])
        named = {
            "modulation": Modulation.from_dict(values["modulation"]),
            "encoder_options": tuple(values["encoder_options"].items()),
            "geometries": geometries,
        }
        return cls(**{**values, **named})


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: what it is for, and what it survives. `number` stands in every frame's header."""

    name: str
    purpose: str
    survives: str
    number: int = 0
    channel: Channel | None = None
    rehearsal: tuple[str, ...] = ()
    """What it claims to survive, as `recipes` tell it."""

    @property
    def expansion(self) -> float:
        """About how large a long reel of random bytes is, without parity across segments (measured by the benches)."""
        return self.channel.expansion if self.channel else EXPANSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "channel": self.channel.to_dict() if self.channel else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Profile":
        """The inverse of `to_dict`."""
        channel = values["channel"]
        named = {
            "channel": Channel.from_dict(channel) if channel else None,
            "rehearsal": tuple(values["rehearsal"]),
        }
        return cls(**{**values, **named})


_BALANCED = Channel(
    Modulation(Family.DCT4, first=16, second=16, parity=8),
    quantiser=34,
    pictures=64,
    frames_per_second=8,
    preset="superfast",
    encoder_options=_options(_GRID4, qp="34"),
    expansion=1.13,
    strip_amplitude=16,
)
_RUGGED = Channel(
    Modulation(Family.DCT4, first=8, second=8, parity=32),
    quantiser=43,
    pictures=96,
    frames_per_second=8,
    preset="superfast",
    encoder_options=_options(_GRID4, qp="43"),
    expansion=1.26,
    strip_amplitude=22,
)
_STREAM = Channel(
    Modulation(Family.DCT8, first=16, second=0, parity=32),
    quantiser=44,
    pictures=96,
    frames_per_second=1,
    preset="medium",
    encoder_options=_options(_GRID8, qp="44", subme="7"),
    expansion=1.35,
    strip_amplitude=25,
)
_CLASSIC16 = Channel(
    Modulation(Family.CELLS, first=4, second=6, parity=64),
    quantiser=33,
    pictures=128,
    frames_per_second=30,
    preset="ultrafast",
    encoder_options=_options(_INTRA, qp="33"),
    expansion=12.1,
    strip_amplitude=64,
    geometries=((None, "720p"),),
)

PROFILES = {
    p.name: p
    for p in (
        Profile(
            "archive",
            "storage and players that keep the video stream as it is",
            "copying, remuxing (MP4, Matroska), cutting and joining; lost segments up to the parity chosen",
        ),
        Profile(
            "balanced",
            "one decent re-encode",
            "x264 CRF 18 and 23 (medium, veryfast)",
            1,
            _BALANCED,
            ("x264:crf=18", "x264:crf=23", "x264:crf=23,preset=veryfast"),
        ),
        Profile(
            "rugged",
            "hard re-encodes",
            "x264 up to CRF 33, x265 CRF 32, SVT-AV1 CRF 35",
            2,
            _RUGGED,
            (
                "x264:crf=18",
                "x264:crf=23",
                "x264:crf=28",
                "x264:crf=33",
                "x264:crf=33,preset=veryfast",
                "x265:crf=32",
                "svtav1:crf=35",
            ),
        ),
        Profile(
            "stream",
            "hosting platforms",
            "VP9 from 2.5 Mbit/s at 1080p, x264 up to CRF 35, CRF 23 at 720p and back",
            3,
            _STREAM,
            (
                "vp9:bitrate=2.5M",
                "vp9:bitrate=4M",
                "x264:crf=28",
                "x264:crf=33",
                "x264:crf=35",
                "x264:crf=23,size=720p,back",
                "x264:bitrate=5M,vbv=5M",
            ),
        ),
        Profile(
            "classic16",
            "the 16-colour palette design: cells of 3 x 3 pixels at 720p",
            "x264 CRF 18 and 23",
            4,
            _CLASSIC16,
            ("x264:crf=18", "x264:crf=23"),
        ),
    )
}


def coded_by_card(profile: Profile) -> Profile:
    """The same symbols, coded by an NVIDIA card's encoder; whether they survive then is for a rehearsal to say.

    Its B-pictures come in short runs of its own choice, so a data picture is predicted from the one before or from
    nothing. Source: `ffmpeg -h encoder=h264_nvenc`.
    """
    assert profile.channel is not None
    own = dict(profile.channel.encoder_options)
    is_intra = own.get("keyint") == "1"
    options = _options({"rc": "constqp", "bf": "0", "rc-lookahead": "0"}, qp=own["qp"], g="1" if is_intra else "9999")
    return replace(profile, channel=replace(profile.channel, encoder=NVENC, preset="p4", encoder_options=options))


def profile_named(name: str, known: Mapping[str, Profile] = PROFILES) -> Profile:
    """The profile of that name. Raises: Permanent `profile.unknown`."""
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
        raise Permanent("profile.unknown", f"there is no profile {name!r}", hint=hint)
    return known[name]
