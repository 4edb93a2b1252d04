"""One parser under fuzzing: how input for it is made, and how it is read and judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tools.fuzz.mutate import mutated
from tools.fuzz.target import LawBroken, Outcome


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser. `made` makes an input; `read` reads one and raises LawBroken, or what is a bug."""

    name: str
    made: Callable[[Random], bytes]
    read: Callable[[bytes], Outcome]


def changed_from(seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> Callable[[Random], bytes]:
    """Inputs that are one of the seeds, changed without knowing what it is."""
    return lambda random: mutated(random, random.choice(seeds), others=seeds, tokens=tokens)


def require(holds: bool, law: str, message: str) -> None:
    """Raises: LawBroken where the law does not hold."""
    if not holds:
        raise LawBroken(law, message)
