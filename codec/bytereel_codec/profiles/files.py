"""Profiles of your own, from a TOML file: one of ours with some parameters changed, and the claims it must live up to.

    [profile.mine]
    based_on = "rugged"              # balanced, rugged, stream or classic16
    purpose = "our wiki's player"
    survives = ["x264:crf=28"]       # recipes, see `recipes`; what `rehearsal.check_profile` tries
    quantiser = 44

Everything else is optional and as in the profile it is based on; a value is refused when no reader could take it, or
the design it is based on has no such parameter. Whether the whole is wise (whether the symbols clip, whether the parity
is enough) only a rehearsal says.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bytereel_codec.channel.modulation import PALETTES, Code, Family, Modulation, fields_of_cells
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import FileReader, read_range
from bytereel_codec.profiles.classic import COLOURS, INTERLEAVERS, PIXELS, expansion_of
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import PICTURES_MAX, PROFILES, USER_DEFINED, Channel, Options, Profile
from bytereel_codec.profiles.recipes import Recipe
from bytereel_codec.video.encoders import X264_PRESETS

FILE_BYTES_MAX = 64 << 10
_LINE_DOTS_MAX = 32  # tomllib takes quadratic time for dotted keys
PROFILES_MAX = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_OPTION_VALUE = re.compile(r"[A-Za-z0-9.,+-]{1,64}", re.ASCII)
_PURPOSE_MAX = 200
_RECIPES_MAX = 64

# What x264 may be told beside the quantiser. Not among them: what would change the order or the rate of the pictures,
# the syntax that the container states, or name a file.
ENCODER_OPTIONS = (
    *("8x8dct", "aq-mode", "aq-strength", "b-adapt", "b-bias", "b-pyramid", "bframes", "chroma-me"),
    *("chroma-qp-offset", "dct-decimate", "deadzone-inter", "deadzone-intra", "deblock", "direct", "fast-pskip"),
    *("ipratio", "keyint", "mbtree", "me", "merange", "min-keyint", "mixed-refs", "no-8x8dct", "no-chroma-me"),
    *("no-dct-decimate", "no-deblock", "no-fast-pskip", "no-mbtree", "no-mixed-refs", "no-psy", "no-weightb"),
    *("partitions", "pbratio", "psy", "psy-rd", "qcomp", "qpmax", "qpmin", "qpstep", "rc-lookahead", "ref"),
    *("scenecut", "subme", "trellis", "weightb", "weightp"),
)
_QUANTISERS = ("qp", "crf")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A profile's table in the file, and where it stands."""

    path: Path
    name: str
    values: Mapping[str, Any]

    def refusal(self, key: str, expected: str) -> Permanent:
        place = f"profile.{self.name}.{key}" if key else f"profile.{self.name}"
        return Permanent(
            "profiles.bad", f"{str(self.path)!r}: {place} should be {expected}", path=str(self.path), key=place
        )

    def whole(self, key: str, low: int, high: int, default: int, step: int = 1) -> int:
        value = self.values.get(key, default)
        if type(value) is not int or not low <= value <= high or value % step:
            raise self.refusal(key, f"{'an even' if step == 2 else 'a whole'} number from {low} to {high}")
        return value

    def one_of(self, key: str, known: Sequence[str] | Sequence[int], default: str | int) -> Any:
        value = self.values.get(key, default)
        if value not in known or type(value) is not type(known[0]):
            raise self.refusal(key, f"one of {', '.join(map(str, known))}")
        return value

    def text(self, key: str, length: int) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > length or not value.isprintable():
            raise self.refusal(key, f"a line of text of up to {length} characters")
        return value

    @contextmanager
    def refusing(self, key: str) -> Iterator[None]:
        """Says where in the file stands what is then refused."""
        try:
            yield
        except Permanent as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise self.refusal(key, f"something else: {error.message}{hint}") from error


