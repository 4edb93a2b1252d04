"""Parity from data segments that were stored apart, each as a fragment of its own, before the reel is put together."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bytereel_codec.files.ranged import RangedReader, read_range
from bytereel_codec.frame.envelope import Envelope
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.opening import reel_of_videos
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.video.picture import FIRST_SAMPLE_OFFSET, Frame, FrameLoader
from bytereel_codec.writing.parity_segment import write_parity_segment
from bytereel_codec.writing.reel_plan import ReelPlan
from bytereel_codec.writing.segment import SegmentWriter


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A data segment as it was written: all its chunks one behind the other in `reader`, and the size of each."""

    index: int
    reader: RangedReader
    size_bytes: int
    chunk_bytes: Sequence[int]


def parity_from_fragments(
    plan: ReelPlan, number: int, stored: Iterable[StoredSegment]
) -> Generator[memoryview, None, tuple[int, ...]]:
    """Yield the chunks of parity segment `number`; return their sizes. Needs no secret: sealed frames are summed.

    `stored` holds every data segment of the plan. Raises: Integrity `reel.damaged` when a frame cannot be read back.
    """
    parameters, layout = plan.parameters, plan.layout
    group, _ = plan.parity.group_and_column(number)
    members = [item for item in stored if item.index % parameters.groups == group]
    if not layout.geometry.frames_share_chunks:
        return (yield from write_parity_segment(parameters, layout, number, _StoredFrames(members).fetch))
    head = SegmentWriter(parameters, Envelope(None)).init_section(None)
    with reel_of_videos(_with_head(head, members)) as reel:
        return (yield from write_parity_segment(parameters, layout, number, ReelReader(reel).frame))


def _with_head(head: bytes, stored: Iterable[StoredSegment]) -> Iterator[bytes]:
    """Each fragment as a video of its own."""
    for segment in stored:
        yield head + read_range(segment.reader, 0, segment.size_bytes)


class _StoredFrames:
    """The data frames in fragments of pictures of samples, found by the chunk sizes that were noted."""

    def __init__(self, stored: Iterable[StoredSegment]) -> None:
        self._stored = {segment.index: segment for segment in stored}
        self._loader = FrameLoader()

    def fetch(self, kind: Kind, segment: int, frame: int) -> Frame | None:
        """The frame of a data segment."""
        assert kind == Kind.DATA
        fragment = self._stored[segment]
        start = sum(fragment.chunk_bytes[:frame])
        return self._loader.frame_at(fragment.reader, start + FIRST_SAMPLE_OFFSET)
