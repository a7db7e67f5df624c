"""How many dead letters there are, as of some seconds ago: however many ask, the ledger counts once."""

import time
from collections.abc import Callable

from ebbmark.ledger.letters import Letters, LetterStats
from ingest.asked import Asked

_GOOD_FOR = 2.0


class Tally:
    """Counts for everybody who asks, as counting reads every letter there is."""

    def __init__(self, letters: Letters, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._asked = Asked(letters.stats, good_for=_GOOD_FOR, clock=clock)

    async def stats(self) -> LetterStats:
        """Return counts that are some seconds old at most.

        Raises:
            Unavailable: the ledger does not answer; the next who asks has it asked again.
        """
        return await self._asked()

    def doubt(self) -> None:
        """Have the next who asks see what has just been done to letters here."""
        self._asked.doubt()
