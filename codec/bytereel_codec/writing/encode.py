"""`encode_file`: any file, folder or stream to one reel, on one machine.

Threads take segments from a feed and write them in order; the kernels and the hashing release the GIL, so threads
scale. Parity is computed from the data frames as they stand in the written reel; frames of bursts are kept for it in a
temporary file. Memory: per worker about four pictures or one burst with its coded form and, with more than one worker
or a stream, one segment (26 MiB).
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.files.names import REEL_SUFFIX, cut_name, fitted_name, safe_name
from bytereel_codec.files.ranged import FileReader
from bytereel_codec.files.sink import OrderedSink, StreamTarget, TargetFile, poured
from bytereel_codec.files.targets import is_stream, named_in, opened_target
from bytereel_codec.files.threads import Progress, run_in_threads
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.frame.geometry import ReelGeometry
from bytereel_codec.profiles.profiles import Profile, profile_named
from bytereel_codec.reel.parameters import SegmentFacts
from bytereel_codec.video.kept_frames import KeptFrames
from bytereel_codec.writing.assembly import ChunkSizes, HeadWriter
from bytereel_codec.writing.reel_plan import (
    ReelPlan,
    finished_reel,
    head_writer,
    new_leader,
    plan_reel,
    segment_writer,
)
from bytereel_codec.writing.sources import Feed, Source, opened_source


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How to encode. `profile`: a name, or one of your own. `geometry`: a name, or None: chosen by size.

    `workers`: threads. `device` draws the pictures of lossy reels. `progress(done, total)`: source bytes. `sha256`:
    keep the plain SHA-256 of the whole in the leader too; it takes a thread of its own, as it cannot be put
    together from the segments' digests. `keep_mode`: keep a single file's permission bits in the leader. `replace`: a
    target that exists is replaced without a word, unless this is False.
    """

    profile: str | Profile = "archive"
    parity_percent: float = 0.0
    secret: Secret | None = None
    workers: int = 1
    compress: bool = True
    sha256: bool = False
    geometry: ReelGeometry | str | None = None
    device: Device = Device.AUTO
    name: str | None = None
    replace: bool = True
    progress: Progress = field(default=lambda done, total: None)
    random: Callable[[int], bytes] = os.urandom
    created: str | None = None
    keep_mode: bool = True


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """What came out: sizes in bytes, the tree digest (hex), and the layout; `pictures` as in `estimate.Estimate`."""

    target: str
    reel_id: str
    source_bytes: int
    reel_bytes: int
    digest: str
    sha256: str | None
    segments: int
    parity_segments: int
    pictures: int
    geometry: str
    sealed: bool
    notes: tuple[str, ...] = ()
    """What of the source did not go in, each in a sentence."""

    @property
    def expansion(self) -> float:
        """Bytes of the reel for each byte of the source; infinite for an empty source."""
        return self.reel_bytes / self.source_bytes if self.source_bytes else float("inf")


def encode_file(source: Path | str, target: Path | str, options: EncodeOptions | None = None) -> EncodeSummary:
    """Turn a file, a folder (as a tar stream) or standard input (`-`) into a reel at `target` (`-`: standard output).

    Where `target` is a folder, the reel is made in it, by the source's name. It appears when it is complete; an error
    leaves nothing behind. Pipes, devices and links as targets: `files.targets`. Raises: Permanent for what cannot be
    read or written; Integrity `source.changed` when the source changed under the encoder; Temporary `target.full`.
    """
    options = options or EncodeOptions()
    if options.device == Device.CUDA:
        chosen(options.device)
    profile = profile_named(options.profile) if isinstance(options.profile, str) else options.profile
    leader = new_leader("", profile, options.parity_percent, created=options.created)
    with opened_source(str(source), options.name, leader, keep_mode=options.keep_mode) as opened:
        return _Encoding(opened, options, profile).run(named_in(str(target), reel_name(opened.leader.name)))


def reel_name(source_name: str) -> str:
    """What the reel of a source of that name is called in a folder."""
    return fitted_name(safe_name(cut_name(source_name)), REEL_SUFFIX)


