"""What most of many voices say, in bounded memory.

Any header can be forged, damaged ones pass for intact by chance, and two that contradict each other prove nothing. So
what all frames of a reel ought to agree in is taken from most of them, not from the first.

Source: Misra and Gries, Finding repeated elements (1982): whatever more than one voice in `KEPT_MAX + 1` says is kept.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value", bound=Hashable)

KEPT_MAX = 64


class Votes(Generic[Value]):
    """Counts what was said. Of more than `KEPT_MAX` different values the rare ones are forgotten."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[Value] = Counter()

    def add(self, value: Value) -> None:
        """Take in one voice."""
        if value in self._counts or len(self._counts) < KEPT_MAX:
            self._counts[value] += 1
            return
        for known in list(self._counts):
            self._counts[known] -= 1
            if not self._counts[known]:
                del self._counts[known]

    def ranked(self) -> list[Value]:
        """The values, most said first; of equals the one that was said first."""
        return [value for value, _ in self._counts.most_common()]

    def first(self) -> Value | None:
        """What was said most, None where nothing was."""
        return next(iter(self.ranked()), None)
