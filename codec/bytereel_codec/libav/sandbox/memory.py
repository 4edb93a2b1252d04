"""Memory that parent and child share: a window for the file's bytes, and slots for what comes back.

It has no name that others could open, and where the system can seal it (Linux), no side can make it shorter under the
other. Elsewhere, and where memory files are forbidden, it is a temporary file that is unlinked at once.
"""

import fcntl
import mmap
import os
import tempfile

WINDOW_BYTES = 256 << 10


class SharedMemory:
    """Bytes that two processes see. The parent makes it, the child opens it by its descriptor."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        """Map what `fd` holds; the descriptor stays the caller's."""
        self._slots = slots
        self._slot_bytes = slot_bytes
        self._map = mmap.mmap(fd, shared_bytes(slots, slot_bytes))
        self._view = memoryview(self._map)

    @property
    def window(self) -> memoryview:
        """Where the file's bytes are put: `WINDOW_BYTES`."""
        return self._view[:WINDOW_BYTES]

    def slot(self, number: int) -> memoryview:
        """A slot by its number. Raises: IndexError when there is none."""
        if not 0 <= number < self._slots:
            raise IndexError(f"there is no slot {number}")
        start = WINDOW_BYTES + number * self._slot_bytes
        return self._view[start : start + self._slot_bytes]

    def close(self) -> None:
        """Unmap it. Views of it must be gone."""
        self._view.release()
        self._map.close()


def shared_bytes(slots: int, slot_bytes: int) -> int:
    """How much memory that many slots and the window take, at most: pages that nobody touches take none."""
    return WINDOW_BYTES + slots * slot_bytes


def new_shared_file(size: int) -> int:
    """A descriptor of that many shared bytes, without a name. Raises: OSError where there is no room."""
    sealed = _sealed_memory(size)
    return _unlinked_file(size) if sealed is None else sealed


def _sealed_memory(size: int) -> int | None:
    """Memory that neither side can make shorter or longer; None where the system has none."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        fd = os.memfd_create("bytereel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:  # forbidden, or too old a system
        return None
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def _unlinked_file(size: int) -> int:
    """A temporary file with all its bytes in place: one that a full disk leaves without would end whoever writes."""
    with tempfile.TemporaryFile(prefix="bytereel-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno())
