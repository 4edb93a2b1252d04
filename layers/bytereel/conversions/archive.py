"""`archive`: any object becomes one reel. The segments are those of the codec, parity segments a stage of their own."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from os import urandom
from typing import Any

from bytereel_codec.errors import Permanent
from bytereel_codec.files.names import REEL_SUFFIX, cut_name, fitted_name
from bytereel_codec.files.ranged import RangedReader, read_range
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.profiles import PROFILES, Profile
from bytereel_codec.reading.opening import reel_of_videos
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.reel.layout import Layout, geometry_from_dict, geometry_of_profile, layout_for
from bytereel_codec.reel.parity import parity_shape, write_parity_segment
from bytereel_codec.version import SOFTWARE
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, Frame, FrameLoader
from bytereel_codec.writing.assembly import HeadWriter, finished_leader, picture_count, tail_frame
from bytereel_codec.writing.segment import ReelParameters, SegmentFacts, SegmentWriter

from bytereel.conversions import Assembly, FinishedSegment, Fragment, Plan, PlannedSegment

DATA_STAGE = 0
PARITY_STAGE = 1
_HINT = "start the workers with the passphrase or key of before, then retry the job"


class ArchiveConversion:
    """Object to reel. `secret` seals every reel; `parity_percent` adds parity segments.

    `profiles` by name, the default first; a plan holds all of its profile, so that other workers need not know it.
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
    ) -> None:
        self._profiles = profiles
        self.profiles = tuple(profiles)
        self._parity_percent = parity_percent
        self._secret = secret
        self._random = random
        self._kept = threading.local()

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        """Choose the picture size and cut the source; the reel's id is drawn here, once."""
        size = source.size_bytes
        geometry = geometry_of_profile(self._profiles[profile], None, size)
        layout = layout_for(size, geometry=geometry, parity_percent=self._parity_percent)
        shape = parity_shape(layout.segments, self._parity_percent)
        parameters = ReelParameters.drawn(layout, shape.groups, shape.columns, self._secret, self._random)
        leader = Leader(
            cut_name(name),
            profile=profile,
            parity_percent=self._parity_percent,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=SOFTWARE,
        )
        data = [PlannedSegment(*layout.segment_range(index), DATA_STAGE) for index in range(layout.segments)]
        parity = [PlannedSegment(0, size, PARITY_STAGE)] * shape.segments
        planned = {"reel": parameters.to_dict(), "source_bytes": size, "leader": asdict(leader)}
        if self._secret:
            planned["key_check"] = self._secret.check(parameters.reel_id, parameters.scrypt_log2_n)
        share = 1 + len(parity) / max(1, len(data))
        return Plan(planned, [*data, *parity], round(size * share * geometry.expansion))

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        """A few pictures of samples, or a burst with its pictures; the key's derivation where there is a passphrase."""
        del stage
        scrypt_bytes: int = 1024 << plan["reel"]["scrypt_log2_n"]
        return geometry_from_dict(plan["reel"]["geometry"]).working_bytes + scrypt_bytes

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        """The chunks of a data segment from its range, or of a parity segment from the data segments' fragments."""
        parameters, layout = _parameters(plan)
        if segment.stage == PARITY_STAGE:
            sizes = yield from self._parity(parameters, layout, index - layout.segments, earlier)
            return {"chunk_bytes": list(sizes)}
        last = index == layout.segments - 1
        facts = yield from self._writer(plan, parameters).write(index, source, segment.start, segment.end, last=last)
        return facts.to_dict()

    def _parity(
        self, parameters: ReelParameters, layout: Layout, number: int, earlier: Sequence[FinishedSegment]
    ) -> Generator[memoryview, None, tuple[int, ...]]:
        if not isinstance(layout.geometry, BurstGeometry):
            return (yield from write_parity_segment(parameters, layout, number, _FragmentFrames(earlier).fetch))
        head = SegmentWriter(parameters, Envelope(None)).init_section(None)
        members = [item for item in earlier if item.index % parameters.groups == number % parameters.groups]
        with reel_of_videos(_with_head(head, members)) as reel:
            return (yield from write_parity_segment(parameters, layout, number, ReelReader(reel).frame))

    def assemble(self, plan: Mapping[str, Any], finished: Sequence[FinishedSegment]) -> Assembly:
        """Head with index and leader, data segments, parity segments, the leader again."""
        parameters, layout = _parameters(plan)
        data = [SegmentFacts.from_dict(item.result) for item in finished if item.stage == DATA_STAGE]
        parity = [tuple(item.result["chunk_bytes"]) for item in finished if item.stage == PARITY_STAGE]
        leader = finished_leader(Leader(**plan["leader"]), plan["source_bytes"], data, len(parity))
        head = HeadWriter(parameters, self._envelope(plan, parameters), layout, leader, sum(map(len, parity)))
        tail = head.tail(leader, tail_frame(layout, parity))
        start = head.write(leader, [facts.chunk_bytes for facts in data], parity, len(tail))
        facts = {
            "reel_id": parameters.reel_id.hex(),
            "digest": leader.digest,
            "sha256": leader.sha256,
            "sealed": parameters.sealed,
            "geometry": layout.geometry.name,
            "pictures": picture_count(layout, tail_frame(layout, parity)),
            "parity_segments": len(parity),
        }
        order = sorted(item.index for item in finished)
        return Assembly(
            start, order, tail, fitted_name(leader.name, REEL_SUFFIX), {k: v for k, v in facts.items() if v is not None}
        )

    def _envelope(self, plan: Mapping[str, Any], parameters: ReelParameters) -> Envelope:
        """The reel's envelope. Raises: Permanent `secret.missing`, `secret.changed` since the job was planned."""
        if not parameters.sealed:
            return Envelope(None)
        if self._secret is None:
            raise Permanent(
                "secret.missing", "the job was planned with a secret that this worker does not have", hint=_HINT
            )
        if self._secret.check(parameters.reel_id, parameters.scrypt_log2_n) != plan["key_check"]:
            raise Permanent("secret.changed", "the secret is not the one that the job was planned with", hint=_HINT)
        return Envelope(self._secret.reel_key(parameters.reel_id, parameters.scrypt_log2_n), self._random)

    def _writer(self, plan: Mapping[str, Any], parameters: ReelParameters) -> SegmentWriter:
        """This thread's writer; its buffers serve the next segment of the same reel too."""
        kept: tuple[ReelParameters, SegmentWriter] | None = getattr(self._kept, "writer", None)
        if kept is None or kept[0] != parameters:
            kept = (parameters, SegmentWriter(parameters, self._envelope(plan, parameters)))
            self._kept.writer = kept
        return kept[1]


def _parameters(plan: Mapping[str, Any]) -> tuple[ReelParameters, Layout]:
    parameters = ReelParameters.from_dict(plan["reel"])
    return parameters, parameters.layout(plan["source_bytes"])


def _with_head(head: bytes, fragments: Iterable[FinishedSegment]) -> Iterator[bytes]:
    """Each fragment as a video of its own."""
    for fragment in fragments:
        yield head + read_range(fragment.reader, 0, fragment.fragment_bytes)


class _FragmentFrames:
    """The data frames in finished fragments, found by the chunk sizes that were noted."""

    def __init__(self, fragments: Sequence[FinishedSegment]) -> None:
        self._fragments = {fragment.index: fragment for fragment in fragments}
        self._loader = FrameLoader()

    def fetch(self, kind: Kind, segment: int, frame: int) -> Frame | None:
        """The frame of a data segment."""
        assert kind == Kind.DATA
        fragment = self._fragments[segment]
        start = sum(fragment.result["chunk_bytes"][:frame])
        return self._loader.frame_at(fragment.reader, start + FIRST_SAMPLE_OFFSET)
