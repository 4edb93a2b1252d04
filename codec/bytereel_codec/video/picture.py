"""One frame to one chunk of video (`moof`, `mdat`, NAL unit), and back from the bytes of the NAL unit.

Buffers are made once and used again; a returned view is good until the next call.
Source: FORMAT.md sections 3 to 6.
"""

from dataclasses import dataclass

import crc32c
import numpy as np
import numpy.typing as npt

from bytereel_codec.files.ranged import RangedReader
from bytereel_codec.frame.geometry import FRAME_BYTES_MAX, Geometry, geometry_of_span
from bytereel_codec.frame.header import FrameHeader, OtherVersion, other_version, parse_masked, whitening_shift
from bytereel_codec.frame.sizes import HEADER_BYTES, MACROBLOCK_BYTES, MACROBLOCK_CODED_BYTES
from bytereel_codec.frame.whitening import masked, whitening_table
from bytereel_codec.video.boxes import CHUNK_START_BYTES, VideoTrack, chunk_start, init_section
from bytereel_codec.video.h264 import picture_parameter_set, sequence_parameter_set, slice_end, slice_start
from bytereel_codec.video.macroblocks import new_coder

Bytes = npt.NDArray[np.uint8]

_WORST_CODED_BYTES = 581  # a macroblock in which every second byte takes a prevention byte, and one over
_NAL_LENGTH_BYTES = 4
_ESCAPES_ALLOWED = 64
# Where in a chunk the first sample of its picture lies.
FIRST_SAMPLE_OFFSET = CHUNK_START_BYTES + _NAL_LENGTH_BYTES + len(slice_start(0))
assert len(slice_start(0)) == len(slice_start(1))
# A frame's header can be read from this many bytes of the stream, prevention bytes and the one after included.
HEADER_WINDOW_BYTES = HEADER_BYTES * 3 // 2 + 2


