"""`archive`: any object becomes one reel. The segments are those of the codec, parity segments a stage of their own.

A sealed job's plan and the facts of its segments stand in the job table, where others may read them: whatever follows
from the source is closed there (`sealed_notes`), and a planned segment's range ends where a full one would.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from os import urandom
from typing import Any

from bytereel_codec import Secret
from bytereel_codec.files.names import REEL_SUFFIX, fitted_name
from bytereel_codec.files.ranged import RangedReader, mode_of
from bytereel_codec.profiles.profiles import PROFILES, Profile
from bytereel_codec.writing.fragments import StoredSegment, parity_from_fragments
from bytereel_codec.writing.reel_plan import (
    ReelPlan,
    finished_reel,
    head_writer,
    new_leader,
    plan_reel,
    segment_writer,
)
from bytereel_codec.writing.sealed_notes import facts_in, noted_facts, noted_plan, plan_in, working_bytes_in
from bytereel_codec.writing.segment import SegmentWriter

from bytereel.conversions.protocol import Assembly, FinishedSegment, Fragment, Plan, PlannedSegment

DATA_STAGE = 0
PARITY_STAGE = 1
_NOT_A_PROGRAM = 0o666


class ArchiveConversion:
    """Object to reel. `secret` seals every reel; `parity_percent` adds parity segments.

    `profiles` by name, the default first; a plan holds all of its profile, so that other workers need not know it.
    With `named_by_job` a sealed reel's key tells its job and nothing of the source.
    """

    name = "archive"
    reads_ranges = True

    def __init__(
        self,
        parity_percent: float = 0.0,
        secret: Secret | None = None,
        random: Callable[[int], bytes] = urandom,
        *,
        profiles: Mapping[str, Profile] = PROFILES,
        named_by_job: bool = False,
    ) -> None:
        self._profiles = profiles
        self.profiles = tuple(profiles)
        self._parity_percent = parity_percent
        self._secret = secret
        self._random = random
        self._named_by_job = named_by_job
        self._kept = threading.local()

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        """Choose the picture size and cut the source; the reel's id is drawn here, once."""
        chosen = self._profiles[profile]
        leader = new_leader(name, chosen, self._parity_percent, mode=mode_of(source))
        plan = plan_reel(leader, chosen, source.size_bytes, secret=self._secret, random=self._random)
        segments = [*_data_segments(plan), *_parity_segments(plan)]
        return Plan(noted_plan(plan, self._secret, self._random), segments, plan.output_bytes)

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        """A few pictures of samples, or a burst with its pictures; the key's derivation where there is a passphrase."""
        del stage
        return working_bytes_in(plan)

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        """The chunks of a data segment from its range, or of a parity segment from the data segments' fragments."""
        planned = plan_in(plan, self._secret)
        layout = planned.layout
        if segment.stage == PARITY_STAGE:
            sizes = yield from parity_from_fragments(planned, index - layout.segments, map(_stored, earlier))
            return {"chunk_bytes": list(sizes)}
        last = index == layout.segments - 1
        facts = yield from self._writer(planned).write(index, source, *layout.segment_range(index), last=last)
        return noted_facts(planned, index, facts, self._secret, self._random)

    def assemble(self, plan: Mapping[str, Any], finished: Sequence[FinishedSegment]) -> Assembly:
        """Head with index and leader, data segments, parity segments, the leader again."""
        planned = plan_in(plan, self._secret)
        data = [
            facts_in(planned, item.index, item.result, self._secret) for item in finished if item.stage == DATA_STAGE
        ]
        parity = [tuple(item.result["chunk_bytes"]) for item in finished if item.stage == PARITY_STAGE]
        reel = finished_reel(planned, head_writer(planned, self._secret, self._random), data, parity)
        sealed = planned.parameters.sealed
        facts = {
            "reel_id": planned.parameters.reel_id.hex(),
            "digest": None if sealed else reel.leader.digest,
            "sha256": None if sealed else reel.leader.sha256,
            "sealed": sealed,
            "geometry": planned.layout.geometry.name,
            "pictures": reel.pictures,
            "parity_segments": len(parity),
        }
        return Assembly(
            reel.head,
            sorted(item.index for item in finished),
            reel.tail,
            fitted_name(planned.leader.name, REEL_SUFFIX),
            {name: value for name, value in facts.items() if value is not None},
            hides_source=sealed,
            named_by_job=sealed and self._named_by_job,
            mode=None if planned.leader.mode is None else planned.leader.mode & _NOT_A_PROGRAM,
        )

    def _writer(self, plan: ReelPlan) -> SegmentWriter:
        """This thread's writer; its buffers serve the next segment of the same reel too."""
        kept: tuple[ReelPlan, SegmentWriter] | None = getattr(self._kept, "writer", None)
        if kept is None or kept[0] != plan:
            kept = (plan, segment_writer(plan, self._secret, self._random))
            self._kept.writer = kept
        return kept[1]


def _data_segments(plan: ReelPlan) -> list[PlannedSegment]:
    """A segment for each of the reel's; of a sealed reel the last one too ends where a full one would."""
    layout, sealed = plan.layout, plan.parameters.sealed
    ranges = [layout.segment_range(index) for index in range(layout.segments)]
    span = layout.segment_span_bytes
    return [PlannedSegment(start, start + span if sealed else end, DATA_STAGE) for start, end in ranges]


def _parity_segments(plan: ReelPlan) -> list[PlannedSegment]:
    data = _data_segments(plan)
    return [PlannedSegment(0, data[-1].end, PARITY_STAGE)] * plan.parity.segments if data else []


def _stored(fragment: FinishedSegment) -> StoredSegment:
    return StoredSegment(fragment.index, fragment.reader, fragment.fragment_bytes, fragment.result["chunk_bytes"])
