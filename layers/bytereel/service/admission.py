"""Who has a connection, and who loses one when there are too many: accounts of peers, without sockets or time.

A newcomer always gets in, so nobody can be locked out: what goes for it is a connection of whoever has most. Of those
it is the one that has kept the gateway waiting longest; one that waits for the gateway goes only where there is no
other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from itertools import chain
from typing import Generic, TypeVar

Connection = TypeVar("Connection")
PREFIX_BITS = 64
"""Of an IPv6 address: who has one address has all that start like it."""


@dataclass(slots=True)
class _Peer(Generic[Connection]):
    """The connections of one peer, each with its turn; those that are longest as they are come first."""

    waited_for: dict[Connection, int] = field(default_factory=dict)
    answered: dict[Connection, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.waited_for) + len(self.answered)

    def in_order(self) -> Iterator[tuple[Connection, int]]:
        """The connections as they would go, and their turns."""
        return chain(self.waited_for.items(), self.answered.items())


class Admission(Generic[Connection]):
    """At most `peer_max` connections of one peer, and `all_max` of all. Not for several threads."""

    def __init__(self, peer_max: int, all_max: int) -> None:
        assert 0 < peer_max <= all_max
        self._peer_max = peer_max
        self._all_max = all_max
        self._peers: dict[str, _Peer[Connection]] = {}
        self._count = 0
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, peer: str, connection: Connection, *, waited_for: bool) -> Connection | None:
        """Count the connection, from now on as one that the gateway waits for, or as one that waits for the gateway.

        Returns the connection that has to go for it, never itself, which is counted no longer.
        """
        self.leave(peer, connection)
        account = self._peers.setdefault(peer, _Peer())
        self._turn += 1
        (account.waited_for if waited_for else account.answered)[connection] = self._turn
        self._count += 1
        if len(account) > self._peer_max:
            return self._closed(peer)
        return self._closed(self._greediest()) if self._count > self._all_max else None

    def leave(self, peer: str, connection: Connection) -> None:
        """Count the connection no longer; no error when it is not counted."""
        account = self._peers.get(peer)
        if account is None:
            return
        turns = (account.waited_for.pop(connection, 0), account.answered.pop(connection, 0))
        self._count -= any(turns)
        if not account:
            del self._peers[peer]

    def _closed(self, peer: str) -> Connection:
        connection, _ = self._first(peer)
        self.leave(peer, connection)
        return connection

    def _first(self, peer: str) -> tuple[Connection, int]:
        """The connection of the peer that would go, and its turn; the newcomer only where it has no other."""
        account = self._peers[peer]
        return next((pair for pair in account.in_order() if pair[1] != self._turn), next(account.in_order()))

    def _greediest(self) -> str:
        """Who has most connections; of several the one that would lose the oldest."""
        return max(self._peers, key=lambda peer: (len(self._peers[peer]), -self._first(peer)[1]))


def peer_of(address: str) -> str:
    """Whom an address belongs to, as far as can be told: the address itself, or the network of an IPv6 address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    network = int(found) >> (128 - PREFIX_BITS) << (128 - PREFIX_BITS)
    return f"{IPv6Address(network)}/{PREFIX_BITS}"