def smallest_coded_bytes(header: FrameHeader) -> int:
    """How many bytes of the stream, from its first sample on, a frame's picture takes at least."""
    used = -(-(HEADER_BYTES + header.length) // MACROBLOCK_BYTES)
    geometry = geometry_of_span(header.span_bytes) if header.profile == 0 else None
    filler = geometry.macroblocks - used if geometry else 0
    return used * MACROBLOCK_CODED_BYTES - 2 + filler


class PictureWriter:
    """Writes the pictures of one reel. Not for use by two threads at once."""

    def __init__(self, geometry: Geometry, reel_id: bytes) -> None:
        self.geometry = geometry
        self._image = np.zeros(geometry.picture_bytes, np.uint8)
        self._stream = np.empty(geometry.macroblocks * _WORST_CODED_BYTES + 2048, np.uint8)
        self._table = whitening_table(reel_id)
        self._coder = new_coder()

    @property
    def payload(self) -> memoryview:
        """Where the next frame's payload is put: all of a picture behind its header."""
        return self._image.data[HEADER_BYTES:]

    def begin(self) -> None:
        """Nothing is kept from one frame to the next."""

    def init_section(self, pictures: int | None) -> bytes:
        """`ftyp` and `moov` of the reel; `pictures` None where their number is not known."""
        geometry = self.geometry
        sps, pps = sequence_parameter_set(geometry), picture_parameter_set()
        return init_section(VideoTrack(geometry.width, geometry.height, geometry.frames_per_second, sps, pps), pictures)

    def write(self, header: FrameHeader, length: int, number: int) -> memoryview:
        """The chunk of a frame whose payload is `self.payload[:length]`; `number` is its place in the reel."""
        used = HEADER_BYTES + length
        packed = header.closed_over(length, crc32c.crc32c(self.payload[:length])).pack()
        self._image[:HEADER_BYTES] = np.frombuffer(masked(packed), np.uint8)
        self._image[used : used + -used % MACROBLOCK_BYTES] = 0
        start = slice_start(number & 1)
        position = CHUNK_START_BYTES + _NAL_LENGTH_BYTES
        self._stream[position : position + len(start)] = np.frombuffer(start, np.uint8)
        position = self._coder.write(
            self._image, used, self._table, whitening_shift(packed), self._stream, position + len(start)
        )
        end = slice_end(self.geometry, -(-used // MACROBLOCK_BYTES))
        self._stream[position : position + len(end)] = np.frombuffer(end, np.uint8)
        position += len(end)
        sample_bytes = position - CHUNK_START_BYTES
        head = chunk_start(number, sample_bytes) + (sample_bytes - _NAL_LENGTH_BYTES).to_bytes(4, "big")
        self._stream[: len(head)] = np.frombuffer(head, np.uint8)
        return self._stream.data[:position]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as read: its header, and its payload if the payload's CRC32C is right (else None)."""

    header: FrameHeader
    payload: memoryview | None


class PictureReader:
    """Reads frames from coded bytes. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._image = np.empty(0, np.uint8)
        self._raw = np.empty(HEADER_BYTES, np.uint8)
        self._coder = new_coder()

    def header(self, coded: Bytes, position: int) -> FrameHeader | None:
        """The header of the frame whose first sample is `coded[position]`, or None when it is damaged or cut off."""
        if not 0 <= position <= len(coded) or self._coder.read_header(coded, position, len(coded), self._raw) < 0:
            return None
        return parse_masked(self._raw.tobytes())

    def other_version(self, coded: Bytes, position: int) -> OtherVersion | None:
        """What a header of another version of the format says there, None where there is none."""
        if not 0 <= position <= len(coded) or self._coder.read_header(coded, position, len(coded), self._raw) < 0:
            return None
        return other_version(self._raw.tobytes())

    def frame(self, coded: Bytes, position: int) -> Frame | None:
        """The frame whose first sample is `coded[position]`, or None when its header is damaged or cut off."""
        header = self.header(coded, position)
        if header is None:
            return None
        used = HEADER_BYTES + header.length
        if len(self._image) < used + MACROBLOCK_BYTES:
            self._image = np.empty(
                min(used + MACROBLOCK_BYTES + (used >> 3), FRAME_BYTES_MAX + MACROBLOCK_BYTES), np.uint8
            )
        end = self._coder.read(
            coded,
            position,
            len(coded),
            used,
            whitening_table(header.reel_id),
            whitening_shift(header.pack()),
            self._image,
        )
        payload = self._image.data[HEADER_BYTES:used]
        intact = end >= 0 and crc32c.crc32c(payload) == header.payload_crc
        return Frame(header, payload if intact else None)


class FrameLoader:
    """Reads frames from ranged readers by the place of their first sample, all through the same two buffers.

    Not for use by two threads at once.
    """

    def __init__(self) -> None:
        self._pictures = PictureReader()
        self._coded = np.empty(0, np.uint8)

    def header_at(self, reader: RangedReader, place: int) -> FrameHeader | None:
        """The header of the frame whose first sample lies at `place`, or None; its payload is not looked at."""
        count = self._load(reader, place, HEADER_WINDOW_BYTES)
        return self._pictures.header(self._coded[:count], 0)

    def frame_at(self, reader: RangedReader, place: int) -> Frame | None:
        """The frame whose first sample lies at `place`, or None; its payload None when damaged.

        Good until the next call.
        """
        header = self.header_at(reader, place)
        if header is None:
            return None
        used = -(-(HEADER_BYTES + header.length) // MACROBLOCK_BYTES) * MACROBLOCK_CODED_BYTES
        count = self._load(reader, place, used + _ESCAPES_ALLOWED)
        found = self._pictures.frame(self._coded[:count], 0)
        if found is not None and found.payload is None and count == used + _ESCAPES_ALLOWED:
            count = self._load(reader, place, used * 3 // 2 + 2)  # more prevention bytes than chance would have
            found = self._pictures.frame(self._coded[:count], 0)
        return found

    def _load(self, reader: RangedReader, place: int, length: int) -> int:
        if len(self._coded) < length:
            self._coded = np.empty(length + (length >> 4), np.uint8)
        return reader.read_into(place, self._coded.data[:length])
