"""The worker process: its consumers wired to ledger, store, log and pool. Run any number, anywhere."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType

from ebbmark.consumer import Consumer, run_all
from ebbmark.eventlog import EventLog, KafkaLog
from ebbmark.events import RenderPhoto
from ebbmark.ledger import Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.pulse import loop_watched
from ebbmark.settings import Settings, Worker
from ebbmark.store import S3Store
from ebbmark.topics import BULK, EXPRESS, NOTIFICATIONS, STATUSES, UPLOADS
from observability import exporter, tracing
from processors.courier import Courier, Names
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
        await stack.enter_async_context(loop_watched(settings.process.stall))
        trace, name = settings.trace, settings.worker.instance
        stack.enter_context(tracing.exporting(trace.endpoint, trace.ratio, service="worker", instance=name))
        eventlog = await stack.enter_async_context(KafkaLog(settings.kafka, source="worker"))
        ledger = await stack.enter_async_context(PostgresLedger(settings.ledger))

        def consumer(group: str) -> Consumer:
            worker = settings.worker
            return Consumer(group, settings.kafka, eventlog, instance=worker.instance, data=worker.data)

        consumers: list[Consumer] = []
        for name in agents:
            if name == "renderer" and pool is not None:
                renderer = Renderer(ledger, S3Store(settings.store), eventlog, pool, settings.worker)
                consumers += renderers(consumer, renderer.handle, lanes_of(settings.worker, pool.children))
                renewing = asyncio.create_task(renderer.keep_leases())
                stack.callback(renewing.cancel)
                continue
            consumers.append(consumer(name))
            if name == "planner":
                add_planner(consumers[-1], eventlog)
            elif name == "projector":
                add_projector(consumers[-1], ledger, eventlog, settings)
            elif name == "notifier":
                names = await stack.enter_async_context(Names())
                add_notifier(consumers[-1], ledger, names, settings)
        await run_all(consumers, stop)


def add_planner(consumer: Consumer, eventlog: EventLog) -> None:
    """Uploads → tasks.express, tasks.bulk."""
    consumer.consume(UPLOADS, Planner(eventlog).handle, asyncio.Semaphore(_PLANNER_SLOTS))


def renderers(
    consumer: Callable[[str], Consumer], handle: Callable[[RenderPhoto], Awaitable[None]], lanes: Lanes
) -> list[Consumer]:
    """tasks.express, tasks.bulk → statuses.

    Each lane has a group of its own. Faust hands on all that it fetched before it fetches again: in the
    group of a full bulk lane a newcomer's order would wait until that lane had taken what came before it.
    """
    groups = [consumer("renderer-express"), consumer("renderer-bulk")]
    for group, topic in zip(groups, (EXPRESS, BULK), strict=True):
        group.consume(topic, handle, lanes.lane(topic.name))
    return groups


def lanes_of(worker: Worker, children: int) -> Lanes:
    """Return the slots of a worker with so many children: a quarter for each lane, and half for either."""
    slots = worker.slots or 2 * children + 2
    return Lanes([EXPRESS.name, BULK.name], total=max(2, slots), reserved=max(1, slots // 4))


def add_projector(consumer: Consumer, ledger: Ledger, eventlog: EventLog, settings: Settings) -> None:
    """Statuses → the ledger, jobs."""
    projector = Projector(ledger, eventlog, ttl=settings.job.ttl)
    consumer.consume(STATUSES, projector.handle, asyncio.Semaphore(_PROJECTOR_SLOTS))


def add_notifier(consumer: Consumer, ledger: Ledger, names: Names, settings: Settings) -> None:
    """Notifications → receivers, the ledger."""
    notifier = Notifier(ledger.deliveries, Courier(settings.webhook, names), settings.webhook)
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
