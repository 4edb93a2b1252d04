"""Queues of small messages, and the leases of owners that are known to be dead."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bytereel.model import Message


class Queue(Protocol):
    """Named queues of small JSON messages: at least once, in about the order sent, each held under a lease.

    A lease is lost once the message was given back or to somebody else; one that merely ran out is not, though a
    store may say so when asked to extend it. A store whose leases are no fence may still let somebody acknowledge or
    hold a message that another has by now. So acknowledge what is durable, and have every step take a message twice.
    """

    def send(self, queue: str, bodies: Sequence[Mapping[str, Any]], *, delay_seconds: float = 0.0) -> None:
        """Make all the bodies durable: they are on return; a failure may have sent some.

        A store may shorten a delay of more than 15 minutes. Raises: Permanent `message.too_large` for a body of more
        than 240 KiB, where the store has such a limit.
        """

    def lease(self, queues: Sequence[str], owner: str, lease_seconds: float) -> Message | None:
        """The message that has been free about the longest, of the first of `queues` that has one; or None.

        May wait for a moment before it says None. What is no message at all goes to the dead letters.
        """

    def extend(self, message: Message, lease_seconds: float) -> bool:
        """Hold the message for `lease_seconds` from now; False when the lease was lost."""

    def acknowledge(self, message: Message) -> None:
        """Remove the message for good; no error and no effect when the lease was lost."""

    def release(self, message: Message, *, delay_seconds: float = 0.0) -> None:
        """Give the message back, to be had again after the delay; no effect when the lease was lost."""

    def bury(self, message: Message, reason: str) -> None:
        """Move the message to its queue's dead letters, with the reason; no effect when its lease is lost."""

    def dead(self, *, limit: int = 100) -> Sequence[tuple[Message, str]]:
        """Dead letters with their reasons, oldest first. A store may not show the newest for a minute."""

    def forget_dead(self, before: float) -> int:
        """Remove the dead letters that were buried before the time `before`; return how many."""

    def size(self, queue: str) -> int:
        """How many messages wait or are held; an estimate where the store is spread over machines."""


class OwnerLeases(Protocol):
    """Leases that know their owner: only where a store can be told for certain that a process is dead."""

    def release_owner(self, owner: str) -> int:
        """Set free everything leased by a process known to be dead; return how many leases that were."""
