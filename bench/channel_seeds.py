"""Survival once more with other sources and other reels: that one seed came through is not to be luck."""

from collections.abc import Iterator, Sequence

import numpy as np
from bytereel_codec import EncodeOptions, decode_file, encode_file
from bytereel_codec.errors import BytereelError
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.recipes import Recipe
from bytereel_codec.trials.rehearsal import sample_bytes_for

from bench.measure import Scratch
from bench.rows import Row

SEEDS = range(2, 7)


def measure_seeds(
    scratch: Scratch, name: str, geometry: BurstGeometry, recipe: str, seeds: Sequence[int] = SEEDS
) -> Iterator[Row]:
    """A few pictures of random bytes for each seed, through one re-encode that the profile must survive."""
    size = sample_bytes_for(geometry)
    lost = [seed for seed in seeds if not _survives(scratch, name, geometry, recipe, size, seed)]
    section = f"Survival with other seeds, {size / 1e6:.2f} MB of random bytes each"
    note = f"seeds {seeds[0]} to {seeds[-1]}" + (f"; lost: {', '.join(map(str, lost))}" if lost else "")
    yield Row(section, f"{name}, {recipe}", len(lost), f"of {len(seeds)} lost", at_most=0, note=note)


def _survives(scratch: Scratch, name: str, geometry: BurstGeometry, recipe: str, size: int, seed: int) -> bool:
    source, reel = scratch.fresh("source"), scratch.fresh("reel.mp4")
    delivered, back = scratch.fresh("delivered"), scratch.fresh("back")
    source.write_bytes(np.random.default_rng(seed).bytes(size))
    random = np.random.default_rng(1000 + seed).bytes
    encode_file(source, reel, EncodeOptions(profile=name, geometry=geometry, created="", random=random))
    recode(reel, delivered, Recipe.parse(recipe))
    try:
        decode_file(delivered, back)
    except BytereelError:
        return False
    return back.read_bytes() == source.read_bytes()
