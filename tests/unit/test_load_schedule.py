"""When requests are due is decided beforehand, and by the shape alone."""

import random
from itertools import pairwise

import pytest

from loadtest.schedule import Phase, arrivals, bursts, level, stairs
from loadtest.shapes import SHAPES


def never() -> bool:
    return False


def test_arrivals_are_evenly_spaced_and_as_many_as_asked_for() -> None:
    due = list(arrivals(Phase(name="level", seconds=300, rate=30)))
    assert len(due) == 9000
    assert due[:3] == pytest.approx([0, 1 / 30, 2 / 30])
    assert due[-1] == pytest.approx(300 - 1 / 30)


def test_a_burst_comes_at_one_moment_and_again_after_its_interval() -> None:
    (phase,) = bursts(50, 5, 3)(never)
    due = list(arrivals(phase))
    assert [due.count(moment) for moment in (0, 5, 10)] == [50, 50, 50]
    assert len(due) == 150


def test_arrivals_at_random_keep_the_rate_and_are_the_same_with_the_same_seed() -> None:
    phase = Phase(name="level", seconds=200, rate=50)
    due = list(arrivals(phase, random.Random(7)))
    assert due == list(arrivals(phase, random.Random(7)))
    assert due == sorted(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)
    gaps = [later - sooner for sooner, later in pairwise(due)]
    assert max(gaps) > 5 / 50  # people know nothing of each other


def test_nobody_comes_at_a_rate_of_zero() -> None:
    assert list(arrivals(Phase(name="level", seconds=10, rate=0))) == []


def test_stairs_climb_until_it_is_too_much_go_two_steps_beyond_and_down_to_half_of_what_was_sustained() -> (
    None
):
    rates: list[tuple[str, float]] = []
    for phase in stairs(first=10, step=10, last=100, hold=20)(lambda: rates[-1][1] >= 40):
        rates.append((phase.name, phase.rate))  # noqa: PERF401 - it is asked about meanwhile
    assert rates == [
        *(("climb", rate) for rate in (10, 20, 30, 40)),
        *(("beyond", rate) for rate in (50, 60)),
        ("recovery", 15),
    ]


def test_stairs_that_are_never_too_much_end_at_the_highest_step() -> None:
    rates = [phase.rate for phase in stairs(first=10, step=10, last=30, hold=1)(never)]
    assert max(rates[:3]) == 30
    assert rates[-1] == 15


def test_the_shapes_are_as_they_are_published() -> None:
    (steady,) = (SHAPES["steady30"].plan("steady30", {}).phases or level(0, 0))(never)
    assert (steady.rate, steady.seconds) == (30, 300)
    peak = SHAPES["peak100"].plan("peak100", {})
    (phase,) = (peak.phases or level(0, 0))(never)
    assert (phase.rate, phase.seconds, peak.watch) == (20, 300, "polls")
    closed = SHAPES["ramp"].plan("ramp", {}).closed
    assert closed is not None
    assert (closed.users, closed.ramp, closed.hold) == (100, 180, 120)


def test_a_shape_with_another_option_is_not_the_whole_shape() -> None:
    assert SHAPES["steady30"].plan("steady30", {}).whole
    assert SHAPES["steady30"].plan("steady30", {"seconds": 300}).whole
    assert not SHAPES["steady30"].plan("steady30", {"seconds": 10}).whole
