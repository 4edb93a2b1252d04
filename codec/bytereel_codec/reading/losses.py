"""What of the original is lost: ranges and reasons, as a report names them."""

from bytereel_codec.errors import Integrity

_REASONS_MAX = 1000
_RANGES_SHOWN = 8
ALL_LOST = "nothing of it is left to salvage: another copy is needed"


class Losses:
    """Collects lost half-open ranges of the original, each with a reason. Neighbours become one range."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._reasons: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def note(self, start: int, end: int, reason: str) -> None:
        """Take in a range; an empty one stands for an end whose place is not known."""
        if self._ranges and self._ranges[-1][1] == start:
            self._ranges[-1] = (self._ranges[-1][0], end)
        else:
            self._ranges.append((start, end))
        if len(self._reasons) < _REASONS_MAX:
            self._reasons.append(reason)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges in order, joined where they touch."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted(self._ranges):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return tuple(joined)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, each reason once."""
        return tuple(dict.fromkeys(self._reasons))

    def error(self, source_bytes: int) -> Integrity:
        """The losses as `reel.damaged`, for an original of that size."""
        ranges = self.ranges
        count = sum(end - start for start, end in ranges)
        listed = ", ".join(f"{start}-{end}" for start, end in ranges[:_RANGES_SHOWN])
        listed += " ..." if len(ranges) > _RANGES_SHOWN else ""
        message = f"{count} of {source_bytes} bytes of the original are lost: bytes {listed}"
        return Integrity(
            "reel.damaged",
            message if count else f"{self.reasons[0]}: it is cut off behind byte {source_bytes} of the original",
            hint="salvaging writes what is left, with zeros for the rest" if count < source_bytes else ALL_LOST,
            lost=list(ranges[:1000]),
            reasons=list(self.reasons[:_RANGES_SHOWN]),
            source_bytes=source_bytes,
        )
