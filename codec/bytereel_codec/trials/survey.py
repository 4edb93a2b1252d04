"""How well a lossy reel came back: where its bytes were wrong, how sure they were, how much of the parity was used up.

Takes in each burst as it was read and as it was corrected, and keeps sums alone: memory does not grow with the
pictures, but for one number each. What could not be corrected is not known, so no rate counts it. Proves nothing about
the reel's files: that is `verify`.

Source: FORMAT.md sections 13 to 18.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bytereel_codec.bursts.reader import BurstReader, BurstReport
from bytereel_codec.bursts.report import ChannelReport
from bytereel_codec.channel.burst import BurstShape
from bytereel_codec.channel.byte_places import macroblock_of_bytes
from bytereel_codec.channel.modulation import Code, Modulation
from bytereel_codec.channel.placing.placement import Placement, Placer
from bytereel_codec.channel.placing.placer import LOOK_PICTURES, placed
from bytereel_codec.channel.raster import Picture, Plane, Raster
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.errors import Permanent
from bytereel_codec.files.ranged import FileReader, buffered_file
from bytereel_codec.files.threads import Progress
from bytereel_codec.frame.header import Flag, parse_masked
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.profiles.profiles import PROFILES
from bytereel_codec.reading.scan import is_reel, no_reel
from bytereel_codec.trials.figures import BurstFigures, Cliff, Counts, checked_bytes

_BURSTS_MAX = 1 << 16
_CELL_ROWS = 8  # no cell of a strip is lower
_CONTRAST_GREY = 16.0  # a strip's luma deviates from its mean by 64 times the gain


@dataclass(slots=True)
class ChannelSurvey:
    """The figures of one reel. `channel` is there when all of it was read.

    `margins` int64[2, 256] counts the bytes read by margin: right ones (or not known), wrong ones. `heat_wrong` and
    `heat_known` int64[macroblocks of the full data area] count bytes. What is cut off counts as neither. `grey`
    pictures are flat. `stated` says how many bursts of a kind there should be.
    """

    source: str
    bursts: dict[tuple[bytes, Kind, int], BurstFigures] = field(default_factory=dict)
    margins: Counts = field(default_factory=lambda: np.zeros((2, 256), np.int64))
    heat_wrong: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    heat_known: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    video_size: tuple[int, int] = (0, 0)
    grey: int = 0
    profile_number: int | None = None
    stated: dict[Kind, int] = field(default_factory=lambda: {Kind.LEADER: 2})
    channel: ChannelReport | None = None

    def learn(self, image: Bytes) -> None:
        """Take in what a frame's header says of the reel: uint8[n] as it stands in a burst."""
        header = parse_masked(image[:HEADER_BYTES].tobytes())
        if header is None:
            return
        self.profile_number = header.profile
        ends = header.kind == Kind.DATA and header.flags & Flag.REEL_END
        segments = header.segments or (header.segment + 1 if ends else 0)
        for kind, count in ((Kind.DATA, segments), (Kind.PARITY, header.groups * header.columns)):
            self.stated[kind] = max(self.stated.get(kind, 0), count)

    def observe(self, report: BurstReport) -> None:
        """Take in a burst; of one that comes twice, the better reading counts."""
        mark, kind, number, shape = report.key
        pages = (shape.pictures, shape.picture_bytes)
        present = report.present
        seen = np.asarray(present.reshape(pages).any(axis=1))
        checked = checked_bytes(report)
        wrong = checked.wrong.reshape(pages)
        for margin, bad, there in zip(report.margin.reshape(pages), wrong, present.reshape(pages), strict=True):
            self._count_margins(margin[there], margin[bad])
        self._count_places(shape, wrong.sum(axis=0), checked.known.reshape(pages).sum(axis=0))
        allowed = 1 if shape.modulation.code == Code.XOR else shape.modulation.parity
        cliff = Cliff(allowed, np.bincount(checked.used[~checked.lost], minlength=1), int(checked.lost.sum()))
        known = self.bursts.get((mark, kind, number))
        if known is None or cliff.lost <= known.cliff.lost:
            figures = BurstFigures(kind, number, shape, seen, wrong.sum(axis=1), checked.filled, cliff)
            self.bursts[mark, kind, number] = figures

    def _count_margins(self, every: Bytes, wrong: Bytes) -> None:
        of_wrong = np.bincount(wrong, minlength=256)
        self.margins += np.stack((np.bincount(every, minlength=256) - of_wrong, of_wrong))

    def _count_places(self, shape: BurstShape, wrong: Counts, known: Counts) -> None:
        full = shape.raster.columns * shape.raster.rows_max
        if not len(self.heat_known):
            self.heat_wrong, self.heat_known = np.zeros(full, np.int64), np.zeros(full, np.int64)
        places = macroblock_of_bytes(shape)
        np.add.at(self.heat_wrong, places, wrong)
        np.add.at(self.heat_known, places, known)

    @property
    def placement(self) -> Placement:
        """Where the reel's pictures lie in those of the video."""
        assert self.channel is not None
        return self.channel.placement

    @property
    def in_order(self) -> list[BurstFigures]:
        """The bursts as the reel has them: a leader, data, parity, a leader."""
        last = (Kind.LEADER, 1)
        return sorted(self.bursts.values(), key=lambda each: ((each.kind, each.number) == last, each.kind, each.number))

    @property
    def modulation(self) -> Modulation:
        """That of the data; of a leader, where no data was seen."""
        return max(self.bursts.values(), key=lambda each: each.kind).shape.modulation

    @property
    def profile(self) -> str:
        """Its name, by the number that frames state, else by the modulation."""
        for profile in PROFILES.values():
            if profile.number == self.profile_number:
                return profile.name
            if self.profile_number is None and profile.channel and profile.channel.modulation == self.modulation:
                return profile.name
        return "unknown" if self.profile_number is None else "user-defined"

    @property
    def cliff(self) -> Cliff:
        """Of all data and parity bursts; of the leaders, which are tougher, where none of those was seen."""
        bursts = [each for each in self.bursts.values() if each.shape.modulation == self.modulation]
        used = np.zeros(max(len(each.cliff.used) for each in bursts), np.int64)
        for each in bursts:
            used[: len(each.cliff.used)] += each.cliff.used
        return Cliff(bursts[0].cliff.allowed, used, sum(each.cliff.lost for each in bursts))

    @property
    def bytes_read(self) -> int:
        """Bytes of all pictures that were seen."""
        return int(self.margins.sum())

    @property
    def error_rate(self) -> float:
        """The part of the bytes that was read wrong, of those that are known."""
        return int(self.heat_wrong.sum()) / max(1, int(self.heat_known.sum()))

    @property
    def known(self) -> float:
        """The part of the bytes read of which is known whether they are right."""
        return int(self.heat_known.sum()) / max(1, self.bytes_read)

    @property
    def missing(self) -> list[str]:
        """The bursts of which no picture was seen, by name."""
        seen = {(each.kind, each.number) for each in self.bursts.values()}
        highest = {kind: number + 1 for kind, number in sorted(seen)}
        counts = {kind: max(self.stated.get(kind, 0), highest.get(kind, 0)) for kind in Kind}
        return [
            f"{kind.name.lower()} {number}"
            for kind, count in counts.items()
            for number in range(min(count, _BURSTS_MAX))
            if (kind, number) not in seen
        ]

    @property
    def pictures(self) -> dict[str, int]:
        """What became of pictures, by count. `unread` ones are neither grey nor legible."""
        assert self.channel is not None
        seen = sum(int(each.seen.sum()) for each in self.bursts.values())
        return {
            "shown": self.channel.pictures,
            "read": self.channel.read,
            "grey": self.grey,
            "unread": max(0, self.channel.pictures - self.channel.read - self.grey),
            "doubled": max(0, self.channel.read - seen),
            "lost": sum(int((~each.seen).sum()) for each in self.bursts.values()),
        }

    @property
    def verdict(self) -> str:
        """What came of it all, in a sentence."""
        cliff, lost = self.cliff, sum(each.cliff.lost for each in self.bursts.values())
        total, missing = sum(each.cliff.codewords for each in self.bursts.values()), self.missing
        if lost or missing:
            gone = [f"{lost} of {total} codewords could not be corrected"] if lost else []
            gone += [f"{len(missing)} bursts are missing"] if missing else []
            return f"Damaged: {' and '.join(gone)}. Verifying the reel says whether parity brings them back."
        unit = "wrong blocks that a group can take" if self.modulation.code == Code.XOR else "parity bytes"
        used = f"{cliff.worst} of {cliff.allowed} {unit}"
        return f"Exact: all {total} codewords came back, {cliff.distance}; the worst used {used}."

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        place, (columns, rows) = self.placement, (self.placement.raster.columns, self.placement.raster.rows_max)
        rect = {name: getattr(place, name) for name in ("x", "y", "width", "height")}
        return {
            "source": self.source,
            "profile": self.profile,
            "modulation": self.modulation.to_dict(),
            "geometry": place.raster.name,
            "video": dict(zip(("width", "height"), self.video_size, strict=True)),
            "placement": {**rect, "is_shift": place.is_shift, "visible": list(place.visible)},
            "verdict": self.verdict,
            "pictures": self.pictures,
            "missing": self.missing,
            "error_rate": self.error_rate,
            "known": self.known,
            "cliff": self.cliff.to_dict(),
            "margins": {"right": self.margins[0].tolist(), "wrong": self.margins[1].tolist()},
            "heat": {
                "columns": columns,
                "rows": rows,
                "wrong": self.heat_wrong.tolist(),
                "known": self.heat_known.tolist(),
            },
            "bursts": [each.to_dict() for each in self.in_order],
        }


