"""`encode_file`: any file, folder or stream to one reel, on one machine.

Threads take segments from a feed and write them in order; the kernels and the hashing release the GIL, so threads
scale. Parity is computed from the data frames as they stand in the written reel; frames of bursts are kept for it in a
temporary file. Memory: per worker about four pictures or one burst with its coded form and, with more than one worker
or a stream, one segment (26 MiB).
"""

import os
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.files.ranged import FileReader
from bytereel_codec.files.sink import OrderedSink, StreamTarget, TargetFile
from bytereel_codec.files.threads import Progress, run_in_threads
from bytereel_codec.frame.envelope import Envelope, Secret
from bytereel_codec.frame.leader import Leader
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.profiles import Profile, profile_named
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.reading.scan import frames_of_reel
from bytereel_codec.reel.layout import AnyGeometry, Layout, geometry_of_profile, layout_for
from bytereel_codec.reel.parity import ParityShape, parity_shape, write_parity_segment
from bytereel_codec.version import SOFTWARE
from bytereel_codec.video.kept_frames import KeptFrames
from bytereel_codec.writing.assembly import ChunkSizes, HeadWriter, finished_leader, picture_count, tail_frame
from bytereel_codec.writing.segment import ReelParameters, SegmentFacts, SegmentWriter
from bytereel_codec.writing.sources import Feed, Source, opened_source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How to encode. `profile`: a name, or one of your own. `geometry`: a name, or None: chosen by size.

    `workers`: threads. `device` draws the pictures of lossy reels. `progress(done, total)`: source bytes. `sha256`:
    keep the plain SHA-256 of the whole in the leader too; it takes a thread of its own, as it cannot be put
    together from the segments' digests.
    """

    profile: str | Profile = "archive"
    parity_percent: float = 0.0
    secret: Secret | None = None
    workers: int = 1
    compress: bool = True
    sha256: bool = False
    geometry: AnyGeometry | str | None = None
    device: Device = Device.AUTO
    name: str | None = None
    replace: bool = True
    progress: Progress = field(default=lambda done, total: None)
    random: Callable[[int], bytes] = os.urandom
    created: str | None = None


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """What came out: sizes in bytes, the tree digest (hex), and the layout; `pictures` as in `estimate.Estimate`."""

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

    @property
    def expansion(self) -> float:
        """Bytes of the reel for each byte of the source; infinite for an empty source."""
        return self.reel_bytes / self.source_bytes if self.source_bytes else float("inf")


def encode_file(source: Path | str, target: Path | str, options: EncodeOptions | None = None) -> EncodeSummary:
    """Turn a file, a folder (as a tar stream) or standard input (`-`) into a reel at `target` (`-`: standard output).

    The target appears when it is complete; an error leaves nothing behind. Raises: Permanent for what cannot be read
    or written; Integrity `source.changed` when the source changed under the encoder; Temporary `target.full`.
    """
    options = options or EncodeOptions()
    if options.device == Device.CUDA:
        chosen(options.device)
    profile = profile_named(options.profile) if isinstance(options.profile, str) else options.profile
    with opened_source(str(source), options.name, _leader(options, profile)) as opened:
        return _Encoding(opened, options, profile).run(str(target))


def _leader(options: EncodeOptions, profile: Profile) -> Leader:
    """The leader as far as the options tell; the source adds its name, the encoder sizes and digests."""
    created = options.created if options.created is not None else datetime.now(UTC).isoformat(timespec="seconds")
    return Leader("", profile=profile.name, parity_percent=options.parity_percent, created=created, software=SOFTWARE)


class _Encoding:
    """One run of `encode_file`."""

    def __init__(self, source: Source, options: EncodeOptions, profile: Profile) -> None:
        self._source = source
        self._options = options
        geometry = options.geometry
        if geometry is None or isinstance(geometry, str):
            geometry = geometry_of_profile(profile, geometry, source.size)
        self._layout = layout_for(source.size, geometry=geometry, parity_percent=options.parity_percent)
        self._kept: KeptFrames | None = None
        shape = parity_shape(self._layout.segments, options.parity_percent)
        secret = options.secret
        self._parameters = ReelParameters.drawn(
            self._layout, shape.groups, shape.columns, secret, options.random, compress=options.compress
        )
        self._key = secret.reel_key(self._parameters.reel_id, self._parameters.scrypt_log2_n) if secret else None
        self._facts: dict[int, SegmentFacts] = {}
        self._done = 0

    def run(self, target: str) -> EncodeSummary:
        with ExitStack() as stack:
            if self._options.parity_percent > 0 and isinstance(self._layout.geometry, BurstGeometry):
                folder = None if target == "-" else Path(target).absolute().parent
                self._kept = stack.enter_context(KeptFrames(folder))
            return self._run(target)

    def _run(self, target: str) -> EncodeSummary:
        if target != "-":
            with TargetFile(Path(target), replace=self._options.replace) as file:
                summary = self._write(file)
                file.commit(summary.reel_bytes)
                return summary
        if self._options.parity_percent > 0:
            return self._spooled()
        return self._write(StreamTarget(sys.stdout.fileno()))

    def _spooled(self) -> EncodeSummary:
        """Parity is read back from the reel: write it to a temporary file, then copy that to standard output."""
        with tempfile.TemporaryDirectory(prefix="bytereel-") as folder:
            with TargetFile(Path(folder) / "reel.mp4") as file:
                summary = self._write(file)
                file.commit(summary.reel_bytes)
            out = StreamTarget(sys.stdout.fileno())
            with (Path(folder) / "reel.mp4").open("rb") as reel:
                offset = 0
                while part := reel.read(1 << 20):
                    out.write_at(offset, part)
                    offset += len(part)
        return summary

    def _write(self, target: TargetFile | StreamTarget) -> EncodeSummary:
        shape = ParityShape(self._parameters.groups, self._parameters.columns)
        parity_frames = sum(self._layout.frames_in(shape.place(p)[0]) for p in range(shape.segments))
        head = HeadWriter(self._parameters, self._envelope(), self._layout, self._source.leader, parity_frames)
        target.write_at(0, head.write(self._source.leader))
        sink = OrderedSink(target, head.size)
        feed = self._source.feed(self._layout, self._options.sha256)
        run_in_threads(lambda: self._encode_segments(feed, sink), self._options.workers, sink.abort)
        self._source.check()
        layout = self._parameters.layout(feed.source_bytes())
        parity = self._write_parity(target, sink, layout) if isinstance(target, TargetFile) else []
        return self._finish(target, sink, head, layout, parity, feed.sha256())

    def _finish(
        self,
        target: TargetFile | StreamTarget,
        sink: OrderedSink,
        head: HeadWriter,
        layout: Layout,
        parity: list[ChunkSizes],
        sha256: str | None,
    ) -> EncodeSummary:
        facts = [self._facts[index] for index in range(layout.segments)]
        assert layout.source_bytes is not None
        leader = finished_leader(self._source.leader, layout.source_bytes, facts, len(parity), sha256)
        number = tail_frame(layout, parity)
        tail = head.tail(leader, number)
        sink.write(tail)
        if isinstance(target, TargetFile):
            target.write_at(0, head.write(leader, [fact.chunk_bytes for fact in facts], parity, len(tail)))
        return EncodeSummary(
            self._parameters.reel_id.hex(),
            layout.source_bytes,
            sink.offset,
            leader.digest or "",
            leader.sha256,
            layout.segments,
            len(parity),
            picture_count(layout, number),
            layout.geometry.name,
            self._parameters.sealed,
        )

    def _envelope(self) -> Envelope:
        return Envelope(self._key, self._options.random)

    def _encode_segments(self, feed: Feed, sink: OrderedSink) -> None:
        keep = self._kept.write if self._kept else None
        writer = SegmentWriter(self._parameters, self._envelope(), keep, self._options.device)
        incoming, kept = bytearray(), bytearray()
        while (segment := feed.next(incoming)) is not None:
            chunks = writer.write(segment.index, segment.reader, segment.start, segment.end, last=segment.last)
            facts = _pour(chunks, segment.index, sink, kept)
            if facts is None:
                return
            self._facts[segment.index] = facts
            self._advance(segment.end - segment.start)
            sink.pass_on()

    def _advance(self, count: int) -> None:
        self._done += count
        self._options.progress(self._done, self._source.size)

    def _write_parity(self, target: TargetFile, sink: OrderedSink, layout: Layout) -> list[ChunkSizes]:
        shape = parity_shape(layout.segments, self._options.parity_percent)
        if not shape.segments:
            return []
        parameters = replace(self._parameters, segments=layout.segments, groups=shape.groups, columns=shape.columns)
        sizes: dict[int, ChunkSizes] = {}
        numbers = iter(range(shape.segments))
        with FileReader(target.partial) as written:
            reader = self._kept or written
            reel = Reel(reader, frames_of_reel(reader, parameters.reel_id))
            sink.start_again()

            def work() -> None:
                frames, kept = ReelReader(reel), bytearray()
                for number in numbers:
                    chunks = write_parity_segment(parameters, layout, number, frames.frame, self._options.device)
                    poured = _pour(chunks, number, sink, kept)
                    if poured is None:
                        return
                    sizes[number] = poured
                    sink.pass_on()

            run_in_threads(work, self._options.workers, sink.abort)
        return [sizes[number] for number in range(shape.segments)]


def _pour(chunks: Generator[memoryview, None, T], index: int, sink: OrderedSink, kept: bytearray) -> T | None:
    """Write a segment's chunks in its turn, keeping them until then; its facts, or None when another thread failed."""
    held = 0
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as stop:
            if not sink.wait(index):
                return None
            sink.write(memoryview(kept)[:held])
            facts: T = stop.value
            return facts
        if sink.is_turn(index):
            sink.write(memoryview(kept)[:held])
            sink.write(chunk)
            held = 0
        else:
            kept[held : held + len(chunk)] = chunk
            held += len(chunk)
