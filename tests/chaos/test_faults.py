"""Each kind of fault, alone, in the middle of work; what passing means stands with each in `faults.py`."""

from random import Random

import pytest

from tests.chaos.arena import Arena
from tests.chaos.faults import CATALOGUE
from tests.chaos.invariants import Onlooker
from tests.chaos.run import strike

pytestmark = [pytest.mark.servers, pytest.mark.chaos, pytest.mark.timeout(240)]

KINDS = {fault.kind: fault for fault in reversed(CATALOGUE.values())}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_is_lost_or_done_twice(chaos: Arena, onlooker: Onlooker, kind: str) -> None:
    fault = KINDS[kind]
    if lack := fault.lacks(chaos):
        pytest.skip(lack)
    client = chaos.client
    client.rest = 0.1
    known, drains = len(client.violations), len(chaos.drains)
    sent = [client.send("form", count=8), client.send("filled", count=5), client.send("repeated", count=3)]
    struck = strike(chaos, onlooker, fault, Random(kind), during=lambda: sent.append(client.send("form")))
    assert struck.recovery is not None, f"nothing goes through any more; restarted: {dict(chaos.ended)}"
    assert struck.seen, "it had no effect that could be seen"
    assert not struck.against
    assert chaos.settled(sent), [(each.way, each.state) for each in sent]
    assert client.violations[known:] == []
    assert [each.state for each in sent] == ["checked"] * len(sent)
    assert all(code == 0 and took <= 30 for _, took, code in chaos.drains[drains:])
    assert not [v for v in onlooker.meanwhile() if v.violations]
