"""The ports that a step is given, together with the store's limits."""

from dataclasses import dataclass, field

from bytereel.model import INBOX, Location
from bytereel.ports.clock import Clock
from bytereel.ports.jobs import JobTable
from bytereel.ports.objects import ObjectStore
from bytereel.ports.queues import Queue


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports a step is given."""

    objects: ObjectStore
    jobs: JobTable
    queue: Queue
    clock: Clock
    inbox: Location = field(default_factory=lambda: Location(INBOX))
    """Where the store has the inbox: what its events name."""
    object_bytes_max: int | None = field(default=None, kw_only=True)
    """The longest object that the store takes; None where only the disk is the limit."""
    put_bytes_max: int = field(default=0, kw_only=True)
    """The memory that one `put` of the store holds at most, beyond the chunk it was given."""
    sha256: bool = field(default=False, kw_only=True)
    """Whether outputs are given their SHA-256, where it takes reading them once more too."""
    names_by_job: bool = field(default=False, kw_only=True)
    """Whether what stands in the outbox is to tell nothing of the source's name."""
    read_bytes: int = field(default=0, kw_only=True)
    """How much of a source is asked for at once where the store is far away; 0 where it is near."""
