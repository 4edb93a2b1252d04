"""What the two sides say to each other: messages of one size over a stream socket. Bulk goes by shared memory.

A message says a kind and up to eight whole numbers. What is neither is a `WireError`; whether the numbers make sense is
for the one who asked.
"""

import socket
import struct
from dataclasses import astuple, dataclass
from enum import IntEnum

_MESSAGE = struct.Struct("<B3xIQ6I")
_JOB = struct.Struct("<BxHIdQIIQI4x")
JOB_BYTES = _JOB.size
PLANES = 3


class WireError(Exception):
    """What came is no message: the other side is broken, or lies."""


class Kind(IntEnum):
    """Who says it, and what it means."""

    READ = 1
    """Child: put `number` bytes of the file from `place` into the window, please."""
    SHOWN = 2
    """Child: slot `number` holds a picture; `sizes`: its format, width, height and the line sizes of its planes."""
    BYTES = 3
    """Child: slot `number` holds `place` bytes."""
    END = 4
    """Child: there is no more. `number` is an `Ending`, `place` how many pictures it counted."""
    DIED = 5
    """Server: the child ended. `number` is its exit status, `place` the signal that ended it, or 0."""
    GIVEN = 6
    """Parent: so many bytes (`number`) lie in the window."""
    FREE = 7
    """Parent: a slot was copied."""


class Ending(IntEnum):
    """Why there is no more."""

    DONE = 0
    NO_VIDEO = 1
    NO_PICTURE = 2
    NO_MEMORY = 3


class Task(IntEnum):
    """What the child does with the file's first video stream."""

    PICTURES = 1
    """Give each picture, in the order of showing."""
    PACKETS = 2
    """Give the packets' bytes, in their order."""
    PICTURE = 3
    """Give one picture twice: as RGB, then as 4:2:0."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; see `Kind` for what the numbers mean."""

    kind: Kind
    number: int = 0
    place: int = 0
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is asked for.

    `start`: the share of the video's time from which on pictures are wanted; `picture`: the number of the one that is.
    Limits: `slot_bytes` of each of the `slots`, `data_bytes` of memory, `cpu_seconds` of processor time.
    """

    task: Task
    file_bytes: int = 0
    threads: int = 1
    start: float = 0.0
    picture: int = 0
    slots: int = 3
    slot_bytes: int = 1 << 20
    data_bytes: int = 0
    cpu_seconds: int = 0

    def pack(self) -> bytes:
        """As `JOB_BYTES` bytes."""
        return _JOB.pack(
            self.task,
            self.threads,
            self.picture,
            self.start,
            self.file_bytes,
            self.slots,
            self.slot_bytes,
            self.data_bytes,
            self.cpu_seconds,
        )

    @classmethod
    def unpack(cls, packed: bytes) -> "Job":
        """The job in `JOB_BYTES` bytes of a parent that is trusted."""
        task, threads, picture, start, size, slots, slot, data, seconds = _JOB.unpack(packed)
        return cls(Task(task), size, threads, start, picture, slots, slot, data, seconds)


def say(connection: socket.socket, message: Message) -> None:
    """Send a message. Raises: OSError when nobody listens any more."""
    kind, number, place, sizes = astuple(message)
    connection.sendall(_MESSAGE.pack(kind, number, place, *sizes, *(0,) * (6 - len(sizes))))


def heard(connection: socket.socket) -> Message | None:
    """The next message; None at the end. Raises: WireError, TimeoutError, OSError."""
    packed = b""
    while len(packed) < _MESSAGE.size:
        part = connection.recv(_MESSAGE.size - len(packed))
        if not part:
            if packed:
                raise WireError("a message broke off")
            return None
        packed += part
    kind, number, place, *sizes = _MESSAGE.unpack(packed)
    if kind not in Kind.__members__.values():
        raise WireError(f"there is no message {kind}")
    return Message(Kind(kind), number, place, tuple(sizes))
