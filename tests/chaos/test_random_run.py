"""A short random run; after it everything expires, and nothing of it is left anywhere."""

import pytest

from tests.chaos.arena import Arena
from tests.chaos.run import random_run

pytestmark = [pytest.mark.servers, pytest.mark.chaos, pytest.mark.timeout(400)]


def test_after_a_few_faults_under_load_every_invariant_holds(chaos: Arena) -> None:
    chaos.client.rest = 2.0
    report = random_run(chaos, seed=11, minutes=0.1, faults=3, rate=5)
    assert report["faults"] >= 3
    assert report["checked"] > 0
    assert {v["claim"]: v["examples"] for v in report["verdicts"] if v["violations"]} == {}
