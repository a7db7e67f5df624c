"""Orders of the express lane do not wait behind a bulk lane that is full, on a real broker."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from ebbmark.consumer import Consumer
from ebbmark.eventlog import KafkaLog
from ebbmark.events import RenderPhoto
from ebbmark.settings import Kafka, Worker
from ebbmark.topics import BULK, EXPRESS, EXPRESS_PHOTOS
from processors.app import lanes_of, renderers
from tests.rooms import publish_in_the_end

pytestmark = [pytest.mark.servers]

PATIENCE = 60
MANY = 1000
"""Orders of one job: more than Faust holds back for the lane, so that it waits to hand on the rest."""


async def test_an_order_in_the_express_lane_passes_a_full_bulk_lane(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    kafka, bulk, newcomer = kafka_settings, uuid4(), uuid4()
    full, gate, came, stop = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(order: RenderPhoto) -> None:
        if order.job == newcomer:
            came.set()
        else:
            full.set()
            await gate.wait()

    async with KafkaLog(kafka, source="test") as log:
        await publish_in_the_end(
            log, BULK, [RenderPhoto(job=bulk, n=n + EXPRESS_PHOTOS, epoch=0) for n in range(MANY)]
        )
        run = f"-{uuid4()}"
        groups = renderers(
            lambda name: Consumer(name + run, kafka, log, data=str(tmp_path)), handle, lanes_of(Worker(), 2)
        )
        running = [asyncio.create_task(group.run(stop)) for group in groups]
        async with asyncio.timeout(PATIENCE):
            await full.wait()
            await publish_in_the_end(log, EXPRESS, [RenderPhoto(job=newcomer, n=0, epoch=0)])
            await came.wait()
        assert not gate.is_set()
        gate.set()
        stop.set()
        await asyncio.wait(running)
