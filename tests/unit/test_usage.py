"""How busy children are, added up over time."""

import pytest
from prometheus_client import REGISTRY

from ebbmark.usage import Usage


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spent() -> tuple[float, float]:
    names = ("ebbmark_children_busy_seconds_total", "ebbmark_children_wait_seconds_total")
    busy, waited = (REGISTRY.get_sample_value(name) or 0.0 for name in names)
    return busy, waited


def test_children_are_busy_with_as_many_photos_as_there_are_of_either_and_the_rest_wait() -> None:
    clock, before = Clock(), spent()
    usage = Usage(2, clock)
    for moment, begins in [(1.0, 1), (2.0, 2), (5.0, -1), (6.0, -2), (9.0, 0)]:
        clock.now = moment
        for _ in range(abs(begins)):
            usage.begin() if begins > 0 else usage.end()
    usage.note()
    busy, waited = (now - then for now, then in zip(spent(), before, strict=True))
    # One photo for a second, three for three, two for one, none for three.
    assert busy == pytest.approx(1 * 1 + 2 * 3 + 2 * 1)
    assert waited == pytest.approx(1 * 3)


def test_a_photo_that_takes_long_shows_before_its_end() -> None:
    clock, before = Clock(), spent()
    usage = Usage(1, clock)
    usage.begin()
    clock.now = 30.0
    usage.note()
    assert spent()[0] - before[0] == pytest.approx(30)
