"""Makes the golden vectors: small reels with fixed randomness, each with a JSON that says what it shows.

Vectors are made once per format version. A run makes those that are missing and touches none that is there; only
`--new-format-version` replaces them all, which is right when FORMAT.md has a new version and at no other time.

    PYTHONPATH=codec python tests/vectors/make.py [--new-format-version]

The JSON of a vector freezes the reel's SHA-256, the source's and the leader; `checksums.json` freezes every file here.
Sources are not kept: `source_of` makes them again.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from bytereel_codec.channel.modulation import Code
from bytereel_codec.files.ranged import FileReader
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.profiles import PROFILES, USER_DEFINED, Profile
from bytereel_codec.profiles.recipes import Recipe as Recoding
from bytereel_codec.reading.scan import frames_of_reel
from bytereel_codec.writing.encode import EncodeOptions, encode_file

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "codec"))

import independent_decoder  # noqa: E402
import independent_lossy  # noqa: E402

CHECKSUMS = FOLDER / "checksums.json"
CREATED = "2026-01-01T00:00:00+00:00"
FOLDER_TIME = 1_767_225_600
FORMAT_VERSION = 1
SPAN_144P = 54_980


@dataclass(frozen=True)
class Recipe:
    """How a vector is made. `source` is `(kind, size)` for `source_of`; `cut` names data segments that are cut out.

    `profile` is one of ours or `XOR`; `recoded` says what was done to the reel (`libav.recode`).
    """

    name: str
    shows: str
    source: tuple[str, int]
    compress: bool = False
    parity_percent: float = 0.0
    geometry: str | None = None
    passphrase: str | None = None
    key: str | None = None
    cut: tuple[int, ...] = ()
    random: str | None = None
    profile: str = "archive"
    recoded: str | None = None

    @property
    def secret(self) -> Secret | None:
        if self.passphrase is None and self.key is None:
            return None
        return Secret(
            None if self.passphrase is None else self.passphrase.encode(),
            None if self.key is None else bytes.fromhex(self.key),
        )

    @property
    def stated_secret(self) -> dict[str, str] | None:
        """The secret as the JSON states it."""
        stated = {"passphrase": self.passphrase, "key": self.key}
        return {name: value for name, value in stated.items() if value is not None} or None

    @property
    def reproducible(self) -> bool:
        """Whether encoding the same source anew gives the same bytes: zstd, tar owners and x264 differ by machine."""
        return not self.compress and self.source[0] != "folder" and self.profile == "archive"

    @property
    def decoder(self) -> ModuleType:
        """The independent decoder for it: it has `decode` and `frames_in`."""
        return independent_decoder if self.profile == "archive" else independent_lossy


RECIPES = (
    Recipe("empty", "an empty file: two leaders and no data frame", ("noise", 0)),
    Recipe("one-byte", "one byte: one frame, which ends its segment and the reel", ("noise", 1)),
    Recipe("noise-1k", "1 KiB that cannot be compressed", ("noise", 1024)),
    Recipe("text", "text in two frames of one segment, each a zstd frame of its own", ("text", 60_000), compress=True),
    Recipe("zeros", "zeros, stored as they are: whitened, they cost no prevention bytes", ("zeros", 10_000)),
    Recipe(
        "parity",
        "two segments at 144p and one parity segment",
        ("noise", SPAN_144P + 5000),
        parity_percent=40,
        geometry="144p",
    ),
    Recipe(
        "parity-cut",
        "the same reel without the chunks of segment 0, which comes back from parity",
        ("noise", SPAN_144P + 5000),
        parity_percent=40,
        geometry="144p",
        cut=(0,),
        random="parity",
    ),
    Recipe(
        "parity-frames",
        "15 segments of two compressed frames at 144p, the last one shorter, and three parity segments",
        ("text", 29 * SPAN_144P - 17),
        compress=True,
        parity_percent=20,
        geometry="144p",
    ),
    Recipe(
        "parity-frames-cut",
        "the same reel without segments 3, 4 and 13",
        ("text", 29 * SPAN_144P - 17),
        compress=True,
        parity_percent=20,
        geometry="144p",
        cut=(3, 4, 13),
        random="parity-frames",
    ),
    Recipe(
        "parity-last-cut",
        "the same reel without its last segment, which is shorter than the others",
        ("text", 29 * SPAN_144P - 17),
        compress=True,
        parity_percent=20,
        geometry="144p",
        cut=(14,),
        random="parity-frames",
    ),
    Recipe("passphrase", "sealed with a passphrase (scrypt)", ("noise", 1000), passphrase="correct horse Größe"),
    Recipe("key", "sealed with a key (HKDF)", ("noise", 1000), key=bytes(range(32)).hex()),
    Recipe("sealed-text", "compressed, then sealed, with parity", ("text", 3000), True, 50, key=bytes(32).hex()),
    Recipe("folder", "a folder: the source is a pax tar stream", ("folder", 0)),
    Recipe("stream", "a stream of unknown size at 1080p: no sidx, no counts in headers", ("text", 9_000_000), True),
    Recipe("bursts-balanced", "4 x 4 blocks at 360p", ("noise", 3000), geometry="360p", profile="balanced"),
    Recipe("bursts-rugged", "half of their coefficients at 144p", ("noise", 1000), geometry="144p", profile="rugged"),
    Recipe("bursts-stream", "8 x 8 blocks at 144p", ("noise", 1000), geometry="144p", profile="stream"),
    Recipe("bursts-classic16", "cells of 16 colours at 144p", ("noise", 500), geometry="144p", profile="classic16"),
    Recipe(
        "bursts-xor",
        "cells of 16 colours at 144p, four blocks of data for each of XOR",
        ("noise", 2500),
        geometry="144p",
        profile="XOR",
    ),
    Recipe(
        "bursts-x264",
        "a sealed reel of rugged at 144p, encoded again by x264, its pictures out of order",
        ("noise", 1500),
        key=bytes(32).hex(),
        geometry="144p",
        profile="rugged",
        recoded="x264:crf=28,shuffle=8",
    ),
)


def profile_of(name: str) -> Profile:
    """The profile that a recipe names."""
    if name != "XOR":
        return PROFILES[name]
    base = PROFILES["classic16"]
    assert base.channel is not None
    modulation = replace(base.channel.modulation, code=Code.XOR, parity=4)
    return replace(base, name="xor", number=USER_DEFINED, channel=replace(base.channel, modulation=modulation))


def source_of(kind: str, size: int) -> bytes:
    """The source of a vector that is no folder; the same bytes everywhere."""
    if kind == "noise":
        return hashlib.shake_128(b"bytereel vector").digest(size)
    if kind == "zeros":
        return bytes(size)
    assert kind == "text"
    line = b"The quick brown fox jumps over the lazy dog, and the reel turns.\n"
    return (line * (size // len(line) + 1))[:size]


FOLDER_FILES = {"empty": b"", "sub/note.txt": b"a note\n", "sub/deep/zeros": bytes(300), "ünïcode": b"name\n"}


def write_folder(root: Path) -> None:
    """Lays the folder of the folder's vector out, with fixed times and permissions."""
    for name, content in FOLDER_FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in sorted([root, *root.rglob("*")], reverse=True):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (FOLDER_TIME, FOLDER_TIME))


