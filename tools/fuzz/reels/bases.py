"""The reels that are mutated: the frozen vectors, and small ones made here; with what each must decode to."""

import hashlib
import json
import random as randomness
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bytereel_codec import DecodeOptions, EncodeOptions, Secret, decode_file, encode_file, open_reel
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.geometry import GEOMETRIES
from bytereel_codec.reading.scan import index_reels

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"
LOSSY = "bursts-"
"""What the titles of reels of bursts start with."""
CUT = "-cut"
"""What the titles of reels end with of which segments are gone, which parity brings back."""
EMPTY = "empty"
KEY = Secret(key=b"k" * 32)
SMALL = GEOMETRIES["144p"]
_LINE = b"The quick brown fox jumps over the lazy dog, and the reel turns.\n"


@dataclass(frozen=True, slots=True)
class Base:
    """An undamaged reel. `original` is what its bytes decode to, as one stream; `name` stands in its leader.

    `is_lossy`: its frames lie in bursts, not as they are in the file. Decoding one takes long.
    """

    title: str
    reel: bytes
    original: bytes
    secret: Secret | None
    reel_id: bytes
    name: str
    is_folder: bool
    is_lossy: bool


def titles() -> Sequence[str]:
    """The titles of all of them, in a fixed order."""
    return (*sorted(path.stem for path in VECTORS.glob("*.mp4")), *_MADE)


@cache
def base_titled(title: str) -> Base:
    """The base of that title; the same bytes everywhere, but for the version of the zstd library."""
    return _made(title, **_MADE[title]) if title in _MADE else _vector(VECTORS / f"{title}.mp4")


_MADE: Mapping[str, Mapping[str, Any]] = {
    "made-plain": {"size": 3 * SMALL.span_bytes + 11},
    "made-parity": {"size": 3 * SMALL.span_bytes + 11, "parity_percent": 40},
    "made-text": {"text": True, "size": 29 * SMALL.span_bytes - 17, "parity_percent": 15},
    "made-sealed": {"size": 2 * SMALL.span_bytes + 5, "secret": KEY},
    "made-sealed-parity": {"text": True, "size": 29 * SMALL.span_bytes - 17, "parity_percent": 15, "secret": KEY},
    "made-sealed-frames": {"text": True, "size": 40 * SMALL.span_bytes, "secret": KEY},
}


def _made(title: str, *, size: int, text: bool = False, **options: Any) -> Base:
    content = hashlib.shake_128(title.encode()).digest(size)
    if text:
        content = b"".join(b"%d %s" % (number, _LINE) for number in range(size // len(_LINE) + 1))[:size]
    draw: Callable[[int], bytes] = randomness.Random(title).randbytes
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, title), Path(folder, "reel.mp4")
        source.write_bytes(content)
        encode_file(source, target, EncodeOptions(geometry=SMALL.name, random=draw, created="2026", **options))
        reel = target.read_bytes()
    (reel_id,) = index_reels(BytesReader(reel))
    return Base(title, reel, content, options.get("secret"), reel_id, title, is_folder=False, is_lossy=False)


def _vector(path: Path) -> Base:
    told = json.loads(path.with_suffix(".json").read_text("ascii"))
    stated = told["secret"] or {}
    secret = Secret(**{kind: word.encode() if kind == "passphrase" else bytes.fromhex(word)
                       for kind, word in stated.items()}) if stated else None  # fmt: skip
    original = _original(path, secret, told["source"]["sha256"])
    leader, reel_id = told["leader"], bytes.fromhex(told["reel_id"])
    return Base(
        path.stem,
        path.read_bytes(),
        original,
        secret,
        reel_id,
        leader["name"],
        is_folder=leader["kind"] == "folder",
        is_lossy=path.stem.startswith(LOSSY),
    )


def _original(path: Path, secret: Secret | None, sha256: str) -> bytes:
    """What a vector holds. Raises: ValueError when it is not what its JSON says: nothing could be compared with it."""
    with open_reel(path, secret) as file:
        original = file.read()
    if hashlib.sha256(original).hexdigest() != sha256:
        raise ValueError(f"{path} does not decode to its source")
    return original


@cache
def files_of(title: str) -> Mapping[str, bytes]:
    """What the folder's reel of that title lays out: content by path."""
    base = base_titled(title)
    with tempfile.TemporaryDirectory() as folder:
        reel, target = Path(folder, "reel"), Path(folder, "out")
        reel.write_bytes(base.reel)
        decode_file(reel, target, DecodeOptions(secret=base.secret))
        return laid_out(target)


def laid_out(folder: Path) -> Mapping[str, bytes]:
    """The files below a folder by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
