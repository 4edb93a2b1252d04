"""Frames to a burst, a burst to one chunk of video: parity, symbols, strips, and another codec's encoder.

Buffers are made once and used again; a returned view is good until the next call. Memory: a burst's bytes, a dozen
pictures, and what the encoder keeps of its own (a group of pictures).

Source: FORMAT.md sections 12 to 18.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import crc32c
import numpy as np

from bytereel_codec.channel.burst import CODEWORD_BYTES, PICTURES_BETWEEN_GREY, BurstShape
from bytereel_codec.channel.device import Device
from bytereel_codec.channel.modulation import Code
from bytereel_codec.channel.on_device import column_code, modulator_for
from bytereel_codec.channel.raster import Picture
from bytereel_codec.channel.strip import MARK_BYTES, StripHeader, draw
from bytereel_codec.channel.symbols.modulator import Bytes, Modulator
from bytereel_codec.codes.xor_blocks import encode as encode_blocks
from bytereel_codec.frame.header import FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES, WHITENING_BYTES
from bytereel_codec.frame.whitening import masked, whitened, whitening_table
from bytereel_codec.libav.encoding import Encoding, coded_pictures, parameter_sets
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.video.boxes import CodedPicture, VideoTrack, burst_chunk, init_section
from bytereel_codec.video.levels import LEVELS, level_of, level_stated, with_level

CANVASES_KEPT = 3


class BurstWriter:
    """Writes the bursts of one reel. Not for use by two threads at once."""

    def __init__(
        self,
        geometry: BurstGeometry,
        reel_id: bytes,
        keep: Callable[[Bytes], object] | None = None,
        device: Device = Device.CPU,
    ) -> None:
        self._device = device
        self._keep = keep
        self._geometry = geometry
        self._mark = reel_id[:MARK_BYTES]
        self._table = whitening_table(reel_id)
        self._frames = np.empty(geometry.frames_max * geometry.frame_bytes, np.uint8)
        self._used = 0
        self._canvases: dict[BurstShape, tuple[Modulator, Picture]] = {}

    @property
    def payload(self) -> memoryview:
        """Where the next frame's payload is put."""
        return self._frames.data[self._used + HEADER_BYTES : self._used + self._geometry.frame_bytes]

    def begin(self) -> None:
        """Start a segment or leader; what an interrupted one left is dropped."""
        self._used = 0

    def write(self, header: FrameHeader, length: int, number: int) -> memoryview:
        """The chunk of the whole burst with its last frame, nothing before. As `FrameWriter.write`."""
        packed = header.closed_over(length, crc32c.crc32c(self.payload[:length])).pack()
        image = self._frames[self._used : self._used + HEADER_BYTES + length]
        image[:HEADER_BYTES] = np.frombuffer(masked(packed), np.uint8)
        whitened(image, self._table, packed)
        self._used += len(image)
        if self._keep:
            self._keep(image)
        if header.kind != Kind.LEADER and header.frame < header.frames - 1:
            return memoryview(b"")
        content = self._frames[: self._used]
        self._used = 0
        first = number if header.kind == Kind.LEADER else number - header.frame
        start = self._geometry.picture_of(first, header.frames_per_segment)
        return memoryview(burst_chunk(start, self._coded(header, content)))

    def init_section(self, pictures: int | None) -> bytes:
        """As `FrameWriter.init_section`."""
        return init_section(_track(self._geometry), pictures)

    def _coded(self, header: FrameHeader, content: Bytes) -> list[CodedPicture]:
        leader = header.kind == Kind.LEADER
        shape = self._geometry.leader_shape(len(content)) if leader else self._geometry.shape(len(content))
        assert shape.data_bytes >= len(content), "the geometry leaves room for every frame"
        protected = self._protected(shape, content)
        strips = (
            StripHeader(
                self._mark,
                header.kind,
                header.frame if leader else header.segment,
                number,
                shape.pictures,
                self._geometry.raster,
                shape.modulation,
                shape.raster.last_row - shape.raster.first_row,
            )
            for number in range(shape.pictures)
        )
        return coded_pictures(encoding_of(self._geometry), self._drawn(shape, protected, strips))

    def _protected(self, shape: BurstShape, content: Bytes) -> Bytes:
        """The burst's bytes: content, padding that looks random, parity."""
        stored = np.resize(self._table[:WHITENING_BYTES], shape.total_bytes)
        if shape.modulation.code == Code.XOR:
            padded = stored[: shape.data_bytes].copy()
            padded[: len(content)] = content
            return encode_blocks(padded, shape.total_bytes, shape.modulation.parity)
        stored[: len(content)] = content
        matrix = stored[: CODEWORD_BYTES * shape.width].reshape(CODEWORD_BYTES, shape.width)
        column_code(self._device).encode(matrix, shape.modulation.parity)
        return stored

    def _drawn(
        self, shape: BurstShape, protected: Bytes, strips: Iterator[StripHeader]
    ) -> Iterator[tuple[Picture, bool]]:
        """The burst's pictures, each with whether it carries data."""
        grey = self._geometry.raster.grey()
        modulator, canvas = self._canvas(shape)
        for number, strip in enumerate(strips):
            if number % PICTURES_BETWEEN_GREY == 0:
                yield grey, False
            start = number * shape.picture_bytes
            modulator.render(protected[start : start + shape.picture_bytes], canvas)
            draw(strip, canvas, self._geometry.raster, self._geometry.channel.strip_amplitude)
            yield canvas, True
        yield grey, False

    def _canvas(self, shape: BurstShape) -> tuple[Modulator, Picture]:
        if shape not in self._canvases:
            self._canvases = dict(list(self._canvases.items())[1 - CANVASES_KEPT :])
            quantiser = self._geometry.channel.quantiser
            modulator = modulator_for(shape.raster, shape.modulation, quantiser, self._device)
            self._canvases[shape] = (modulator, self._geometry.raster.grey())
        return self._canvases[shape]


def encoding_of(geometry: BurstGeometry) -> Encoding:
    """What the encoder of that geometry is told."""
    channel = geometry.channel
    return Encoding(
        channel.encoder,
        geometry.width,
        geometry.height,
        channel.frames_per_second,
        channel.preset,
        channel.encoder_options,
    )


@lru_cache(maxsize=8)
def _track(geometry: BurstGeometry) -> VideoTrack:
    """The video, whose encoder would go by the size of its pictures alone and state too low a level."""
    sps, pps = parameter_sets(encoding_of(geometry))
    level = level_of(
        geometry.width // 16, geometry.height // 16, geometry.frames_per_second, geometry.coded_picture_bytes
    )
    sps = with_level(sps, max(level_stated(sps), (level or LEVELS[-1]).number))
    return VideoTrack(geometry.width, geometry.height, geometry.frames_per_second, sps, pps)
