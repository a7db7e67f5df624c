"""How many dead letters there are, as of some seconds ago: however many ask, the ledger counts once."""

import asyncio
import time
from collections.abc import Callable

from ebbmark.ledger.letters import Letters, LetterStats

_GOOD_FOR = 2.0


class Tally:
    """Counts for everybody who asks, as counting reads every letter there is."""

    def __init__(self, letters: Letters, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._letters = letters
        self._clock = clock
        self._asking: asyncio.Task[LetterStats] | None = None
        self._asked_at = 0.0

    async def stats(self) -> LetterStats:
        """Return counts that are some seconds old at most.

        Who asks while they are being counted waits for the same answer, or shares the fault.

        Raises:
            Unavailable: the ledger does not answer; the next who asks has it asked again.
        """
        asking = self._asking
        if asking is None or not self._is_good(asking):
            asking = self._asking = asyncio.create_task(self._letters.stats())
            self._asked_at = self._clock()
        # One who goes away takes nothing from the others.
        return await asyncio.shield(asking)

    def doubt(self) -> None:
        """Have the next who asks see what has just been done to letters here."""
        self._asking = None

    def _is_good(self, asking: asyncio.Task[LetterStats]) -> bool:
        if not asking.done():
            return True
        failed = asking.cancelled() or asking.exception() is not None
        return not failed and self._clock() - self._asked_at < _GOOD_FOR
