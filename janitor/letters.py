"""Dead letters go from their topic into the ledger, where operators see them until they are old."""

from datetime import timedelta

from ebbmark.events import DeadLetter
from ebbmark.ledger import Ledger
from ebbmark.topics import DEAD_LETTERS
from observability import logs, metrics

log = logs.get(__name__)


class Keeper:
    """Handles the topic `dead-letters`."""

    def __init__(self, ledger: Ledger) -> None:
        """Enter into `ledger`."""
        self._letters = ledger.letters

    async def handle(self, letter: DeadLetter) -> None:
        """Return when the ledger has it; repeating it changes nothing."""
        if await self._letters.enter(letter):
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
            log.info("dead letter entered", reason=letter.reason, topic=letter.topic)


async def keep_letters(ledger: Ledger, *, retention: timedelta = DEAD_LETTERS.retention) -> None:
    """Resolve letters of photos that went on, forget old ones, and measure what is open."""
    letters = ledger.letters
    await letters.settle()
    await letters.forget(retention=retention)
    stats = await letters.stats()
    metrics.DEAD_LETTERS_OPEN.set(stats.open)
    metrics.DEAD_LETTER_AGE.set(stats.oldest.total_seconds())
