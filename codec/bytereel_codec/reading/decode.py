"""`decode_file` and `verify`: a reel back to its bytes, on one machine, by several threads.

Every frame is proved by its CRC32C, every segment by its SHA-256, the whole by the tree digest. What is lost comes back
from parity, or is named as ranges of the original. The target appears when it is complete and right; `salvage` keeps
what could be read, with zeros in the ranges that could not; of a folder's reel that is its tar stream.
"""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bytereel_codec.channel.device import Device, chosen
from bytereel_codec.errors import BytereelError, Integrity
from bytereel_codec.files.names import safe_name
from bytereel_codec.files.ranged import Buffer
from bytereel_codec.files.sink import StreamTarget, Target, TargetFile
from bytereel_codec.files.targets import is_stream, named_in, opened_target
from bytereel_codec.files.threads import Progress, run_in_threads
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.reading.contents import contents_of
from bytereel_codec.reading.losses import Losses
from bytereel_codec.reading.opening import opened_reel
from bytereel_codec.reading.proof import UNPROVED, WholeProof
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.reading.reel_reader import Block, Gap, ReelReader

if TYPE_CHECKING:
    from bytereel_codec.files.folder.layout import LayoutReport

_ZEROS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How to decode. `reel_id`: first bytes of the id, where there are several. `start`/`end`: a range.

    With a secret, what is not sealed is refused, unless `allow_unsealed`. `device` reads the pictures of lossy reels.
    `preserve` keeps what is dropped otherwise: of a file the permission bits that the umask takes; in a folder
    set-user-id and set-group-id of files. `replace`: a target file that exists is replaced without a word, unless this
    is False; a folder, and a name that the reel chose, never replace anything.
    """

    secret: Secret | None = None
    workers: int = 1
    salvage: bool = False
    reel_id: bytes | None = None
    start: int = 0
    end: int | None = None
    allow_unsealed: bool = False
    replace: bool = True
    preserve: bool = False
    device: Device = Device.AUTO
    progress: Progress = field(default=lambda done, total: None)


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What came back. `lost` are half-open ranges of the source, empty when all of it is right.

    An empty range at the end stands for an end that is missing and of which nothing says how long it was, or for a
    sealed leader that is missing and would prove that nothing is. `digest` and `sha256` are there when they were
    checked.
    """

    name: str
    target: str
    source_bytes: int
    digest: str | None
    sha256: str | None
    segments: int
    recovered_frames: int
    lost: tuple[tuple[int, int], ...] = ()
    reasons: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Ids (hex) of other reels of which the file holds frames."""
    corrected_bytes: int = 0
    """What the parity inside bursts set right; 0 for a reel of samples."""
    left_out: tuple[str, ...] = ()
    """Members of a folder that the file system could not take, each with its kind and why: the first thousand."""
    notes: tuple[str, ...] = ()
    """What else did not come out as it went in, each in a sentence."""

    @property
    def whole(self) -> bool:
        """Whether every byte is there and proved."""
        return not self.lost


class _Nowhere:
    def write_at(self, offset: int, content: Buffer) -> None:
        """Drop the bytes: verifying reads, and writes nothing."""


def decode_file(
    source: Path | str, target: Path | str | None = None, options: DecodeOptions | None = None
) -> DecodeReport:
    """Give back what a reel holds, to `target` (a file, a folder for a folder's reel, `-`: standard output).

    Without a target the name in the reel is used, in the current folder, made safe; where the target is a folder, in
    that. Such a name replaces nothing. Pipes, devices and links as targets: `files.targets`. Raises: Permanent for what
    is no reel, is sealed, or cannot be written; Integrity `reel.damaged` naming the ranges that are lost (unless
    salvaging).
    """
    options = options or DecodeOptions()
    name = None if target is None else str(target)
    is_part = (options.start > 0 or options.end is not None) and not options.salvage
    by_pipe = str(source) == "-" or (name is not None and is_stream(name))
    if is_part and not by_pipe:  # what is read from a pipe or written to one cannot be taken back
        with suppress(Integrity), _opened(source, options, part=True) as reel:  # else: what is lost, all of it tells
            return _Decoding(reel, options).run(name)
    with _opened(source, options) as reel:
        return _Decoding(reel, options).run(name)


def verify(source: Path | str, options: DecodeOptions | None = None) -> DecodeReport:
    """Read the whole reel and prove every byte, writing nothing. The report names what is lost; raises as `decode_file`
    does for a file that is no reel or cannot be opened."""
    options = options or DecodeOptions()
    with _opened(source, options) as reel:
        return _Decoding(reel, options).check()


def _opened(source: Path | str, options: DecodeOptions, *, part: bool = False) -> AbstractContextManager[Reel]:
    if options.device == Device.CUDA:
        chosen(options.device)
    wanted = (options.secret, options.reel_id, options.allow_unsealed, options.workers, options.device)
    return opened_reel(source, Opening(*wanted, part=part))


class _Decoding:
    """One run over a reel."""

    def __init__(self, reel: Reel, options: DecodeOptions) -> None:
        self._reel = reel
        self._options = options
        contents = contents_of(reel)
        self._contents = contents
        self._leader = contents.leader
        self._size = contents.size_bytes
        self._start = max(0, min(options.start, self._size))
        self._end = max(self._start, self._size if options.end is None else min(options.end, self._size))
        self._reach = reel.reach()
        self._is_looked_up = reel.is_looked_up
        self._lost = Losses()
        self._proof = WholeProof(contents, reel.segments)
        self._done = 0
        self._laid_out: LayoutReport | None = None

    def run(self, target: str | None) -> DecodeReport:
        self._require_contents()
        folder = self._leader is not None and self._leader.kind == "folder"
        suffix = ".tar" if folder and not self._is_laid_out() else ""
        name = safe_name(self._leader.name if self._leader else "", suffix=suffix)
        path = name if target is None else named_in(target, name)
        if folder and self._is_laid_out() and not is_stream(path):
            self._run_folder(Path(path))
        else:
            self._run_file(path, replace=self._options.replace and path == target)
        return self._report(path)

    def _run_file(self, target: str, *, replace: bool) -> None:
        """Write to a stream, or a file no more open than the original was (a folder's tar stream: its owner's)."""
        mode = self._leader.stream_mode if self._leader else None
        with opened_target(target, replace=replace, mode=mode, exact=self._options.preserve) as out:
            in_order = self._is_looked_up or isinstance(out, StreamTarget)
            self._read_into(out, workers=1 if in_order else self._options.workers)
            if isinstance(out, TargetFile) and self._is_whole_range() and not self._lost:
                self._proof.file(out.fd)  # else nothing is proved by it, and a size may be a lie
            self._require_whole()
            out.commit(self._end - self._start)

    def check(self) -> DecodeReport:
        self._read_into(_Nowhere(), workers=1 if self._proof.wants_bytes else self._options.workers)
        self._check_whole()
        return self._report("")

    def _run_folder(self, path: Path) -> None:
        from bytereel_codec.files.folder.target import FolderTarget  # tar: not loaded for a file

        with FolderTarget(path, preserve=self._options.preserve) as target:
            self._read_into(target, workers=1)
            self._require_whole()
            target.commit(self._size)
            self._laid_out = target.report

    def _is_laid_out(self) -> bool:
        """Whether a folder's reel becomes a folder: a part of it, or what is left of it, is one of its tar stream."""
        return self._is_whole_range() and not self._options.salvage

    def _is_whole_range(self) -> bool:
        return (self._start, self._end) == (0, self._size)

    def _require_contents(self) -> None:
        """Refuse what nothing vouches for, and a range up to an end that is not known, unless salvaging."""
        if not self._options.salvage:
            wanted = self._options.end
            reaches_end = wanted is None or wanted > self._size
            self._contents.require_all(to_the_end=reaches_end and not self._is_whole_range())

    def _read_into(self, target: Target, *, workers: int) -> None:
        tasks = iter(self._tasks())
        stopped = threading.Event()

        def work() -> None:
            reader = ReelReader(self._reel)
            for segments in tasks:
                if stopped.is_set():
                    return
                self._read_segments(reader, segments, target)

        run_in_threads(work, workers, stopped.set)

    def _tasks(self) -> Sequence[range]:
        """The segments to read, one a task, and between them the runs of those that are out of reach."""
        if self._start == self._end:
            return []
        span = self._reel.span_bytes * self._reel.frames_per_segment
        wanted = range(self._start // span, -(-self._end // span))
        if self._reach is None:
            return [range(number, number + 1) for number in wanted]
        tasks = []
        done = wanted.start
        for number in sorted(number for number in self._reach if number in wanted):
            tasks += [range(done, number)] if done < number else []
            tasks.append(range(number, number + 1))
            done = number + 1
        return [*tasks, range(done, wanted.stop)] if done < wanted.stop else tasks

    def _read_segments(self, reader: ReelReader, segments: range, target: Target) -> None:
        if self._reach is None or segments.start in self._reach:
            self._read_segment(reader, segments.start, target)
            return
        error = Integrity("reel.damaged", f"segments {segments.start} to {segments.stop - 1} are lost")
        self._lose(error, self._reel.offset_of(segments.start, 0), self._reel.offset_of(segments.stop, 0), target)

    def _read_segment(self, reader: ReelReader, number: int, target: Target) -> None:
        reach = None if self._reach is None else self._reach[number]
        found = reader.blocks(number, self._start, self._end, reach, may_repeat=self._may_repeat(target))
        while True:
            try:
                block = next(found)
            except StopIteration as stop:
                if stop.value is not None:
                    self._proof.segment(number, stop.value)
                return
            if isinstance(block, Gap):
                self._lose(block.error, block.start, block.end, target)
            else:
                self._write(block, target)

    def _may_repeat(self, target: Target) -> bool:
        """Whether bytes may come to the target once more, and the later ones count."""
        return isinstance(target, TargetFile) or (isinstance(target, _Nowhere) and not self._proof.wants_bytes)

    def _write(self, block: Block, target: Target) -> None:
        offset, content = block.offset, block.content
        first, last = max(offset, self._start), min(offset + len(content), self._end)
        if first < last:
            target.write_at(first - self._start, content[first - offset : last - offset])
            if self._is_whole_range() and not isinstance(target, TargetFile):
                self._proof.content(content)
            self._done += last - first
            self._options.progress(min(self._done, self._end - self._start), self._end - self._start)

    def _lose(self, error: BytereelError, start: int, end: int, target: Target) -> None:
        start, end = max(start, self._start), min(end, self._end)
        if start >= end:
            return
        self._lost.note(start, end, error.message)
        if self._is_looked_up:
            raise self._lost.error(self._size)
        if isinstance(target, TargetFile | _Nowhere) or error.error_id == "reel.bad_digest":
            return
        if not self._options.salvage:
            raise self._lost.error(self._size)
        for offset in range(start, end, _ZEROS_BYTES):
            target.write_at(offset - self._start, bytes(min(_ZEROS_BYTES, end - offset)))

    def _require_whole(self) -> None:
        """Refuse what is not whole, unless salvaging."""
        self._check_whole()
        if self._lost and not self._options.salvage:
            raise self._lost.error(self._size)

    def _check_whole(self) -> None:
        if not self._lost and self._is_whole_range():
            found = self._proof.contradiction()
            if found is not None:
                self._lost.note(*found)
        elif not self._contents.is_vouched_for:
            self._lost.note(self._size, self._size, UNPROVED)

    def _report(self, target: str) -> DecodeReport:
        whole = not self._lost and self._is_whole_range()
        leader = self._leader
        return DecodeReport(
            leader.name if leader else "",
            target,
            self._size,
            leader.digest if leader and whole else None,
            self._proof.sha256() if whole else None,
            self._reel.segments,
            len(self._reel.recovered),
            self._lost.ranges,
            self._lost.reasons,
            tuple(reel_id.hex() for reel_id in self._reel.frames.others),
            self._reel.channel.corrected_bytes if self._reel.channel else 0,
            tuple(self._laid_out.named) if self._laid_out else (),
            _notes_of(self._laid_out) if self._laid_out else (),
        )


def _notes_of(report: "LayoutReport") -> tuple[str, ...]:
    notes = []
    if report.left_out:
        notes.append(f"members of the folder that could not be made here: {report.left_out}; all others were")
    if report.without_special_bits:
        notes.append(f"files that had set-user-id or set-group-id, which is not kept: {report.without_special_bits}")
    if report.without_attributes:
        notes.append(f"members that had extended attributes, which cannot be kept here: {report.without_attributes}")
    return tuple(notes)
