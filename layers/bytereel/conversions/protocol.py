"""What a conversion is: plan, convert and assemble behind one protocol, and what they are told.

A conversion knows neither stores, tables nor queues. `archive` and `restore` live beside this file.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bytereel_codec.files.ranged import Buffer, RangedReader

Fragment = Generator[Buffer, None, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """A range `[start, end)` of the source; a later stage may read the fragments of earlier ones."""

    start: int
    end: int
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How one source becomes one output: JSON-able parameters for every worker, and the segments."""

    parameters: Mapping[str, Any]
    segments: Sequence[PlannedSegment]
    output_bytes: int = 0
    """About how long the output will be; 0 where that is not known, or no longer than the source."""


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """What is known of a fragment that is stored: its place in the plan, its bytes, what `convert` returned."""

    index: int
    stage: int
    fragment_bytes: int
    result: Mapping[str, Any]
    reader: RangedReader


@dataclass(frozen=True, slots=True)
class Assembly:
    """The output: `head`, then the fragments in `order` (segment indexes), then `tail`; `facts` for the manifest.

    `output_name` is the last component of the output's key, safe on any store. With `hides_source` only who has a key
    may learn what the source was: the manifest and the job table then say nothing of it. With `named_by_job` the key
    has the job's id and the suffix of `output_name` instead of the source's folders and name. `mode`: the permission
    bits that the output has at most, where its store keeps any.
    """

    head: Buffer
    order: Sequence[int]
    tail: Buffer
    output_name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    hides_source: bool = False
    named_by_job: bool = False
    mode: int | None = None


class Conversion(Protocol):
    """One kind of work on a source. Each function gives the same output for the same input."""

    @property
    def name(self) -> str:
        """The conversion's name, as it stands in keys."""

    @property
    def profiles(self) -> Sequence[str]:
        """The names of its profiles; the first is the default."""

    @property
    def reads_ranges(self) -> bool:
        """Whether a segment of the first stage reads its range of the source in order, and nothing else of it."""

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        """Look at the source (named `name`) and cut it into segments. Raises: Permanent for a source it cannot take."""

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        """The most memory that converting one segment of that stage takes, beyond an idle worker."""

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        """Yield the fragment's bytes; return JSON-able facts that `assemble` needs.

        `earlier` holds the finished segments of all stages before this one's, in index order. A buffer that was
        yielded may be reused once the next is asked for.
        """

    def assemble(self, plan: Mapping[str, Any], finished: Sequence[FinishedSegment]) -> Assembly:
        """Say what the output is made of, from the facts alone; reads no fragment as a whole."""
