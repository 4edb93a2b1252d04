"""A child's job: what libav makes of the file, for the parent to look at. The only code that meets foreign containers.

Pictures go to shared memory as they lie in libav's, lines with their padding. A packet that cannot be decoded is passed
over, as players do; where the container ends or breaks off, there is no more.
"""

import errno
import io
import pkgutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import av
from av.stream import Discard

from bytereel_codec.libav.formats import (
    DECODER_LIMITS,
    DECODERS,
    PIXEL_FORMATS,
    PIXELS_MAX,
    PLANAR_FORMATS,
    RGB,
    SAFE,
    YUV,
)
from bytereel_codec.libav.sandbox.confine import allow_pictures
from bytereel_codec.libav.sandbox.memory import WINDOW_BYTES, SharedMemory
from bytereel_codec.libav.sandbox.wire import Ending, Job, Kind, Message, Task, WireError, heard, say

_NOT_LOADED = ("__main__", "datasets")
_REORDERED_MAX = 64  # packets that a picture may stand away from its place in the order of showing; H.264 has 16


def load_all() -> None:
    """Load what PyAV would load when it first needs it: a child can open no file any more."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(_NOT_LOADED):
            import_module(module.name)


class _Parent:
    """The other side: gives the file's bytes, takes what was made of them."""

    def __init__(self, connection: socket.socket, memory: SharedMemory, slots: int) -> None:
        self._connection = connection
        self._memory = memory
        self._free = slots
        self._slots = slots
        self._next = 0

    def read(self, place: int, count: int) -> bytes:
        """Up to that many bytes of the file, fewer only at its end."""
        say(self._connection, Message(Kind.READ, min(count, WINDOW_BYTES), place))
        return bytes(self._memory.window[: self._wait(Kind.GIVEN).number])

    def room(self) -> tuple[int, memoryview]:
        """The next slot, once it is free."""
        if not self._free:
            self._wait(Kind.FREE)
        self._free -= 1
        number, self._next = self._next, (self._next + 1) % self._slots
        return number, self._memory.slot(number)

    def say(self, message: Message) -> None:
        """Tell the parent."""
        say(self._connection, message)

    def _wait(self, kind: Kind) -> Message:
        while (message := heard(self._connection)) is not None:
            self._free += message.kind is Kind.FREE
            if message.kind is kind:
                return message
        raise ConnectionResetError("the parent has gone")


