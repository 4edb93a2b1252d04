"""What a target is: it makes cases out of randomness, runs them, and says which law one broke."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, Protocol

from bytereel_codec.errors import BytereelError

from tools.fuzz.case import Case

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_DETAIL_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """What one case may take: seconds of a core, bytes that the process grows by."""

    core_seconds: float
    growth_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended well: `label` is an error id or a word such as `whole`, `detail` tells outcomes apart.

    `peak_bytes` and `core_seconds` are what other processes took for it.
    """

    label: str
    detail: str = ""
    peak_bytes: int = 0
    core_seconds: float = 0.0


class LawBroken(Exception):
    """A case broke one of its target's laws: `law` names it."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law


class Target(Protocol):
    """One kind of input. A process has one target, which it closes at the end."""

    name: str
    limits: Limits

    def make(self, random: Random) -> Case:
        """A case that this randomness alone determines."""

    def run(self, case: Case) -> Outcome:
        """Run a case. Raises: LawBroken; any other exception is a finding too."""

    def shrinks(self, case: Case) -> bool:
        """Whether the case with bytes left out is still a fair one."""

    def close(self) -> None:
        """Let go of processes and files."""


_TARGETS = {
    "parsers": "tools.fuzz.parsers.target",
    "reels": "tools.fuzz.reels.target",
    "tar": "tools.fuzz.tar.target",
    "media": "tools.fuzz.media.target",
    "gateway": "tools.fuzz.gateway.target",
}
NAMES = tuple(_TARGETS)
CLOCK_SECONDS = {"parsers": 60.0, "reels": 180.0, "tar": 180.0, "media": 240.0, "gateway": 180.0}
"""After so long by the clock a case of a target hangs: long, for other programs may want the machine."""


def load_target(name: str, folder: Path) -> Target:
    """The target of that name, or of that module, with `folder` to keep its files in."""
    target: Target = import_module(_TARGETS.get(name, name)).open_target(folder)
    return target


def case_of(target: Target, seed: int, number: int) -> Case:
    """The case of that number, the same whenever it is made."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))


def outcome_of(call: Callable[..., Any], *arguments: Any) -> Outcome:
    """What a call ends with where only its label counts: `read`, `nothing` for None, or the id of an error."""
    try:
        found = call(*arguments)
    except BytereelError as error:
        return refusal(error)
    return Outcome("nothing" if found is None else "read")


def refusal(error: BytereelError) -> Outcome:
    """An error of the families as an outcome; what it says is told apart but for names and numbers in it."""
    said = _NUMBERS.sub("#", _QUOTED.sub("?", error.message))
    return Outcome(error.error_id, said[:_DETAIL_CHARACTERS_MAX])
