"""The worker process: its consumers wired to ledger, store, log and pool. Run any number, anywhere."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType

from ebbmark.consumer import Consumer, run_all
from ebbmark.eventlog import EventLog, KafkaLog
from ebbmark.ledger import Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.settings import Settings, Worker
from ebbmark.store import S3Store
from ebbmark.topics import BULK, EXPRESS, NOTIFICATIONS, STATUSES, UPLOADS
from observability import exporter
from processors.courier import Courier
from processors.lanes import Lanes
from processors.notifier import Notifier
from processors.planner import Planner
from processors.pool import RenderPool
from processors.projector import Projector
from processors.renderer import Renderer

_PLANNER_SLOTS = 256
_PROJECTOR_SLOTS = 256
_NOTIFIER_SLOTS = 64


async def run(settings: Settings, agents: Collection[str], stop: asyncio.Event) -> None:
    """Run the agents until `stop`, then drain.

    Raises:
        Stopped: a consumer ended by itself.
    """
    exporter.serve(settings.worker.metrics_host, settings.worker.metrics_port)
    async with AsyncExitStack() as stack:
        # The children come first: forking is for a process that has no threads yet.
        pool = await stack.enter_async_context(RenderPool(settings)) if "renderer" in agents else None
        eventlog = await stack.enter_async_context(KafkaLog(settings.kafka, source="worker"))
        ledger = await stack.enter_async_context(PostgresLedger(settings.ledger))
        consumers: list[Consumer] = []
        for name in agents:
            consumer = Consumer(
                name,
                settings.kafka,
                eventlog,
                instance=settings.worker.instance,
                data=settings.worker.data,
            )
            if name == "planner":
                add_planner(consumer, eventlog)
            elif name == "projector":
                add_projector(consumer, ledger, eventlog, settings)
            elif name == "notifier":
                add_notifier(consumer, ledger, settings)
            elif pool is not None:
                renderer = add_renderer(consumer, ledger, eventlog, pool, settings)
                renewing = asyncio.create_task(renderer.keep_leases())
                stack.callback(renewing.cancel)
            consumers.append(consumer)
        await run_all(consumers, stop)


def add_planner(consumer: Consumer, eventlog: EventLog) -> None:
    """Uploads → tasks.express, tasks.bulk."""
    consumer.consume(UPLOADS, Planner(eventlog).handle, asyncio.Semaphore(_PLANNER_SLOTS))


def add_renderer(
    consumer: Consumer, ledger: Ledger, eventlog: EventLog, pool: RenderPool, settings: Settings
) -> Renderer:
    """tasks.express, tasks.bulk → statuses. Its leases are kept by whoever runs it."""
    renderer = Renderer(ledger, S3Store(settings.store), eventlog, pool, settings.worker)
    lanes = lanes_of(settings.worker, pool.children)
    for topic in (EXPRESS, BULK):
        consumer.consume(topic, renderer.handle, lanes.lane(topic.name))
    return renderer


def lanes_of(worker: Worker, children: int) -> Lanes:
    """Return the slots of a worker with so many children: a quarter for each lane, and half for either."""
    slots = worker.slots or 2 * children + 2
    return Lanes([EXPRESS.name, BULK.name], total=max(2, slots), reserved=max(1, slots // 4))


def add_projector(consumer: Consumer, ledger: Ledger, eventlog: EventLog, settings: Settings) -> None:
    """Statuses → the ledger, jobs."""
    projector = Projector(ledger, eventlog, ttl=settings.job.ttl)
    consumer.consume(STATUSES, projector.handle, asyncio.Semaphore(_PROJECTOR_SLOTS))


def add_notifier(consumer: Consumer, ledger: Ledger, settings: Settings) -> None:
    """Notifications → receivers, the ledger."""
    notifier = Notifier(ledger.deliveries, Courier(settings.webhook), settings.webhook)
    consumer.consume(NOTIFICATIONS, notifier.handle, asyncio.Semaphore(_NOTIFIER_SLOTS))


AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "planner": "one order per uploaded photo",
        "renderer": "one result per order",
        "projector": "every outcome into the ledger",
        "notifier": "every end of a job to its receiver",
    }
)
"""What a worker can run, by name."""
