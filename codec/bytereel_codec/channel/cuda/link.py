"""The way between the host's memory and a card's: buffers there, copies, and the stream that keeps all of it in order.

Pictures and bytes live on the host, as encoder, decoder and disk do; a card sees one picture, or one run of codewords,
at a time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda

Launch = tuple[tuple[int, ...], tuple[int, ...], Any]
_THREADS = (32, 4)
"""Threads of a block in x and in y: a warp is a run in x."""
_THREADS_IN_A_ROW = 128


class Link:
    """One stream of the card. Kernels and copies given to it happen in order. Not for use by two threads at once."""

    def __init__(self) -> None:
        self.stream = cuda.stream()

    def room(self, shape: tuple[int, ...] | int, dtype: npt.DTypeLike = np.uint8) -> Any:
        """An array on the card, holding anything."""
        return cuda.device_array(shape, dtype, stream=self.stream)

    def sent(self, source: npt.NDArray[Any]) -> Any:
        """A new array on the card with this content."""
        return cuda.to_device(np.ascontiguousarray(source), stream=self.stream)

    def send(self, source: npt.NDArray[Any], target: Any) -> None:
        """Copy to an array on the card, of the same number of bytes in each row."""
        target.copy_to_device(np.ascontiguousarray(source).view(target.dtype), stream=self.stream)

    def fetch(self, source: Any, target: npt.NDArray[Any]) -> None:
        """Copy from an array on the card, once all that was given before is done; `target` is complete on return."""
        if target.flags.c_contiguous:
            source.copy_to_host(target.view(source.dtype), stream=self.stream)
            self.stream.synchronize()
            return
        content = source.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        target[:] = content.view(target.dtype)

    def over(self, width: int, height: int) -> Launch:
        """The launch of a kernel with a thread for each of `width` times `height` items, and some that have none."""
        return (-(-width // _THREADS[0]), -(-height // _THREADS[1])), _THREADS, self.stream

    def along(self, count: int) -> Launch:
        """The same for `count` items in a row."""
        return (-(-count // _THREADS_IN_A_ROW),), (_THREADS_IN_A_ROW,), self.stream
