"""What a profile survives, found out by doing it: bytes to a reel, the reel through a platform, the bytes compared.

A rehearsal is as short as it may be: one burst of a few pictures, at the size that a long reel has. So it says whether
a recipe lies on this side of the cliff, not how one codeword in a million ends. Nothing is compressed, so every byte of
the sample is put to the test.

Disk: the sample, its reel and two re-encodings of it, in a temporary folder that is gone at the end.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.errors import Integrity, Permanent, Temporary
from bytereel_codec.files.ranged import FileReader, buffered_file
from bytereel_codec.frame.geometry import ReelGeometry
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import Profile, coded_by_card
from bytereel_codec.profiles.recipes import Recipe
from bytereel_codec.reading.decode import DecodeOptions, decode_file
from bytereel_codec.video.boxes import parse_segment_index
from bytereel_codec.writing.encode import EncodeOptions, encode_file

if TYPE_CHECKING:
    from bytereel_codec.bursts.report import ChannelReport

PICTURES = 16
SAMPLE_BYTES_MAX = 256 << 20
WORTH_A_REHEARSAL_BYTES = 1 << 30  # a rehearsal takes the time of a few hundred MB
GROWTH_MAX = 1.1  # as short a burst as a rehearsal's is some percent larger than a long one
_HEAD_BYTES = 64 << 10
_FRAME_SHARE = 0.99  # of a burst; the rest is what its frames' headers and digests take


@dataclass(frozen=True, slots=True)
class Trial:
    """One profile's way through one recipe. Sizes in bytes.

    `exact`: every byte came back; `why` says what happened where not. `expansion` is the reel's without its leaders,
    which weigh nothing in a long one. `delivered_bytes` is the video as the platform hands it out. `corrected_bytes`
    were wrong and put right; of `codewords`, `codewords_lost` could not be. All three are 0 for profile `archive`,
    which has no channel, and where nothing could be read. `seconds` is the time of the re-encoding and the reading.
    """

    profile: str
    recipe: str
    exact: bool
    why: str
    sample_bytes: int
    reel_bytes: int
    expansion: float
    delivered_bytes: int
    corrected_bytes: int
    codewords: int
    codewords_lost: int
    seconds: float


Watcher = Callable[[Trial], None]


def rehearse(
    profile: Profile,
    *,
    seed: int = 0,
    geometry: str | None = None,
    threads: int = 1,
    watch: Watcher | None = None,
) -> list[Trial]:
    """Send random bytes through all recipes that the profile claims to survive; `geometry` None: that of long reels.

    Raises: as `survives`.
    """
    size = geometry_of_profile(profile, geometry, None)
    sample = np.random.default_rng(seed).bytes(sample_bytes_for(size))
    return survives(profile, profile.rehearsal, sample=sample, seed=seed, geometry=size, threads=threads, watch=watch)


def check_profile(
    profile: Profile,
    *,
    seed: int = 0,
    geometry: str | None = None,
    threads: int = 1,
    watch: Watcher | None = None,
) -> list[Trial]:
    """Rehearse what the profile claims, at that picture size; return the trials, all exact.

    Raises: Permanent `profile.fails` naming the first recipe that it did not survive, `profile.claims_nothing`; and as
    `rehearse`.
    """
    if not profile.rehearsal:
        raise Permanent("profile.claims_nothing", f"profile {profile.name} names no recipe that it survives")
    trials = rehearse(profile, seed=seed, geometry=geometry, threads=threads, watch=watch)
    for trial in trials:
        if not trial.exact:
            raise Permanent(
                "profile.fails",
                f"profile {profile.name} does not survive {trial.recipe}: {trial.why}",
                hint="a higher quantiser, fewer coefficients or more parity make it tougher, and larger",
                recipe=trial.recipe,
                codewords=trial.codewords,
                codewords_lost=trial.codewords_lost,
            )
    return trials


def with_proven_encoder(
    profile: Profile,
    candidate: Profile,
    *,
    geometry: str | None = None,
    threads: int = 1,
    watch: Watcher | None = None,
) -> Profile:
    """The candidate, the same profile coded by another encoder, where a rehearsal proves it; else the profile.

    Proved is what answers on this machine, comes back exact from all that the profile claims to survive, and is no
    larger than `GROWTH_MAX` times what the profile states. Raises: as `rehearse`.
    """
    from bytereel_codec.bursts.writer import encoding_of
    from bytereel_codec.libav.encoding import ENCODER_FAILED, can_encode

    size = geometry_of_profile(candidate, geometry, None)
    if not isinstance(size, BurstGeometry) or not can_encode(encoding_of(size)):
        return profile
    try:
        trials = rehearse(candidate, geometry=geometry, threads=threads, watch=watch)
    except Temporary as error:
        if error.error_id != ENCODER_FAILED:
            raise
        return profile
    largest = size.channel.expansion * GROWTH_MAX
    is_proved = bool(trials) and all(trial.exact and trial.expansion <= largest for trial in trials)
    return candidate if is_proved else profile


def best_coded(
    profile: Profile,
    source_bytes: int | None,
    device: Device,
    *,
    geometry: str | None = None,
    threads: int = 1,
    watch: Watcher | None = None,
) -> Profile:
    """The profile coded by the card's own encoder, where the device is a card, a rehearsal proves it, and the source is
    large enough to be worth one; else the profile. Raises: as `with_proven_encoder`; Permanent `device.none`.
    """
    is_large = source_bytes is not None and source_bytes >= WORTH_A_REHEARSAL_BYTES
    if profile.channel is None or not is_large or chosen(device) != Device.CUDA:
        return profile
    candidate = coded_by_card(profile)
    return with_proven_encoder(profile, candidate, geometry=geometry, threads=threads, watch=watch)


def sample_bytes_for(geometry: ReelGeometry) -> int:
    """How many bytes fill one short burst of that geometry, or one picture of samples."""
    if not isinstance(geometry, BurstGeometry):
        return geometry.span_bytes
    pictures = min(PICTURES, geometry.channel.pictures)
    shape = BurstShape(geometry.raster, geometry.channel.modulation, pictures)
    frames = -(-shape.data_bytes // geometry.frame_bytes)
    return max(1, min(int(shape.data_bytes * _FRAME_SHARE), frames * geometry.span_bytes))


def survives(
    profile: Profile,
    recipes: Sequence[str],
    *,
    sample: bytes,
    seed: int = 0,
    geometry: ReelGeometry | str | None = None,
    threads: int = 1,
    watch: Watcher | None = None,
) -> list[Trial]:
    """Send `sample` through each of the recipes as a reel of that profile; one trial for each, in their order.

    The same arguments give the same reel. `watch` sees each trial as it ends. Raises: Permanent `recipe.unknown`,
    `recipe.bad` and what encoding raises; Temporary `target.full`. That a reel cannot be read any more, or a recipe not
    be applied to its pictures, is no error but a trial that is not exact.
    """
    parsed = [Recipe.parse(text) for text in recipes]
    trials = []
    with tempfile.TemporaryDirectory(prefix="bytereel-") as name:
        folder = Path(name)
        (folder / "sample").write_bytes(sample)
        options = EncodeOptions(
            profile=profile,
            geometry=geometry,
            workers=threads,
            compress=False,
            created="",
            random=np.random.default_rng([seed, 1]).bytes,
        )
        encode_file(folder / "sample", folder / "reel.mp4", options)
        for recipe in parsed:
            trials.append(_trial(profile, recipe, folder, sample, threads))
            if watch:
                watch(trials[-1])
    return trials


def _trial(profile: Profile, recipe: Recipe, folder: Path, sample: bytes, threads: int) -> Trial:
    from bytereel_codec.libav.recode import recode

    started_at = time.monotonic()
    reel, delivered = folder / "reel.mp4", folder / "delivered"
    delivered.unlink(missing_ok=True)
    try:
        recode(reel, delivered, recipe, threads=threads)
        why = _read_back(delivered, folder / "back", sample, threads)
    except Permanent as error:  # pictures that a filter cannot take
        why = error.message
    seconds = time.monotonic() - started_at
    channel = _channel_of(delivered) if profile.channel and delivered.exists() else None
    return Trial(
        profile.name,
        str(recipe),
        not why,
        why,
        len(sample),
        reel.stat().st_size,
        _data_bytes(reel) / len(sample) if sample else float("inf"),
        delivered.stat().st_size if delivered.exists() else 0,
        channel.corrected_bytes if channel else 0,
        channel.codewords if channel else 0,
        channel.codewords_lost if channel else 0,
        round(seconds, 3),
    )


def _read_back(delivered: Path, target: Path, sample: bytes, threads: int) -> str:
    """Decode what was delivered; return what is wrong with it, nothing where every byte is as it was."""
    try:
        decode_file(delivered, target, DecodeOptions(workers=threads))
    except (Permanent, Integrity) as error:
        return error.message
    return "" if target.read_bytes() == sample else "bytes are wrong, and nothing says so"


def _channel_of(delivered: Path) -> "ChannelReport | None":
    """How well the delivered video was read; None when no picture shows a strip."""
    from bytereel_codec.bursts.reader import read_bursts
    from bytereel_codec.libav.pictures import shown_pictures

    with FileReader(delivered) as reader:
        return read_bursts(lambda: shown_pictures(buffered_file(reader)), lambda image: None)


def _data_bytes(reel: Path) -> int:
    """The bytes of a reel without its head and its leaders."""
    with reel.open("rb") as file:
        index = parse_segment_index(file.read(_HEAD_BYTES))
    assert index is not None, "a reel of a source of known size begins with its index"
    return sum(size for size, _ in index[1][1:-1])