class _Encoding:
    """One run of `encode_file`."""

    def __init__(self, source: Source, options: EncodeOptions, profile: Profile) -> None:
        self._source = source
        self._options = options
        self._plan = plan_reel(
            source.leader,
            profile,
            source.size,
            geometry=options.geometry,
            secret=options.secret,
            compress=options.compress,
            random=options.random,
        )
        self._target = ""
        self._kept: KeptFrames | None = None
        self._facts: dict[int, SegmentFacts] = {}
        self._done = 0

    def run(self, target: str) -> EncodeSummary:
        self._target = target
        with ExitStack() as stack:
            if self._options.parity_percent > 0 and self._plan.layout.geometry.frames_share_chunks:
                folder = None if is_stream(target) else Path(target).resolve().parent
                self._kept = stack.enter_context(KeptFrames(folder))
            return self._run(target)

    def _run(self, target: str) -> EncodeSummary:
        mode = None if self._options.secret else self._source.mode  # a seal hides more than a mode does
        with opened_target(target, replace=self._options.replace, mode=mode) as out:
            if isinstance(out, StreamTarget) and self._options.parity_percent > 0:
                return self._spooled(out)
            summary = self._write(out)
            out.commit(summary.reel_bytes)
            return summary

    def _spooled(self, out: StreamTarget) -> EncodeSummary:
        """Parity is read back from the reel: write it to a temporary file, then copy that to the stream."""
        with tempfile.TemporaryDirectory(prefix="bytereel-") as folder:
            with TargetFile(Path(folder) / "reel.mp4") as file:
                summary = self._write(file)
                file.commit(summary.reel_bytes)
            with (Path(folder) / "reel.mp4").open("rb") as reel:
                offset = 0
                while part := reel.read(1 << 20):
                    out.write_at(offset, part)
                    offset += len(part)
        return summary

    def _write(self, target: TargetFile | StreamTarget) -> EncodeSummary:
        head = head_writer(self._plan, self._options.secret, self._options.random)
        target.write_at(0, head.write(self._plan.leader))
        sink = OrderedSink(target, head.size)
        feed = self._source.feed(self._plan.layout, self._options.sha256)
        run_in_threads(lambda: self._encode_segments(feed, sink), self._options.workers, sink.abort)
        self._source.check()
        plan = self._plan.ended(feed.source_bytes())
        parity = self._write_parity(target, sink, plan) if isinstance(target, TargetFile) else []
        return self._finish(target, sink, head, plan, parity, feed.sha256())

    def _finish(
        self,
        target: TargetFile | StreamTarget,
        sink: OrderedSink,
        head: HeadWriter,
        plan: ReelPlan,
        parity: list[ChunkSizes],
        sha256: str | None,
    ) -> EncodeSummary:
        assert plan.source_bytes is not None
        facts = [self._facts[index] for index in range(plan.layout.segments)]
        finished = finished_reel(plan, head, facts, parity, sha256)
        sink.write(finished.tail)
        if isinstance(target, TargetFile):
            target.write_at(0, finished.head)
        return EncodeSummary(
            self._target,
            plan.parameters.reel_id.hex(),
            plan.source_bytes,
            sink.offset,
            finished.leader.digest or "",
            finished.leader.sha256,
            plan.layout.segments,
            len(parity),
            finished.pictures,
            plan.layout.geometry.name,
            plan.parameters.sealed,
            self._source.notes(),
        )

    def _encode_segments(self, feed: Feed, sink: OrderedSink) -> None:
        keep = self._kept.write if self._kept else None
        options = self._options
        writer = segment_writer(self._plan, options.secret, options.random, keep=keep, device=options.device)
        incoming, kept = bytearray(), bytearray()
        while (segment := feed.next(incoming)) is not None:
            chunks = writer.write(segment.index, segment.reader, segment.start, segment.end, last=segment.last)
            facts = poured(chunks, segment.index, sink, kept)
            if facts is None:
                return
            self._facts[segment.index] = facts
            self._advance(segment.end - segment.start)
            sink.pass_on()

    def _advance(self, count: int) -> None:
        self._done += count
        self._options.progress(self._done, self._source.size)

    def _write_parity(self, target: TargetFile, sink: OrderedSink, plan: ReelPlan) -> list[ChunkSizes]:
        if not plan.parity.segments:
            return []
        from bytereel_codec.writing.parity_pass import write_parity  # a reader too: not loaded where nothing has parity

        with FileReader(target.partial) as written:
            return write_parity(plan, self._kept or written, sink, self._options.workers, self._options.device)
