"""The second pass of an encode with parity: the data frames are read back as they were written, and summed up."""

from bytereel_codec.channel.device import Device
from bytereel_codec.files.ranged import RangedReader
from bytereel_codec.files.sink import OrderedSink, poured
from bytereel_codec.files.threads import run_in_threads
from bytereel_codec.reading.reel import Reel
from bytereel_codec.reading.reel_reader import ReelReader
from bytereel_codec.reading.scan import Wanted, frames_of_reel
from bytereel_codec.writing.assembly import ChunkSizes
from bytereel_codec.writing.parity_segment import write_parity_segment
from bytereel_codec.writing.reel_plan import ReelPlan


def write_parity(
    plan: ReelPlan, reader: RangedReader, sink: OrderedSink, workers: int, device: Device
) -> list[ChunkSizes]:
    """Write the parity segments of the reel whose data frames `reader` holds, by several threads; their chunks' sizes.

    Raises: Temporary `target.full`; Permanent `target.unwritable`.
    """
    count = plan.parity.segments
    sizes: dict[int, ChunkSizes] = {}
    numbers = iter(range(count))
    reel = Reel(reader, frames_of_reel(reader, Wanted(plan.parameters.reel_id), thorough=False))
    sink.start_again()

    def work() -> None:
        frames, kept = ReelReader(reel), bytearray()
        for number in numbers:
            chunks = write_parity_segment(plan.parameters, plan.layout, number, frames.frame, device)
            found = poured(chunks, number, sink, kept)
            if found is None:
                return
            sizes[number] = found
            sink.pass_on()

    run_in_threads(work, workers, sink.abort)
    return [sizes[number] for number in range(count)]
