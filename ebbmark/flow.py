"""What Faust fetched is handed on or fetched again, and every place has a reader, after any rebalance.

Faust stops its flow of messages when partitions are revoked, and lets it go on when it has settled in with
what was assigned anew. Meanwhile it loses messages in two ways, silently, and then commits beyond them:

- A fetch that was under way takes messages of the new assignment. Faust throws them away and seeks to what is
  committed. Where nothing is committed yet it seeks nowhere, and goes on behind them. Of fourteen fresh
  installations of two workers one lost a message so.
- It may settle in with an assignment that is lost already, while the next one is on its way. Messages
  then flow too early, into a queue that is emptied when it has settled in with that one.
"""

import asyncio
from collections.abc import Collection
from functools import cached_property
from typing import Any, cast

import faust
from aiokafka.errors import IllegalStateError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers import aiokafka
from faust.types import TP

from ebbmark import wires
from observability import logs

log = logs.get(__name__)

wires.mend()

_LOOK_AGAIN = 1.0
"""Seconds after which a topic that had no places may have some."""


class Consumer(aiokafka.Consumer):
    """Faust's consumer; it loses nothing in a rebalance."""

    _moving = False

    def resume_flow(self) -> None:
        """Let messages flow, unless a newer assignment is on its way or waits to be settled in with."""
        recovery: Any = self.app.tables.recovery  # type: ignore[attr-defined]
        if not (self._moving or recovery.signal_recovery_start.is_set()):
            super().resume_flow()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop the flow, which Faust does only for who has partitions to lose."""
        self._moving = True
        self.stop_flow()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin to settle in; it ends with `resume_flow`."""
        try:
            await super().on_partitions_assigned(assigned, generation_id)
        finally:
            self._moving = False

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109 - Faust's
        records, active = await super()._wait_next_records(timeout)
        if records and not self.flow_active:
            await self._give_back(records)
            records = {}
        return records, active

    async def _give_back(self, places: Collection[TP]) -> None:
        """Go back to what is committed of these places, and where nothing is to their beginning."""
        try:
            await self.perform_seek()
        except (AssertionError, IllegalStateError):
            return  # they were assigned anew, and so begin there anyway
        begin = [each for each in places if not self._read_offset.get(each)]
        if begin:
            spelt = sorted(f"{each.topic}/{each.partition}" for each in begin)
            log.info("fetched too early", group=self.app.conf.id, places=spelt)
            await self._thread.call_thread(self._begin, begin)

    async def _begin(self, places: Collection[TP]) -> None:
        """In the client's thread. A position is never unknown meanwhile: Faust's own checks would fail."""
        thread: Any = self._thread
        client = thread._consumer  # noqa: SLF001 - Faust has no word for any of it
        assignment = client._subscription.subscription.assignment  # noqa: SLF001 - as above
        begins = await client.beginning_offsets(places)
        if assignment.active:
            for place in assignment.tps.intersection(places):
                client.seek(place, begins[place])


class Assignor(PartitionAssignor):
    """Faust's assignor; it leaves nobody without the places of a topic that was missing for a moment.

    A topic that is made anew just then is in the metadata before the group has settled, so nobody would look
    again: all members would stand idle, in a group that is well.
    """

    def assign(self, cluster: Any, member_metadata: Any) -> Any:  # noqa: ANN401 - Faust's
        """Assign the places; when a topic has none, have the group assign them again in a moment."""
        assignments = super().assign(cluster, member_metadata)
        wanted = {topic for member in member_metadata.values() for topic in member.subscription}
        given = {topic for each in assignments.values() for topic, _ in each.assignment}
        if wanted - given:
            log.warning("topics without places", group=self.app.conf.id, topics=sorted(wanted - given))
            asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._rejoin)
        return assignments

    def _rejoin(self) -> None:
        consumer: Any = self.app.consumer
        if client := consumer._thread and consumer._thread._consumer:  # noqa: SLF001 - Faust has no word for it
            client._coordinator.request_rejoin()  # noqa: SLF001 - as above


class _Transport(aiokafka.Transport):
    Consumer = Consumer


class App(faust.App):
    """Faust's app, with this consumer."""

    @cached_property
    def assignor(self) -> Assignor:  # pyright: ignore[reportIncompatibleVariableOverride] - it is one
        """Who shares out the places when this member leads."""
        return Assignor(self, replicas=self.conf.table_standby_replicas)

    def _new_transport(self) -> Any:  # noqa: ANN401 - Faust's
        return _Transport(cast("Any", self.conf).broker_consumer, self)
