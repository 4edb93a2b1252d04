"""Frames in a row as I_PCM pictures without a container: what a video of bursts is read into.

Source: FORMAT.md section 5.
"""

import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from bytereel_codec.files.sink import write_error
from bytereel_codec.frame.sizes import MACROBLOCK_BYTES
from bytereel_codec.frame.whitening import NO_WHITENING
from bytereel_codec.video.h264 import slice_start
from bytereel_codec.video.macroblocks import new_coder
from bytereel_codec.video.picture import Bytes


class SampleStream:
    """Writes frames to an open file as I_PCM pictures in a row, which `scan` finds again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._coder = new_coder()
        self._image = np.empty(0, np.uint8)
        self._stream = np.empty(0, np.uint8)

    def write(self, image: Bytes) -> int:
        """Add a frame's image, as it stands in a picture: uint8[n]. Return how many bytes were added."""
        padded = len(image) + -len(image) % MACROBLOCK_BYTES
        if len(self._image) < padded:
            self._image = np.empty(padded, np.uint8)
            self._stream = np.empty(2 * padded + 64, np.uint8)
        self._image[: len(image)] = image
        self._image[len(image) : padded] = 0
        start = slice_start(0)
        self._stream[: len(start)] = np.frombuffer(start, np.uint8)
        end = self._coder.write(self._image, len(image), NO_WHITENING, 0, self._stream, len(start))
        self._file.write(self._stream.data[:end])
        return int(end)


class KeptFrames:
    """A temporary file of frames that several threads write, in any order; gone with the context, or the process.

    It is a `RangedReader` of what was written so far.
    """

    def __init__(self, folder: Path | None) -> None:
        """In `folder`, None: where the system keeps temporary files."""
        self._folder = folder or Path(tempfile.gettempdir())
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by __exit__
        self._stream = SampleStream(self._file)
        self._lock = threading.Lock()
        self._size = 0

    def __enter__(self) -> "KeptFrames":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, image: Bytes) -> int:
        """Keep a frame's image, as it stands in a picture; return where its first sample lies.

        Raises: Temporary `target.full`.
        """
        try:
            with self._lock:
                start = self._size
                self._size += self._stream.write(image)
                self._file.flush()
                return start + len(slice_start(0))
        except OSError as error:
            raise write_error(error, self._folder) from error

    @property
    def size_bytes(self) -> int:
        """How many bytes were written."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """As `RangedReader.read_into`."""
        done = 0
        while done < len(buffer) and (count := os.preadv(self._file.fileno(), [buffer[done:]], offset + done)):
            done += count
        return done