def load_profiles(path: Path | str) -> dict[str, Profile]:
    """The profiles in a TOML file by their names, none of them rehearsed yet.

    Raises: Permanent `source.missing`, `source.unreadable`, `source.not_a_file`; `profiles.syntax`; `profiles.bad`,
    which names the file, the key, and what is allowed.
    """
    path = Path(path)
    tables = _parsed(path)
    unknown = sorted(set(tables) - {"profile"})
    named = tables.get("profile")
    if unknown or not isinstance(named, dict) or not 0 < len(named) <= PROFILES_MAX:
        what = f"has the key {unknown[0]!r}: it" if unknown else "is no file of profiles: it"
        raise Permanent(
            "profiles.bad",
            f"{str(path)!r} {what} should hold tables [profile.NAME], 1 to {PROFILES_MAX} of them",
            path=str(path),
        )
    return {name: _profile(path, name, values) for name, values in named.items()}


def _parsed(path: Path) -> Mapping[str, Any]:
    with FileReader(path) as reader:
        if reader.size_bytes > FILE_BYTES_MAX:
            raise Permanent("profiles.bad", f"{str(path)!r} is larger than {FILE_BYTES_MAX} bytes", path=str(path))
        content = bytes(read_range(reader, 0, FILE_BYTES_MAX))
    if any(line.count(b".") > _LINE_DOTS_MAX for line in content.splitlines()):
        raise Permanent("profiles.bad", f"{str(path)!r} has a line with too many dots", path=str(path))
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise Permanent("profiles.syntax", f"{str(path)!r} is no TOML: {error}", path=str(path)) from error


_SHARED = (
    *("based_on", "purpose", "survives", "quantiser", "parity", "pictures", "frames_per_second", "geometry", "preset"),
    *("strip_amplitude", "encoder"),
)
_OWN = {
    Family.DCT4: ("coefficients",),
    Family.DCT8: ("coefficients",),
    Family.CELLS: ("colours", "pixels", "palette", "interleaver"),
}


def _profile(path: Path, name: str, values: object) -> Profile:
    entry = _Entry(path, name, values if isinstance(values, dict) else {})
    if not _NAME.fullmatch(name):
        raise entry.refusal("", "named with up to 32 small letters, digits, _ and -")
    if name in PROFILES:
        raise entry.refusal("", f"named otherwise: {name} is a profile already")
    if not isinstance(values, dict):
        raise entry.refusal("", "a table")
    bases = [known for known, profile in PROFILES.items() if profile.channel]
    base = PROFILES[entry.one_of("based_on", bases, "")]
    assert base.channel is not None
    allowed = (*_SHARED, *_OWN[base.channel.modulation.family])
    for key in values:
        if key not in allowed:
            raise entry.refusal(str(key), f"left out: a profile based on {base.name} has {', '.join(allowed)}")
    recipes = _recipes(entry)
    purpose = entry.text("purpose", _PURPOSE_MAX) if "purpose" in values else base.purpose
    channel = _channel(entry, base.channel)
    profile = Profile(name, purpose, ", ".join(recipes), USER_DEFINED, channel, recipes)
    with entry.refusing("geometry"):
        for _, size in channel.geometries:
            geometry_of_profile(profile, size, None)
    return profile


def _recipes(entry: _Entry) -> tuple[str, ...]:
    recipes = entry.values.get("survives")
    if not isinstance(recipes, list) or not 0 < len(recipes) <= _RECIPES_MAX:
        raise entry.refusal("survives", f"a list of 1 to {_RECIPES_MAX} recipes such as 'x264:crf=28'")
    for number, text in enumerate(recipes):
        if not isinstance(text, str):
            raise entry.refusal(f"survives[{number}]", "a recipe such as 'x264:crf=28'")
        with entry.refusing(f"survives[{number}]"):
            Recipe.parse(text)
    return tuple(recipes)


