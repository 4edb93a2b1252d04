"""A video of bursts as a reel that is read where it is asked for: a burst is looked up by its strips, not by an index.

Bursts follow each other in time as they did in the writer's reel, more or less: a platform may have cut, re-timed or
padded the video. So a burst is searched for by halving the time, and read from there; what is not found so is found by
reading all of it. Frames that were read stay in a temporary file.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice

from bytereel_codec.bursts.reader import BurstReader
from bytereel_codec.bursts.report import ChannelReport
from bytereel_codec.channel.device import Device
from bytereel_codec.channel.placing.placement import Placer
from bytereel_codec.channel.placing.placer import placed
from bytereel_codec.channel.raster import Picture
from bytereel_codec.channel.strip import StripHeader
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.files.ranged import RangedReader, buffered_file
from bytereel_codec.frame.header import Flag, FrameHeader, parse_masked
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.reading.contents import settle_looked_up
from bytereel_codec.reading.frames import FrameKey, ReelFrames
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.video.kept_frames import KeptFrames

_PROBES_MAX = 12
_PROBED_PICTURES_MAX = 300
_STRAGGLERS = 20  # pictures read on behind a burst, as neighbours may have changed places
_FIRST_PICTURES_MAX = 2000

_FIRST, _DATA, _PARITY, _LAST = range(4)  # leader in front, segments, leader at the end
Order = tuple[int, int]


class BurstVideo:
    """Reads single bursts of a video. Several threads may ask; they are served one after the other."""

    def __init__(self, reader: RangedReader, workers: int = 1, device: Device = Device.CPU) -> None:
        self._reader = reader
        self._workers = workers
        self._device = device
        self._closes = ExitStack()
        self.kept = self._closes.enter_context(KeptFrames(None))
        weakref.finalize(self, self._closes.close)
        self._lock = threading.Lock()
        self._places: dict[FrameKey, int] = {}
        self._headers: dict[FrameKey, FrameHeader] = {}
        self._contested: set[FrameKey] = set()
        self._placer: Placer | None = None
        self._first: FrameHeader | None = None
        self._mark = b""
        self._is_read = False
        self.report: ChannelReport | None = None
        self.shows_others = False
        """Whether pictures of another reel were seen among those that were read."""

    def close(self) -> None:
        """Drop what was kept."""
        self._closes.close()

    def first_header(self) -> FrameHeader | None:
        """The header of the first frame that can be read, None where the video shows no strip at its start."""
        found = placed(partial(self._pictures, 0.0))
        if found is None:
            return None
        self._placer, pictures = found
        bursts = BurstReader(self._placer, self._keep, device=self._device)
        self.report = bursts.report
        for picture in islice(pictures, _FIRST_PICTURES_MAX):
            strip = bursts.add(picture)
            self._mark = self._mark or (strip.mark if strip else b"")
            if self._first is not None:
                return self._first
        bursts.finish()
        return self._first

    def locate(self, key: FrameKey) -> int | None:
        """Where the frame's first sample lies in `kept`, read from the video if need be; None where it is lost, or
        where copies contradict each other: all of them have to be looked at then.

        A front leader that says all serves for the one at the end too. Raises: Temporary `target.full`.
        """
        with self._lock:
            if key not in self._places and key == (Kind.LEADER, 0, 1) and self._first_is_final():
                return self._places.get((Kind.LEADER, 0, 0))
            if key not in self._places and key[0] == Kind.DATA:
                self._read_burst(key[1])
            if key not in self._places:
                self._read_all()
            return None if key in self._contested else self._places.get(key)

    def read_all(self) -> None:
        """Keep every frame that can be read, all copies. Raises: Temporary `target.full`."""
        with self._lock:
            self._read_all()

    def _first_is_final(self) -> bool:
        return self._first is not None and self._first.kind == Kind.LEADER and bool(self._first.flags & Flag.FINAL)

    def _keep(self, image: Bytes) -> None:
        header = parse_masked(image[:HEADER_BYTES].tobytes())
        if header is None:
            return
        self._first = self._first or header
        place = self.kept.write(image)
        if header.reel_id == self._first.reel_id:
            key = (header.kind, header.segment, header.frame)
            self._places.setdefault(key, place)
            if self._headers.setdefault(key, header) != header:
                self._contested.add(key)

    def _pictures(self, start: float) -> Iterator[Picture]:
        return shown_pictures(buffered_file(self._reader), threads=self._workers, start=start)

    def _read_all(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        self._read(0.0, lambda strip: False, self._keep)

    def _read_burst(self, segment: int) -> None:
        """Read that data segment's burst from where the search leads; nothing is kept of its neighbours."""
        wanted = (_DATA, segment)

        def keep(image: Bytes) -> None:
            header = parse_masked(image[:HEADER_BYTES].tobytes())
            if header is not None and (header.kind, header.segment) == (Kind.DATA, segment):
                self._keep(image)

        self._read(self._search(wanted), lambda strip: _order_of(strip) > wanted, keep)

    def _read(self, start: float, is_behind: Callable[[StripHeader], bool], keep: Callable[[Bytes], None]) -> None:
        assert self._placer is not None
        bursts = BurstReader(self._placer, keep, device=self._device)
        left = _STRAGGLERS
        for picture in self._pictures(start):
            strip = bursts.add(picture)
            self.shows_others |= strip is not None and strip.mark != self._mark
            left -= strip is not None and is_behind(strip)
            if left == 0:
                break
        bursts.finish()

    def _search(self, wanted: Order) -> float:
        """The latest share of the video's time known to lie before that burst."""
        low, high = 0.0, 1.0
        for _ in range(_PROBES_MAX):
            middle = (low + high) / 2
            strip = self._strip_at(middle)
            found = None if strip is None else _order_of(strip)
            if found is not None and found < wanted:
                low = middle
                if wanted[1] - found[1] <= 1 and wanted[0] == found[0]:
                    break
            else:
                high = middle
        return low

    def _strip_at(self, start: float) -> StripHeader | None:
        """The strip of the first picture that shows one from there on."""
        assert self._placer is not None
        bursts = BurstReader(self._placer, lambda image: None)
        strips = (bursts.add(picture) for picture in islice(self._pictures(start), _PROBED_PICTURES_MAX))
        return next((strip for strip in strips if strip is not None), None)


def _order_of(strip: StripHeader) -> Order:
    """Where a burst stands in the order of a reel."""
    if strip.kind == Kind.LEADER:
        return (_LAST if strip.number else _FIRST), 0
    return (_DATA if strip.kind == Kind.DATA else _PARITY), strip.number


def reel_in_video(reader: RangedReader, how: Opening) -> Reel | None:
    """The reel in a video of bursts, each burst read when it is asked for; None where its start does not say enough.

    Raises: Permanent `reel.sealed`, `reel.wrong_key`, `reel.newer_format`; Temporary `target.full`.
    """
    with ExitStack() as stack:
        video = stack.enter_context(closing(BurstVideo(reader, how.workers, how.device)))
        first = video.first_header()
        if first is None or not first.segments:
            return None
        frames = ReelFrames.of_first(first)
        reel = how.reel(video.kept, frames, locate=video.locate, read_all=video.read_all)
        reel.channel = video.report
        if not settle_looked_up(reel, first.segments * first.frames_per_segment) or video.shows_others:
            return None
        reel.closes = stack.pop_all()
        return reel
