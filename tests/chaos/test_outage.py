"""One server, or all of Ebbmark, is gone for long: what was promised before and meanwhile is kept after."""

from random import Random

import pytest

from tests.chaos.arena import Arena
from tests.chaos.faults import OUTAGES, outage
from tests.chaos.invariants import Onlooker
from tests.chaos.run import away

pytestmark = [pytest.mark.servers, pytest.mark.chaos, pytest.mark.timeout(0)]

BACK_WITHIN = 60.0
"""Seconds after its return until a fresh job of six photos is complete."""
RATE = 6.0


@pytest.mark.parametrize("of", OUTAGES)
def test_whoever_is_gone_for_long_costs_nothing_but_time(
    chaos: Arena, onlooker: Onlooker, of: str, request: pytest.FixtureRequest
) -> None:
    """Passed when every job that got its 202 completes with each photo as it must, seen by its sender unless
    its links died meanwhile; when ingest says 503 or nothing, and no other error; and when a fresh job is
    complete a minute after the return."""
    client, seconds = chaos.client, float(request.config.getoption("--outage"))
    client.rest = 0.5
    known, first = len(client.violations), len(client.log)
    client.start_sending(RATE)
    try:
        chaos.wait(3)
        struck = away(chaos, onlooker, outage(of, seconds), Random(of))
    finally:
        client.stop_sending()
    assert struck.seen, "it was not missed"
    assert struck.recovery is not None, f"nothing goes through any more; restarted: {dict(chaos.ended)}"
    assert struck.recovery < BACK_WITHIN
    assert not struck.against
    sent = client.log[first:]
    assert chaos.settled(sent), [(each.way, each.state) for each in sent]
    assert client.violations[known:] == []
    accepted = [each for each in sent if each.accepted_at]
    assert accepted
    assert {each.state for each in accepted} <= {"checked", "unread", "deleted"}
    assert not [v for v in onlooker.meanwhile() if v.violations]