def randomness(name: str) -> Callable[[int], bytes]:
    """The randomness of a vector: the n-th call gives SHAKE-128(name, n)."""
    calls = iter(range(1 << 32))
    return lambda size: hashlib.shake_128(f"bytereel vector {name} {next(calls)}".encode()).digest(size)


def encode(recipe: Recipe, folder: Path) -> bytes:
    """The reel of a recipe, made below `folder`, which is empty."""
    kind, size = recipe.source
    source, target = folder / "source", folder / "reel.mp4"
    options = EncodeOptions(
        parity_percent=recipe.parity_percent,
        secret=recipe.secret,
        compress=recipe.compress,
        profile=profile_of(recipe.profile),
        geometry=recipe.geometry,
        name=recipe.random or recipe.name,
        random=randomness(recipe.random or recipe.name),
        created=CREATED,
        keep_mode=False,
    )
    if kind == "folder":
        source.mkdir()
        write_folder(source)
        encode_file(source, target, options)
    elif recipe.name == "stream":
        with standard_input(source_of(kind, size)):
            encode_file("-", target, options)
    else:
        source.write_bytes(source_of(kind, size))
        encode_file(source, target, options)
    if recipe.recoded:
        recode(target, target, Recoding.parse(recipe.recoded))
    return without_segments(target, recipe.cut) if recipe.cut else target.read_bytes()


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """`content` on standard input."""
    kept = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = kept


