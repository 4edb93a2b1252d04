"""What a child may take, by what it is asked for. Shared by both sides; the kernel holds it to them.

Memory goes in two steps: little while nothing is known of the file, then what decoders need for pictures of the size
and depth that it states. Measured at 3840 x 2160: H.264 with 16 reference pictures, HEVC and AV1 of 10 bits stay within
it with one, two and four threads.
"""

from dataclasses import replace

from bytereel_codec.libav.formats import PIXELS_MAX
from bytereel_codec.libav.sandbox.wire import Job

PROBING_BYTES = 192 << 20
_BASE_BYTES = 64 << 20  # the interpreter, PyAV, a container's index
_THREAD_BYTES = 16 << 20  # a stack and what a decoder keeps for itself
_PICTURES_HELD = 20  # 16 that others refer to, and those under way
_PICTURES_HELD_PER_THREAD = 8
_CPU_SECONDS = 300
_CPU_SECONDS_PER_MIB = 30  # a reel has some ten pictures in a MiB, at half a second each


def within_limits(job: Job) -> Job:
    """The job with the most that a child may take for it."""
    return replace(
        job,
        data_bytes=decoding_bytes(PIXELS_MAX, 2, job.threads),
        cpu_seconds=_CPU_SECONDS + _CPU_SECONDS_PER_MIB * (job.file_bytes >> 20),
    )


def decoding_bytes(pixels: int, sample_bytes: int, threads: int) -> int:
    """Memory to decode 4:2:0 pictures of that many pixels, with one or two bytes a sample."""
    held = _PICTURES_HELD + _PICTURES_HELD_PER_THREAD * (threads - 1)
    return _BASE_BYTES + _THREAD_BYTES * (threads - 1) + held * sample_bytes * pixels * 3 // 2
