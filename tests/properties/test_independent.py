"""Whatever small reel the package writes, the independent decoder reads, with damage that parity can bring back."""

import hashlib
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import geometry_named
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from hypothesis import given, settings
from hypothesis import strategies as st

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "codec"), str(TESTS / "vectors")]

import independent_decoder as independent  # noqa: E402
import make  # noqa: E402

SPAN = 54_980
KEY = bytes(range(32))


@dataclass(frozen=True)
class Case:
    """A source and how it is encoded. `frames` whole frames and `rest` bytes; `noise` says what it is made of."""

    frames: int
    rest: int
    noise: bool
    compress: bool
    sealed: bool
    parity_percent: int
    seed: int

    @property
    def source(self) -> bytes:
        size = self.frames * SPAN + self.rest
        return random.Random(self.seed).randbytes(size) if self.noise else (b"reel" * (size // 4 + 1))[:size]

    @property
    def key(self) -> bytes | None:
        return KEY if self.sealed else None

    def reel(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source", Path(folder) / "reel.mp4"
            source.write_bytes(self.source)
            encode_file(source, target, self.options())
            return target.read_bytes()

    def options(self) -> EncodeOptions:
        return EncodeOptions(
            parity_percent=self.parity_percent,
            compress=self.compress,
            secret=Secret(key=KEY) if self.sealed else None,
            geometry=geometry_named("144p"),
            random=random.Random(self.seed).randbytes,
            created="",
        )


def cases(frames_max: int, *, parity_min: int = 0, noise: bool | None = None) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        frames=st.integers(0, frames_max),
        rest=st.one_of(st.sampled_from([0, 1, SPAN - 1]), st.integers(0, SPAN - 1)),
        noise=st.booleans() if noise is None else st.just(noise),
        compress=st.booleans() if noise is not False else st.just(value=True),
        sealed=st.booleans(),
        parity_percent=st.integers(parity_min, 100),
        seed=st.integers(0, 2**32 - 1),
    )


def parts_of(video: bytes) -> tuple[list[bytes], list[bytes]]:
    """The boxes that hold no picture, and the chunks (`moof` and `mdat`) of the reel."""
    rest, chunks, start = [], [], 0
    for kind, at, end in make.boxes(video):
        if kind == b"moof":
            start = at
        elif kind == b"mdat":
            chunks.append(video[start:end])
        else:
            rest.append(video[at:end])
    return rest, chunks


def header_of(chunk: bytes) -> independent.Header:
    return next(independent.frames_in(chunk)).header


def is_read(case: Case, video: bytes) -> independent.Reel:
    (reel,) = independent.decode(video, key=case.key).values()
    assert reel.source == case.source
    assert reel.lost == []
    return reel


@settings(max_examples=40, deadline=None)
@given(case=cases(3))
def test_a_reel_is_read_with_its_digests(case: Case) -> None:
    reel = is_read(case, case.reel())
    assert reel.tree_checked
    assert reel.leader["size_bytes"] == len(case.source)
    assert reel.leader["digest"] == reel.tree_digest


@settings(max_examples=20, deadline=None)
@given(case=cases(3), order=st.randoms(use_true_random=False), cut=st.integers(0, 7))
def test_chunks_are_read_in_any_order_and_doubled(case: Case, order: random.Random, cut: int) -> None:
    _, chunks = parts_of(case.reel())
    chunks += order.sample(chunks, min(cut, len(chunks)))
    order.shuffle(chunks)
    assert is_read(case, b"\x00\x00\x01".join(chunks)).tree_checked


def damages() -> st.SearchStrategy[Callable[[bytes, random.Random], bytes]]:
    """Ways to lose a chunk: gone, one byte other in the picture, cut off, bytes put in."""

    def place(chunk: bytes, dice: random.Random) -> int:
        return dice.randrange(109, 109 + 128 + header_of(chunk).length)

    def changed(chunk: bytes, dice: random.Random) -> bytes:
        at = place(chunk, dice)
        return chunk[:at] + bytes([chunk[at] ^ dice.randrange(1, 256)]) + chunk[at + 1 :]

    return st.sampled_from(
        [
            lambda chunk, dice: b"",
            changed,
            lambda chunk, dice: chunk[: place(chunk, dice)],
            lambda chunk, dice: chunk[: (at := place(chunk, dice))] + b"\xff" + chunk[at:],
        ]
    )


@settings(max_examples=60, deadline=None)
@given(
    case=st.one_of(cases(4, parity_min=10), cases(60, parity_min=5, noise=False)),
    damage=damages(),
    dice=st.randoms(use_true_random=False),
    leaders=st.booleans(),
)
def test_what_parity_covers_comes_back(
    case: Case, damage: Callable[[bytes, random.Random], bytes], dice: random.Random, *, leaders: bool
) -> None:
    _, chunks = parts_of(case.reel())
    headers = [header_of(chunk) for chunk in chunks]
    columns = max((header.columns for header in headers if header.kind == independent.PARITY), default=0)
    segments = sorted({(header.kind, header.segment) for header in headers if header.kind != independent.LEADER})
    lost = set(dice.sample(segments, min(columns, len(segments))))
    kept = [
        damage(chunk, dice) if (header.kind, header.segment) in lost else chunk
        for chunk, header in zip(chunks, headers, strict=True)
        if leaders or not case.source or header.kind != independent.LEADER
    ]
    if any(header.kind == independent.DATA for header in headers):
        reel = is_read(case, b"".join(kept))
        assert leaders == reel.tree_checked
        assert reel.tree_digest == hashlib.sha256(b"".join(digests_of(case, headers))).hexdigest()


def digests_of(case: Case, headers: list[independent.Header]) -> list[bytes]:
    """The segments' digests, taken from the source itself (FORMAT.md section 8)."""
    size = headers[0].frames_per_segment * SPAN
    return [hashlib.sha256(case.source[at : at + size]).digest() for at in range(0, len(case.source), size)]


@settings(max_examples=20, deadline=None)
@given(case=cases(3), data=st.data())
def test_what_parity_does_not_cover_is_named(case: Case, data: st.DataObject) -> None:
    _, chunks = parts_of(case.reel())
    headers = [header_of(chunk) for chunk in chunks]
    places = [i for i, header in enumerate(headers) if header.kind == independent.DATA]
    if not places:
        return
    gone = set(data.draw(st.lists(st.sampled_from(places), min_size=1, unique=True)))
    kept = [c for i, c in enumerate(chunks) if i not in gone and headers[i].kind != independent.PARITY]
    (reel,) = independent.decode(b"".join(kept), key=case.key).values()
    starts = sorted((headers[i].segment * headers[i].frames_per_segment + headers[i].frame) * SPAN for i in gone)
    assert reel.source is None
    assert reel.lost == [(start, min(start + SPAN, len(case.source))) for start in starts]
    for offset, piece in reel.pieces.items():
        assert piece == case.source[offset : offset + SPAN]


@settings(max_examples=10, deadline=None)
@given(left=cases(1), right=cases(1))
def test_two_reels_in_one_file_are_told_apart(left: Case, right: Case) -> None:
    if left.seed == right.seed:
        return
    found = independent.decode(left.reel() + right.reel(), key=KEY)
    assert sorted(reel.source or b"" for reel in found.values()) == sorted([left.source, right.source])
