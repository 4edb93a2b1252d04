"""Whatever small reel of bursts the package writes, the decoder written from the text reads, and after another encoder.

Two kinds of reel: those of the profiles, and such as no profile asks for (any parameters of any family), which are
encoded without loss: what is tried with these is the text, not what they survive.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import independent_lossy as independent
import numpy as np
import pytest
from bytereel_codec.channel.modulation import Code, Family, Modulation
from bytereel_codec.channel.raster import RASTERS
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.profiles import PROFILES, USER_DEFINED, Profile
from bytereel_codec.profiles.recipes import Recipe
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from hypothesis import example, given, settings
from hypothesis import strategies as st

KEY = bytes(range(32))
RECODED = {
    "balanced": "x264:crf=23",
    "rugged": "x264:crf=23",
    "stream": "x264:crf=23",
    "classic16": "x264:crf=18",
}
"""One hard re-encode that each profile is meant for."""


@dataclass(frozen=True)
class Case:
    """A source of `size` random bytes and how it is encoded."""

    profile: str | Profile
    geometry: str
    size: int
    seed: int
    sealed: bool = False
    parity_percent: int = 0

    @property
    def source(self) -> bytes:
        return random.Random(self.seed).randbytes(self.size)

    @property
    def key(self) -> bytes | None:
        return KEY if self.sealed else None

    def reel(self, recipe: str | None = None) -> bytes:
        """The reel, after that recipe."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source", Path(folder) / "reel.mp4"
            source.write_bytes(self.source)
            encode_file(source, target, self.options())
            if recipe:
                recode(target, target, Recipe.parse(recipe))
            return target.read_bytes()

    def options(self) -> EncodeOptions:
        return EncodeOptions(
            profile=self.profile,
            geometry=self.geometry,
            parity_percent=self.parity_percent,
            secret=Secret(key=KEY) if self.sealed else None,
            random=random.Random(self.seed).randbytes,
            created="",
        )


def cases(profiles: st.SearchStrategy[str] | st.SearchStrategy[Profile]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        profile=profiles,
        geometry=st.sampled_from(["144p", "360p"]),
        size=st.one_of(st.sampled_from([0, 1]), st.integers(2, 4000)),
        seed=st.integers(0, 2**32 - 1),
        sealed=st.booleans(),
    )


def lossless(modulation: Modulation, quantiser: int = 30, strip_amplitude: int = 64, pictures: int = 255) -> Profile:
    """A profile whose own encoder changes no sample."""
    channel = PROFILES["rugged"].channel
    assert channel is not None
    drawn = replace(
        channel,
        modulation=modulation,
        quantiser=quantiser,
        strip_amplitude=strip_amplitude,
        pictures=pictures,
        preset="ultrafast",
        encoder_options=(("qp", "0"),),
    )
    return replace(PROFILES["rugged"], name="drawn", number=USER_DEFINED, channel=drawn)


def modulations() -> st.SearchStrategy[Modulation]:
    parity = st.integers(1, 64).map(lambda half: 2 * half)
    return st.one_of(
        st.builds(Modulation, st.just(Family.DCT4), st.integers(1, 16), st.integers(0, 16), parity),
        st.builds(Modulation, st.just(Family.DCT8), st.sampled_from(range(2, 17, 2)), st.just(0), parity),
        st.builds(Modulation, st.just(Family.CELLS), st.sampled_from([2, 4, 6, 8]), st.sampled_from([2, 6, 7]), parity),
    )


def drawn_cases() -> st.SearchStrategy[Case]:
    profiles = st.builds(lossless, modulations(), st.integers(24, 34), st.integers(8, 120))
    return cases(profiles).filter(has_room)


def has_room(case: Case) -> bool:
    """Whether a burst of such pictures holds 16 KiB, less than which the package refuses."""
    assert isinstance(case.profile, Profile)
    geometry = BurstGeometry(case.profile, RASTERS[case.geometry])
    return geometry.frames_max * geometry.frame_bytes >= 16 << 10


