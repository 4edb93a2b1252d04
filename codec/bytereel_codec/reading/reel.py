"""A reel that is there: its frames found, and what parity brings back of them.

`Reel` is shared by threads; each thread reads through a `reel_reader.ReelReader` of its own. Where frames lie is told
by the segment index in front of the reel where it is right, else by a pass over all headers, else by a look at every
byte; in a video of bursts, by a search for their strips.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bytereel_codec.errors import Integrity
from bytereel_codec.files.ranged import RangedReader
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.reading.scan import FrameKey, ReelFrames, frames_of_reel
from bytereel_codec.reel.parity import FetchFrame, ParityShape, recover_stripe

if TYPE_CHECKING:
    from bytereel_codec.bursts.reader import ChannelReport


class Reel:
    """One reel in a ranged reader. Opening derives the key (scrypt: tens of MiB for a moment)."""

    def __init__(
        self,
        reader: RangedReader,
        frames: ReelFrames,
        secret: Secret | None = None,
        *,
        locate: Callable[[FrameKey], int | None] | None = None,
        read_all: Callable[[], None] = lambda: None,
    ) -> None:
        """`frames` is the whole index; with `locate`, which finds single frames, it may still be all but empty.

        `read_all` makes `reader` hold all the frames there are, where `locate` reads only those it is asked for. Of a
        reel of bursts, `reader` reads the frames that were found in it, `channel` says how well they were read, and
        `closes` ends the file that holds them.
        """
        self.reader = reader
        self.frames = frames
        self.reel_id = frames.first.reel_id
        self.span_bytes = frames.first.span_bytes
        self.frames_per_segment = frames.first.frames_per_segment
        self._secret = secret
        self._lock = threading.Lock()
        self._locate = locate
        self._read_all = read_all
        self._thorough = False
        self._stripe: tuple[tuple[int, int], dict[int, tuple[FrameHeader, memoryview]]] | None = None
        self.recovered: set[tuple[int, int]] = set()
        self.key_is_right = False
        self.channel: ChannelReport | None = None
        self.closes = ExitStack()

    @property
    def shape(self) -> ParityShape:
        """The parity that the reel has."""
        return ParityShape(self.frames.groups, self.frames.columns)

    @property
    def sealed(self) -> bool:
        """Whether the frames seen are sealed."""
        return bool(self.frames.sealed)

    @property
    def segments(self) -> int:
        """Data segments."""
        return self.frames.data_segments()

    def close(self) -> None:
        """Let go of what was opened for this reel alone."""
        self.closes.close()

    def envelope(self) -> Envelope:
        """A new envelope under the reel's key. Raises: Permanent `secret.wrong_kind`."""
        if self._secret is None or self.frames.sealed is False:
            return Envelope(None)
        return Envelope(self._secret.reel_key(self.reel_id, self.frames.first.scrypt_log2_n))

    def offset_of(self, segment: int, frame: int) -> int:
        """Where in the source a data frame's bytes begin."""
        return (segment * self.frames_per_segment + frame) * self.span_bytes

    def places(self, key: FrameKey) -> tuple[int, ...]:
        """Where the frame's first sample lies; empty when it was not found."""
        known = self.frames.places.get(key)
        if known is not None or self._locate is None:
            return known or ()
        place = self._locate(key)
        if place is not None:
            return (place,)
        with self._lock:
            if self._locate is not None:
                self._index_again(thorough=False)
        return self.frames.places.get(key, ())

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
        known, self._locate = self.frames, None
        self._read_all()
        self.frames = frames_of_reel(self.reader, self.reel_id, thorough=thorough)
        self.frames.segments = self.frames.segments or known.segments
        if self.frames.last_segment_frames is None and self.segments == known.data_segments():
            self.frames.last_segment_frames = known.last_segment_frames

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
                    hint="bytereel decode --salvage writes what is left",
                    expected=self.segments,
                    actual=self.segments - gone,
                )

    def stripe(self, segment: int, frame: int, fetch: FetchFrame) -> dict[int, tuple[FrameHeader, memoryview]]:
        """What parity brings back of the stripe that a frame lies in; the last stripe is kept."""
        if not self.shape.columns:
            return {}
        group = segment % self.shape.groups
        with self._lock:
            if self._stripe is None or self._stripe[0] != (group, frame):
                found = recover_stripe(
                    self.shape, self.segments, group, frame, fetch, lambda s, f: f < self.frames.frames_in(s)
                )
                self._stripe = ((group, frame), found)
            return self._stripe[1]
