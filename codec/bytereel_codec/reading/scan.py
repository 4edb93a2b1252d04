"""Finding the frames of a reel by their own marks, in any container that keeps NAL units whole.

Every picture starts with the masked magic of its frame header, so a reel is found in MP4, fragmented MP4, Matroska or a
raw stream, cut or joined, without reading the container. The first pass jumps from header to header; a *thorough* pass
looks at every byte, for reels in which bytes were lost or added.

Memory is bounded: at most `FRAMES_MAX` frames of `REELS_MAX` reels are noted.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import RangedReader, read_range
from bytereel_codec.frame.geometry import DATA_FRAMES_MAX
from bytereel_codec.frame.header import MASKED_MAGIC, FrameHeader, OtherVersion, newer_format
from bytereel_codec.frame.sizes import HEADER_BYTES, MACROBLOCK_BYTES
from bytereel_codec.reading.frames import FrameKey, ReelFrames, agreement_of, key_of
from bytereel_codec.reading.votes import Votes
from bytereel_codec.video.picture import HEADER_WINDOW_BYTES, FrameLoader, PictureReader, smallest_coded_bytes

FRAMES_MAX = 2 * DATA_FRAMES_MAX + 2
REELS_MAX = 1024
_WINDOW_BYTES = 4 << 10
_WINDOW_BYTES_MAX = 4 << 20
_SHOWN = 16
_VAIN_PASSES, _VAIN_BYTES_MIN = 4, 64 << 20

Agreement = tuple[bytes, int, int]


def find_frames(
    reader: RangedReader,
    start: int = 0,
    end: int | None = None,
    *,
    thorough: bool = False,
    others: Votes[OtherVersion] | None = None,
) -> Iterator[tuple[int, FrameHeader]]:
    """Every frame with an intact header from `start` on: the position of its first sample, and the header.

    `others` takes in the headers of other versions of the format, which are passed over.
    """
    pictures = PictureReader()
    end = reader.size_bytes if end is None else min(end, reader.size_bytes)
    position, window = start, _WINDOW_BYTES
    while position + len(MASKED_MAGIC) <= end:
        wanted = min(window, end - position)
        content = read_range(reader, position, wanted)
        if len(content) < wanted:
            end = position + len(content)  # the file was cut while it is read
        found = content.find(MASKED_MAGIC)
        if found < 0:
            position += max(1, len(content) - len(MASKED_MAGIC) + 1)
            window = min(2 * window, _WINDOW_BYTES_MAX)
            continue
        place = position + found
        coded = content[found:]
        if len(coded) < HEADER_WINDOW_BYTES:
            coded = read_range(reader, place, HEADER_WINDOW_BYTES)
        stream = np.frombuffer(coded, np.uint8)
        header = pictures.header(stream, 0)
        position = place + len(MASKED_MAGIC)
        window = _WINDOW_BYTES
        if header is not None:
            yield place, header
            if not thorough:
                position = place + smallest_coded_bytes(header)
        elif others is not None and (other := pictures.other_version(stream, 0)):
            others.add(other)


@dataclass(slots=True)
class _Index:
    """What a pass over a file found: reels by what their frames agree in, in order of appearance."""

    reels: dict[Agreement, ReelFrames] = field(default_factory=dict)
    others: Votes[OtherVersion] = field(default_factory=Votes)
    is_crowded: bool = False
    """Whether there were more reels than are noted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of several reels is meant.

    That of an id, or of its first bytes; with `sealed`, those without a sealed frame count only where there are no
    others. `is_sound` says whether frames prove themselves, as far as a few of them tell; it is asked only where there
    is something to choose from.
    """

    reel_id: bytes | None = None
    sealed: bool = False
    is_sound: Callable[[ReelFrames], bool] = lambda frames: True


def index_reels(
    reader: RangedReader, wanted: Wanted | None = None, *, thorough: bool = False
) -> dict[bytes, ReelFrames]:
    """Every reel in the file by its id, in order of appearance; of frames that do not agree, those of the many, and in
    a thorough pass rather those that are sound.

    Raises: Permanent `reel.too_many_frames`; `reel.newer_format` where there are none but of other versions.
    """
    index = _indexed(reader, thorough=thorough)
    if index.is_crowded:  # most of it is noise: what has the most frames counts
        common: Votes[Agreement] = Votes()
        for _, header in find_frames(reader, thorough=thorough):
            common.add(agreement_of(header))
        index = _indexed(reader, thorough=thorough, only=frozenset(common.ranked()))
    rivals: defaultdict[bytes, list[ReelFrames]] = defaultdict(list)
    for frames in index.reels.values():
        rivals[frames.first.reel_id].append(frames)
    other = index.others.first()
    if other is not None and not rivals:
        raise newer_format(other.version)
    for frames in index.reels.values():
        frames.settle()
        frames.is_thorough = thorough
    return {reel_id: _right(frames, wanted if thorough else None) for reel_id, frames in rivals.items()}


def _right(rivals: list[ReelFrames], wanted: Wanted | None) -> ReelFrames:
    """Of frames of one id that do not agree with each other those that are sound, else those of the many."""
    is_sealed = wanted is not None and wanted.sealed
    ranked = sorted(rivals, key=lambda frames: (-frames.seals.sealed if is_sealed else 0, -len(frames.places)))
    for frames in ranked:
        frames.has_rivals = len(rivals) > 1
    sound = (frames for frames in ranked[:_SHOWN] if wanted is not None and len(ranked) > 1 and wanted.is_sound(frames))
    return next(sound, ranked[0])


def _indexed(reader: RangedReader, *, thorough: bool, only: Collection[Agreement] | None = None) -> _Index:
    index, proved, count = _Index(), _Proved(reader), 0
    for place, header in find_frames(reader, thorough=thorough, others=index.others):
        agreement = agreement_of(header)
        if only is not None and agreement not in only:
            continue
        frames = index.reels.get(agreement)
        if frames is None:
            if len(index.reels) >= REELS_MAX:
                index.is_crowded = True
                continue
            frames = index.reels[agreement] = ReelFrames(header)
        if not frames.has_room(header):
            proved.drop_damaged(frames, key_of(header))
        count += frames.note(header, place)
        if count > FRAMES_MAX:
            raise Permanent(
                "reel.too_many_frames", f"the file holds more than {FRAMES_MAX} frames", expected=FRAMES_MAX
            )
    return index


class _Proved:
    """Tells damaged copies of frames from whole ones, so that they do not hide those that follow; each is read once.

    Claims of forged headers may overlap: no more is read in vain than `_VAIN_PASSES` times the file.
    """

    def __init__(self, reader: RangedReader) -> None:
        self._reader = reader
        self._vain_bytes_left = _VAIN_PASSES * reader.size_bytes + _VAIN_BYTES_MIN
        self._loader = FrameLoader()
        self._whole: set[int] = set()

    def drop_damaged(self, frames: ReelFrames, key: FrameKey) -> None:
        for place in frames.places[key]:
            if place in self._whole or self._vain_bytes_left < 0:
                continue
            found = self._loader.frame_at(self._reader, place)
            if found is not None and found.payload is not None:
                self._whole.add(place)
                continue
            frames.forget(key, place)
            self._vain_bytes_left -= found.header.length if found else 0


def is_reel(reader: RangedReader) -> bool:
    """Whether the file holds any frame at all, looking at every byte before saying no."""
    others: Votes[OtherVersion] = Votes()
    return next(find_frames(reader, others=others), None) is not None or others.first() is not None


def is_readable(reader: RangedReader) -> bool:
    """Whether any frame can be read as it stands, or all are of one macroblock.

    Another encoder may keep a picture's first macroblock as samples, and with it a whole header, but never the rest.
    """
    loader = FrameLoader()
    larger = False
    for place, header in find_frames(reader):
        if HEADER_BYTES + header.length > MACROBLOCK_BYTES:
            larger = True
            found = loader.frame_at(reader, place)
            if found is not None and found.payload is not None:
                return True
    return not larger


def frames_of_reel(reader: RangedReader, wanted: Wanted | None = None, *, thorough: bool | None = None) -> ReelFrames:
    """The frames of the one reel in the file, or of the one that is wanted.

    Where several are there, and all frames of just one of them, that one is meant: the others are what was left of
    something else. A header may lie about its payload and hide those behind it: where the first pass finds anything but
    one whole reel with its leaders, every byte is looked at; `thorough` may forbid or ask for that.

    Raises: Permanent `reel.none`, `reel.several`, `reel.not_here`, and those of `index_reels`.
    """
    wanted = wanted or Wanted()
    reels = {} if thorough else index_reels(reader)
    is_plain = len(reels) == 1 and all(frames.is_plain() for frames in reels.values())
    if thorough or not reels or (thorough is None and not is_plain):
        reels = index_reels(reader, wanted, thorough=True)
    if not reels:
        raise no_reel(reader.size_bytes)
    return _chosen(reels, wanted, reader)


def _chosen(reels: Mapping[bytes, ReelFrames], wanted: Wanted, reader: RangedReader) -> ReelFrames:
    named = {found: frames for found, frames in reels.items() if found.startswith(wanted.reel_id or b"")}
    if not named:
        _require_this_version(reader, wanted.reel_id or b"")
        raise Permanent(
            "reel.not_here",
            "the file does not hold the reel that was asked for",
            hint="it holds " + ", ".join(found.hex() for found in list(reels)[:_SHOWN]),
        )
    with_seals = [frames for frames in named.values() if frames.seals.sealed] if wanted.sealed else []
    frames = _meant(with_seals or list(named.values()), wanted.is_sound)
    frames.others = tuple(found for found in reels if found != frames.first.reel_id)
    return frames


def _require_this_version(reader: RangedReader, reel_id: bytes) -> None:
    """Raises: Permanent `reel.newer_format` where the reel of that id is there, in another version of the format."""
    others: Votes[OtherVersion] = Votes()
    for _ in find_frames(reader, others=others):
        pass
    for other in others.ranked():
        if other.reel_id.startswith(reel_id):
            raise newer_format(other.version)


def _meant(reels: Sequence[ReelFrames], is_sound: Callable[[ReelFrames], bool]) -> ReelFrames:
    """The one reel, or the one of which every frame is there. Raises: Permanent `reel.several`."""
    complete = [frames for frames in reels if frames.segments is not None and frames.is_complete()]
    if 1 < len(complete) <= _SHOWN:
        complete = [frames for frames in complete if is_sound(frames)] or complete
    if len(reels) > 1 and len(complete) != 1:
        raise Permanent(
            "reel.several",
            f"the file holds {len(reels)} reels",
            hint="choose one by the first digits of its id",
            reels=[frames.first.reel_id.hex()[:12] for frames in reels[:_SHOWN]],
        )
    return complete[0] if len(reels) > 1 else reels[0]


def no_reel(size_bytes: int) -> Permanent:
    """The error for a file of that size without a single frame of ours."""
    return Permanent(
        "reel.none",
        f"the file is no reel: {'it holds no bytereel frame' if size_bytes else 'it is empty'}",
        hint="profile archive must keep its pictures as they are: encoded again, it is no reel any more",
    )