def is_read(case: Case, pictures: Sequence[independent.Picture]) -> independent.Reel:
    (reel,) = independent.decode_pictures(pictures, key=case.key).values()
    assert reel.source == case.source
    assert reel.lost == []
    return reel


@settings(max_examples=16, deadline=None)
@given(case=cases(st.sampled_from(sorted(RECODED))))
def test_a_reel_is_read_with_its_digests(case: Case) -> None:
    reel = is_read(case, independent.pictures_of(case.reel()))
    assert reel.tree_checked
    assert (reel.leader["profile"], reel.leader["size_bytes"]) == (case.profile, case.size)


@settings(max_examples=8, deadline=None)
@given(case=cases(st.sampled_from(sorted(RECODED))))
def test_a_reel_is_read_after_another_encoder(case: Case) -> None:
    assert is_read(case, independent.pictures_of(case.reel(RECODED[str(case.profile)]))).tree_checked


@settings(max_examples=30, deadline=None)
@example(case=Case(lossless(Modulation(Family.DCT4, 16, 16, 8)), "360p", 2000, 1))
@example(case=Case(lossless(Modulation(Family.DCT8, 16, 0, 8)), "144p", 500, 1))
@example(case=Case(lossless(Modulation(Family.CELLS, 8, 6, 8)), "360p", 2000, 1))
@example(case=Case(lossless(Modulation(Family.CELLS, 4, 7, 8)), "360p", 2000, 1))
@given(case=drawn_cases())
def test_pictures_as_they_were_drawn_hold_codewords_and_frames(case: Case) -> None:
    pictures = independent.pictures_of(case.reel())
    for burst in independent.bursts_in(pictures):
        width = independent.codewords_of(len(burst.content), burst.strip.pictures)
        matrix = burst.content[: 255 * width].reshape(255, width)
        assert independent.are_codewords(matrix, burst.strip.parity).all()
        assert not burst.lost.any()
    assert is_read(case, pictures).tree_checked


@pytest.mark.parametrize("geometry", ["480p", "720p", "1080p", "1440p", "2160p"])
def test_pictures_of_every_size_are_read(geometry: str) -> None:
    case = Case(lossless(Modulation(Family.DCT4, 4, 4, 16)), geometry, 500, 1)
    pictures = independent.pictures_of(case.reel())
    assert is_read(case, pictures).tree_checked
    assert {independent.SIZES[burst.strip.size] for burst in independent.bursts_in(pictures)} == {
        pictures[0].y.shape[::-1]
    }


@settings(max_examples=12, deadline=None)
@given(
    modulation=st.builds(
        Modulation,
        st.just(Family.CELLS),
        st.sampled_from([2, 4, 8]),
        st.sampled_from([2, 6, 7]),
        st.integers(1, 255),
        st.just(Code.XOR),
    ),
    size=st.integers(9_000, 14_000),
    dice=st.randoms(use_true_random=False),
)
def test_a_block_of_each_xor_group_may_be_wrong(modulation: Modulation, size: int, dice: random.Random) -> None:
    case = Case(lossless(modulation), "144p", size, dice.randrange(2**32))
    pictures = independent.pictures_of(case.reel())
    assert is_read(case, pictures).tree_checked
    bursts = list(independent.bursts_in(pictures))
    xored = [burst for burst in bursts if burst.strip.code]
    assert [burst.strip.kind for burst in xored] == [independent.DATA]
    damaged, slots = xored[0].content.copy(), len(xored[0].content) // independent.SLOT_BYTES
    groups = slots - slots * modulation.parity // (modulation.parity + 1)
    for group in range(groups):
        slot = dice.randrange(group, slots, groups)
        damaged[slot * independent.SLOT_BYTES + dice.randrange(independent.SLOT_BYTES)] ^= dice.randrange(1, 256)
    assert xored[0]._replace(content=damaged).data == xored[0].data


