"""Another H.264 decoder than libavcodec, Cisco's OpenH264, by its C interface.

Source: OpenH264 `codec/api/wels/codec_api.h`, `codec_def.h`, `codec_app_def.h` (2.x).
"""

import ctypes
import ctypes.util
import io
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
import pytest

Planes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
ABSENT = "OpenH264 is not installed (on Debian: apt-get install libopenh264-7)"
_INITIALIZE, _UNINITIALIZE, _DECODE, _FLUSH = 0, 1, 3, 5  # places in the decoder's table of functions
_AVC = 0


class _SystemMemory(ctypes.Structure):
    _fields_ = [("width", ctypes.c_int), ("height", ctypes.c_int), ("form", ctypes.c_int), ("stride", ctypes.c_int * 2)]


class _BufferInfo(ctypes.Structure):
    _fields_ = [
        ("status", ctypes.c_int),
        ("time_in", ctypes.c_ulonglong),
        ("time_out", ctypes.c_ulonglong),
        ("memory", _SystemMemory),
        ("planes", ctypes.c_void_p * 3),
    ]


class _VideoProperty(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int)]


class _DecodingParameters(ctypes.Structure):
    _fields_ = [
        ("file_name", ctypes.c_char_p),
        ("cpu_load", ctypes.c_uint),
        ("target_layer", ctypes.c_ubyte),
        ("concealment", ctypes.c_int),
        ("parse_only", ctypes.c_bool),
        ("video", _VideoProperty),
    ]


def library() -> ctypes.CDLL:
    """OpenH264; the test that asks is skipped where it is not installed."""
    name = ctypes.util.find_library("openh264")
    if name is None:
        pytest.skip(ABSENT)
    return ctypes.CDLL(name)


class Decoder:
    """One decoder; a context. A picture it cannot show, or shows with guessed parts, is an AssertionError."""

    def __init__(self) -> None:
        self._library = library()
        self._decoder = ctypes.c_void_p()
        assert self._library.WelsCreateDecoder(ctypes.byref(self._decoder)) == 0
        parameters = _DecodingParameters(target_layer=0xFF, video=_VideoProperty(ctypes.sizeof(_VideoProperty), _AVC))
        assert self._call(_INITIALIZE, ctypes.byref(parameters)) == 0

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._call(_UNINITIALIZE)
        self._library.WelsDestroyDecoder(self._decoder)

    def pictures(self, units: bytes) -> Iterator[Planes]:
        """The pictures that NAL units with start codes complete: uint8[height, width] of Y, Cb and Cr."""
        yield from self._shown(_DECODE, ctypes.c_char_p(units), ctypes.c_int(len(units)))

    def rest(self) -> Iterator[Planes]:
        """The pictures that were held back for their order."""
        yield from self._shown(_FLUSH)

    def _shown(self, function: int, *content: object) -> Iterator[Planes]:
        places, info = (ctypes.c_void_p * 3)(), _BufferInfo()
        state = self._call(function, *content, places, ctypes.byref(info))
        assert state == 0, f"OpenH264 says {state:#x}"
        if info.status == 1:
            memory = info.memory
            luma, chroma = memory.stride
            yield (
                _plane(places[0], memory.width, memory.height, luma),
                _plane(places[1], memory.width // 2, memory.height // 2, chroma),
                _plane(places[2], memory.width // 2, memory.height // 2, chroma),
            )

    def _call(self, function: int, *arguments: object) -> int:
        table = ctypes.cast(self._decoder, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
        called = ctypes.CFUNCTYPE(ctypes.c_int)(table[function])  # type: ignore[arg-type]
        called.argtypes = None  # type: ignore[assignment]
        return called(self._decoder, *arguments)


def _plane(address: int, width: int, height: int, stride: int) -> npt.NDArray[np.uint8]:
    lines = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (height, stride))
    return lines[:, :width].copy()


def stated_level(video: bytes) -> int:
    """The level that a video states, in its `avcC` box and in the SPS there."""
    content = video.index(b"avcC") + 4
    assert video[content + 3] == video[content + 11]
    return video[content + 3]


def assert_shown_alike(video: bytes) -> None:
    """OpenH264 shows the pictures of a video that libavcodec shows, byte for byte and in the same order."""
    ours, theirs = _shown_by_libavcodec(video), _shown_by_openh264(video)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(one, other, strict=True))


def _shown_by_libavcodec(video: bytes) -> list[Planes]:
    with av.open(io.BytesIO(video)) as container:
        return [
            tuple(np.array(plane).reshape(-1, plane.line_size)[:, : plane.width] for plane in frame.planes)
            for frame in container.decode(video=0)
        ]  # type: ignore[misc]


def _shown_by_openh264(video: bytes) -> list[Planes]:
    with Decoder() as decoder:
        shown = [picture for units in _access_units(video) for picture in decoder.pictures(units)]
        while held := list(decoder.rest()):
            shown += held
        return shown


def _access_units(video: bytes) -> list[bytes]:
    """The coded pictures with start codes, the parameter sets before the first."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        to_units = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        return [bytes(unit) for packet in container.demux(stream) for unit in to_units.filter(packet) if unit.size]
