"""How a step learns that the lease it works under was lost, whoever keeps that lease alive."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bytereel.model import Segment


class LeaseWatch(Protocol):
    """Keeps one message's leases alive; a step tells it which segment it leased."""

    def covering(self, segment: Segment) -> AbstractContextManager[None]:
        """Extend the segment's lease too while the context lasts."""

    def lost(self) -> bool:
        """Whether the segment's lease is gone, so that going on is in vain."""


class Unwatched:
    """For a caller whose lease outlasts the step anyway: nothing is extended, nothing noticed."""

    @contextmanager
    def covering(self, segment: Segment) -> Iterator[None]:
        """Do nothing."""
        yield

    def lost(self) -> bool:
        """Never."""
        return False
