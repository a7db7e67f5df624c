"""The janitor process: any number may run, one leads; every one of them deletes what is ordered."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

from ebbmark.consumer import Consumer, Stopped, run_all
from ebbmark.errors import Unavailable
from ebbmark.eventlog import EventLog, KafkaLog
from ebbmark.ledger import Candidacy, Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.pulse import loop_watched, watched
from ebbmark.settings import Settings
from ebbmark.store import ObjectStore, S3Store
from ebbmark.topics import DEAD_LETTERS, EXPIRATIONS
from janitor import reconcile
from janitor.deliveries import order_deliveries
from janitor.expire import Expirer, order_expirations
from janitor.letters import Keeper, keep_letters
from janitor.rounds import Rounds
from observability import exporter, logs, metrics, tracing

log = logs.get(__name__)

_DELETIONS_AT_ONCE = 4
_LETTERS_AT_ONCE = 8


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Sweep as the leader, delete as anyone, until `stop`.

    Raises:
        Stopped: a consumer ended by itself, or what goes by the clock did.
    """
    exporter.serve(settings.janitor.metrics_host, settings.janitor.metrics_port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(loop_watched(settings.process.stall))
        trace = settings.trace
        stack.enter_context(tracing.exporting(trace.endpoint, trace.ratio, service="janitor"))
        eventlog = await stack.enter_async_context(KafkaLog(settings.kafka, source="janitor"))
        ledger = await stack.enter_async_context(PostgresLedger(settings.ledger))
        candidacy = await stack.enter_async_context(ledger.candidacy())
        store = S3Store(settings.store)
        expirer = Expirer(ledger, store, eventlog, quiet=settings.job.quiet)
        consumer = Consumer("janitor", settings.kafka, eventlog)
        consumer.consume(EXPIRATIONS, expirer.handle, asyncio.Semaphore(_DELETIONS_AT_ONCE))
        keeper = Consumer("dead-letters", settings.kafka, eventlog)
        keeper.consume(DEAD_LETTERS, Keeper(ledger).handle, asyncio.Semaphore(_LETTERS_AT_ONCE))
        leading = asyncio.Event()
        sweeping = sweep_for_ever(settings, ledger, store, eventlog, candidacy, leading)
        async with by_the_clock(stop, sweeping, Rounds(settings, ledger, store).go_for_ever(leading)):
            await run_all([consumer, keeper], stop)


@asynccontextmanager
async def by_the_clock(stop: asyncio.Event, *tasks: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run the tasks beside the block, which they never outlive; one that ends by itself sets `stop`.

    Raises:
        Stopped: after the block, when one ended by itself.
    """
    running = [asyncio.create_task(task) for task in tasks]
    for task in running:
        task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        ended = [task.exception() for task in running if task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if ended:
        raise Stopped("what the janitor does by the clock ended by itself") from ended[0]


async def sweep_for_ever(  # noqa: PLR0917 - wiring
    settings: Settings,
    ledger: Ledger,
    store: ObjectStore,
    eventlog: EventLog,
    candidacy: Candidacy,
    leading: asyncio.Event,
) -> None:
    """Sweep as long as this process leads, which `leading` tells the others.

    A dependency that is down only delays what needs it.
    """
    every = settings.janitor.sweep
    led = False
    with watched("sweep", settings.janitor.stall + every) as stepped:
        sweeper = Sweeper(settings, ledger, store, eventlog, stepped=stepped)
        while True:
            stepped("lead")
            leads = await candidacy.leads()
            if leads != led:
                log.info("leading" if leads else "not leading any more")
            led = leads
            metrics.LEADER.set(leads)
            if leads:
                leading.set()
                metrics.SWEEPS.labels(await sweeper.sweep()).inc()
            else:
                for gauge in (
                    metrics.DELIVERY_AGE,
                    metrics.DEAD_LETTERS_OPEN,
                    metrics.DEAD_LETTER_AGE,
                    metrics.EXPIRY_OVERDUE,
                ):
                    gauge.set(0)  # only who looks knows
                leading.clear()
                metrics.AUDIT_FINDINGS.clear()
            await asyncio.sleep(every.total_seconds())


class Sweeper:
    """All that is due is done step by step; a step that fails does not hold up the others."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: ObjectStore,
        eventlog: EventLog,
        clock: Callable[[], float] = time.monotonic,
        *,
        stepped: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`clock` is in seconds; it only measures how long the ledger has answered without a gap.

        `stepped` is told the name of each step that begins.
        """
        self._stepped = stepped
        self._lease = settings.worker.lease.total_seconds()
        self._gap = 5 * settings.janitor.sweep.total_seconds()
        self._clock = clock
        self._ledger = ledger
        self._answered_at = self._answering_since = float("-inf")
        strikes, ttl = settings.worker.strikes, settings.job.ttl
        self._steps: Mapping[str, Callable[[], Awaitable[object]]] = {
            "end_leases": lambda: self._end_leases(strikes),
            "give_up": lambda: reconcile.give_up(ledger, store, eventlog, strikes=strikes, ttl=ttl),
            "redispatch": lambda: reconcile.redispatch(ledger, eventlog, stale=settings.janitor.stale),
            "announce": lambda: reconcile.announce(ledger, eventlog),
            "expire": lambda: order_expirations(ledger, eventlog, grace=settings.job.grace),
            "tell": lambda: order_deliveries(ledger, eventlog, farewell=settings.webhook.farewell),
            "letters": lambda: keep_letters(ledger),
            "forget": lambda: ledger.forget(tombstone=settings.job.tombstone),
        }

    async def sweep(self) -> Literal["ok", "unavailable", "failed"]:
        """Do all that is due now; return the worst that happened."""
        outcome: Literal["ok", "unavailable", "failed"] = "ok"
        for name, step in self._steps.items():
            self._stepped(name)
            try:
                with metrics.SWEEP_STEP_SECONDS.labels(name).time():
                    await step()
            except Unavailable as exc:
                outcome = "unavailable" if outcome == "ok" else outcome
                log.warning("sweep step put off", step=name, code=exc.code)
            except Exception:
                outcome = "failed"
                log.exception("sweep step failed", step=name)
        return outcome

    async def _end_leases(self, strikes: int) -> None:
        """End leases only after the ledger has answered for as long as one lasts.

        While it did not, nobody could renew: those leases say nothing about their workers, and a
        strike for an outage would be unjust. The same holds when this process was frozen itself.
        """
        await self._ledger.ready()
        now = self._clock()
        if now - self._answered_at > self._gap:
            self._answering_since = now
        self._answered_at = now
        if now - self._answering_since >= self._lease:
            metrics.LEASES_ENDED.inc(await self._ledger.end_leases(strikes=strikes))