def _channel(entry: _Entry, base: Channel) -> Channel:
    modulation = _modulation(entry, base.modulation)
    quantiser = entry.whole("quantiser", 0, 51, base.quantiser)
    geometries = base.geometries
    if "geometry" in entry.values:
        geometries = ((None, entry.one_of("geometry", list(RASTERS), "")),)
    return replace(
        base,
        modulation=modulation,
        quantiser=quantiser,
        pictures=entry.whole("pictures", 1, PICTURES_MAX, base.pictures),
        frames_per_second=entry.whole("frames_per_second", 1, 120, base.frames_per_second),
        preset=entry.one_of("preset", X264_PRESETS, base.preset),
        encoder_options=_encoder_options(entry, base.encoder_options, quantiser),
        expansion=_expansion(base, modulation),
        strip_amplitude=entry.whole("strip_amplitude", 8, 120, base.strip_amplitude),
        geometries=geometries,
    )


def _expansion(base: Channel, modulation: Modulation) -> float:
    """About; a sign costs the same whichever coefficient it is of."""
    if modulation.family == Family.CELLS:
        return expansion_of(modulation)
    return base.expansion * (base.modulation.data_share / modulation.data_share)


def _modulation(entry: _Entry, base: Modulation) -> Modulation:
    first, second = (_cells if base.family == Family.CELLS else _coefficients)(entry, base)
    code = base.code
    if "interleaver" in entry.values:
        code = Code.XOR if entry.one_of("interleaver", INTERLEAVERS, "rs") == "xor" else Code.REED_SOLOMON
    if code == Code.XOR:
        if "parity" not in entry.values:
            raise entry.refusal("parity", "given with interleaver 'xor': the blocks that share an XOR block, 1 to 255")
        parity = entry.whole("parity", 1, 255, 0)
    else:
        parity = entry.whole("parity", 2, 128, base.parity, step=2)
    return Modulation(base.family, first, second, parity, code)


def _coefficients(entry: _Entry, base: Modulation) -> tuple[int, int]:
    """Luma and chroma coefficients a block."""
    value = entry.values.get("coefficients", [base.first, base.second])
    whole = isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)
    if base.family == Family.DCT8:
        if not whole or value[0] not in range(2, 17, 2) or value[1] != 0:
            raise entry.refusal("coefficients", "[luma, 0], luma an even number from 2 to 16")
    elif not whole or value[0] not in range(1, 17) or value[1] not in range(17):
        raise entry.refusal("coefficients", "[luma, chroma], luma from 1 to 16 and chroma from 0 to 16")
    return value[0], value[1]


def _cells(entry: _Entry, base: Modulation) -> tuple[int, int]:
    """Log2 of the colours; side and palette."""
    colours = entry.one_of("colours", COLOURS, 1 << base.first)
    pixels = entry.one_of("pixels", PIXELS, base.side**2)
    palette = entry.one_of("palette", PALETTES, PALETTES[base.palette])
    if pixels == 1 and palette == "ega":
        raise entry.refusal("palette", "'yuv' where a symbol is one pixel: it has no colour of its own")
    return fields_of_cells(colours, pixels, palette)


def _encoder_options(entry: _Entry, base: Options, quantiser: int) -> Options:
    """What x264 is told: as the base does, with the file's changes and the quantiser."""
    changes = entry.values.get("encoder", {})
    if not isinstance(changes, dict):
        raise entry.refusal("encoder", "a table of x264's options")
    for option, value in changes.items():
        if option not in ENCODER_OPTIONS:
            known = f"one of these: {', '.join(ENCODER_OPTIONS)}"
            expected = "left out: `quantiser` says it" if option in _QUANTISERS else known
            raise entry.refusal(f"encoder.{option}", expected)
        if not isinstance(value, str) or not _OPTION_VALUE.fullmatch(value):
            raise entry.refusal(f"encoder.{option}", "a text of letters, digits and . , + - such as '1'")
    options = {name: str(quantiser) if name in _QUANTISERS else value for name, value in base}
    return tuple({**options, **changes}.items())
