"""A video of bursts, however it was encoded again, to the frames it carries: the way back from pictures to bytes.

Each picture is placed (`channel.locate`), told by its strip, demodulated into its burst, and a burst that is complete
(or that nobody adds to any more) is corrected. The frames come out as they stood in the writer's burst and are written
in a row as a raw stream of I_PCM pictures: from there on a reel of any profile is read alike.

Memory: open bursts of at most `OPEN_BYTES_MAX`, their margins, and a few pictures.
Source: FORMAT.md sections 12 to 18.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bytereel_codec.bursts.burst import Burst, Contest, Mask, are_others, sampled
from bytereel_codec.bursts.report import ChannelReport
from bytereel_codec.channel.burst import CODEWORD_BYTES, BurstShape
from bytereel_codec.channel.byte_places import lost_bytes
from bytereel_codec.channel.device import Device
from bytereel_codec.channel.modulation import Code, Family
from bytereel_codec.channel.on_device import column_code, modulator_for
from bytereel_codec.channel.placing.placement import Placer
from bytereel_codec.channel.placing.placer import placed
from bytereel_codec.channel.raster import LUMA_REST, Picture
from bytereel_codec.channel.strip import Reading, StripHeader, search
from bytereel_codec.channel.symbols.modulator import Bytes, Modulator
from bytereel_codec.codes.xor_blocks import correct as correct_blocks
from bytereel_codec.frame.header import MASKED_MAGIC, parse_masked
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES

OPEN_BYTES_MAX = 256 << 20
BURST_BYTES_MAX = 96 << 20  # several times the largest that a profile of ours makes
_OPEN_MAX = 64
_NOTED_BYTES_MAX = 16 << 20
_CONTESTS_MAX = 8  # how often a burst that came back is read again, as another one was put in its place

Corrections = npt.NDArray[np.int16]
BurstKey = tuple[bytes, Kind, int, BurstShape]


@dataclass(slots=True)
class BurstReport:
    """What became of one burst: `corrected` bytes (int16[codewords], -1 where a codeword is lost).

    Shapes of the others: [total_bytes]. `read` as it came, `stored` after the correction; `present`: what came at all.
    """

    key: BurstKey
    corrected: Corrections
    stored: Bytes
    read: Bytes
    margin: Bytes
    present: Mask


Observer = Callable[[BurstReport], None]


class BurstReader:
    """Takes in pictures in any order and gives out the frames of bursts. Not for use by two threads at once."""

    def __init__(
        self,
        placer: Placer,
        emit: Callable[[Bytes], object],
        observe: Observer | None = None,
        device: Device = Device.CPU,
    ) -> None:
        """`emit` takes a frame's image as it stood in the burst, header masked: uint8[n], good for the call."""
        self._device = device
        self._placer = placer
        self._emit = emit
        self._observe = observe
        self._open: OrderedDict[BurstKey, Contest] = OrderedDict()
        self._done: dict[BurstKey, Bytes] = {}
        self._noted_bytes = 0
        self._contests: Counter[BurstKey] = Counter()
        self._modulators: dict[BurstShape, Modulator] = {}
        self.report = ChannelReport(placer.placement)

    def add(self, picture: Picture) -> StripHeader | None:
        """Take in one picture of the video; return its strip, None for one that carries nothing legible."""
        self.report.pictures += 1
        if picture.y.shape != self._placer.video_shape:
            return None
        placed, lost = self._placer.place(picture)
        raster = self._placer.placement.raster
        reading = search(placed.y, raster, np.array([[0, 0, raster.width, raster.height]], np.float64))
        if reading is None:
            return None
        strip = reading.header
        self.report.read += 1
        if self.report.strip is None or strip.kind != Kind.LEADER:
            self.report.strip = strip
        shape = strip.shape
        key = (strip.mark, strip.kind, strip.number, shape)
        if shape.data_bytes > 0 and shape.total_bytes <= BURST_BYTES_MAX and self._contests[key] <= _CONTESTS_MAX:
            self._close_complete(key)
            content, margin = np.empty((2, shape.picture_bytes), np.uint8)
            self._modulator(shape).demodulate(_levelled(placed, reading), content, margin)
            if self._is_new(key, strip.picture, content):
                present = np.ones(shape.picture_bytes, bool) if lost is None else ~lost_bytes(shape, lost)
                self._burst(key).add(strip.picture, content, margin, present)
        return strip

    def _is_new(self, key: BurstKey, picture: int, content: Bytes) -> bool:
        """Whether a picture is of a burst that has not come back, or of another one in the place of one that has."""
        if key in self._done and are_others(self._done[key][picture], sampled(content)):
            self._contests[key] += 1
            del self._done[key]
        return key not in self._done

    def finish(self) -> ChannelReport:
        """Correct what is still open; return what was seen."""
        while self._open:
            self._close(next(iter(self._open)))
        return self.report

    def _burst(self, key: BurstKey) -> Contest:
        """The open burst of that key; a new one makes room for itself by closing those nobody added to for longest."""
        if key not in self._open:
            held = sum(self._held_bytes(each) for each in self._open) + 3 * key[-1].total_bytes
            while self._open and (held > OPEN_BYTES_MAX or len(self._open) >= _OPEN_MAX):
                held -= self._held_bytes(next(iter(self._open)))
                self._close(next(iter(self._open)))
            self._open[key] = Contest(key[-1])
        self._open.move_to_end(key)
        return self._open[key]

    def _held_bytes(self, key: BurstKey) -> int:
        return 3 * key[-1].total_bytes * sum(1 for _ in self._open[key].bursts())

    def _close_complete(self, but: BurstKey) -> None:
        """Close complete bursts when another one's pictures come: until then a better copy may follow."""
        for key in [key for key, burst in self._open.items() if key != but and burst.surest.is_complete]:
            self._close(key)

    def _close(self, key: BurstKey) -> None:
        contest = self._open.pop(key)
        for burst in contest.bursts():
            read_bytes = burst.content.copy() if self._observe else burst.content
            data, corrected = _corrected(burst, self._device)
            if burst is contest.surest and not self._contests[key]:
                self._count(corrected)
            if not (corrected < 0).any():
                self._note_done(key, burst)
            if self._observe and burst is contest.surest:
                self._observe(BurstReport(key, corrected, burst.content, read_bytes, burst.margin, burst.present))
            for image in () if burst.is_hopeless else images_in(data):
                self._emit(image)

    def _note_done(self, key: BurstKey, burst: Burst) -> None:
        """Note that it came back, and what it looks like, as long as there is room for that."""
        sample = burst.sample()
        self._noted_bytes += sample.size
        self._done[key] = sample if self._noted_bytes <= _NOTED_BYTES_MAX else sample[:, :0]

    def _count(self, corrected: Corrections) -> None:
        self.report.bursts += 1
        self.report.codewords += len(corrected)
        self.report.codewords_lost += int((corrected < 0).sum())
        self.report.corrected_bytes += int(corrected[corrected > 0].sum())

    def _modulator(self, shape: BurstShape) -> Modulator:
        if shape not in self._modulators:
            self._modulators = dict(list(self._modulators.items())[-2:])
            self._modulators[shape] = modulator_for(shape.raster, shape.modulation, None, self._device)
        return self._modulators[shape]


