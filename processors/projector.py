"""Brings status events into the ledger: photo, counters, completion, expiry time, notification."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from ebbmark.errors import Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import JobCompleted, NotifyReceiver, PhotoFailed, PhotoRendered
from ebbmark.ledger import Completion, Ledger, Outcome
from ebbmark.topics import JOBS, NOTIFICATIONS
from observability import metrics, tracing
from processors.coalesce import Coalesced


class Projector:
    """Many events in one statement; repeated, late and shuffled events change nothing."""

    def __init__(self, ledger: Ledger, log: EventLog, *, ttl: timedelta) -> None:
        """Completed jobs live for `ttl` from then on."""
        self._ledger = ledger
        self._log = log
        self._ttl = ttl
        self._finish: Coalesced[Outcome, None] = Coalesced(self._finish_all, most=200)
        self._announced: list[Completion] = []
        self._noting: asyncio.Task[None] | None = None

    async def handle(self, status: PhotoRendered | PhotoFailed) -> None:
        """Return when the ledger has it."""
        with tracing.span("finish", status.job, status.n, epoch=status.epoch, fence=status.fence):
            await self._finish(_outcome(status))

    async def _finish_all(self, outcomes: Sequence[Outcome]) -> Mapping[Outcome, None]:
        completions = await self._ledger.finish(outcomes, ttl=self._ttl)
        metrics.OUTCOMES_APPLIED.inc(len(outcomes))
        if completions:
            # What the log does not get now, the janitor announces: it finds what nobody noted.
            with suppress(Unavailable):
                await self._announce(completions)
                metrics.JOBS_COMPLETED.inc(len(completions))
                self._announced.extend(completions)
                if self._noting is None:
                    self._noting = asyncio.create_task(self._note())
        return {}

    async def _announce(self, completions: Sequence[Completion]) -> None:
        happened = [
            JobCompleted(job=each.job, epoch=each.epoch, done=each.done, failed=each.failed)
            for each in completions
        ]
        await self._log.publish(JOBS, happened)
        if awaited := [NotifyReceiver(job=each.job) for each in completions if each.awaited]:
            await self._log.publish(NOTIFICATIONS, awaited)

    async def _note(self) -> None:
        """Note what was announced once a second, for all jobs at once: a lost note is only a repeat."""
        await asyncio.sleep(1)
        noted, self._announced, self._noting = self._announced, [], None
        with suppress(Unavailable):
            await self._ledger.announced(noted)


def _outcome(status: PhotoRendered | PhotoFailed) -> Outcome:
    if isinstance(status, PhotoFailed):
        return Outcome(
            job=status.job,
            n=status.n,
            epoch=status.epoch,
            fence=status.fence,
            code=status.code,
            detail=status.detail,
        )
    return Outcome(
        job=status.job,
        n=status.n,
        epoch=status.epoch,
        fence=status.fence,
        width=status.width,
        height=status.height,
        size=status.size,
        thumbnail_size=status.thumbnail_size,
        media_type=status.media_type,
        removed=status.removed or None,
    )
