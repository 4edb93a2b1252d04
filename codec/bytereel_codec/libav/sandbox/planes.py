"""How pictures lie in a slot: plane after plane, lines with their padding. Shared by both sides; knows no PyAV.

Source: libavutil `AV_PIX_FMT_YUV420P`, `AV_PIX_FMT_YUVJ420P`, `AV_PIX_FMT_YUV420P10LE`, `AV_PIX_FMT_RGB24`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bytereel_codec.libav.formats import PIXEL_FORMATS, PIXELS_MAX, RGB
from bytereel_codec.libav.sandbox.wire import WireError

Samples = npt.NDArray[np.uint8]
_SAMPLE_BYTES = {"yuv420p": 1, "yuvj420p": 1, "yuv420p10le": 2, RGB: 3}
_PADDING_BYTES_MAX = 2 << 20
SLOT_BYTES = 3 * PIXELS_MAX + _PADDING_BYTES_MAX
"""Of a picture at the most: RGB, or 4:2:0 of 10 bits in two bytes each, and what pads the lines."""


def planes_in(slot: memoryview, sizes: Sequence[int]) -> tuple[str, list[Samples]]:
    """The format of the picture that a child says is in the slot, and its planes, copied without padding.

    Shapes: uint8[height, width], chroma half of it, rounded up; of RGB one of uint8[height, width, 3]. Of 10 bits the
    upper 8, rounded. Raises: WireError when no picture has such sizes, or none of them fits into the slot.
    """
    code, width, height, *line_sizes = sizes
    if code >= len(PIXEL_FORMATS) or not 0 < width * height <= PIXELS_MAX:
        raise WireError(f"there is no picture of format {code} and {width} x {height}")
    name, start, planes = PIXEL_FORMATS[code], 0, []
    for shape, line_size in zip(_shapes(name, width, height), line_sizes, strict=False):
        end = start + shape[0] * line_size
        if line_size < shape[1] * _SAMPLE_BYTES[name] or end > len(slot):
            raise WireError(f"a picture of {width} x {height} does not lie in lines of {line_size} bytes")
        lines = np.frombuffer(slot[start:end], np.uint8).reshape(shape[0], line_size)
        planes.append(_samples(name, lines, shape[1]))
        start = end
    return name, planes


def _shapes(name: str, width: int, height: int) -> list[tuple[int, int]]:
    """Rows and columns of each plane."""
    if name == RGB:
        return [(height, width)]
    half = (-(-height // 2), -(-width // 2))
    return [(height, width), half, half]


def _samples(name: str, lines: Samples, width: int) -> Samples:
    """A copy of the samples in a plane's lines."""
    if name == RGB:
        return lines[:, : 3 * width].reshape(len(lines), width, 3).copy()
    if _SAMPLE_BYTES[name] == 1:
        return lines[:, :width].copy()
    return rounded(lines[:, : 2 * width].view(np.uint16))


def rounded(samples: npt.NDArray[np.uint16]) -> Samples:
    """Samples of 10 bits as such of 8."""
    return np.asarray(np.minimum((samples + 2) >> 2, 255), np.uint8)
