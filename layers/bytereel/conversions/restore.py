"""`restore`: a reel becomes the bytes it holds. Its segments are the reel's data segments, its fragments plain bytes.

A planned segment's range is the range of the original that it gives back. A folder's reel gives back its tar stream.
"""

import hashlib
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
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_file import reel_of
from bytereel_codec.reading.reel_reader import ReelReader

from bytereel.conversions import Assembly, FinishedSegment, Fragment, Plan, PlannedSegment

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


class RestoreConversion:
    """Reel to object. `secret` opens sealed reels."""

    name = "restore"
    reads_ranges = False
    profiles = ("original",)

    def __init__(self, secret: Secret | None = None) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._reels: OrderedDict[RangedReader, Reel] = OrderedDict()

    def plan(self, source: RangedReader, name: str, profile: str) -> Plan:
        """Read the leader, and take the reel's own segments. Raises: Permanent `reel.none`, `reel.sealed`, ..."""
        del profile
        reel = reel_of(source, self._secret)
        reel.require_reach()
        frames = ReelReader(reel)
        leader = frames.leader()
        size = frames.source_bytes(leader)
        span = reel.span_bytes * reel.frames_per_segment
        fallback = safe_name(name.removesuffix(REEL_SUFFIX))
        restored = safe_name(leader.name, fallback) if leader else fallback
        parameters = {
            "name": f"{restored}.tar" if leader and leader.kind == "folder" else restored,
            "source_bytes": size,
            "digest": leader.digest if leader else None,
            "frame_bytes": reel.span_bytes + FRAME_RESERVED_BYTES,
            "reel_id": reel.reel_id.hex(),
            "scrypt_log2_n": reel.frames.first.scrypt_log2_n,
            "frames": -(-size // reel.span_bytes),
            "pictures_bytes": _PICTURES_HELD * picture_bytes_of(reel),
        }
        return Plan(parameters, [PlannedSegment(start, min(start + span, size)) for start in range(0, size, span)])

    def segment_cost_bytes(self, plan: Mapping[str, Any], stage: int) -> int:
        """A few frames, whatever the segment's length; the key's derivation, the places of all frames.

        A video of bursts takes the pictures that its decoder holds, and a burst's bytes with their margins.
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
        reader = ReelReader(reel)
        digest = hashlib.sha256()
        stated = None
        for frame in range(reel.frames.frames_in(index)):
            block = reader.block(index, frame)
            digest.update(block.content)
            stated = block.digest
            yield block.content
        if stated != digest.digest():
            raise Integrity(
                "reel.bad_digest",
                f"segment {index} is not what was written",
                start=segment.start,
                end=segment.end,
                expected=(stated or b"").hex(),
                actual=digest.hexdigest(),
            )
        return {"sha256": digest.hexdigest()}

    def _reel(self, source: RangedReader) -> Reel:
        """The reel in that source; the last few stay open, so that its index is read once and not for each segment."""
        with self._lock:
            if source not in self._reels:
                self._reels[source] = reel_of(source, self._secret)
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
        return Assembly(b"", [item.index for item in finished], b"", plan["name"], facts)
