"""Between bytes and I_PCM macroblocks: whitening, samples, emulation prevention, and back.

A picture's bytes (its *image*: frame header, then payload) fill macroblocks in decoding order, 384 bytes each: 256
luma, 64 Cb, 64 Cr samples. In the stream a macroblock is `0D 00` (mb_type ue(25) and alignment) and its samples; the
first one's type ends the slice header, which the caller writes. `00 00 0x` (x <= 3) takes an emulation prevention
byte. The image's first `HEADER_BYTES` are not whitened here: the header carries a fixed mask of its own.

There are two ways, the same byte for byte: compiled when the package was installed, and by numpy where no compiler was
there. Neither has anything to compile or to load before the first byte.

Source: ITU-T H.264 (08/2021) 7.3.5 macroblock layer, 7.4.1 emulation prevention; FORMAT.md sections 3 to 5.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from bytereel_codec.video.macroblocks_compiled import CompiledCoder, library
from bytereel_codec.video.macroblocks_numpy import NumpyCoder

Bytes = npt.NDArray[np.uint8]


class MacroblockCoder(Protocol):
    """Writes and reads macroblocks. Not for use by two threads at once; other threads run meanwhile."""

    def write(self, image: Bytes, length: int, table: Bytes, shift: int, stream: Bytes, position: int) -> int:
        """Write `image[:length]` as I_PCM macroblocks at `stream[position:]`; return the end position.

        Shapes: `image` uint8[>= length rounded up to 384], zero behind `length`; `table` as `whitening_table` gives it,
        `shift` the table index for image byte 0; `stream` uint8[position + 579 a macroblock + 2], holding the slice
        header with the first macroblock's type just before `position` (two bytes at least). All are contiguous.
        """

    def read_header(self, stream: Bytes, position: int, end: int, raw: Bytes) -> int:
        """Read the masked frame header at `stream[position:end]` into `raw` uint8[128]; return the end, or -1."""

    def read(self, stream: Bytes, position: int, end: int, length: int, table: Bytes, shift: int, image: Bytes) -> int:
        """Undo `write`: fill `image[:length]`, return the end position in `stream[:end]`, or -1.

        -1: the stream ends early, or something other than an I_PCM macroblock stands where one must. Shapes as there;
        `image` has room for whole macroblocks. The first 128 bytes stay masked.
        """


def new_coder() -> MacroblockCoder:
    """The faster one of those that are there, for one thread."""
    return CompiledCoder() if library() else NumpyCoder()
