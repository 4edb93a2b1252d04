"""The figures of one burst: which of its bytes were wrong, and how much of its parity each codeword used up.

`survey` sums them up for a whole reel. What could not be corrected is not known, so no figure counts it.

Source: FORMAT.md sections 13 to 18.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bytereel_codec.bursts.reader import BurstReport
from bytereel_codec.channel.burst import CODEWORD_BYTES, BurstShape
from bytereel_codec.channel.modulation import Code
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.codes import xor_blocks
from bytereel_codec.frame.kinds import Kind

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
SIGMAS = 3
_DISTANCES = ((0.25, "far from"), (0.5, "well away from"), (0.75, "in sight of"), (1.0, "close to"))
_NOTHING_LEFT = "at the very edge of"


@dataclass(frozen=True, slots=True)
class Cliff:
    """How much of its parity each codeword used, and so how far damage may grow.

    `allowed` is what a codeword can take: its parity bytes, of which an error uses two and a lost byte one; with the
    XOR code a codeword is a group, which can take one wrong block. `used` int64[n] counts the codewords that came back
    by what they used, more than `allowed` where the margins told which bytes were wrong. `lost` codewords did not.
    """

    allowed: int
    used: Counts
    lost: int

    @property
    def codewords(self) -> int:
        """All of them."""
        return int(self.used.sum()) + self.lost

    @property
    def worst(self) -> int:
        """The most that a codeword used that came back."""
        return int(np.flatnonzero(self.used)[-1]) if self.used.any() else 0

    @property
    def mean(self) -> float:
        """Of what the codewords that came back used."""
        return float(np.average(np.arange(len(self.used)), weights=self.used)) if self.used.any() else 0.0

    @property
    def sigma(self) -> float:
        """The standard deviation of it."""
        if not self.used.any():
            return 0.0
        variance = np.average((np.arange(len(self.used)) - self.mean) ** 2, weights=self.used)
        return math.sqrt(float(variance))

    @property
    def fraction(self) -> float:
        """The part of the parity that a codeword uses which is `SIGMAS` standard deviations worse than the mean."""
        return (self.mean + SIGMAS * self.sigma) / self.allowed

    @property
    def nearness(self) -> float:
        """Of the worst codeword or the fraction, what is nearer to the cliff, which is at 1."""
        return max(self.fraction, self.worst / self.allowed)

    @property
    def distance(self) -> str:
        """How far the cliff is, in words."""
        if self.lost:
            return "over the cliff"
        return f"{next((text for limit, text in _DISTANCES if self.nearness < limit), _NOTHING_LEFT)} the cliff"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        names = ("allowed", "codewords", "lost", "worst", "mean", "sigma", "fraction", "distance")
        return {**{name: getattr(self, name) for name in names}, "used": self.used.tolist()}


@dataclass(slots=True)
class BurstFigures:
    """One burst: `seen` bool[pictures], `wrong` int64[pictures] bytes corrected in each picture that was seen.

    `filled` bytes of pictures that were not seen came from parity.
    """

    kind: Kind
    number: int
    shape: BurstShape
    seen: Mask
    wrong: Counts
    filled: int
    cliff: Cliff

    @property
    def name(self) -> str:
        """Such as `data 3`."""
        return f"{self.kind.name.lower()} {self.number}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        pictures = {"pictures_seen": self.seen.tolist(), "corrected": self.wrong.tolist(), "filled": self.filled}
        return {"name": self.name, **pictures, **self.cliff.to_dict()}


class CheckedBytes(NamedTuple):
    """A burst's bytes against what they should be: where that is `known` bool[total_bytes], and where not so `wrong`.

    `used` int64[codewords], `lost` bool[codewords]: see `Cliff`. `filled` bytes that were not seen came from parity.
    """

    known: Mask
    wrong: Mask
    used: Counts
    lost: Mask
    filled: int


def checked_bytes(report: BurstReport) -> CheckedBytes:
    """What is known of a burst's bytes."""
    shape, present = report.key[3], report.present
    if shape.modulation.code == Code.XOR:
        return _checked_blocks(report.read, shape, present)
    rows, size = (CODEWORD_BYTES, shape.width), CODEWORD_BYTES * shape.width
    lost: Mask = report.corrected < 0
    known = present.copy()
    known[size:] = False
    known[:size].reshape(rows)[:, lost] = False
    wrong = (report.read != report.stored) & known
    errors = wrong[:size].reshape(rows).sum(axis=0)
    gone = CODEWORD_BYTES - present[:size].reshape(rows).sum(axis=0)
    return CheckedBytes(known, wrong, 2 * errors + gone, lost, int(gone[~lost].sum()))


def _checked_blocks(read: Bytes, shape: BurstShape, present: Mask) -> CheckedBytes:
    """With the XOR code, whose groups are known as a whole or not at all."""
    parity, slot_bytes = shape.modulation.parity, xor_blocks.SLOT_BYTES
    found = xor_blocks.correct(read, parity, ~present)
    true = xor_blocks.encode(found.content, len(read), parity)
    slots = len(read) // slot_bytes
    rows, size = (slots, slot_bytes), slots * slot_bytes
    groups = slots - len(found.content) // xor_blocks.BLOCK_BYTES
    group = np.arange(slots) % groups
    differs = (read != true) | ~present
    used = np.bincount(group[differs[:size].reshape(rows).any(axis=1)], minlength=groups)
    lost = np.isin(np.arange(groups), found.wrong % groups)
    known = present.copy()
    known[size:] = False
    known[:size].reshape(rows)[lost[group]] = False
    filled = int((~present[:size].reshape(rows)[~lost[group]]).sum())
    return CheckedBytes(known, differs & known, used, lost, filled)
