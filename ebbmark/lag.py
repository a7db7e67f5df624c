"""How long the oldest event that is not done has been in its log, found by what is cheap to ask of Kafka.

The event itself is not read for that. A place that was seen without lag has nothing older than that look. Of
the others Kafka is asked which event was the first with a stamp after some moments: if that is done, or is
the oldest that is not, whatever is left came into the log after it, and so after its stamp.

An age is never told shorter than the time in the log, whatever the order of the stamps, but for what the
clock of that event's producer is ahead of ours. A stamp is made before its event is in the log, by up to the
timeout of a publication: counted from the oldest event's own, an age may be told shorter by that, and it is
told twice as long at most. The longer a place stands still, the more closely it is known.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from ebbmark.progress import First, Place, Standing

AGES = (2.0, 4.0, 8.0, 15.0, *(30.0 * 2**n for n in range(15)), 7 * 24 * 3600.0)
"""Seconds before now: the moments that are asked about, each twice as far back as the last, up to a week."""


class _Known(Struct, frozen=True):
    offset: int
    since: float
    """No event from `offset` on is older than this."""


class Ages:
    """Of one consumer: `begin` each look, ask if it says so, `learn` the answers, and tell the `oldest`."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._now = 0.0
        self._known: dict[Place, _Known] = {}
        self._lagging: dict[Place, int] = {}

    def begin(self, places: Mapping[Place, Standing], now: float) -> Sequence[float]:
        """Return the moments to ask Kafka about, of the places that lag; none when they are known well."""
        before, self._known, self._lagging, self._now = self._known, {}, {}, now
        for place, standing in places.items():
            first = max(standing.begin, standing.committed)
            known = before.get(place)
            if not standing.lag:
                self._known[place] = _Known(first, now)
                continue
            self._lagging[place] = first
            # Who was sent back in the log meets events that are older than what was known.
            if known is not None and known.offset <= first:
                self._known[place] = known
        longest = max((self._age(place) for place in self._lagging), default=0.0)
        return [now - age for age in AGES if age < longest]

    @property
    def lagging(self) -> Collection[Place]:
        """The places that have events which are not done."""
        return self._lagging.keys()

    def learn(self, answer: Mapping[Place, First]) -> None:
        """Take in what Kafka says of one moment."""
        for place, found in answer.items():
            first = self._lagging.get(place)
            known = self._known.get(place)
            if first is None or found.offset > first:
                continue
            if known is None or known.since < found.at:
                self._known[place] = _Known(first, found.at)

    def oldest(self, topic: str) -> float:
        """Return the age in seconds of the oldest event of the topic that is not done; 0 when all are."""
        return max((self._age(place) for place in self._lagging if place[0] == topic), default=0.0)

    def _age(self, place: Place) -> float:
        known = self._known.get(place)
        return AGES[-1] if known is None else min(AGES[-1], max(0.0, self._now - known.since))
