"""Whether all that was read of a reel is what was written: its digests held against what its leader states.

Source: FORMAT.md sections 7, 8 and 10.
"""

import hashlib
import os
from typing import NamedTuple

from bytereel_codec.frame.leader import tree_digest
from bytereel_codec.reading.contents import END_MISSING, Contents

UNPROVED = "the sealed leader is missing that would prove this to be all"
_HASHED_BYTES = 1 << 20
_NOT_AS_WRITTEN = "the whole is not what was written: the leader states another"


class Contradiction(NamedTuple):
    """A half-open range of the source that is not proved, empty where only its end is not known, and why."""

    start: int
    end: int
    reason: str


class WholeProof:
    """Takes in what was read of a reel. `segment` may be called by several threads."""

    def __init__(self, contents: Contents, segments: int) -> None:
        self._contents = contents
        self._segments = segments
        self._digests: dict[int, bytes] = {}
        stated = contents.leader.sha256 if contents.leader else None
        self._plain = hashlib.sha256() if stated and segments > 1 else None

    @property
    def wants_bytes(self) -> bool:
        """Whether the bytes are wanted too, in order: a plain SHA-256 cannot be put together from the segments' own."""
        return self._plain is not None

    def segment(self, number: int, digest: bytes) -> None:
        """Take in the proved SHA-256 of a segment."""
        self._digests[number] = digest

    def content(self, content: memoryview) -> None:
        """Take in the next bytes, where they are wanted."""
        if self._plain is not None:
            self._plain.update(content)

    def file(self, descriptor: int) -> None:
        """Take in the bytes of a file that several threads have written in no order, where they are wanted."""
        buffer = memoryview(bytearray(_HASHED_BYTES))
        for offset in range(0, self._contents.size_bytes if self.wants_bytes else 0, _HASHED_BYTES):
            self.content(buffer[: os.preadv(descriptor, [buffer], offset)])

    def sha256(self) -> str | None:
        """The plain SHA-256 of the whole, None where the leader states none."""
        if self._plain is not None:
            return self._plain.hexdigest()
        leader = self._contents.leader
        return self._digests[0].hex() if leader and leader.sha256 and self._segments == 1 else None

    def contradiction(self) -> Contradiction | None:
        """What says that this is not all, or not what was written; None where it is. Once all was taken in."""
        contents, size = self._contents, self._contents.size_bytes
        leader = contents.leader
        if not contents.is_vouched_for:
            return Contradiction(size, size, UNPROVED)
        if not contents.has_end:
            stated = leader.size_bytes if leader else None
            return Contradiction(size, max(size, stated or 0), END_MISSING)
        if leader is None:
            return None
        found = tree_digest(digest for _, digest in sorted(self._digests.items()))
        if leader.digest not in (None, found) or leader.size_bytes not in (None, size):
            return Contradiction(0, size, f"{_NOT_AS_WRITTEN} size or digest")
        if self.sha256() != leader.sha256:
            return Contradiction(0, size, f"{_NOT_AS_WRITTEN} SHA-256")
        return None
