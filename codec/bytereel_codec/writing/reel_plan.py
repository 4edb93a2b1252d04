"""How one reel is written: what is chosen and drawn once, and the parts that any worker then writes by it.

`encode_file` and the conversion `archive` both plan a reel here, write its segments in any order and on any machine,
and finish it: for the same source, randomness and time they write the same bytes. A plan holds no secret.
Source: FORMAT.md sections 2, 6, 9 and 10.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bytereel_codec.channel.device import Device
from bytereel_codec.errors import Permanent
from bytereel_codec.files.names import cut_name
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.geometry import ReelGeometry
from bytereel_codec.frame.leader import Leader
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import Profile
from bytereel_codec.reel.layout import Layout, layout_for
from bytereel_codec.reel.parameters import ReelParameters, SegmentFacts
from bytereel_codec.reel.parity import ParityShape, parity_shape
from bytereel_codec.version import SOFTWARE
from bytereel_codec.writing.assembly import ChunkSizes, HeadWriter, finished_leader, picture_count, tail_frame
from bytereel_codec.writing.frame_writer import Keep
from bytereel_codec.writing.segment import SegmentWriter

Random = Callable[[int], bytes]
_HINT = "give the passphrase or key of before, and do it again"


@dataclass(frozen=True, slots=True)
class ReelPlan:
    """What every worker on a reel goes by. `source_bytes` is None while a stream has not ended.

    `leader` is the leader as far as it is known before the first segment; `key_check` tells a sealed reel's workers
    whether they hold the same secret (`Secret.check`).
    """

    parameters: ReelParameters
    leader: Leader
    source_bytes: int | None
    key_check: str | None = None

    @property
    def layout(self) -> Layout:
        """How the source is cut into frames and segments."""
        return Layout(self.parameters.geometry, self.parameters.frames_per_segment, self.source_bytes)

    @property
    def parity(self) -> ParityShape:
        """The groups and columns of its parity segments; none while a stream has not ended."""
        return ParityShape(self.parameters.groups, self.parameters.columns)

    @property
    def parity_frames(self) -> int:
        """Frames of all its parity segments."""
        shape = self.parity
        return sum(self.layout.frames_in(shape.group_and_column(number)[0]) for number in range(shape.segments))

    @property
    def output_bytes(self) -> int:
        """About how long the reel will be. Only for a known size."""
        assert self.source_bytes is not None
        share = 1 + self.parity.segments / max(1, self.layout.segments)
        return round(self.source_bytes * share * self.parameters.geometry.expansion)

    @property
    def working_bytes(self) -> int:
        """Memory to write one segment: pictures of samples or a burst, and the key's derivation from a passphrase."""
        scrypt_bytes: int = 1024 << self.parameters.scrypt_log2_n
        return self.parameters.geometry.working_bytes + scrypt_bytes

    def ended(self, source_bytes: int) -> "ReelPlan":
        """The plan once the source's size is known: with its segments, and the parity that suits them."""
        layout = self.parameters.layout(source_bytes)
        shape = parity_shape(layout.segments, self.leader.parity_percent)
        parameters = replace(self.parameters, segments=layout.segments, groups=shape.groups, columns=shape.columns)
        return replace(self, parameters=parameters, source_bytes=source_bytes)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values. It names the source and its size: see `sealed_notes` for a sealed reel's."""
        leader = {name: value for name, value in asdict(self.leader).items() if value is not None}
        values = {"reel": self.parameters.to_dict(), "source_bytes": self.source_bytes, "leader": leader}
        return values if self.key_check is None else {**values, "key_check": self.key_check}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ReelPlan":
        """The inverse of `to_dict`."""
        parameters = ReelParameters.from_dict(values["reel"])
        return cls(parameters, Leader(**values["leader"]), values["source_bytes"], values.get("key_check"))


@dataclass(frozen=True, slots=True)
class FinishedReel:
    """What stands around the segments of a reel: the bytes in front and behind, its leader, its pictures in all."""

    head: bytes
    tail: bytes
    leader: Leader
    pictures: int


def new_leader(
    name: str, profile: Profile, parity_percent: float = 0.0, *, mode: int | None = None, created: str | None = None
) -> Leader:
    """The leader as it is known before the source was read; `created` is now (UTC) where it is None."""
    return Leader(
        cut_name(name),
        profile=profile.name,
        parity_percent=parity_percent,
        created=_now() if created is None else created,
        software=SOFTWARE,
        mode=mode,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def plan_reel(
    leader: Leader,
    profile: Profile,
    source_bytes: int | None,
    *,
    geometry: ReelGeometry | str | None = None,
    secret: Secret | None = None,
    compress: bool = True,
    random: Random = os.urandom,
) -> ReelPlan:
    """Choose the picture size, cut the source and draw the reel's id. The parity is what the leader says.

    Raises: Permanent `geometry.unknown`, `source.too_large`, `parity.bad_percent`.
    """
    if geometry is None or isinstance(geometry, str):
        geometry = geometry_of_profile(profile, geometry, source_bytes)
    layout = layout_for(source_bytes, geometry=geometry, parity_percent=leader.parity_percent)
    shape = parity_shape(layout.segments, leader.parity_percent)
    parameters = ReelParameters.drawn(layout, shape.groups, shape.columns, secret, random, compress=compress)
    check = secret.check(parameters.reel_id, parameters.scrypt_log2_n) if secret else None
    return ReelPlan(parameters, leader, source_bytes, check)


def key_of(plan: ReelPlan, secret: Secret | None) -> bytes | None:
    """The key of a sealed reel, None for an open one.

    Raises: Permanent `secret.missing`, `secret.changed` since the reel was planned.
    """
    parameters = plan.parameters
    if not parameters.sealed:
        return None
    if secret is None:
        raise Permanent("secret.missing", "the reel was planned with a secret, and none is given", hint=_HINT)
    if secret.check(parameters.reel_id, parameters.scrypt_log2_n) != plan.key_check:
        raise Permanent("secret.changed", "the secret is not the one that the reel was planned with", hint=_HINT)
    return secret.reel_key(parameters.reel_id, parameters.scrypt_log2_n)


def segment_writer(
    plan: ReelPlan,
    secret: Secret | None,
    random: Random = os.urandom,
    *,
    keep: Keep | None = None,
    device: Device = Device.CPU,
) -> SegmentWriter:
    """What writes the plan's data segments, for one thread. Raises: as `key_of`."""
    return SegmentWriter(plan.parameters, Envelope(key_of(plan, secret), random), keep, device)


def head_writer(plan: ReelPlan, secret: Secret | None, random: Random = os.urandom) -> HeadWriter:
    """What writes the reel's head and tail. Raises: as `key_of`."""
    envelope = Envelope(key_of(plan, secret), random)
    return HeadWriter(plan.parameters, envelope, plan.layout, plan.leader, plan.parity_frames)


def finished_reel(
    plan: ReelPlan,
    head: HeadWriter,
    data: Sequence[SegmentFacts],
    parity: Sequence[ChunkSizes],
    sha256: str | None = None,
) -> FinishedReel:
    """Head and tail around all segments; `head` may be of the plan before it was `ended`, `plan` is the ended one.

    `sha256`: the plain digest of the whole source, where it was taken.
    """
    assert plan.source_bytes is not None
    leader = finished_leader(plan.leader, plan.source_bytes, data, len(parity), sha256)
    number = tail_frame(plan.layout, parity)
    tail = head.tail(leader, number)
    start = head.write(leader, [facts.chunk_bytes for facts in data], parity, len(tail))
    return FinishedReel(start, tail, leader, picture_count(plan.layout, number))
