"""What a frame, and a burst of frames, is there for."""

from enum import IntEnum


class Kind(IntEnum):
    """What a frame carries."""

    LEADER = 0
    DATA = 1
    PARITY = 2