def boxes(video: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an MP4 file: kind, start and end of each."""
    at = 0
    while at < len(video):
        size = int.from_bytes(video[at : at + 4], "big")
        yield video[at + 4 : at + 8], at, at + size
        at += size


def without_segments(reel: Path, segments: tuple[int, ...]) -> bytes:
    """The reel without the chunks (`moof` and `mdat`) of those data segments."""
    with FileReader(reel) as reader:
        frames = frames_of_reel(reader)
    gone = [place for (kind, segment, _), places in frames.places.items() for place in places
            if kind == 1 and segment in segments]  # fmt: skip
    video, kept, start = reel.read_bytes(), [], 0
    for kind, at, end in boxes(video):
        if kind == b"moof":
            start = at
        elif kind == b"mdat":
            kept += [] if any(at < place < end for place in gone) else [video[start:end]]
        else:
            kept.append(video[at:end])
    return b"".join(kept)


def describe(recipe: Recipe, reel: bytes) -> dict[str, Any]:
    """What stands in the JSON beside the reel, as the independent decoder reads it."""
    (found,) = recipe.decoder.decode(
        reel,
        passphrase=recipe.passphrase.encode() if recipe.passphrase else None,
        key=bytes.fromhex(recipe.key) if recipe.key else None,
    ).values()
    header = next(recipe.decoder.frames_in(reel)).header
    assert found.source is not None
    assert found.tree_checked
    assert recipe.source[0] == "folder" or found.source == source_of(*recipe.source)
    return {
        "shows": recipe.shows,
        "format_version": FORMAT_VERSION,
        "reel": {"bytes": len(reel), "sha256": hashlib.sha256(reel).hexdigest()},
        "reel_id": found.reel_id.hex(),
        "span_bytes": header.span,
        "frames_per_segment": header.frames_per_segment,
        "source": {"bytes": len(found.source), "sha256": hashlib.sha256(found.source).hexdigest()},
        "leader": found.leader,
        "secret": recipe.stated_secret,
        "recovered_frames": found.recovered,
        "reproducible": recipe.reproducible,
    }


def make(recipe: Recipe) -> dict[str, bytes]:
    """A vector and its JSON: the content of each by file name."""
    with tempfile.TemporaryDirectory() as folder:
        reel = encode(recipe, Path(folder))
    text = json.dumps(describe(recipe, reel), indent=2) + "\n"
    return {f"{recipe.name}.mp4": reel, f"{recipe.name}.json": text.encode("ascii")}


def checksums() -> dict[str, str]:
    """SHA-256 of every reel and JSON here, by file name."""
    files = [path for path in FOLDER.iterdir() if path.suffix in (".mp4", ".json") and path != CHECKSUMS]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def main() -> int:
    parser = argparse.ArgumentParser(description="make the golden vectors that are missing")
    parser.add_argument("--new-format-version", action="store_true", help="replace all: FORMAT.md has a new version")
    renew = parser.parse_args().new_format_version
    frozen = json.loads(CHECKSUMS.read_text("ascii")) if CHECKSUMS.exists() and not renew else {}
    if frozen.items() - checksums().items():
        print("a frozen vector is missing or changed: bring it back from the repository's history", file=sys.stderr)
        return 1
    missing = [recipe for recipe in RECIPES if f"{recipe.name}.mp4" not in frozen]
    made = [item for recipe in missing for item in make(recipe).items()]
    present = [name for name, _ in made if (FOLDER / name).exists() and not renew]
    if present:
        print(f"there already, but not frozen: {', '.join(present)}", file=sys.stderr)
        return 1
    for name, content in made:
        (FOLDER / name).write_bytes(content)
    CHECKSUMS.write_text(json.dumps(checksums(), indent=2) + "\n", "ascii")
    print(f"{len(missing)} made, {len(RECIPES) - len(missing)} kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
