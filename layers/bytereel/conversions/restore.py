"""`restore`: a reel becomes the bytes it holds. Its segments are the reel's data segments, its fragments plain bytes.

A planned segment's range is the range of the original that it gives back. A folder's reel gives back its tar stream.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from bytereel_codec.errors import Integrity
from bytereel_codec.files.names import REEL_SUFFIX, safe_name
from bytereel_codec.files.ranged import RangedReader
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES
from bytereel_codec.frame.leader import tree_digest
from bytereel_codec.reading.contents import contents_of
from bytereel_codec.reading.opening import open_reel_in
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.reading.reel_reader import Gap, ReelReader
from bytereel_codec.reel.recovery.recovery import RECOVERED_BYTES_MAX

from bytereel.conversions.protocol import Assembly, FinishedSegment, Fragment, Plan, PlannedSegment

REELS_KEPT = 2
# What the index of an open reel takes for each frame (measured: about 250 bytes).
_PLACE_BYTES = 300 * REELS_KEPT
# A frame, its coded form, and the copies that opening and decompressing make.
_FRAMES_HELD = 6
# Of a video of bursts: what its decoder and the search for its place hold, and a burst (measured: 60 to 80).
_PICTURES_HELD = 80


def picture_bytes_of(reel: Reel) -> int:
    """What a picture of the reel's video takes, 0 for a reel of samples: those are read as they stand."""
    if reel.channel is None:
        return 0
    raster = reel.channel.placement.raster
    return raster.width * raster.height * 3 // 2


def _recovered_bytes(reel: Reel) -> int:
    """What frames that parity brings back take: a few are kept, one at least."""
    return max(RECOVERED_BYTES_MAX, reel.span_bytes + FRAME_RESERVED_BYTES) if reel.shape.columns else 0


class RestoreConversion:
    """Reel to object. `secret` opens sealed reels; with it those that are not are refused, unless `allow_unsealed`."""

    name = "restore"
    reads_ranges = False
    profiles = ("original",)

    def __init__(self, secret: Secret | None = None, *, allow_unsealed: bool = False) -> None:
        self._how = Opening(secret, allow_unsealed=allow_unsealed, part=True)
        self._lock = threading.Lock()
        self._reels: OrderedDict[RangedReader, Reel] = OrderedDict()

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        """Read the leader, and take the reel's own segments. Raises: Permanent `reel.none`, `reel.sealed`, ..."""
        del profile
        reel = open_reel_in(source, self._how)
        contents = contents_of(reel)
        reel.require_reach()
        contents.require_all()
        leader, size = contents.leader, contents.size_bytes
        span = reel.span_bytes * reel.frames_per_segment
        suffix = ".tar" if leader and leader.kind == "folder" else ""
        parameters = {
            "name": safe_name(leader.name if leader else "", name.removesuffix(REEL_SUFFIX), suffix=suffix),
            "source_bytes": size,
            "digest": leader.digest if leader else None,
            "sha256": leader.sha256 if leader else None,
            "mode": leader.stream_mode if leader else None,
            "frame_bytes": reel.span_bytes + FRAME_RESERVED_BYTES,
            "reel_id": reel.reel_id.hex(),
            "scrypt_log2_n": reel.scrypt_log2_n,
            "frames": -(-size // reel.span_bytes),
            "pictures_bytes": _PICTURES_HELD * picture_bytes_of(reel) + _recovered_bytes(reel),
        }
        return Plan(parameters, [PlannedSegment(start, min(start + span, size)) for start in range(0, size, span)])

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        """A few frames, whatever the segment's length; the key's derivation, the places of all frames.

        A video of bursts takes the pictures that its decoder holds, and a burst's bytes with their margins; one with
        parity what is recovered at once.
        """
        del stage
        pictures: int = _FRAMES_HELD * plan["frame_bytes"]
        scrypt_bytes: int = (1024 << plan["scrypt_log2_n"]) if plan["scrypt_log2_n"] else 0
        places: int = _PLACE_BYTES * plan["frames"]
        shown: int = plan["pictures_bytes"]
        return pictures + shown + scrypt_bytes + places

    def convert(
        self,
        plan: Mapping[str, Any],
        segment: PlannedSegment,
        index: int,
        source: RangedReader,
        earlier: Sequence[FinishedSegment],
    ) -> Fragment:
        """The original bytes of one segment, proved by its SHA-256.

        Raises: Integrity `reel.damaged` when some are lost.
        """
        del plan, earlier
        reel = self._reel(source)
        found = ReelReader(reel).blocks(index)
        while True:
            try:
                block = next(found)
            except StopIteration as stop:
                digest: bytes = stop.value
                return {"sha256": digest.hex()}
            if isinstance(block, Gap):
                raise block.error
            yield block.content

    def _reel(self, source: RangedReader) -> Reel:
        """The reel in that source; the last few stay open, so that its index is read once and not for each segment."""
        with self._lock:
            if source not in self._reels:
                reel = open_reel_in(source, self._how)
                contents_of(reel)
                self._reels[source] = reel
            self._reels.move_to_end(source)
            while len(self._reels) > REELS_KEPT:
                self._reels.popitem(last=False)
            return self._reels[source]

    def assemble(self, plan: Mapping[str, Any], finished: Sequence[FinishedSegment]) -> Assembly:
        """The segments in a row. Raises: Integrity `reel.bad_digest` when the whole is not what the leader states."""
        digest = tree_digest(bytes.fromhex(item.result["sha256"]) for item in finished)
        size = sum(item.fragment_bytes for item in finished)
        if plan["digest"] not in (None, digest) or size != plan["source_bytes"]:
            raise Integrity(
                "reel.bad_digest", "the whole is not what was written", expected=plan["digest"], actual=digest
            )
        facts = {"digest": digest, "reel_id": plan["reel_id"]}
        if len(finished) == 1:
            facts["sha256"] = finished[0].result["sha256"]
            if plan.get("sha256") not in (None, facts["sha256"]):
                raise Integrity(
                    "reel.bad_digest",
                    "the whole is not what was written: the leader states another SHA-256",
                    expected=plan["sha256"],
                    actual=facts["sha256"],
                )
        order = [item.index for item in finished]
        return Assembly(b"", order, b"", plan["name"], facts, mode=plan.get("mode"))
