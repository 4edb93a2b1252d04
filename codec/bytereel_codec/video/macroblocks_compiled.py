"""The compiled way of `macroblocks`: `macroblocks.c` as a library, called through ctypes, which lets go of the GIL."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

LIBRARY = "_macroblocks.so"
"""Beside this file, where the package was installed with a compiler (`hatch_build.py`)."""
_STATE = 1
_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64


@cache
def library() -> ctypes.CDLL | None:
    """The library; None where it was not built, does not fit this machine, or was built from another state."""
    try:
        found = ctypes.CDLL(str(Path(__file__).with_name(LIBRARY)))
        state = found.bytereel_macroblocks_state
    except (OSError, AttributeError):
        return None
    state.restype = _INTEGER
    if state() != _STATE:
        return None
    for name, arguments in (
        ("write_macroblocks", (_POINTER, _INTEGER, _POINTER, _INTEGER, _POINTER, _INTEGER)),
        ("read_header", (_POINTER, _INTEGER, _INTEGER, _POINTER)),
        ("read_macroblocks", (_POINTER, _INTEGER, _INTEGER, _INTEGER, _POINTER, _INTEGER, _POINTER)),
    ):
        function = getattr(found, f"bytereel_{name}")
        function.argtypes, function.restype = arguments, _INTEGER
    return found


class CompiledCoder:
    """See `MacroblockCoder`."""

    def __init__(self) -> None:
        found = library()
        assert found is not None, "whoever asks has looked"
        self._write, self._read_header = found.bytereel_write_macroblocks, found.bytereel_read_header
        self._read = found.bytereel_read_macroblocks

    def write(self, image: Bytes, length: int, table: Bytes, shift: int, stream: Bytes, position: int) -> int:
        """See `MacroblockCoder.write`."""
        assert position >= 2
        end: int = self._write(_start_of(image), length, _start_of(table), shift, _start_of(stream), position)
        return end

    def read_header(self, stream: Bytes, position: int, end: int, raw: Bytes) -> int:
        """See `MacroblockCoder.read_header`."""
        assert end <= len(stream)
        found: int = self._read_header(_start_of(stream), position, end, _start_of(raw))
        return found

    def read(self, stream: Bytes, position: int, end: int, length: int, table: Bytes, shift: int, image: Bytes) -> int:
        """See `MacroblockCoder.read`."""
        assert end <= len(stream)
        found: int = self._read(_start_of(stream), position, end, length, _start_of(table), shift, _start_of(image))
        return found


def _start_of(array: Bytes) -> int:
    """The address of an array's first byte, which stays where it is while the caller holds the array."""
    address: int = array.ctypes.data
    return address
