"""The SHA-256 of bytes that pass anyway, in a thread of its own."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from bytereel.ports.objects import Buffer


class PassingDigest:
    """Digests chunks while the one who asked for them works on them. A context; not for use by two threads at once."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, "sha256")

    def __enter__(self) -> "PassingDigest":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def over(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        """The chunks as they are. One may be written over once the next but one is asked for, and no sooner."""
        before: Future[None] | None = None
        for chunk in chunks:
            if before is not None:
                before.result()
            before = self._thread.submit(self._digest.update, chunk)
            yield chunk
        if before is not None:
            before.result()

    def hex(self) -> str:
        """The digest of all that passed."""
        return self._digest.hexdigest()