def survey_channel(source: Path, *, workers: int = 1, progress: Progress | None = None) -> ChannelSurvey:
    """Read a lossy reel and return its figures. `progress` takes the bytes read so far, and all of them.

    Raises: Permanent `source.missing`, `source.unreadable`, `channel.none` (a reel of samples), `reel.none`.
    """
    survey = ChannelSurvey(str(source))
    with FileReader(source) as reader:
        found = placed(partial(_told, reader, workers, progress))
        if found is None or not _survey_pictures(survey, *found):
            raise _no_channel(source, reader)
    return survey


def _told(reader: FileReader, workers: int, progress: Progress | None) -> Iterator[Picture]:
    """All pictures of the video, with word of how far the file was read."""
    from bytereel_codec.libav.pictures import shown_pictures

    file = buffered_file(reader)
    for picture in shown_pictures(file, threads=workers):
        if progress:
            progress(min(file.raw.tell(), reader.size_bytes), reader.size_bytes)
        yield picture


def _survey_pictures(survey: ChannelSurvey, placer: Placer, pictures: Iterator[Picture]) -> bool:
    """Read all pictures into the survey; False when they show no burst."""
    height, width = placer.video_shape
    survey.video_size = (width, height)
    bursts = BurstReader(placer, survey.learn, survey.observe)
    for picture in pictures:
        if bursts.add(picture) is None and picture.y.shape == placer.video_shape:
            survey.grey += _is_grey(placer.place(picture)[0].y, placer.placement.raster)
    survey.channel = bursts.finish()
    return bool(survey.bursts)


def _is_grey(plane: Plane, raster: Raster) -> bool:
    """Whether luma is flat where a data picture has its strips: uint8[height, width] of the raster."""
    rows = 16 * raster.strip_rows
    strips = np.stack((plane[:rows], plane[16 * raster.lower_strip_row :][:rows])).reshape(-1, _CELL_ROWS, raster.width)
    return float(strips.mean(axis=1).std(axis=1).max()) < _CONTRAST_GREY


def _no_channel(source: Path, reader: FileReader) -> Permanent:
    from bytereel_codec.libav.samples import decoded_pictures

    first = islice(decoded_pictures(source), LOOK_PICTURES)
    if not any(parse_masked(image[:HEADER_BYTES].tobytes()) for image in first) and not is_reel(reader):
        return no_reel(reader.size_bytes)
    return Permanent(
        "channel.none",
        f"{str(source)!r} is a reel of profile archive: its bytes are the samples themselves, with no channel between",
        hint="verifying proves every byte of it: it is whole, or it says which bytes are lost",
    )