def _levelled(picture: Picture, reading: Reading) -> Picture:
    """The picture with its luma at rest again: what lies between the strips' dark and light cells is that.

    Gain moves the level, and with it the sign of every block's mean. Cells do without: they find their own levels.
    """
    offset = LUMA_REST - round((reading.dark + reading.light) / 2)
    if offset == 0 or reading.header.modulation.family == Family.CELLS:
        return picture
    table = np.clip(np.arange(256) + offset, 0, 255).astype(np.uint8)
    return picture._replace(y=table[picture.y])


def _corrected(burst: Burst, device: Device) -> tuple[Bytes, Corrections]:
    """The data bytes of a burst, corrected as far as can be, and how many were corrected in each codeword."""
    shape = burst.shape
    if shape.modulation.code == Code.XOR:
        found = correct_blocks(burst.content, shape.modulation.parity, ~burst.present)
        return found.content, np.array([-1] * len(found.wrong) + [min(found.rebuilt, 32767)], np.int16)
    data = burst.content[: shape.data_bytes]
    if burst.is_beyond_parity:
        return data, np.full(shape.width, -1, np.int16)
    rows, size = (CODEWORD_BYTES, shape.width), CODEWORD_BYTES * shape.width
    codewords, margin = burst.content[:size].reshape(rows), burst.margin[:size].reshape(rows)
    lost = None if burst.present.all() else ~burst.present[:size].reshape(rows)
    return data, column_code(device).correct(codewords, shape.modulation.parity, lost, margin).corrected


def images_in(data: Bytes) -> Iterator[Bytes]:
    """The images of the frames that stand in a row in a burst's data, headers masked.

    Where one ends the next begins; behind damage the next is found by its masked magic. Source: FORMAT.md section 15.
    """
    position = 0
    raw: bytes | None = None
    while position + HEADER_BYTES <= len(data):
        header = parse_masked(data[position : position + HEADER_BYTES].tobytes())
        end = position + HEADER_BYTES + header.length if header else 0
        if header and end <= len(data):
            yield data[position:end]
            position = end
            continue
        raw = data.tobytes() if raw is None else raw
        position = raw.find(MASKED_MAGIC, position + 1)
        if position < 0:
            return


def read_bursts(
    show: Callable[[], Iterator[Picture]],
    emit: Callable[[Bytes], object],
    observe: Observer | None = None,
    device: Device = Device.CPU,
) -> ChannelReport | None:
    """Give the frames of a video's pictures to `emit`; None when none of the first pictures shows a strip.

    `show` gives the pictures from the start, each time it is called.
    """
    found = placed(show)
    if found is None:
        return None
    placer, pictures = found
    reader = BurstReader(placer, emit, observe, device)
    for picture in pictures:
        reader.add(picture)
    return reader.finish()
