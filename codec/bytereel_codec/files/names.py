"""File names: as a leader keeps them, as they are safe to write, and made to fit a file system."""

import hashlib

LEADER_NAME_BYTES_MAX = 1024
FILE_NAME_BYTES_MAX = 255
REEL_SUFFIX = ".mp4"


def cut_name(name: str) -> str:
    """The name as a leader keeps it: at most `LEADER_NAME_BYTES_MAX` bytes of its last component."""
    last = name.replace("\x00", "").rsplit("/", 1)[-1]
    return (
        last.encode("utf-8", "surrogateescape")[:LEADER_NAME_BYTES_MAX].decode("utf-8", "surrogateescape") or "unnamed"
    )


def safe_name(name: str, fallback: str = "restored") -> str:
    """A file name that stays in its folder: no separator, no NUL, not `.` or `..`, 255 bytes at most.

    The name inside a reel is somebody else's word. Source: POSIX 3.170 (filename), NAME_MAX on Linux.
    """
    last = name.replace("\x00", "").replace("\\", "/").rsplit("/", 1)[-1]
    last = last.encode("utf-8", "surrogateescape")[:FILE_NAME_BYTES_MAX].decode("utf-8", "surrogateescape")
    return fallback if last.strip() in ("", ".", "..") else last


def fitted_name(name: str, suffix: str) -> str:
    """The name with a suffix; one too long for a file system is cut, and told from its like by its own digest."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) + len(suffix) > FILE_NAME_BYTES_MAX:
        mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
        name = encoded[: FILE_NAME_BYTES_MAX - len(suffix) - len(mark)].decode("utf-8", "ignore") + mark
    return name + suffix
