"""Where sources come in: the inbox, and a store that tells of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from bytereel.model import ObjectInfo
from bytereel.ports.objects import Buffer


class Inbox(Protocol):
    """Where the commands bring a source in."""

    def upload(self, key: str, chunks: Iterable[Buffer], *, mode: int | None = None) -> ObjectInfo:
        """Store the chunks as `key` of the inbox and see to its intake; both are durable on return.

        `mode`: as in `ObjectStore.put`.
        When this raises, the upload happened as a whole or not at all, or the sweep finds it. Raises: as
        `ObjectStore.put`.
        """


class EventSource(Protocol):
    """A store that tells its events to whoever is connected, and to nobody afterwards."""

    name: str

    def listen(self, connected: Callable[[], None]) -> Iterator[Mapping[str, Any]]:
        """Connect, call `connected`, give every event; raise a BytereelError at the connection's end."""

    def close(self) -> None:
        """End the connection, and let no other begin."""