class _FarFile:
    """The parent's file, as PyAV reads one."""

    def __init__(self, parent: _Parent, size: int) -> None:
        self._parent = parent
        self._size = size
        self._position = 0

    def read(self, count: int) -> bytes:
        """Up to that many bytes."""
        content = self._parent.read(self._position, count) if self._position < self._size else b""
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`. Raises: OSError for a place that no file has."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if not 0 <= place < 1 << 63:
            raise OSError(errno.EINVAL, "no such place")
        self._position = place
        return place

    def tell(self) -> int:
        """The position."""
        return self._position


class Decoder:
    """Runs one job, once."""

    def __init__(self, job: Job, connection: socket.socket, memory: SharedMemory) -> None:
        self._job = job
        self._parent = _Parent(connection, memory, job.slots)
        self._file = _FarFile(self._parent, job.file_bytes)
        self._count = 0

    def run(self) -> None:
        """Do it, and say how it ended."""
        tasks = {Task.PICTURES: self._pictures, Task.PACKETS: self._packets, Task.PICTURE: self._picture}
        try:
            ending = tasks[self._job.task]()
        except MemoryError:  # libav's own is one of these too
            ending = Ending.NO_MEMORY
        except (av.FFmpegError, WireError):
            ending = Ending.NO_VIDEO
        self._parent.say(Message(Kind.END, ending, self._count))

    def _pictures(self) -> Ending:
        job = self._job
        with self._opened() as (container, stream):
            if job.start > 0 and container.duration:
                container.seek(int(job.start * container.duration) + (container.start_time or 0))
            for frame in _frames(container, stream):
                if frame.format.name in PLANAR_FORMATS:
                    self._show(frame)
        return Ending.DONE

    def _packets(self) -> Ending:
        with self._opened() as (container, stream):
            for packet in container.demux(stream):
                self._send(memoryview(packet))
        return Ending.DONE

    def _send(self, content: memoryview) -> None:
        for start in range(0, len(content), self._job.slot_bytes):
            part = content[start : start + self._job.slot_bytes]
            number, slot = self._parent.room()
            slot[: len(part)] = part
            self._parent.say(Message(Kind.BYTES, number, len(part)))

    def _show(self, frame: av.VideoFrame) -> None:
        """Put the picture into a slot; one whose lines are too many or too long for it is no reel's."""
        planes = [memoryview(plane) for plane in frame.planes]
        lines = [plane.line_size for plane in frame.planes]
        if sum(map(len, planes)) > self._job.slot_bytes or min(lines) <= 0:
            return
        number, slot = self._parent.room()
        start = 0
        for plane in planes:
            slot[start : start + len(plane)] = plane
            start += len(plane)
        sizes = (PIXEL_FORMATS.index(frame.format.name), frame.width, frame.height, *lines)
        self._parent.say(Message(Kind.SHOWN, number, sizes=sizes))

    def _picture(self) -> Ending:
        frame = self._frame_at(self._job.picture)
        if frame is None:
            return Ending.NO_PICTURE
        self._show(frame.reformat(format=RGB, threads=1))
        self._show(frame.reformat(format=YUV, threads=1))
        return Ending.DONE

    def _frame_at(self, number: int) -> av.VideoFrame | None:
        with self._opened() as (container, stream):
            times = _times(container, stream, number + 1 + _REORDERED_MAX)
        if times is not None and number >= len(times):
            self._count = len(times)
            return None
        found = self._frame_shown_at(times[number]) if times else None
        return found or self._counted_frame(number)

    def _frame_shown_at(self, time: int) -> av.VideoFrame | None:
        """The picture shown at that time; None where seeking does not lead to it: not every container knows its way."""
        with self._opened() as (container, stream):
            try:
                container.seek(time, stream=stream)
            except av.FFmpegError:
                return None
            for frame in _frames(container, stream):
                if frame.pts is not None and frame.pts >= time:
                    return frame if frame.pts == time else None
        return None

    def _counted_frame(self, number: int) -> av.VideoFrame | None:
        """The picture found by decoding all before it: of a stream without times."""
        with self._opened() as (container, stream):
            for frame in _frames(container, stream):
                if self._count == number:
                    return frame
                self._count += 1
        return None

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """The file from its start, and its first video stream where a decoder that is allowed reads it.

        Raises: FFmpegError when there is none.
        """
        self._file.seek(0)
        with av.open(self._file, mode="r", options=SAFE, metadata_errors="ignore", buffer_size=WINDOW_BYTES) as found:
            videos = [stream for stream in found.streams.video if stream.codec_context is not None]
            if not videos or videos[0].codec_context.codec.name not in DECODERS:
                raise av.DecoderNotFoundError(errno.ENOENT, "no video stream that may be decoded")
            if videos[0].width * videos[0].height > PIXELS_MAX:
                raise av.DecoderNotFoundError(errno.E2BIG, "pictures of too many pixels")
            for stream in found.streams:
                if stream.index != videos[0].index:
                    stream.discard = Discard.all
            pixels = videos[0].width * videos[0].height
            is_deep = videos[0].codec_context.pix_fmt not in (YUV, "yuvj420p")
            allow_pictures(self._job, pixels, 2 if is_deep else 1)
            videos[0].thread_count = self._job.threads
            videos[0].thread_type = "AUTO" if self._job.threads > 1 else "NONE"
            videos[0].codec_context.options = dict(DECODER_LIMITS)
            yield found, videos[0]


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The stream's pictures in the order of showing; packets that libav cannot decode are passed over."""
    for packet in container.demux(stream):
        try:
            yield from stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            continue


def _times(container: av.container.InputContainer, stream: av.VideoStream, limit: int) -> list[int] | None:
    """When the first pictures are shown, in that order, from at most `limit` packets; None where not all say."""
    times: list[int] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None:
            return None
        times.append(packet.pts)
        if len(times) == limit:
            break
    return sorted(times)
