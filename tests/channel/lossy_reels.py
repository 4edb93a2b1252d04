"""Lossy reels made for tests, what platforms do to them, damage done picture by picture, and a road for jobs."""

import io
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.memory.jobs import MemoryJobs
from bytereel.adapters.memory.objects import MemoryObjects
from bytereel.adapters.memory.queue import MemoryQueue
from bytereel.conversions.protocol import Conversion
from bytereel.messages import INTAKE, QUEUES, event_of
from bytereel.model import INBOX, OUTBOX, Job, JobState, ObjectRef, job_id_of
from bytereel.ports.ports import Ports
from bytereel.workers.delivery import Delivery, DeliveryLimits
from bytereel_codec.channel.burst import PICTURES_BETWEEN_GREY, BurstShape
from bytereel_codec.channel.raster import Picture, raster_named
from bytereel_codec.channel.strip import StripHeader, read
from bytereel_codec.frame.geometry import FRAME_RESERVED_BYTES
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.libav.pictures import shown_pictures
from bytereel_codec.libav.planes import lines_of
from bytereel_codec.libav.recode import recode
from bytereel_codec.profiles.burst_geometry import BurstGeometry
from bytereel_codec.profiles.geometries import geometry_of_profile
from bytereel_codec.profiles.profiles import PROFILES, Profile
from bytereel_codec.profiles.recipes import Recipe
from reels import made

HARD = {
    "balanced": "x264:crf=23,preset=veryfast",
    "rugged": "x264:crf=28,preset=veryfast",
    "stream": "x264:crf=33,preset=veryfast",
    "classic16": "x264:crf=18,preset=veryfast",
}
"""A re-encode that each profile says it survives, with a preset that does not take long."""

LIMITS = DeliveryLimits(lease_seconds=60.0, deliveries_max=5, deaths_max=20)


@dataclass(frozen=True)
class Sample:
    """A source and its reel."""

    profile: str
    geometry: str
    content: bytes
    reel: bytes


def noise(count: int, seed: int = 1) -> bytes:
    """That many random bytes, the same for the same seed."""
    return np.random.default_rng(seed).bytes(count)


@lru_cache(maxsize=32)
def sample(profile: str, geometry: str = "360p", pictures: int = 6) -> Sample:
    """Random bytes that fill about as many data pictures of one burst, and their reel."""
    chosen = geometry_of_profile(PROFILES[profile], geometry, None)
    assert isinstance(chosen, BurstGeometry)
    data_bytes = BurstShape(chosen.raster, chosen.channel.modulation, pictures).data_bytes
    frames = -(-data_bytes // chosen.frame_bytes)
    content = noise(data_bytes - frames * FRAME_RESERVED_BYTES)
    return Sample(profile, geometry, content, made(content, profile=profile, geometry=geometry))


def short_bursts(name: str, pictures: int) -> Profile:
    """The profile, but with bursts of that many pictures, so that a small source has many segments."""
    profile = PROFILES[name]
    assert profile.channel is not None
    return replace(profile, channel=replace(profile.channel, pictures=pictures))


def through(video: bytes, recipe: str) -> bytes:
    """The video as a platform hands it out that does what the recipe says."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(video)
        recode(source, target, Recipe.parse(recipe))
        return target.read_bytes()


def harmed(reel: Sample, damage: str) -> bytes:
    """The reel after that damage and, in the same pass, the hard re-encode of its profile."""
    return through(reel.reel, f"{HARD[reel.profile]},{damage}")


def raw_stream(video: bytes) -> bytes:
    """The video's H.264 stream without a container."""
    target = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(target, "w", format="h264") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return target.getvalue()


def pictures_of(video: bytes) -> list[Picture]:
    """All pictures of a video, in the order of showing."""
    return [Picture(*(plane.copy() for plane in picture)) for picture in shown_pictures(io.BytesIO(video))]


def filmed(pictures: Sequence[Picture]) -> bytes:
    """A lossless video of those pictures."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", 8, options={"qp": "0", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].y.shape
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
            for plane, samples in zip(frame.planes, picture, strict=True):
                lines_of(plane)[:, : plane.width] = samples
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def edited(video: bytes, edit: Callable[[list[Picture]], Sequence[Picture]]) -> bytes:
    """A lossless video of what `edit` makes of the pictures."""
    return filmed(edit(pictures_of(video)))


def strips_in(pictures: Sequence[Picture], geometry: str) -> list[StripHeader | None]:
    """What each picture's strips say, None for a grey one."""
    return [read(picture.y, raster_named(geometry)) for picture in pictures]


def without_segments(video: bytes, geometry: str, lost: Sequence[tuple[Kind, int]]) -> bytes:
    """The video without any picture of those bursts, given by kind and number."""

    def edit(pictures: list[Picture]) -> list[Picture]:
        strips = strips_in(pictures, geometry)
        return [p for p, s in zip(pictures, strips, strict=True) if s is None or (s.kind, s.number) not in lost]

    return edited(video, edit)


def one_in_16_lost(video: bytes, geometry: str, seed: int) -> bytes:
    """The video without one data picture, chosen at random, of every 16 of a burst of data, and without half the grey
    ones."""
    chooser = random.Random(seed)

    def edit(pictures: list[Picture]) -> list[Picture]:
        strips = strips_in(pictures, geometry)
        bursts = {(s.kind, s.number): s.pictures for s in strips if s}
        lost = {
            (*burst, number)
            for burst, count in bursts.items()
            if burst[0] != Kind.LEADER
            for number in chooser.sample(range(count), count // PICTURES_BETWEEN_GREY)
        }
        assert lost, "a burst of fewer than 16 pictures loses none"
        return [
            picture
            for picture, strip in zip(pictures, strips, strict=True)
            if (chooser.random() < 0.5 if strip is None else (strip.kind, strip.number, strip.picture) not in lost)
        ]

    return edited(video, edit)


class Road:
    """Conversions behind ports in memory, and one worker."""

    def __init__(self, conversions: Mapping[str, Conversion]) -> None:
        self._clock = ManualClock()
        self._ports = Ports(MemoryObjects(self._clock), MemoryJobs(), MemoryQueue(self._clock), self._clock)
        self._conversions = conversions

    def job_of(self, key: str, content: bytes) -> Job:
        """Store a source, send its event, and work until nothing is left; the job that came of it."""
        ref = self._ports.objects.put(ObjectRef(INBOX, key), [content]).ref
        self._ports.queue.send(INTAKE, [event_of(ref)])
        while any(self._ports.queue.size(queue) for queue in QUEUES):
            message = self._ports.queue.lease(QUEUES, "worker", LIMITS.lease_seconds)
            if message is None:
                self._clock.advance(1.0)
                continue
            Delivery(self._ports, self._conversions, "worker", LIMITS).deliver(message)
        job = self._ports.jobs.get(job_id_of(ref))
        assert job is not None
        return job

    def output(self, key: str, content: bytes) -> bytes:
        """What becomes of a source."""
        job = self.job_of(key, content)
        assert job.state is JobState.DONE, job.reason
        ref = ObjectRef(OUTBOX, str(job.result["output"]))
        found: Any = self._ports.objects.stat(ref)
        output = bytearray(found.size_bytes)
        self._ports.objects.read_into(ref, 0, memoryview(output))
        return bytes(output)
