"""However many ask how many dead letters there are, the ledger counts once in a while."""

import asyncio
from datetime import timedelta

import pytest

from ebbmark.errors import Unavailable
from ebbmark.ledger.letters import Letters, LetterStats
from ebbmark.testing import MemoryLedger
from ebbmark.testing.memory_letters import MemoryLetters
from ingest.tally import Tally
from tests.unit.visits import House


class SlowLedger(MemoryLedger):
    """Counts its letters when the test lets it, and notes that it did."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def letters(self) -> Letters:
        ledger = self

        class Slow(MemoryLetters):
            async def stats(self) -> LetterStats:
                ledger.counted += 1
                await ledger.gate.wait()
                return await super().stats()

        return Slow(self._letters, self._jobs, self._answer)


@pytest.fixture
def ledger() -> SlowLedger:
    return SlowLedger()


@pytest.fixture
def house(ledger: SlowLedger) -> House:
    return House(ledger=ledger)


async def test_fifty_at_once_are_one_question(house: House, ledger: SlowLedger) -> None:
    ledger.gate.clear()
    visits = [house.visit("GET", "/dlq/stats") for _ in range(50)]
    for visit in visits:
        await visit.settled()
    ledger.gate.set()
    answers = [await visit.answer() for visit in visits]
    assert {(each.status, each.json["open"]) for each in answers} == {(200, 0)}
    assert ledger.counted == 1


async def test_an_answer_is_good_for_two_seconds(house: House, ledger: SlowLedger) -> None:
    for counted, seconds in ((1, 1), (1, 1), (2, 1.5), (2, 9), (3, 0)):
        assert (await house.visit("GET", "/dlq/stats", b"").answer()).status == 200
        assert ledger.counted == counted
        house.now += timedelta(seconds=seconds)


async def test_what_was_doubted_is_counted_anew_though_it_is_being_counted(ledger: SlowLedger) -> None:
    tally = Tally(ledger.letters)
    ledger.gate.clear()
    before = asyncio.create_task(tally.stats())
    await asyncio.sleep(0)
    tally.doubt()
    after = asyncio.create_task(tally.stats())
    ledger.gate.set()
    await asyncio.gather(before, after)
    await tally.stats()
    assert ledger.counted == 2


async def test_who_goes_away_takes_nothing_from_the_others(ledger: SlowLedger) -> None:
    tally = Tally(ledger.letters)
    ledger.gate.clear()
    hasty, patient = asyncio.create_task(tally.stats()), asyncio.create_task(tally.stats())
    await asyncio.sleep(0)
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    ledger.gate.set()
    assert (await patient).open == 0
    assert ledger.counted == 1


async def test_a_ledger_that_does_not_answer_is_asked_once_by_all_and_again_by_the_next(
    house: House, ledger: SlowLedger
) -> None:
    ledger.gate.clear()
    visits = [house.visit("GET", "/dlq/stats") for _ in range(5)]
    for visit in visits:
        await visit.settled()
    ledger.down = True
    ledger.gate.set()
    assert {(await visit.answer()).status for visit in visits} == {503}
    assert ledger.counted == 1
    with pytest.raises(Unavailable):
        await Tally(ledger.letters).stats()
    ledger.down = False
    assert (await house.visit("GET", "/dlq/stats", b"").answer()).status == 200
