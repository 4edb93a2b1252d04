"""How to bring a video's pictures back into place, found from its first ones."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from bytereel_codec.channel.on_device import modulator_for
from bytereel_codec.channel.placing.locate import locate
from bytereel_codec.channel.placing.placement import Placer
from bytereel_codec.channel.raster import Picture
from bytereel_codec.channel.strip import search

LOOK_PICTURES = 20
_GLANCE_PICTURES = 4
LOOK_PICTURES_MAX = 1500  # 20 pictures of one a second, at 60 a second, and some
_LOOKS_MAX = 8  # a quarter of a second each where they find nothing
_SAME_MEAN_MAX = 3.0


def placed(show: Callable[[], Iterator[Picture]]) -> tuple[Placer, Iterator[Picture]] | None:
    """How to bring a video's pictures back into place, and all of them; None when none of the first shows a strip.

    `show` gives the pictures from the start. It is called once where a glance at the first few tells, as they are kept
    then, and twice where more had to be looked at.
    """
    pictures = show()
    first = list(islice(pictures, _GLANCE_PICTURES))
    looked_on = False

    def more() -> Iterator[Picture]:
        nonlocal looked_on
        looked_on = True
        yield from pictures

    placer = placer_for(chain(first, more()))
    if placer is None:
        return None
    return placer, show() if looked_on else chain(iter(first), pictures)


def placer_for(pictures: Iterator[Picture]) -> Placer | None:
    """How to bring a video's pictures back into place, from its first ones; None when none of them shows a strip.

    Pictures that a platform repeated are looked at once. Where the first few stand where they were written, that is
    all; else more of them make the fit better. Where they show nothing, a reel may begin behind other pictures.
    """
    found: list[Picture] = []
    looks = 0
    for picture in islice(pictures, LOOK_PICTURES_MAX):
        if found and not _differ(picture, found[-1]):
            continue
        found.append(picture)
        if len(found) == _GLANCE_PICTURES:
            placer = _placer(found)
            if placer is not None and placer.placement.is_identity:
                return placer
        if len(found) == LOOK_PICTURES:
            placer, looks = _placer(found), looks + 1
            if placer is not None or looks == _LOOKS_MAX:
                return placer
            found = []
    return _placer(found) if found else None


def _placer(found: Sequence[Picture]) -> Placer | None:
    alike = [picture for picture in found if picture.y.shape == found[0].y.shape]
    placement = locate(alike)
    height, width = found[0].y.shape
    if placement is None:
        return None
    if placement.is_identity or not placement.is_shift:
        return Placer(placement, width, height)
    placers = [Placer(placement, width, height, offset) for offset in placement.chroma_offsets()]
    return max(placers, key=lambda placer: _sureness(placer, alike))


def _sureness(placer: Placer, pictures: Sequence[Picture]) -> float:
    """The mean margin of the pictures' bytes when they are so placed."""
    raster = placer.placement.raster
    margins: list[float] = []
    for picture in pictures:
        if len(margins) == _GLANCE_PICTURES:
            break
        placed, _ = placer.place(picture)
        reading = search(placed.y, raster, np.array([[0, 0, raster.width, raster.height]], np.float64))
        if reading is not None:
            shape = reading.header.shape
            content, margin = np.empty((2, shape.picture_bytes), np.uint8)
            modulator_for(shape.raster, shape.modulation, None).demodulate(placed, content, margin)
            margins.append(float(margin.mean()))
    return float(np.mean(margins)) if margins else 0.0


def _differ(one: Picture, other: Picture) -> bool:
    """Whether two pictures are not the same one shown again, going by the line that changed most."""
    if one.y.shape != other.y.shape:
        return True
    step = np.abs(one.y[::8, ::8].astype(np.int16) - other.y[::8, ::8])
    return float(step.mean(axis=1).max()) > _SAME_MEAN_MAX
