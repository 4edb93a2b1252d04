"""Lost data frames from parity, in bounded memory: a few frames at a time, however many are lost.

Each lost frame is one sum over the frames of its stripe that are there, so those are read one after the other and added
to as many lost frames as fit into `RECOVERED_BYTES_MAX`. A stripe is taken to be whole but for what is known to be
lost; what turns out to be lost while it is read is remembered, and the stripe read once more. A recovered image must
prove itself; where one does not, other parity frames are tried, and other copies of them: a number of choices for a
stripe, and a number in all for all of its lost rows.

Source: FORMAT.md section 9.
"""

from collections import OrderedDict
from dataclasses import dataclass

from bytereel_codec.frame.kinds import Kind
from bytereel_codec.frame.sizes import HEADER_BYTES
from bytereel_codec.reel.recovery.choices import CHOICES_MAX
from bytereel_codec.reel.recovery.reading import Asked, Reading
from bytereel_codec.reel.recovery.stripe import FetchCopy, Losses, Opens, Recovered, Stripe

RECOVERED_BYTES_MAX = 16 << 20
_STRIPES_KNOWN_MAX = 4096
_READINGS_MAX = 3  # of a stripe that is found to have lost more; the second is right unless the file changes
_CHANGES_MAX = 128  # from one choice to another, for all rows of a stripe


class Recovery:
    """What parity brings back of one reel, the last of it kept. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], Recovered | None] = OrderedDict()
        self._known: OrderedDict[tuple[int, int], Losses] = OrderedDict()
        self._hopeless: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._turns: OrderedDict[tuple[int, int], _Turn] = OrderedDict()

    def frame(
        self,
        stripe: Stripe,
        segment: int,
        fetch: FetchCopy,
        opens: Opens = lambda header, payload: True,
        choice: int | None = None,
    ) -> Recovered | None:
        """Frame `stripe.frame` of a segment, which is lost; None where too much of the stripe is lost, or wrong.

        With `choice`, by that choice of parity frames or, where it brings back nothing that opens, the next one that
        does, the first ones following the last; unless too many were tried for this stripe.
        """
        key, place = (segment, stripe.frame), (stripe.group, stripe.frame)
        kept = self._kept.get(key)
        is_last = self._turns.get(place, _Turn()).is_last
        is_answer = key in self._kept and (kept is None or is_last or choice in (None, kept.choice))
        if not is_answer and place not in self._hopeless:
            self._recover(Asked(stripe, fetch, opens), stripe.segments.index(segment), choice)
        return self._kept.get(key)

    def _recover(self, asked: Asked, row: int, choice: int | None) -> None:
        """Keep what comes back of that row, and of the lost ones after it."""
        stripe = asked.stripe
        place = (stripe.group, stripe.frame)
        known = self._known.pop(place, Losses()).and_also(Kind.DATA, row)
        turn = self._turns.pop(place, _Turn())
        begin = turn.choice if choice is None or turn.is_last else choice
        for _ in range(_READINGS_MAX):
            first = known.rows.index(row)
            wanted = known.rows[first : first + _at_once(stripe)]
            self._make_room(len(wanted) * stripe.image_bytes)
            found = Reading(asked, known, wanted).recover(begin, 1 if turn.is_last else CHOICES_MAX)
            if found.losses == known:
                break
            known = found.losses
        self._known[place] = known
        self._turns[place] = _Turn(found.choice, turn.changes + max(0, found.tried - (begin == turn.choice)))
        if found.is_hopeless:  # forged or too little: what failed for one row is not tried for each of the others
            self._hopeless[place] = None
        for remembered in (self._known, self._hopeless, self._turns):
            while len(remembered) > _STRIPES_KNOWN_MAX:
                remembered.popitem(last=False)
        for each, recovered in found.frames.items():
            self._kept[stripe.segments[each], stripe.frame] = recovered
            self._kept.move_to_end((stripe.segments[each], stripe.frame))

    def _make_room(self, count: int) -> None:
        """Let go of what was recovered first, until `count` more bytes fit."""
        held = sum(HEADER_BYTES + len(kept.payload) for kept in self._kept.values() if kept)
        while self._kept and (held + count > RECOVERED_BYTES_MAX or len(self._kept) >= _STRIPES_KNOWN_MAX):
            _, kept = self._kept.popitem(last=False)
            held -= HEADER_BYTES + len(kept.payload) if kept else 0


@dataclass(frozen=True, slots=True)
class _Turn:
    """The choice of parity frames that was right for a stripe the last time, and how often another one was tried."""

    choice: int = 0
    changes: int = 0

    @property
    def is_last(self) -> bool:
        """Whether no other is tried any more."""
        return self.changes >= _CHANGES_MAX


def _at_once(stripe: Stripe) -> int:
    """How many lost frames are recovered together: those of all frames of a segment fit into memory."""
    return max(1, RECOVERED_BYTES_MAX // (stripe.image_bytes * stripe.frames_per_segment))
