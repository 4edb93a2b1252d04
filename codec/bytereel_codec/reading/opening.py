"""Opening the reel in a file, whatever the file is: a video as it was written, a pipe, a container that needs libav.

One ladder for every way of reading, the cheapest rung first: frames looked up by the index in front of the reel; frames
found by their marks; the packets of a container that cuts pictures up; bursts of pictures; pictures of another lossless
codec. The first rung that bears is taken.
"""

import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from bytereel_codec.bursts.report import ChannelReport
from bytereel_codec.channel.raster import Picture
from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.ranged import BytesReader, FileReader, RangedReader, buffered_file, read_fully, read_range
from bytereel_codec.files.sink import TargetFile, write_error
from bytereel_codec.files.threads import ahead
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.contents import contents_of, settle_looked_up
from bytereel_codec.reading.frames import ReelFrames
from bytereel_codec.reading.index import read_index
from bytereel_codec.reading.reel import Opening, Reel
from bytereel_codec.reading.reel_reader import Block, ReelReader
from bytereel_codec.reading.scan import Wanted, frames_of_reel, is_readable, is_reel, no_reel
from bytereel_codec.video.kept_frames import KeptFrames

_SPOOL_BYTES = 1 << 20
_SNIFF_BYTES = 4096
_TS_PACKET_BYTES = 188
_PICTURES_AHEAD = 8  # so that libav goes on while a burst is corrected
_LEADERS = 2


@contextmanager
def opened_reel(source: Path | str, how: Opening) -> Iterator[Reel]:
    """The reel in a file, or on standard input (`-`, spooled). Raises: as `open_reel_in`."""
    with ExitStack() as stack:
        path = Path(source)
        if str(source) == "-":
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bytereel-"))) / "reel"
            _spool(path)
        reader = stack.enter_context(FileReader(path))
        yield stack.enter_context(closing(open_reel_in(reader, how)))


def open_reel_in(reader: RangedReader, how: Opening) -> Reel:
    """The reel in a ranged reader; the caller closes it.

    Raises: Permanent `reel.none`, `reel.several`, `reel.not_here`, `reel.newer_format`; Integrity `reel.beyond` where
    no frame of a lossy reel can be read; Temporary `target.full`.
    """
    reel = _by_index(reader, how) if how.part and how.reel_id is None else None
    if reel is not None:
        return reel
    is_cut_up = _is_cut_up(reader)
    is_marked = not is_cut_up and is_reel(reader)
    if is_marked and is_readable(reader):
        return _of_samples_or_bursts(reader, how)
    try:
        reel = _by_libav(reader, how, is_cut_up=is_cut_up)
    except Permanent as error:
        if not is_marked or error.error_id not in ("media.refused", "reel.none"):
            raise
        return _fully_indexed(reader, how)
    if is_marked and reel.channel is None and not reel.frames.is_complete():
        as_it_stands = _fully_indexed(reader, how)
        if len(as_it_stands.frames.places) > len(reel.frames.places):  # libav lost more of it than marks do
            return as_it_stands
    return reel


def _by_libav(reader: RangedReader, how: Opening, *, is_cut_up: bool) -> Reel:
    """The reel in what libav makes of the file: its packets in a row, its pictures' bursts, or its pictures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bytereel-")))
        found = _unwrapped(reader, folder) if is_cut_up else None
        reel = None if found else reel_in_bursts(reader, how)
        if reel is not None:
            return reel
        pictures = stack.enter_context(FileReader(found or _rewritten(reader, folder)))
        reel = _fully_indexed(pictures, how)
        reel.closes = stack.pop_all()
        weakref.finalize(reel, reel.closes.close)  # for those who keep it open and forget it
        return reel


def _by_index(reader: RangedReader, how: Opening) -> Reel | None:
    """The reel with its frames looked up by the index in front of it, None where that is not there or not right."""
    first, index = read_index(reader)
    if first is None or index is None or not index.fits(reader.size_bytes):
        return None
    reel = how.reel(reader, ReelFrames.of_first(first), locate=index.locate)
    return reel if settle_looked_up(reel, index.pictures - _LEADERS) else None


def _of_samples_or_bursts(reader: RangedReader, how: Opening) -> Reel:
    """The reel whose frames stand in the file as samples; the one in its pictures' bursts where they are not a whole
    one and are a single one, or less than half of the file: somebody may have put a frame of his own beside it."""
    reel = _fully_indexed(reader, how)
    frames = reel.frames
    is_whole = frames.is_complete() and not (how.wants_seals and not frames.seals.sealed)
    count = len(frames.places)
    if is_whole or (count > 1 and count * frames.first.span_bytes > reader.size_bytes // 2):
        return reel
    return reel_in_bursts(reader, how) or reel


def _fully_indexed(reader: RangedReader, how: Opening) -> Reel:
    """The reel with every frame's place known, found by looking at every byte where some seem to be missing."""
    wanted = Wanted(how.reel_id, how.wants_seals, partial(_is_sound, reader, how))
    return how.reel(reader, frames_of_reel(reader, wanted))


