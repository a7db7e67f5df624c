"""The janitor process: any number may run, one leads; every one of them deletes what is ordered."""

import asyncio
from contextlib import AsyncExitStack

from ebbmark.consumer import Consumer
from ebbmark.errors import Unavailable
from ebbmark.eventlog import EventLog, KafkaLog
from ebbmark.ledger import Candidacy, Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.settings import Settings
from ebbmark.store import S3Store
from ebbmark.topics import EXPIRATIONS
from janitor import reconcile
from janitor.deliveries import order_deliveries
from janitor.expire import Expirer, order_expirations
from observability import exporter, logs, metrics

log = logs.get(__name__)

_DELETIONS_AT_ONCE = 4


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Sweep as the leader, delete as anyone, until `stop`.

    Raises:
        Stopped: the consumer ended by itself.
    """
    exporter.serve(settings.janitor.metrics_host, settings.janitor.metrics_port)
    async with AsyncExitStack() as stack:
        eventlog = await stack.enter_async_context(KafkaLog(settings.kafka, source="janitor"))
        ledger = await stack.enter_async_context(PostgresLedger(settings.ledger))
        candidacy = await stack.enter_async_context(ledger.candidacy())
        expirer = Expirer(ledger, S3Store(settings.store), eventlog, quiet=settings.job.quiet)
        consumer = Consumer("janitor", settings.kafka, eventlog)
        consumer.consume(EXPIRATIONS, expirer.handle, asyncio.Semaphore(_DELETIONS_AT_ONCE))
        sweeping = asyncio.create_task(sweep_for_ever(settings, ledger, eventlog, candidacy))
        try:
            await consumer.run(stop)
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)


async def sweep_for_ever(
    settings: Settings, ledger: Ledger, eventlog: EventLog, candidacy: Candidacy
) -> None:
    """Sweep as long as this process leads; a dependency that is down only delays the next sweep."""
    every = settings.janitor.sweep.total_seconds()
    led = False
    while True:
        leads = await candidacy.leads()
        if leads != led:
            log.info("leading" if leads else "not leading any more")
        led = leads
        metrics.LEADER.set(leads)
        if not leads:
            metrics.DELIVERY_AGE.set(0)  # only who looks knows
        else:
            try:
                await sweep(settings, ledger, eventlog)
            except Unavailable as exc:
                metrics.SWEEPS.labels("unavailable").inc()
                log.warning("sweep put off", code=exc.code)
            except Exception:
                metrics.SWEEPS.labels("failed").inc()
                log.exception("sweep failed")
            else:
                metrics.SWEEPS.labels("ok").inc()
        await asyncio.sleep(every)


async def sweep(settings: Settings, ledger: Ledger, eventlog: EventLog) -> None:
    """Do all that is due now."""
    await reconcile.end_leases(ledger, eventlog, strikes=settings.worker.strikes, ttl=settings.job.ttl)
    await reconcile.redispatch(ledger, eventlog, stale=settings.janitor.stale)
    await reconcile.announce(ledger, eventlog)
    await order_expirations(ledger, eventlog, grace=settings.job.grace)
    await order_deliveries(ledger, eventlog, farewell=settings.webhook.farewell)
    await ledger.forget(tombstone=settings.job.tombstone)
