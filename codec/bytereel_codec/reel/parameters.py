"""What every worker on a reel must agree on, and what is known of a segment that was written."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import ReelGeometry
from bytereel_codec.frame.header import Flag, FrameHeader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.profiles.geometries import geometry_from_dict
from bytereel_codec.reel.layout import Layout

REEL_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class ReelParameters:
    """What every worker on a reel must agree on. `segments` is 0 while a stream has not ended."""

    reel_id: bytes
    geometry: ReelGeometry
    frames_per_segment: int
    segments: int = 0
    groups: int = 0
    columns: int = 0
    compress: bool = True
    sealed: bool = False
    scrypt_log2_n: int = 0

    @classmethod
    def drawn(
        cls,
        layout: Layout,
        groups: int,
        columns: int,
        secret: Secret | None,
        random: Callable[[int], bytes],
        *,
        compress: bool = True,
    ) -> "ReelParameters":
        """The parameters of a new reel, its id drawn from `random`."""
        return cls(
            random(REEL_ID_BYTES),
            layout.geometry,
            layout.frames_per_segment,
            layout.segments,
            groups,
            columns,
            compress,
            sealed=secret is not None,
            scrypt_log2_n=secret.scrypt_log2_n if secret else 0,
        )

    @property
    def segment_span_bytes(self) -> int:
        """Bytes of the source in a full segment."""
        return self.geometry.span_bytes * self.frames_per_segment

    def layout(self, source_bytes: int) -> Layout:
        """The layout of a source of that size under these parameters."""
        return Layout(self.geometry, self.frames_per_segment, source_bytes)

    def header(self, kind: Kind, segment: int, frame: int, frames: int, flags: Flag = Flag.NONE) -> FrameHeader:
        """The header of one frame of this reel, its payload still open."""
        if self.sealed and kind != Kind.PARITY:
            flags |= Flag.SEALED
        return FrameHeader(
            kind,
            flags,
            self.reel_id,
            segment,
            frame,
            frames,
            self.frames_per_segment,
            self.geometry.span_bytes,
            segments=self.segments,
            groups=self.groups,
            columns=self.columns,
            profile=self.geometry.profile_number,
            scrypt_log2_n=self.scrypt_log2_n,
        )

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON-able values; holds no secret."""
        return {
            "reel_id": base64.b16encode(self.reel_id).decode().lower(),
            "geometry": self.geometry.to_dict(),
            "frames_per_segment": self.frames_per_segment,
            "segments": self.segments,
            "groups": self.groups,
            "columns": self.columns,
            "compress": self.compress,
            "sealed": self.sealed,
            "scrypt_log2_n": self.scrypt_log2_n,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ReelParameters":
        """The inverse of `to_dict`."""
        named = dict(values)
        named["reel_id"] = bytes.fromhex(named["reel_id"])
        named["geometry"] = geometry_from_dict(named["geometry"])
        return cls(**named)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What is known of a written segment: SHA-256 of its source bytes, and the bytes of each frame's chunk.

    Where frames share one chunk, it counts for the last of them, and the others have 0.
    """

    digest: bytes
    chunk_bytes: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {"sha256": self.digest.hex(), "chunk_bytes": list(self.chunk_bytes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SegmentFacts":
        """The inverse of `to_dict`."""
        return cls(bytes.fromhex(values["sha256"]), tuple(values["chunk_bytes"]))
