"""Parsers of what people write: profiles in TOML, recipes of what is done to a video.

Laws: families; what was taken means the same when it is read again.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from bytereel_codec.errors import BytereelError
from bytereel_codec.profiles.files import load_profiles
from bytereel_codec.profiles.recipes import Recipe

from tools.fuzz.mutate import NUMBERS, mutated
from tools.fuzz.parsers.parser import Parser, require
from tools.fuzz.target import Outcome, refusal

_PROFILES = (
    b'[profile.mine]\nbased_on = "rugged"\npurpose = "a player"\nsurvives = ["x264:crf=28"]\nquantiser = 44\n'
    b'parity = 32\npictures = 8\nframes_per_second = 30\ngeometry = "360p"\npreset = "fast"\nstrip_amplitude = 40\n'
    b'coefficients = [8, 4]\n[profile.mine.encoder]\nbframes = "0"\nme = "hex"\n',
    b'[profile.cells]\nbased_on = "classic16"\nsurvives = ["lossless", "x264:qp=0 > copy:mkv"]\ncolours = 16\n'
    b'pixels = 9\npalette = "ega"\ninterleaver = "xor"\nparity = 4\n',
)
_PROFILE_TOKENS = (b"[profile.a]\n", b'"""', b"= 1e400\n", b"= 9999999999999999999\n", b"= nan\n",
             b"a.b.c.d = 1\n", b'based_on = "stream"\n', b'based_on = "balanced"\n', b"= -1\n", b"= []\n",
             b"= {}\n", b"\xff")  # fmt: skip
_RECIPES = (
    b"x264:crf=23,size=720p,back > copy:mkv",
    b"x265:crf=30,preset=fast,fps=25,vbv=800k/1M > vp9:bitrate=800k,webm,keyint=9",
    b"svtav1:crf=40,preset=8,shuffle=8,drop=3 > lossless:cut=1/3:2/3,crop=4,pad=640x360",
    b"x264:qp=20,shift=-3:4,range=limited,gain=0.9,double,ts > copy:mov",
)
_RECIPE_TOKENS = tuple(word.encode() for word in ( ">", ":", ",", "=", "size=", "fps=1/3", "cut=0:1",
            "gain=", "pad=", "x264", "copy", "\u0663", "\u00b2", "-", "1e9", "/0",
            *(str(number) for number in NUMBERS), ))  # fmt: skip


def _profile_file(random: Random) -> bytes:
    return mutated(random, random.choice(_PROFILES), others=_PROFILES, tokens=_PROFILE_TOKENS)


def _read_profiles(path: Path, content: bytes) -> Outcome:
    path.write_bytes(content)
    try:
        found = load_profiles(path)
    except BytereelError as error:
        return refusal(error)
    require(len(found) > 0, "profiles_none", "a file of no profile was taken")
    return Outcome("read", ",".join(str(profile.channel and profile.channel.modulation) for profile in found.values()))


def _recipe(random: Random) -> bytes:
    return mutated(random, random.choice(_RECIPES), others=_RECIPES, tokens=_RECIPE_TOKENS)


def _read_recipe(content: bytes) -> Outcome:
    try:
        recipe = Recipe.parse(content.decode("utf-8", "surrogateescape"))
    except BytereelError as error:
        return refusal(error)
    require(Recipe.parse(str(recipe)).steps == recipe.steps, "recipe_round_trip", f"{recipe} means something else")
    return Outcome("read", " ".join(step.encoder for step in recipe.steps))


def parsers(folder: Path) -> Iterator[Parser]:
    """Those of texts; `folder` keeps the file that a parser is to read."""
    yield Parser("profiles", _profile_file, partial(_read_profiles, folder / "profiles.toml"))
    yield Parser("recipe", _recipe, _read_recipe)