@settings(max_examples=12, deadline=None)
@example(Case(lossless(Modulation(Family.DCT4, 3, 2, 32), 24, 8), "144p", 1, 0), random.Random(0), 0)
@example(Case(lossless(Modulation(Family.DCT4, 3, 0, 2), 24, 8), "144p", 0, 0), random.Random(0), 0)
@given(
    case=drawn_cases(),
    dice=st.randoms(use_true_random=False),
    again=st.integers(0, 5),
)
def test_pictures_are_read_in_any_order_doubled_and_with_some_missing(
    case: Case, dice: random.Random, again: int
) -> None:
    pictures = independent.pictures_of(case.reel())
    pictures = without_some(pictures, dice)
    pictures += dice.sample(pictures, min(again, len(pictures)))
    dice.shuffle(pictures)
    assert is_read(case, pictures).tree_checked


def without_some(pictures: list[independent.Picture], dice: random.Random) -> list[independent.Picture]:
    """The pictures without as many of each burst as its parity makes up for."""
    strips = [independent.strip_of(picture) for picture in pictures]
    places = [number for number, strip in enumerate(strips) if strip is not None]
    gone: set[int] = set()
    for burst in independent.bursts_in(pictures):
        own = [n for n in places if replace(strips[n], picture=0) == burst.strip]
        picture_bytes = len(burst.content) // burst.strip.pictures
        of_codeword = -(-picture_bytes // independent.codewords_of(len(burst.content), burst.strip.pictures))
        gone |= set(dice.sample(own, min(burst.strip.parity // of_codeword, len(own))))
    return [picture for number, picture in enumerate(pictures) if number not in gone]


@settings(max_examples=6, deadline=None)
@given(rest=st.integers(0, 18_000), seed=st.integers(0, 2**32 - 1), dice=st.randoms(use_true_random=False), leaders=...)
def test_whole_bursts_come_back_from_parity(rest: int, seed: int, dice: random.Random, leaders: bool) -> None:
    profile = lossless(Modulation(Family.DCT4, 16, 16, 8), 34, 16, pictures=5)
    case = Case(profile, "144p", 30_000 + rest, seed, parity_percent=40)
    strips = [(independent.strip_of(picture), picture) for picture in independent.pictures_of(case.reel())]
    told = [(strip, picture) for strip, picture in strips if strip is not None]
    segments = sorted({(strip.kind, strip.number) for strip, _ in told if strip.kind != independent.LEADER})
    counts = Counter(kind for kind, _ in segments)
    assert counts[independent.DATA] > 1
    lost = dice.sample(segments, counts[independent.PARITY])
    kept = [picture for strip, picture in told if (strip.kind, strip.number) not in lost
            and (leaders or strip.kind != independent.LEADER)]  # fmt: skip
    reel = is_read(case, kept)
    assert reel.recovered == sum(kind == independent.DATA for kind, _ in lost)
    assert reel.tree_checked == leaders


def test_a_grey_picture_stands_around_each_run_of_16() -> None:
    """Source: FORMAT.md section 12."""
    case = Case("rugged", "144p", 70_000, 3)
    numbers = [strip.picture if (strip := independent.strip_of(picture)) else None
               for picture in independent.pictures_of(case.reel())]  # fmt: skip
    runs = [list(run) for is_grey, run in groupby(numbers, key=lambda number: number is None) if not is_grey]
    assert numbers[0] is numbers[-1] is None
    assert [run for run in runs if len(run) > 16] == []
    for run, after in zip(runs, [*runs[1:], [0]], strict=True):
        assert run == list(range(run[0], run[0] + len(run)))
        assert after[0] == 0 or (len(run) == 16 and after[0] == run[-1] + 1)


def test_what_is_no_reel_holds_none() -> None:
    dice = np.random.default_rng(5)
    noise = [independent.Picture(*(dice.integers(0, 256, shape).astype(np.uint8) for shape in
             ((144, 256), (72, 128), (72, 128)))) for _ in range(20)]  # fmt: skip
    assert independent.decode_pictures(noise) == {}
