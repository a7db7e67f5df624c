"""What a client has, and which part it wants."""

import pytest

from ebbmark.errors import LimitExceeded
from ingest.conditions import is_known, is_the_same, parse_range


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
        ("bytes=٣-", None),
        (f"bytes=0-{'9' * 5000}", (0, 1000)),
        (f"bytes=-{'9' * 5000}", (0, 1000)),
    ],
)
def test_a_single_range_is_served_and_anything_odd_means_the_whole(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert parse_range(header, 1000) == expected


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5-4", "bytes=-0", f"bytes={'9' * 5000}-"])
def test_a_range_outside_is_refused(header: str) -> None:
    with pytest.raises(LimitExceeded) as refused:
        parse_range(header, 1000)
    assert refused.value.code == "range-not-satisfiable"


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (None, False),
        ('"9"', True),
        ('W/"9"', True),
        ('"8", W/"9" , "10"', True),
        ("*", True),
        ('"8", W/"7"', False),
        ("9", False),
    ],
)
def test_a_client_has_what_it_names_in_any_of_the_ways_it_may(header: str | None, known: bool) -> None:  # noqa: FBT001
    assert is_known(header, '"9"') == known
    assert is_known(header, 'W/"9"') == known


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, True),
        ('"9"', True),
        ('W/"9"', False),
        ('"8"', False),
        ("Wed, 21 Oct 2026 07:28:00 GMT", False),
    ],
)
def test_a_part_is_sent_only_to_who_has_the_rest(header: str | None, same: bool) -> None:  # noqa: FBT001
    assert is_the_same(header, '"9"') == same
