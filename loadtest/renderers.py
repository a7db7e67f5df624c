"""What rendering workers show of themselves: their shares of the lanes, and how many photos each rendered."""

import time
from collections.abc import Sequence
from contextlib import suppress

import httpx
from prometheus_client.parser import text_string_to_metric_families

LANES = ("tasks.express", "tasks.bulk")
PARTITIONS = 24
"""Of each lane."""
_WITHIN = 120.0
_PAUSE = 0.2


def wait_until_shared(urls: Sequence[str]) -> None:
    """Return when the workers with these /metrics have all partitions of both lanes, each some of them.

    A worker that joins takes partitions from the others, who show what they had for some seconds more; so a
    sum that is right is one of numbers that are.

    Raises:
        SystemExit: they do not within two minutes.
    """
    deadline = time.monotonic() + _WITHIN
    while not all(shared([_partitions(url, lane) for url in urls]) for lane in LANES):
        if time.monotonic() > deadline:
            raise SystemExit(f"The {len(urls)} renderers do not share the lanes within {_WITHIN:g} s.")
        time.sleep(_PAUSE)


def shared(partitions: Sequence[float]) -> bool:
    """Return whether these are all partitions of a lane, and everybody has some."""
    return min(partitions) > 0 and sum(partitions) == PARTITIONS


def _partitions(url: str, lane: str) -> float:
    return _value(url, "ebbmark_consumer_partitions", lane)


def rendered(url: str) -> int:
    """Return how many photos the worker rendered."""
    return int(_value(url, "ebbmark_photos_rendered_total"))


def _value(url: str, name: str, topic: str | None = None) -> float:
    """Return the sum of a metric, of one topic if it is named; 0 where nobody answers."""
    text = ""
    with suppress(httpx.TransportError):
        text = httpx.get(url).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and topic in {None, sample.labels.get("topic")}
    )
