"""Opening the reel in a file, whatever the file is: a video as it was written, a pipe, a container that needs libav."""

import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bytereel_codec.channel.device import Device
from bytereel_codec.channel.raster import Picture
from bytereel_codec.errors import Integrity
from bytereel_codec.files.ranged import BytesReader, FileReader, RangedReader, buffered_file, read_range
from bytereel_codec.files.sink import TargetFile, write_error
from bytereel_codec.files.threads import ahead
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.reading.scan import frames_of_reel, is_readable, is_reel, no_reel
from bytereel_codec.video.kept_frames import KeptFrames
from bytereel_codec.writing.sources import read_fully

if TYPE_CHECKING:
    from bytereel_codec.bursts.reader import ChannelReport

_SPOOL_BYTES = 1 << 20
_SNIFF_BYTES = 4096
_TS_PACKET_BYTES = 188
_PICTURES_AHEAD = 8  # so that libav goes on while a burst is corrected


@contextmanager
def opened_reel(
    source: Path | str,
    secret: Secret | None,
    reel_id: bytes | None = None,
    *,
    workers: int = 1,
    device: Device = Device.CPU,
    part: bool = False,
) -> Iterator[Reel]:
    """The reel in a file, on standard input (`-`, spooled), in a container that cuts its pictures up, or one of bursts.

    `workers`: threads that decode a video of bursts, `device` what reads its pictures. With `part`, bursts are read
    when they are asked for, where the video's start says enough.
    """
    with tempfile.TemporaryDirectory(prefix="bytereel-") as folder:
        path = Path(source)
        if str(source) == "-":
            path = Path(folder) / "reel"
            _spool(path)
        with FileReader(path) as reader:
            if not _is_cut_up(reader) and is_reel(reader) and is_readable(reader):
                yield fully_indexed(reader, secret, reel_id)
                return
            found = _unwrapped(path, reader, Path(folder) / "packets")
            reel = None
            if not found:
                reel = reel_in_bursts(reader, secret, reel_id, workers=workers, device=device, part=part)
            if reel is not None:
                with closing(reel):
                    yield reel
                return
        with FileReader(found or _rewritten(path, Path(folder) / "pictures")) as pictures:
            yield fully_indexed(pictures, secret, reel_id)


def _unwrapped(path: Path, reader: FileReader, packets: Path) -> Path | None:
    """The packets of a container that cuts pictures up, in a row, where they are pictures of samples."""
    from bytereel_codec.libav.samples import unwrapped

    if not _is_cut_up(reader):
        return None
    try:
        unwrapped(path, packets)
    except OSError as error:
        raise write_error(error, packets) from error
    with FileReader(packets) as pictures:
        return packets if is_reel(pictures) else None


def _rewritten(path: Path, pictures: Path) -> Path:
    """The pictures in a row, of a video in another lossless codec.

    The file itself where libav finds nothing in it and it holds frames, if only damaged ones.
    """
    from bytereel_codec.libav.samples import rewritten

    try:
        if rewritten(path, pictures):
            return pictures
    except OSError as error:
        raise write_error(error, pictures) from error
    with FileReader(path) as reader:
        if not is_reel(reader):
            raise no_reel()
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
        yield fully_indexed(kept, None)


def reel_in_bursts(
    reader: RangedReader,
    secret: Secret | None,
    reel_id: bytes | None = None,
    *,
    workers: int = 1,
    device: Device = Device.CPU,
    part: bool,
) -> Reel | None:
    """The reel in a video of bursts; with `part`, of the first reel, bursts are read when they are asked for.

    All of the video is read otherwise, and where its start does not say enough. None when it shows no strip. The caller
    closes it. Raises: as `reel_of_bursts`.
    """
    from bytereel_codec.reading.burst_video import reel_in_video

    reel = reel_in_video(reader, secret, workers=workers, device=device) if part and reel_id is None else None
    return reel or reel_of_bursts(reader, secret, reel_id, workers=workers, device=device)


def reel_of_bursts(
    reader: RangedReader,
    secret: Secret | None,
    reel_id: bytes | None = None,
    *,
    workers: int = 1,
    device: Device = Device.CPU,
) -> Reel | None:
    """The reel in a video of bursts, all of it read into a temporary file; None when the video shows no strip.

    The caller closes it. Raises: as `fully_indexed`; Integrity `reel.damaged` when no frame can be read; Temporary
    `target.full`.
    """
    from bytereel_codec.bursts.reader import read_bursts

    with ExitStack() as stack:
        kept = stack.enter_context(KeptFrames(None))
        report = read_bursts(partial(_shown, reader, workers), kept.write, device=device)
        if report is None:
            return None
        if not kept.size_bytes:
            raise _beyond(report)
        reel = fully_indexed(kept, secret, reel_id)
        reel.channel = report
        reel.closes = stack.pop_all()
        weakref.finalize(reel, reel.closes.close)  # for those who keep it open and forget it
        return reel


def _beyond(report: "ChannelReport") -> Integrity:
    return Integrity(
        "reel.damaged",
        f"the video holds a reel of {report.placement.raster.name}, and no frame of it can be read: "
        f"{report.codewords_lost} of {report.codewords} codewords are lost",
        hint="it was encoded beyond what its profile stands: `bytereel channel` shows how far, `bytereel survive` "
        "which profile holds",
        codewords=report.codewords,
        codewords_lost=report.codewords_lost,
    )


def _shown(reader: RangedReader, workers: int = 1) -> Iterator[Picture]:
    from bytereel_codec.libav.pictures import shown_pictures

    if workers == 1:
        return shown_pictures(buffered_file(reader))
    # One thread more: while a picture is taken from libav, the one that made it has nothing to do.
    return ahead(shown_pictures(buffered_file(reader), threads=workers + 1), _PICTURES_AHEAD)


def fully_indexed(reader: RangedReader, secret: Secret | None, reel_id: bytes | None = None) -> Reel:
    """The reel with every frame's place known, found by looking at every byte where some seem to be missing."""
    reel = Reel(reader, frames_of_reel(reader, reel_id), secret)
    if not reel.frames.is_complete():
        reel.look_thoroughly()
    ReelReader(reel).learn_end()
    return reel


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
