"""Byte ranges."""

import pytest

from ebbmark.errors import LimitExceeded
from ingest.downloads import parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-99", (0, 100)),
        ("bytes=10-", (10, 1000)),
        ("bytes=-10", (990, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=900-5000", (900, 1000)),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
    ],
)
def test_a_single_range_is_served_and_anything_odd_means_the_whole(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert parse_range(header, 1000) == expected


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5-4", "bytes=-0"])
def test_a_range_outside_is_refused(header: str) -> None:
    with pytest.raises(LimitExceeded) as refused:
        parse_range(header, 1000)
    assert refused.value.code == "range-not-satisfiable"
