"""Opening the reel in a file, whatever the file is: a video as it was written, a pipe, a container that needs libav."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bytereel_codec.envelope import Secret
from bytereel_codec.ranged import FileReader, RangedReader, read_range
from bytereel_codec.reel import Reel
from bytereel_codec.scan import frames_of_reel, is_readable, is_reel, no_reel
from bytereel_codec.sink import TargetFile, write_error
from bytereel_codec.sources import read_fully

_SPOOL_BYTES = 1 << 20
_SNIFF_BYTES = 4096
_TS_PACKET_BYTES = 188


@contextmanager
def opened_reel(source: Path | str, secret: Secret | None, reel_id: bytes | None = None) -> Iterator[Reel]:
    """The reel in a file, on standard input (`-`, spooled), or in a container that cuts its pictures up."""
    with tempfile.TemporaryDirectory(prefix="bytereel-") as folder:
        path = Path(source)
        if str(source) == "-":
            path = Path(folder) / "reel"
            _spool(path)
        with FileReader(path) as reader:
            if not _is_cut_up(reader) and is_reel(reader) and is_readable(reader):
                yield fully_indexed(reader, secret, reel_id)
                return
        with FileReader(_by_libav(path, Path(folder) / "pictures")) as pictures:
            yield fully_indexed(pictures, secret, reel_id)


def _by_libav(path: Path, pictures: Path) -> Path:
    """The file's pictures in a row, from a container that cuts them up or from another lossless codec.

    The file itself where libav finds nothing in it and it holds frames, if only damaged ones.
    """
    from bytereel_codec.libav import rewritten, unwrapped

    with FileReader(path) as reader:
        cut_up, marked = _is_cut_up(reader), is_reel(reader)
    try:
        if cut_up:
            unwrapped(path, pictures)
        elif not rewritten(path, pictures):
            if not marked:
                raise no_reel()
            return path
    except OSError as error:
        raise write_error(error, pictures) from error
    return pictures


def fully_indexed(reader: RangedReader, secret: Secret | None, reel_id: bytes | None = None) -> Reel:
    """The reel with every frame's place known, found by looking at every byte where some seem to be missing."""
    reel = Reel(reader, frames_of_reel(reader, reel_id), secret)
    if not reel.frames.is_complete():
        reel.look_thoroughly()
    reel.learn_end()
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
