"""Whether a video plays: what libavcodec makes of its first and of a middle picture."""

from dataclasses import dataclass
from pathlib import Path

import av


@dataclass(frozen=True, slots=True)
class Playing:
    """What a player sees. `decoded` are the numbers of the pictures that it decoded."""

    codec: str
    width: int
    height: int
    pictures: int
    seconds: float
    decoded: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether both pictures came, and in the place where they belong."""
        return self.decoded == self.wanted


def play(video: Path) -> Playing:
    """Decode the first picture, seek to the middle and decode the picture there. Raises: RuntimeError."""
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            assert rate is not None
            assert container.duration is not None
            seconds = container.duration / 1e6
            pictures = round(seconds * rate)  # a fragmented file states no number of pictures
            wanted = (0, pictures // 2)
            decoded = tuple(_decoded_at(container, stream, number) for number in wanted)
            return Playing(
                stream.codec_context.name,
                stream.codec_context.width,
                stream.codec_context.height,
                pictures,
                seconds,
                decoded,
                wanted,
            )
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise RuntimeError(f"libavcodec does not play the video: {error}") from error


def _decoded_at(container: av.container.InputContainer, stream: av.video.VideoStream, number: int) -> int:
    """Seek to the picture of that number and decode; the number of the picture that came."""
    rate, base = stream.average_rate, stream.time_base
    assert rate is not None
    assert base is not None
    container.seek(round(number / (rate * base)), stream=stream)
    frame = next(container.decode(stream))
    assert frame.pts is not None
    return round(frame.pts * base * rate)
