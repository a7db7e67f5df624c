"""How old the oldest event is that is not done: never told too young, and the closer the longer it stands."""

import random
from collections.abc import Sequence

import pytest

from ebbmark.lag import AGES, Ages
from ebbmark.progress import First, Place, Standing

PLACE: Place = ("uploads", 3)
NOW = 1_000_000.0


def at(committed: int, end: int, *, begin: int = 0, place: Place = PLACE) -> dict[Place, Standing]:
    return {place: Standing(begin=begin, committed=committed, reached=committed, end=end)}


class Log:
    """One place's events, by the moments at which they came; Kafka answers for them by their stamps."""

    def __init__(self, *came: float, stamps: Sequence[float] = ()) -> None:
        self.came = came
        self.stamps = stamps or came

    def since(self, moment: float) -> dict[Place, First]:
        found = next(((n, stamp) for n, stamp in enumerate(self.stamps) if stamp >= moment), None)
        return {} if found is None else {PLACE: First(*found)}


def look(ages: Ages, log: Log, committed: int, now: float) -> float:
    there = sum(came <= now for came in log.came)
    for moment in ages.begin(at(committed, there), now):
        ages.learn(log.since(moment))
    return ages.oldest("uploads")


def test_without_lag_there_is_no_age_and_nothing_to_ask() -> None:
    ages = Ages()
    assert list(ages.begin(at(7, 7), NOW)) == []
    assert ages.oldest("uploads") == 0


def test_what_came_since_a_look_without_lag_is_no_older_than_that_look() -> None:
    ages = Ages()
    ages.begin(at(7, 7), NOW)
    asked = list(ages.begin(at(7, 9), NOW + 5))
    assert ages.oldest("uploads") == 5
    assert asked == [NOW + 5 - 2, NOW + 5 - 4]  # only what could tell it more closely


@pytest.mark.parametrize("age", [1.0, 3.0, 40.0, 200.0, 5000.0, 100_000.0])
def test_a_consumer_that_is_new_finds_the_age_of_what_waits_for_it(age: float) -> None:
    log = Log(*(NOW - age + n * age / 200 for n in range(200)))
    found = look(Ages(), log, 0, NOW)
    longer = next(each for each in AGES if each >= age)
    assert age - 1e-6 <= found <= longer


@pytest.mark.parametrize("committed", range(0, 1000, 13))
def test_the_age_is_that_of_the_first_that_is_not_done(committed: int) -> None:
    log = Log(*(NOW - 1000 + n for n in range(1000)))
    found = look(Ages(), log, committed, NOW)
    age = 1000 - committed
    assert age <= found <= max(2 * age, AGES[0])


@pytest.mark.parametrize("seed", range(8))
def test_no_order_of_stamps_makes_an_age_shorter_than_the_time_in_the_log(seed: int) -> None:
    chance = random.Random(seed)
    came = [NOW - 200 + n for n in range(200)]
    log = Log(*came, stamps=[each - chance.uniform(0, 8) for each in came])
    ages = Ages()
    for committed in sorted(chance.choices(range(200), k=60)):
        found = look(ages, log, committed, NOW)
        assert NOW - came[committed] - 1e-6 <= found
        assert found <= max(2 * (NOW - log.stamps[committed]), AGES[0])


def test_an_age_is_told_shorter_by_what_a_producer_s_clock_is_ahead_and_by_no_more() -> None:
    came = [NOW - 200 + n for n in range(200)]
    log = Log(*came, stamps=[each + 3 for each in came])
    late = [NOW - came[committed] - look(Ages(), log, committed, NOW) for committed in range(0, 190, 7)]
    assert 0 < max(late) <= 3 + 1e-6


def test_the_longer_it_stands_the_more_closely_it_is_known() -> None:
    ages, log = Ages(), Log(*(NOW - 100 + 0.5 * n for n in range(200)))
    errors = [look(ages, log, 60, NOW + t) - (NOW + t - log.came[60]) for t in range(0, 240, 5)]
    assert min(errors) >= -1e-6
    assert errors[-1] < errors[0]
    assert errors == sorted(errors, reverse=True)


def test_an_age_that_stands_still_grows_as_fast_as_the_clock_once_it_is_known() -> None:
    ages, log = Ages(), Log(NOW - 40)
    first = look(ages, log, 0, NOW)
    assert first == pytest.approx(40)
    assert look(ages, log, 0, NOW + 5) == pytest.approx(45)


def test_who_goes_back_in_the_log_does_not_believe_what_it_knew_of_later_events() -> None:
    ages, log = Ages(), Log(*(NOW - 500 + n for n in range(100)))
    assert look(ages, log, 100, NOW) == 0
    assert look(ages, log, 0, NOW + 10) >= 510


def test_a_topic_is_as_old_as_its_oldest_place() -> None:
    ages, other = Ages(), ("uploads", 4)
    ages.begin(at(1, 1) | at(1, 1, place=other), NOW)
    ages.begin(at(1, 2) | at(1, 1, place=other), NOW + 10)
    ages.begin(at(1, 2) | at(1, 2, place=other), NOW + 15)
    assert ages.oldest("uploads") == 15
    assert ages.oldest("statuses") == 0
    assert set(ages.lagging) == {PLACE, other}


def test_an_answer_about_a_place_that_went_elsewhere_changes_nothing() -> None:
    ages = Ages()
    ages.begin(at(1, 1), NOW)
    ages.learn({("uploads", 9): First(0, NOW - 50)})
    assert ages.oldest("uploads") == 0
