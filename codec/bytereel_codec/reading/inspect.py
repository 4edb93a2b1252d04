"""`inspect`: what a reel says of itself."""

from dataclasses import dataclass
from pathlib import Path

from bytereel_codec.channel.raster import Raster
from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import Geometry, geometry_of_span
from bytereel_codec.frame.header import FORMAT_VERSION
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reading.contents import contents_of
from bytereel_codec.reading.opening import opened_reel
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.reading.scan import no_reel


@dataclass(frozen=True, slots=True)
class ReelDescription:
    """What a reel says of itself. `leader` is None where it cannot be read: `locked` says why."""

    reel_id: str
    format_version: int
    reel_bytes: int
    geometry: str
    width: int
    height: int
    frames_per_segment: int
    segments: int
    frames_found: int
    frames_missing: int
    parity_groups: int
    parity_columns: int
    sealed: bool
    compressed: bool
    leader: Leader | None
    locked: str = ""
    symbols: str = ""
    protection: str = ""
    others: tuple[str, ...] = ()
    """Ids (hex) of other reels of which the file holds frames."""


def inspect(
    source: Path | str,
    secret: Secret | None = None,
    reel_id: bytes | None = None,
    *,
    allow_unsealed: bool = False,
) -> ReelDescription:
    """What a reel says of itself, from its headers and leader; a video of bursts is read whole for it.

    Raises: Permanent `reel.none`, `reel.several`, `reel.newer_format`, `source.missing`.
    """
    with opened_reel(source, Opening(secret, reel_id, allow_unsealed)) as reel:
        leader, locked = _leader_or_why(reel)
        frames = reel.frames
        shown = _shown(reel)
        last = reel.segments - 1
        expected = reel.frames_per_segment * last + frames.frames_in(last) if reel.segments else 0
        found = sum(
            kind == Kind.DATA and segment <= last and frame < frames.frames_in(segment)
            for kind, segment, frame in frames.places
        )
        reel_bytes = reel.reader.size_bytes if str(source) == "-" else Path(source).stat().st_size
        return ReelDescription(
            reel.reel_id.hex(),
            FORMAT_VERSION,
            reel_bytes,
            shown.name,
            shown.width,
            shown.height,
            reel.frames_per_segment,
            reel.segments,
            found,
            expected - found,
            frames.groups,
            frames.columns,
            bool(frames.seals.of_most),
            frames.compressed,
            leader,
            locked,
            *_channel_of(reel),
            tuple(other.hex() for other in frames.others),
        )


def _shown(reel: Reel) -> Geometry | Raster:
    """The size of the reel's pictures."""
    if reel.channel is not None:
        return reel.channel.placement.raster
    geometry = geometry_of_span(reel.span_bytes)
    if geometry is None:  # frames of bursts that stand in the file's bytes, outside of any picture
        raise no_reel(reel.reader.size_bytes)
    return geometry


def _channel_of(reel: Reel) -> tuple[str, str]:
    """What the pictures' symbols are and what protects them; nothing for pictures of samples."""
    strip = reel.channel.strip if reel.channel else None
    if strip is None:
        return "", ""
    return strip.modulation.symbols, strip.modulation.protection if strip.kind != Kind.LEADER else ""


def _leader_or_why(reel: Reel) -> tuple[Leader | None, str]:
    try:
        leader = contents_of(reel).leader
    except (Permanent, Integrity) as error:
        return None, error.message
    return leader, "" if leader else "no leader is left in the file that can be used"