def _is_sound(reader: RangedReader, how: Opening, frames: ReelFrames) -> bool:
    """Whether frames are what they seem: their key opens some, or all are there and the last segment proves itself."""
    reel = how.reel(reader, frames)
    proof = ReelReader(reel)
    try:
        if reel.sealed and reel.has_secret:
            proof.prove_key()
            return reel.key_is_right
        if reel.sealed or not contents_of(reel).has_end or not frames.is_complete():
            return bool(reel.sealed)
        last = reel.segments - 1
        if last < 0:
            return True
        intact = all(proof.frame(Kind.DATA, last, frame) for frame in range(frames.frames_in(last)))
        return intact and all(isinstance(block, Block) for block in proof.blocks(last))
    except (Permanent, Integrity):
        return False


def _unwrapped(reader: RangedReader, folder: Path) -> Path | None:
    """The packets of a container that cuts pictures up, in a row, where they are pictures of samples."""
    from bytereel_codec.libav.samples import unwrapped

    packets = folder / "packets"
    try:
        unwrapped(_as_file(reader, folder), packets)
    except OSError as error:
        raise write_error(error, packets) from error
    with FileReader(packets) as pictures:
        return packets if is_reel(pictures) else None


def _rewritten(reader: RangedReader, folder: Path) -> Path:
    """The pictures in a row, of a video in another lossless codec.

    The file itself where libav finds nothing in it and it holds frames, if only damaged ones.
    """
    from bytereel_codec.libav.samples import rewritten

    path, pictures = _as_file(reader, folder), folder / "pictures"
    try:
        if rewritten(path, pictures):
            return pictures
    except OSError as error:
        raise write_error(error, pictures) from error
    if not is_reel(reader):
        raise no_reel(reader.size_bytes)
    return path


def _as_file(reader: RangedReader, folder: Path) -> Path:
    """What is read as a file: itself where it is one, else a copy in `folder`."""
    if isinstance(reader, FileReader):
        return reader.path
    path, buffer = folder / "source", memoryview(bytearray(_SPOOL_BYTES))
    if not path.exists():
        with TargetFile(path) as file:
            for offset in range(0, reader.size_bytes, _SPOOL_BYTES):
                file.write_at(offset, buffer[: reader.read_into(offset, buffer)])
            file.commit(reader.size_bytes)
    return path


@contextmanager
def reel_of_videos(videos: Iterable[bytes]) -> Iterator[Reel]:
    """The frames in videos of bursts of one reel, each a whole file, as far as they can be read.

    Raises: Permanent `reel.none`; Temporary `target.full`.
    """
    from bytereel_codec.bursts.reader import read_bursts

    with KeptFrames(None) as kept:
        for video in videos:
            read_bursts(partial(_shown, BytesReader(video)), kept.write)
        yield _fully_indexed(kept, Opening())


def reel_in_bursts(reader: RangedReader, how: Opening) -> Reel | None:
    """The reel in a video of bursts; with `part`, of the first reel, bursts are read when they are asked for.

    All of the video is read otherwise, and where its start does not say enough. None when it shows no strip. The caller
    closes it. Raises: as `open_reel_in`.
    """
    from bytereel_codec.reading.burst_video import reel_in_video

    reel = reel_in_video(reader, how) if how.part and how.reel_id is None else None
    return reel or _reel_of_bursts(reader, how)


def _reel_of_bursts(reader: RangedReader, how: Opening) -> Reel | None:
    """The reel in a video of bursts, all of it read into a temporary file; None when the video shows no strip."""
    from bytereel_codec.bursts.reader import read_bursts

    with ExitStack() as stack:
        kept = stack.enter_context(KeptFrames(None))
        report = read_bursts(partial(_shown, reader, how.workers), kept.write, device=how.device)
        if report is None:
            return None
        if not kept.size_bytes:
            raise _beyond(report)
        reel = _fully_indexed(kept, how)
        reel.channel = report
        reel.closes = stack.pop_all()
        weakref.finalize(reel, reel.closes.close)
        return reel


def _beyond(report: ChannelReport) -> Integrity:
    return Integrity(
        "reel.beyond",
        f"the video holds a reel of {report.placement.raster.name}, and no frame of it can be read: "
        f"{report.codewords_lost} of {report.codewords} codewords are lost",
        hint="it was encoded beyond what its profile stands",
        codewords=report.codewords,
        codewords_lost=report.codewords_lost,
    )


def _shown(reader: RangedReader, workers: int = 1) -> Iterator[Picture]:
    from bytereel_codec.libav.pictures import shown_pictures

    if workers == 1:
        return shown_pictures(buffered_file(reader))
    # One thread more: while a picture is taken from libav, the one that made it has nothing to do.
    return ahead(shown_pictures(buffered_file(reader), threads=workers + 1), _PICTURES_AHEAD)


def _spool(path: Path) -> None:
    with TargetFile(path) as file:
        buffer = memoryview(bytearray(_SPOOL_BYTES))
        offset = 0
        while count := read_fully(sys.stdin.buffer, buffer):
            file.write_at(offset, buffer[:count])
            offset += count
        file.commit(offset)


def _is_cut_up(reader: RangedReader) -> bool:
    """Whether the file is of a container that does not keep pictures in one piece (MPEG-TS)."""
    head = bytes(read_range(reader, 0, _SNIFF_BYTES))
    return len(head) >= 4 * _TS_PACKET_BYTES and all(head[i * _TS_PACKET_BYTES] == 0x47 for i in range(4))
