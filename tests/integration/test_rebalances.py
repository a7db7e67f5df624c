"""What comes between in a rebalance costs no message and no member: on a real broker, step by step."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from aiokafka.errors import KafkaError
from faust.assignor.partition_assignor import PartitionAssignor

from ebbmark.consumer import Consumer
from ebbmark.eventlog import KafkaLog
from ebbmark.events import PhotoUploaded
from ebbmark.progress import NotJoined, standings
from ebbmark.settings import Kafka
from ebbmark.topics import UPLOADS

pytestmark = [pytest.mark.servers]

PATIENCE = 20
LONGER_THAN_A_FETCH = 2.0


class Member:
    """A consumer in a group of its own, and what it has seen."""

    def __init__(self, kafka: Kafka, log: KafkaLog, folder: Path) -> None:
        self.seen: set[UUID] = set()
        self._log = log
        self.consumer = Consumer(f"rebalances-{uuid4()}", kafka, log, data=str(folder))
        self.consumer.consume(UPLOADS, self._handle, asyncio.Semaphore(8))

    async def _handle(self, event: PhotoUploaded) -> None:
        self.seen.add(event.job)

    @property
    def app(self) -> Any:  # noqa: ANN401 - Faust's
        return self.consumer._app  # noqa: SLF001 - what is between is Faust's

    @property
    def client(self) -> Any:  # noqa: ANN401 - as above
        return self.app.consumer._thread._consumer  # noqa: SLF001 - as above

    def rejoin(self) -> None:
        loop = self.app.consumer._thread.thread_loop  # noqa: SLF001 - as above
        loop.call_soon_threadsafe(self.client._coordinator.request_rejoin)  # noqa: SLF001 - as above

    async def publish(self) -> UUID:
        job = uuid4()
        await self._log.publish(UPLOADS, [PhotoUploaded(job=job, n=0)])
        return job

    async def sees(self, job: UUID) -> None:
        await until(lambda: job in self.seen)


async def until(good: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not good():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.05)


@asynccontextmanager
async def starting(kafka: Kafka, folder: Path) -> AsyncGenerator[Member]:
    settings, stop = msgspec.structs.replace(kafka, stall=timedelta(seconds=3)), asyncio.Event()
    async with KafkaLog(settings, source="test") as log:
        member = Member(settings, log, folder)
        running = asyncio.create_task(member.consumer.run(stop))
        try:
            yield member
        finally:
            stop.set()
            await asyncio.wait([running])
    await running


@asynccontextmanager
async def joined(kafka: Kafka, folder: Path) -> AsyncGenerator[Member]:
    async with starting(kafka, folder) as member:
        await until(lambda: member.client and member.client.assignment() and not member.app.rebalancing)
        yield member


async def test_what_was_fetched_while_nothing_may_flow_is_fetched_again_though_nothing_is_committed(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    async with joined(kafka_settings, tmp_path) as member:
        faust = member.app.consumer
        assert not any(each.committed for each in (await standings(faust)).values())
        under_way, fetched, fetch = asyncio.Event(), asyncio.Event(), faust._getmany  # noqa: SLF001 - as above

        async def long_fetch(active_partitions: object, **_: object) -> object:
            under_way.set()
            records = await fetch(active_partitions=active_partitions, timeout=PATIENCE)
            fetched.set()
            return records

        faust._getmany = long_fetch  # noqa: SLF001 - as above
        async with asyncio.timeout(PATIENCE):
            await under_way.wait()
            faust.stop_flow()
            job = await member.publish()
            await fetched.wait()
        faust.resume_flow()
        await member.sees(job)


async def test_nothing_flows_for_an_assignment_while_the_next_one_is_on_its_way(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    async with joined(kafka_settings, tmp_path) as member:
        faust = member.app.consumer
        seeking, gate, seek = asyncio.Event(), asyncio.Event(), faust.perform_seek
        flowing: list[bool] = []

        async def slow_seek() -> None:
            seeking.set()
            await gate.wait()
            await seek()

        async def revoked(*_: object, **__: object) -> None:
            gate.set()
            await asyncio.sleep(1)  # enough for what waited at the gate
            flowing.append(faust.flow_active)

        faust.perform_seek = slow_seek
        member.rejoin()
        await asyncio.wait_for(seeking.wait(), PATIENCE)
        member.app.on_partitions_revoked.connect(revoked)
        member.rejoin()
        await until(lambda: flowing)
        assert flowing == [False]
        await member.sees(await member.publish())


async def test_a_member_whose_group_answers_what_nobody_expects_joins_again(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    async with joined(kafka_settings, tmp_path) as member:
        coordinator = member.client._coordinator  # noqa: SLF001 - as above
        join, failed = coordinator._do_rejoin_group, asyncio.Event()  # noqa: SLF001 - as above

        async def fail_once(_: object) -> bool:
            coordinator._do_rejoin_group = join  # noqa: SLF001 - as above
            failed.set()
            raise KafkaError("UnknownError()")

        member.app.consumer.stop_flow()
        await asyncio.sleep(LONGER_THAN_A_FETCH)  # nobody waits for messages then, who would be told
        coordinator._do_rejoin_group = fail_once  # noqa: SLF001 - as above
        member.rejoin()
        await until(failed.is_set)
        await member.sees(await member.publish())


async def test_a_group_that_shared_out_nothing_as_a_topic_was_missing_shares_it_out_again(
    kafka_settings: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        """Metadata of a moment in which there is no topic."""

        def partitions_for_topic(self, _: str) -> None:
            return None

        def topics(self) -> set[str]:
            return set()

    blind, assign = [Blind()], PartitionAssignor.assign

    def once_blind(self: PartitionAssignor, cluster: Any, members: Any) -> Any:  # noqa: ANN401 - Faust's
        return assign(self, blind.pop() if blind else cluster, members)

    monkeypatch.setattr(PartitionAssignor, "assign", once_blind)
    async with starting(kafka_settings, tmp_path) as member:
        await until(lambda: member.client and member.client.assignment() and not member.app.rebalancing)
        assert not blind
        await member.sees(await member.publish())


async def test_a_member_that_is_assigned_nothing_yet_is_not_seen(
    kafka_settings: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def never(*_: object) -> None:
        while not gate.is_set():  # noqa: ASYNC110 - another loop waits than the one that sets it
            await asyncio.sleep(0.05)

    monkeypatch.setattr(CoordinatorGroupRebalance, "_send_sync_group_request", never)
    async with starting(kafka_settings, tmp_path) as member:
        await until(lambda: member.client and member.client._coordinator.generation > 0)  # noqa: SLF001 - as above
        with pytest.raises(NotJoined):
            await standings(member.app.consumer)
        gate.set()
