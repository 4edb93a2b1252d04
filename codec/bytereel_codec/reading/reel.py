"""A reel that is there: its frames found, its key, and what parity brings back.

`Reel` is shared by threads; each thread reads through a `reel_reader.ReelReader` of its own. Where frames lie is told
by the segment index in front of the reel where it is right, else by a pass over all headers, else by a look at every
byte; in a video of bursts, by a search for their strips.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bytereel_codec.bursts.report import ChannelReport
from bytereel_codec.channel.device import Device
from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.ranged import RangedReader
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.frames import FrameKey, ReelFrames, agreement_of, key_of
from bytereel_codec.reading.scan import Wanted, frames_of_reel
from bytereel_codec.reel.parity import ParityShape

if TYPE_CHECKING:
    from bytereel_codec.reel.recovery.recovery import Recovery
    from bytereel_codec.reel.recovery.stripe import FetchCopy, Opens, Recovered

_COSTS_TRIED = 3
_VAIN_PASSES, _VAIN_BYTES_MIN = 16, 256 << 20


class Reel:
    """One reel in a ranged reader, read with a secret or without."""

    def __init__(
        self,
        reader: RangedReader,
        frames: ReelFrames,
        secret: Secret | None = None,
        *,
        allow_unsealed: bool = False,
        locate: Callable[[FrameKey], int | None] | None = None,
        read_all: Callable[[], None] = lambda: None,
    ) -> None:
        """`frames` is the whole index; with `locate`, which finds single frames, it may still be all but empty.

        With a secret nothing unsealed is taken for data or leader, unless `allow_unsealed` and most frames are so.
        `read_all` makes `reader` hold all the frames there are, where `locate` reads only those it is asked for. Of a
        reel of bursts, `reader` reads the frames that were found in it, `channel` says how well they were read.
        `closes` ends what was opened for this reel. Of damaged frames no more is read than `vain_bytes_left`, as forged
        headers may claim the same bytes again and again. `chosen`, `settled`,
        `contradicted` and `settling` are those of `copies`.
        """
        self.reader = reader
        self.frames = frames
        self._secret = secret
        self._allow_unsealed = allow_unsealed
        self._lock = threading.RLock()
        self._locate = locate
        self._read_all = read_all
        self._thorough = frames.is_thorough
        self._recovery: Recovery | None = None
        self.recovered: set[tuple[int, int]] = set()
        self.chosen: dict[FrameKey, int] = {}
        self.settled: set[int] = set()
        self.contradicted: set[FrameKey] = set()
        self.settling = threading.RLock()
        self.scrypt_log2_n = frames.first.scrypt_log2_n
        self.key_is_right = False
        self.vain_bytes_left = _VAIN_PASSES * reader.size_bytes + _VAIN_BYTES_MIN
        self.channel: ChannelReport | None = None
        self.closes = ExitStack()

    @property
    def reel_id(self) -> bytes:
        """The reel's id."""
        return self.frames.first.reel_id

    @property
    def span_bytes(self) -> int:
        """Bytes of the source that a full frame carries."""
        return self.frames.first.span_bytes

    @property
    def frames_per_segment(self) -> int:
        """Data frames of a full segment."""
        return self.frames.first.frames_per_segment

    @property
    def shape(self) -> ParityShape:
        """The parity that the reel has."""
        return ParityShape(self.frames.groups, self.frames.columns)

    @property
    def sealed(self) -> bool | None:
        """Whether data and leaders are to be sealed; None where, without a secret, parity alone was seen."""
        if self._secret is not None and not self._allow_unsealed:
            return True
        return self.frames.seals.of_most

    @property
    def has_secret(self) -> bool:
        """Whether there is a secret to open it with."""
        return self._secret is not None

    @property
    def segments(self) -> int:
        """Data segments."""
        return self.frames.data_segments()

    def close(self) -> None:
        """Let go of what was opened for this reel alone."""
        self.closes.close()

    def require_seals(self) -> None:
        """Refuse a reel without a single sealed frame where a secret says that it ought to be sealed.

        Raises: Permanent `reel.unsealed`.
        """
        if self.sealed and self.frames.seals.unsealed and not self.frames.seals.sealed:
            raise Permanent(
                "reel.unsealed",
                "the reel is not sealed, and a secret was given: anybody may have written it",
                hint="leave the secret out, or allow what is not sealed",
            )

    def takes(self, header: FrameHeader, key: FrameKey) -> bool:
        """Whether a frame that was found can be the one of that place, sealed as this reel's frames are."""
        if agreement_of(header) != agreement_of(self.frames.first) or key_of(header) != key:
            return False
        return header.kind == Kind.PARITY or self.sealed in (None, bool(header.flags & Flag.SEALED))

    def envelope(self) -> Envelope:
        """A new envelope under the reel's key. Raises: Permanent `secret.wrong_kind`."""
        if self._secret is None or self.sealed is False:
            return Envelope(None)
        return Envelope(self._secret.reel_key(self.reel_id, self.scrypt_log2_n))

    def costs(self) -> list[int]:
        """The scrypt costs that frames state, the likeliest first: no seal covers them."""
        return self.frames.costs.ranked()[:_COSTS_TRIED] or [self.frames.first.scrypt_log2_n]

    def offset_of(self, segment: int, frame: int) -> int:
        """Where in the source a data frame's bytes begin."""
        return (segment * self.frames_per_segment + frame) * self.span_bytes

    def places(self, key: FrameKey) -> tuple[int, ...]:
        """Where copies of the frame have their first samples; empty when none was found."""
        known = self.frames.places.get(key)
        if known is not None or self._locate is None:
            return known or ()
        place = self._locate(key)
        if place is not None:
            return (place,)
        self.find_all()
        return self.frames.places.get(key, ())

    def find_all(self) -> bool:
        """Find every frame, where they were looked up one by one; True when that had not been done before."""
        with self._lock:
            if self._locate is None:
                return False
            self._index_again(thorough=False)
            return True

    def look_thoroughly(self) -> bool:
        """Look at every byte of the file for frames once; True when that had not been done before."""
        with self._lock:
            if self._thorough:
                return False
            self._thorough = True
            self._index_again(thorough=True)
            return True

    def _index_again(self, *, thorough: bool) -> None:
        """Find every frame, keeping what was known of the reel's end; under the lock."""
        known, self._locate, self._recovery = self.frames, None, None
        self._read_all()
        self.frames = frames_of_reel(self.reader, Wanted(self.reel_id), thorough=thorough or None)
        if self.sealed and known.segments is not None:  # told by a sealed leader
            self.frames.take(known.segments, known.last_segment_frames)
        elif known.segments is not None:
            self.frames.settle([(known.segments, known.last_segment_frames)])
            self.frames.last_segment_frames = self.frames.last_segment_frames or known.last_segment_frames

    @property
    def is_looked_up(self) -> bool:
        """Whether frames are found one by one, so that most of what the headers state was not seen."""
        return self._locate is not None

    def reach(self) -> Mapping[int, Collection[int]] | None:
        """The frames of each segment that were found or that parity may bring back; None: look for every one."""
        return None if self.is_looked_up or self.frames.is_complete() else self.frames.within_reach()

    def require_reach(self) -> None:
        """Refuse a reel of which whole segments are gone, and with it any number that a hostile header states.

        Raises: Integrity `reel.damaged`. Says nothing of a reel whose frames are still found by its index.
        """
        if self._locate is None and not self.frames.is_complete():
            gone = self.segments - len(self.frames.within_reach())
            if gone > 0:
                raise Integrity(
                    "reel.damaged",
                    f"{gone} of {self.segments} segments of the reel are lost",
                    hint="salvaging writes what is left",
                    expected=self.segments,
                    actual=self.segments - gone,
                )

    def recover(
        self,
        segment: int,
        frame: int,
        fetch: "FetchCopy",
        opens: "Opens" = lambda header, payload: True,
        choice: int | None = None,
    ) -> "Recovered | None":
        """A lost frame as parity brings it back, None where there is too little of it; `choice`: see `Recovery`."""
        if not self.shape.columns:
            return None
        from bytereel_codec.reel.recovery.recovery import Recovery  # not loaded where nothing is lost
        from bytereel_codec.reel.recovery.stripe import Stripe

        stripe = Stripe(
            self.reel_id,
            self.shape,
            self.segments,
            segment % self.shape.groups,
            frame,
            self.span_bytes,
            self.frames_per_segment,
            lambda s, f: f < self.frames.frames_in(s),
            self.frames.last_segment_frames is not None,
            lambda s, f: len(self.frames.places.get((Kind.PARITY, s, f), ())),
        )
        if segment not in stripe.segments:  # the counts have changed since it was asked for
            return None
        with self._lock:
            self._recovery = self._recovery or Recovery()
            return self._recovery.frame(stripe, segment, fetch, opens, choice)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a reel is to be opened. `reel_id`: first bytes of the id, where there are several.

    With a secret, what is not sealed is refused, unless `allow_unsealed`. `workers`: threads that decode a video of
    bursts, `device` what reads its pictures. With `part`, frames are looked up when they are asked for, where the
    file's start says enough.
    """

    secret: Secret | None = None
    reel_id: bytes | None = None
    allow_unsealed: bool = False
    workers: int = 1
    device: Device = Device.CPU
    part: bool = False

    @property
    def wants_seals(self) -> bool:
        """Whether nothing but sealed frames is to be taken."""
        return self.secret is not None and not self.allow_unsealed

    def reel(self, reader: RangedReader, frames: ReelFrames, **lookup: object) -> Reel:
        """A reel of those frames, read as is said here; `lookup` as `Reel` takes it."""
        return Reel(reader, frames, self.secret, allow_unsealed=self.allow_unsealed, **lookup)  # type: ignore[arg-type]
