"""What Faust fetched is handed on or fetched again, whatever rebalance comes between.

Faust stops its flow of messages when partitions are revoked, and lets it go on when it has settled in with
what was assigned anew. Meanwhile it loses messages in two ways, silently, and then commits beyond them:

- A fetch that was under way takes messages of the new assignment. Faust throws them away and seeks to what is
  committed. Where nothing is committed yet it seeks nowhere, and goes on behind them. Of fourteen fresh
  installations of two workers one lost a message so.
- It may settle in with an assignment that is lost already, while the next one is on its way. Messages
  then flow too early, into a queue that is emptied when it has settled in with that one.
"""

from collections.abc import Collection
from typing import Any, cast

import faust
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka
from faust.types import TP

from ebbmark import wires
from observability import logs

log = logs.get(__name__)

wires.mend()


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


class _Transport(aiokafka.Transport):
    Consumer = Consumer


class App(faust.App):
    """Faust's app, with this consumer."""

    def _new_transport(self) -> Any:  # noqa: ANN401 - Faust's
        return _Transport(cast("Any", self.conf).broker_consumer, self)
