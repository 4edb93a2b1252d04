"""Bursts while their pictures come in. Of a picture that comes more than once, the surest copy counts.

Anybody can put pictures of his own for a burst among its own. Where two copies of a picture have little in common, the
burst is contested: what came first of each picture, and what came last, are then kept apart as well, so that a forged
burst in front of the true one, or behind it, does not spoil it.
"""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import numpy.typing as npt

from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.symbols.modulator import Bytes

Mask = npt.NDArray[np.bool_]

_SEEN_SHARE_MIN = 32
_SURER_THAN_ANY = 256.0  # a margin is a byte
_OTHER_SHARE_MIN = 0.4  # of the bytes: what a channel does to a copy that is read at all stays below
# Where a picture's bytes are compared, as shares of it: other places in each process, so that no forger knows them.
_PLACES = np.random.default_rng().random(64)


class Burst:
    """A burst that pictures are being added to."""

    def __init__(self, shape: BurstShape) -> None:
        self.shape = shape
        self.content = np.zeros(shape.total_bytes, np.uint8)
        self.margin = np.zeros(shape.total_bytes, np.uint8)
        self.present = np.zeros(shape.total_bytes, bool)
        self.sureness = np.full(shape.pictures, -1.0)

    @property
    def seen(self) -> int:
        """Pictures that came."""
        return int((self.sureness >= 0).sum())

    @property
    def is_complete(self) -> bool:
        """Whether all of them came."""
        return self.seen == self.shape.pictures

    @property
    def is_hopeless(self) -> bool:
        """Whether so little came that looking for frames is not worth the time that a forged strip could ask for."""
        return self.seen * _SEEN_SHARE_MIN < self.shape.pictures

    @property
    def is_beyond_parity(self) -> bool:
        """Whether so many bytes are missing that no codeword can come back."""
        missing = (self.shape.pictures - self.seen) * self.shape.picture_bytes
        return missing > self.shape.total_bytes - self.shape.data_bytes

    def differs(self, picture: int, content: Bytes) -> bool:
        """Whether the copy of that picture that is there has little in common with another one."""
        if self.sureness[picture] < 0:
            return False
        return are_others(sampled(self.content[self._part(picture)]), sampled(content))

    def add(self, picture: int, content: Bytes, margin: Bytes, present: Mask, *, sureness: float | None = None) -> None:
        """Take in a picture's bytes, unless a surer copy is there: by its mean margin, or by what is given."""
        sureness = float(margin.mean()) if sureness is None else sureness
        if sureness <= self.sureness[picture]:
            return
        self.sureness[picture] = sureness
        part = self._part(picture)
        self.content[part], self.margin[part], self.present[part] = content, margin, present

    def _part(self, picture: int) -> slice:
        return slice(picture * self.shape.picture_bytes, (picture + 1) * self.shape.picture_bytes)

    def sample(self) -> Bytes:
        """A few bytes of each picture: uint8[pictures, n]."""
        return sampled(self.content.reshape(self.shape.pictures, self.shape.picture_bytes))


def sampled(content: Bytes) -> Bytes:
    """A few bytes of a picture's, or of each one's of several: uint8[..., bytes] to uint8[..., n]."""
    return content[..., (_PLACES * content.shape[-1]).astype(np.intp)]


def are_others(one: Bytes, two: Bytes) -> bool:
    """Whether two samples of a picture's bytes have little in common; of an empty one nothing is known."""
    return len(one) > 0 and float((one != two).mean()) > _OTHER_SHARE_MIN


class Contest:
    """A burst, and once it is contested, what came first of its pictures, and what came last."""

    def __init__(self, shape: BurstShape) -> None:
        self.surest = Burst(shape)
        self._first: Burst | None = None
        self._last: Burst | None = None
        self._newest = _SURER_THAN_ANY

    def add(self, picture: int, content: Bytes, margin: Bytes, present: Mask) -> None:
        """Take in a picture's bytes."""
        if self._first is None and self.surest.differs(picture, content):
            self._first, self._last = deepcopy(self.surest), deepcopy(self.surest)
        if self._first is not None and self._last is not None:
            self._newest += 1
            if self._first.sureness[picture] < 0:
                self._first.add(picture, content, margin, present)
            self._last.add(picture, content, margin, present, sureness=self._newest)
        self.surest.add(picture, content, margin, present)

    def bursts(self) -> Iterator[Burst]:
        """The surest, and the others where there are any."""
        yield self.surest
        yield from (burst for burst in (self._first, self._last) if burst is not None)
