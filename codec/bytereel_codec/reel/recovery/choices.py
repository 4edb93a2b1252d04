"""Which parity frames a stripe is recovered by, where forged ones may be among them: every way is tried soon."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, islice, product

CHOICES_MAX = 64
"""Of parity frames, where what comes back does not prove itself."""

Choice = tuple[tuple[int, int], ...]
"""Parity frames of a stripe: of each its column, and which of its copies."""


def choices_in_turn(
    there: Sequence[int], count: int, copies_of: Callable[[int], int], begin: int
) -> Iterator[tuple[int, Choice]]:
    """The choices of `count` of those columns with their numbers: first number `begin`, in the end those before it."""
    numbered = enumerate(islice(_distinct(choices(there, count, copies_of)), CHOICES_MAX))
    earlier = list(islice(numbered, begin))
    return chain(numbered, earlier)


def choices(there: Sequence[int], count: int, copies_of: Callable[[int], int]) -> Iterator[Choice]:
    """Ways to choose `count` parity frames; some come more than once.

    Runs of columns come first, so placed that each column is missing from one of them soon; of the columns all first
    copies, all last ones, and so on inwards. Then the copies of one run in all ways, and all combinations of columns.
    """
    runs = list(_runs(there, count))
    yield from (tuple((column, 0) for column in run) for run in runs[:1])
    copies = {column: max(1, copies_of(column)) for column in there}
    for number in range(max(copies.values(), default=0)):
        for run in runs:
            yield tuple((column, min(number, copies[column] - 1)) for column in run)
            yield tuple((column, max(copies[column] - 1 - number, 0)) for column in run)
    for run in runs[:1]:
        yield from product(*([(column, copy) for copy in range(copies[column])] for column in run))
    yield from (tuple((column, 0) for column in columns) for columns in combinations(there, count))


def _runs(there: Sequence[int], count: int) -> Iterator[Sequence[int]]:
    """Runs of that many columns, the last ones going on at the start."""
    if count <= len(there):
        for start in range(0, len(there), min(count, len(there) - count) or len(there)):
            yield [*there, *there][start : start + count]


def _distinct(choices: Iterator[Choice]) -> Iterator[Choice]:
    """Each choice once."""
    seen: set[Choice] = set()
    for choice in choices:
        if choice not in seen:
            seen.add(choice)
            yield choice
