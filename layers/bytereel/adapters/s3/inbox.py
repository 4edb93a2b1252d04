"""The inbox where it is a bucket of a store: what a command uploads is announced by the command itself.

The store's own event about the same object makes no second job, and where neither is heard, the sweep finds it.
"""

from collections.abc import Iterable

from bytereel.messages import INTAKE, event_of
from bytereel.model import INBOX, ObjectInfo, ObjectRef
from bytereel.ports.objects import Buffer, ObjectStore
from bytereel.ports.queues import Queue


class BucketInbox:
    """Takes sources in, for any number of threads, processes and machines."""

    def __init__(self, objects: ObjectStore, queue: Queue) -> None:
        self._objects = objects
        self._queue = queue

    def upload(self, key: str, chunks: Iterable[Buffer], *, mode: int | None = None) -> ObjectInfo:
        """See `Inbox.upload`."""
        info = self._objects.put(ObjectRef(INBOX, key), chunks, mode=mode)
        self._queue.send(INTAKE, [event_of(info.ref)])
        return info
