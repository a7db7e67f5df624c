"""Who is stuck, by what was seen of a place and when."""

from collections.abc import Collection

import pytest

from ebbmark.progress import Blindness, Stall, Standing

PLACE = ("uploads", 3)


def at(committed: int, end: int, *, begin: int = 0) -> dict[tuple[str, int], Standing]:
    return {PLACE: Standing(begin=begin, committed=committed, reached=committed, end=end)}


class Watch:
    """A stall with patience for a minute, looked at by a clock of its own."""

    def __init__(self) -> None:
        self._now = 0.0
        self.stall = Stall(60, lambda: self._now)

    def finds(
        self,
        moment: float,
        places: dict[tuple[str, int], Standing],
        *,
        working: Collection[tuple[str, int]] = (),
        era: object = 1,
    ) -> bool:
        self._now = moment
        return PLACE in self.stall.judge(places, working=working, era=era)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_who_is_behind_idle_and_still_for_the_whole_time_is_stuck(watch: Watch) -> None:
    assert [watch.finds(t, at(5, 9)) for t in (0, 15, 30, 45, 60)] == [False] * 4 + [True]


def test_who_has_done_all_is_not_stuck(watch: Watch) -> None:
    assert not any(watch.finds(t, at(5, 5)) for t in range(0, 300, 15))


def test_who_moves_is_not_stuck(watch: Watch) -> None:
    assert not any(watch.finds(t, at(t, 1000)) for t in range(0, 300, 15))


def test_what_the_log_has_dropped_is_no_lag(watch: Watch) -> None:
    assert not any(watch.finds(t, at(5, 9, begin=9)) for t in range(0, 300, 15))


def test_who_had_a_message_in_hand_once_in_the_time_is_not_stuck(watch: Watch) -> None:
    assert not any(
        watch.finds(t, at(5, 9), working=[PLACE] if t % 60 == 45 else ()) for t in range(0, 300, 15)
    )


def test_a_message_in_hand_of_another_place_is_no_excuse(watch: Watch) -> None:
    assert [watch.finds(t, at(5, 9), working=[("uploads", 4)]) for t in (0, 15, 30, 45, 60)][-1]


def test_after_a_rebalance_the_time_begins_anew(watch: Watch) -> None:
    assert not any(watch.finds(t, at(5, 9), era=t // 60) for t in range(0, 300, 15))


def test_while_nothing_was_known_nobody_is_stuck(watch: Watch) -> None:
    assert not any(watch.finds(t, at(5, 9)) for t in (0, 15, 30, 45))
    watch.stall.forget()
    assert [watch.finds(t, at(5, 9)) for t in (60, 75, 90, 105, 120)] == [False] * 4 + [True]


def test_a_process_that_slept_itself_is_not_stuck(watch: Watch) -> None:
    assert not watch.finds(0, at(5, 9))
    assert not watch.finds(100, at(5, 9))


class Sight:
    """A consumer's sight with patience for a minute, looked at by a clock of its own."""

    def __init__(self) -> None:
        self._now = 0.0
        self._blindness = Blindness(60, lambda: self._now)

    def cut_off(self, moment: float, *, saw: bool = False, others_do: bool = True) -> bool:
        self._now = moment
        if saw:
            self._blindness.forget()
            return False
        return self._blindness.judge(others_do=others_do)


def test_who_sees_nothing_while_others_do_is_cut_off() -> None:
    sight = Sight()
    assert [sight.cut_off(t) for t in (0, 13, 26, 39, 52, 65)] == [False] * 5 + [True]


def test_who_sees_nothing_as_nobody_does_is_not_cut_off() -> None:
    sight = Sight()
    assert not any(sight.cut_off(t, others_do=False) for t in range(0, 300, 13))


def test_when_kafka_is_back_the_time_begins_anew() -> None:
    sight = Sight()
    assert not any(sight.cut_off(t, others_do=t != 52) for t in range(0, 118, 13))
    assert sight.cut_off(130)


def test_one_look_that_sees_begins_the_time_anew() -> None:
    sight = Sight()
    assert not any(sight.cut_off(t, saw=t == 52) for t in range(0, 118, 13))


def test_who_slept_itself_is_not_cut_off() -> None:
    sight = Sight()
    assert not sight.cut_off(0)
    assert not sight.cut_off(100)
